"""From a trained run to its model."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from math import isfinite
from sys import float_info
from typing import Any

import numpy as np

import harness
from harness import checkpoints
from harness.config import dump
from harness.data.columns import Column, columns_of
from harness.data.dataset import Dataset
from harness.data.table import CsvTable, TableDescription
from harness.data.table_file import CsvFormat
from harness.errors import UserError
from harness.keys import is_beside
from harness.layout import parts_of
from harness.metrics.calibration import CALIBRATORS
from harness.metrics.own_calibrator import OWN, OwnCalibrator, rows_of
from harness.metrics.ranked_rows import Ranking, rank_rows
from harness.metrics.weighted import for_calibrators
from harness.predict.description import (
    FORMAT,
    Description,
    Labels,
    Reading,
    Recipe,
    Threshold,
)
from harness.predict.drift import spread_of
from harness.predict.model import Model, calibration_arrays
from harness.record.collect import progress
from harness.record.schema import Record
from harness.run import Run
from harness.watching import epochs_a_point

_PACKAGES = ("jax", "flax", "optax", "numpy", "polars", "safetensors")


def model_of(run: Run, dataset: Dataset, params: Mapping[str, np.ndarray], record: Record) -> Model:
    """The model of ``run``, which was trained on ``dataset``.

    Args:
      params: of its best epoch, in the run's own sizes: there is one.
      record: what the run leaves. Its validation scores fit the calibrator again, to the bit.

    Raises:
      UserError: the calibrator is not ours, and cannot be kept.
    """
    config, data = run.config, run.data(dataset)
    kept = _calibration(record, config.evaluation.calibrator)
    validation = record.predictions["validation"]
    prior = data.natural_positive_rate
    if kept:
        prior = float(np.average(validation.labels, weights=validation.row_weights))
    columns = columns_of(dataset)
    values = dump(config)
    description = Description(
        format=FORMAT,
        network=values["model"],
        columns=columns,
        features=dataset.feature_names,
        room=run.program.sizes.features,
        reading=_reading(config.dataset),
        recipe=Recipe(
            loss=values["loss"],
            num_negatives=data.num_negatives,
            num_positives=data.num_positives,
            # `progress` counts in the program's epochs, which are points of the curves.
            progress=progress(run, record.facts["best_epoch"] // epochs_a_point(run)),
            prior_shift=record.facts["prior_shift"],
        ),
        calibrator=config.evaluation.calibrator if kept else None,
        threshold=Threshold(
            _finite(record.facts["threshold_logit"]),
            config.evaluation.threshold,
            config.evaluation.costs,
        ),
        labels=Labels(
            dataset.positive_label,
            dataset.negative_label,
            dataset.positive_reason,
            getattr(config.dataset, "target", None),
        ),
        prior=prior,
        training=tuple(
            spread_of(dataset.features[data.split.train, features], column)
            for column, features in _slices(columns)
        ),
        beside=_beside(config.dataset, dataset),
        about=_about(run, dataset, record, values),
        parts=parts_of(dataset.cardinalities),
    )
    arrays = {
        f"{checkpoints.PARAMS}{name}": np.asarray(array, np.float32)
        for name, array in params.items()
    }
    scaling = data.scaling
    arrays |= {"fill": scaling.fill, "center": scaling.center, "scale": scaling.scale}
    return Model(description, arrays | calibration_arrays(kept), run.run_id)


def _calibration(record: Record, calibrator: str | None) -> dict[str, np.ndarray]:
    """What the configured calibrator keeps; nothing without one, or where it cannot be fitted."""
    if calibrator is None:
        return {}
    scored = record.predictions["validation"]
    labels = scored.labels[None]
    if scored.row_weights is None:
        valid = np.ones_like(labels, bool)
        ranking = rank_rows(logits=scored.logits[None], labels=labels, valid=valid)
    else:
        ranking = for_calibrators(scored.logits, scored.labels, scored.row_weights)
    if calibrator in OWN:
        return _own_calibration(OWN[calibrator], ranking)
    fitted = CALIBRATORS[calibrator](ranking)
    if not all(np.isfinite(values).all() for values in fitted.parameters.values()):
        return {}
    return fitted.kept(0)


def _own_calibration(own: OwnCalibrator, validation: Ranking) -> dict[str, np.ndarray]:
    if own.not_kept:
        raise UserError(f"{own.not_kept}: a saved model holds such alone (evaluation.calibrator)")
    try:
        return own.kept(own.fitted(*rows_of(validation, 0)))
    except ValueError:
        return {}


def _slices(columns: Sequence[Column]) -> Iterator[tuple[Column, slice]]:
    start = 0
    for column in columns:
        yield column, slice(start, start + column.num_features)
        start += column.num_features


def _reading(source: Any) -> Reading:
    """How the run's table was read; as the defaults say where it had none."""
    if not isinstance(source, TableDescription):
        return Reading()
    csv = source.format if isinstance(source, CsvTable) else CsvFormat()
    return Reading(source.cells.marks, source.date_format, csv)


def _beside(source: Any, dataset: Dataset) -> dict[str, str]:
    """The columns of the run's table that are no features, and what they are there."""
    found = {one.name: "left out" for one in dataset.columns if one.kind == "dropped"}
    if isinstance(source, TableDescription):
        found |= dict.fromkeys(source.drop, "left out")
        parts = {
            "the label": source.target,
            "the group": source.group,
            "the time": source.time,
            "the weight": source.weight,
        }
        found |= {name: part for part, name in parts.items() if name is not None}
    return found


def _about(run: Run, dataset: Dataset, record: Record, values: Mapping[str, Any]) -> dict[str, Any]:
    facts = record.facts
    config = {group: keys for group, keys in values.items() if not is_beside(group)}
    counted = ("num_train", "num_train_positives", "num_validation", "num_validation_positives",
               "num_test", "num_test_positives", "train_prior")  # fmt: skip
    return {
        "run_id": run.run_id,
        "created": record.created.isoformat(),
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "rows": dataset.num_rows,
            "positive_rate": dataset.positive_rate,
            "source": dataset.source,
            "licence": dataset.licence,
            "application": dataset.application,
        },
        "rows": {name: facts[name] for name in counted},
        "objective": run.config.evaluation.objective,
        "metrics": {
            name: value if isfinite(value) else None for name, value in record.metrics.items()
        },
        "versions": {
            "bce-harness": harness.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
            "numerics": facts["numerics"],
        },
        "config": config,
    }


def _finite(logit: float) -> float:
    """A cut that no row reaches may be infinite, which no JSON holds."""
    return min(max(logit, -float_info.max), float_info.max)
