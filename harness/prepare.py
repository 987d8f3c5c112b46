"""From a configuration to a lane: the one place where a config value becomes an array.

Everything here runs on the host. Data work (split, imbalance, resampling, batch order) is cached,
since runs that differ in loss or learning rate share it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import log
from typing import Any, Literal

import jax
import numpy as np

from harness import checkpoints
from harness.config import Config, Init, folder_of
from harness.data.batches import batch_rows
from harness.data.dataset import Dataset
from harness.data.imbalance import Imbalance, induce_positive_rate
from harness.data.splits import Split, part_size, stratified_split
from harness.errors import UserError
from harness.losses import one_of
from harness.models import param_shapes
from harness.optimizers import learning_rates, plateau_rule
from harness.train import SELECT_BY, Lane, Program

# One purpose of randomness each, derived from the run's seed; the data's own are in harness/data.
_INIT, _DROPOUT = 101, 102


@dataclass(frozen=True, eq=False)
class Parts:
    """A data set cut up for one seed; equal for every loss, model and optimizer."""

    split: Split
    batch_rows: np.ndarray  # (S, B) int32
    validation_rows: np.ndarray  # (V,) int32, padded to its size before imbalance
    test_rows: np.ndarray  # (T,) int32, likewise
    center: np.ndarray  # (d,) float32
    scale: np.ndarray  # (d,) float32
    num_negatives: int  # of the rows trained on, after imbalance and resampling
    num_positives: int


@dataclass(frozen=True, eq=False)
class Prepared:
    """One run, ready to train."""

    program: Program
    lane: Lane
    parts: Parts


def prepare(config: Config, dataset: Dataset) -> Prepared:
    """The program and lane of ``config`` on ``dataset``.

    Raises:
      UserError: the data cannot give what the config asks, such as too few positives.
    """
    training = config.training
    program = program_of(config, dataset)
    shapes = param_shapes(program.model, program.inputs)  # raises where the data do not fit
    parts = _parts(
        dataset,
        config.split.validation,
        config.split.test,
        config.seed if config.split.seed is None else config.split.seed,
        config.imbalance,
        config.sampler,
        config.seed,
        program.num_steps,
        training.batch_size,
    )
    counts = {"num_negatives": parts.num_negatives, "num_positives": parts.num_positives}
    optimizer = config.optimizer
    prior_logit = log(parts.num_positives / parts.num_negatives)
    lane = Lane(
        loss=one_of(config.loss.fitted(**counts)),
        optimizer=optimizer.bounded(),
        learning_rates=learning_rates(
            peak=optimizer.learning_rate, schedule=config.schedule, num_steps=program.num_steps
        ),
        batch_rows=parts.batch_rows,
        validation_rows=parts.validation_rows,
        validation_valid=np.arange(len(parts.validation_rows)) < len(parts.split.validation),
        test_rows=parts.test_rows,
        center=parts.center,
        scale=parts.scale,
        init_key=_key_data(config.seed, _INIT),
        dropout_key=_key_data(config.seed, _DROPOUT),
        head_bias=config.model.initial_logit + (prior_logit if config.model.prior_bias else 0.0),
        head_scale=config.model.scale,
        start=_starting_params(config, shapes),
        plateau=plateau_rule(config.schedule),
        select_by=SELECT_BY.index(config.evaluation.select),
        patience=training.patience,
    )
    return Prepared(program=program, lane=jax.tree.map(_as_array, lane), parts=parts)


def program_of(config: Config, dataset: Dataset) -> Program:
    """What of ``config`` is fixed at compile time."""
    training = config.training
    num_train = dataset.num_rows - sum(held_out_sizes(config, dataset))
    one_pass = max(1, -(-num_train // training.batch_size))
    return Program(
        model=config.model.static(),
        num_features=dataset.num_features,
        cardinalities=tuple(getattr(dataset, "cardinalities", ())),
        start=_start(config.init),
        freeze_body=config.init.freeze_body,
        num_epochs=training.num_epochs,
        steps_per_epoch=training.steps_per_epoch or one_pass,
        batch_size=training.batch_size,
    )


def _start(init: Init) -> Literal["random", "body", "all"]:
    if init.params is None:
        return "random"
    return "body" if init.fresh_head else "all"


def _starting_params(
    config: Config, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """The parameters that a run takes from another, by name; none where it takes none.

    ``shapes`` are those of the run's own model.

    Raises:
      UserError: they are not those of the run's own model.
    """
    if config.init.params is None:
        return {}
    source = f"init.params={config.init.params}"
    there = checkpoints.load(checkpoints.find(config.init.params, folder_of(config)))
    fresh = "head." if config.init.fresh_head else ()
    here = {name: shape for name, shape in shapes.items() if not name.startswith(fresh)}
    for name, shape in here.items():
        if name not in there:
            raise UserError(f"{source}: no {name} there: give that run's model")
        if there[name].shape != shape:
            raise UserError(
                f"{source}: {name} has shape {there[name].shape} there, {shape} here: give that "
                "run's model and columns, or init.fresh_head=true for another head"
            )
    return {name: there[name] for name in here}


def held_out_sizes(config: Config, dataset: Dataset) -> tuple[int, int]:
    """Rows of the validation and test parts before imbalance: the shapes a lane is padded to."""

    num_rows = dataset.num_rows
    return (
        part_size("validation", config.split.validation, num_rows),
        part_size("test", config.split.test, num_rows),
    )


@lru_cache(maxsize=64)
def _parts(
    dataset: Dataset,
    validation: float,
    test: float,
    split_seed: int,
    imbalance: Imbalance,
    sampler: Any,
    seed: int,
    num_steps: int,
    batch_size: int,
) -> Parts:
    labels = dataset.labels
    natural = stratified_split(labels=labels, validation=validation, test=test, seed=split_seed)
    split = natural
    if imbalance.positive_rate is not None:
        split = induce_positive_rate(
            split=natural,
            labels=labels,
            positive_rate=imbalance.positive_rate,
            where=imbalance.where,
            seed=split_seed,
        )
    center, scale = _standardisation(dataset.features[split.train])
    rows = sampler.resample(rows=split.train, labels=labels, seed=seed)
    num_positives = int(labels[rows].sum())
    return Parts(
        split=split,
        batch_rows=batch_rows(rows=rows, batch_size=batch_size, num_steps=num_steps, seed=seed),
        validation_rows=_padded(split.validation, len(natural.validation)),
        test_rows=_padded(split.test, len(natural.test)),
        center=center,
        scale=scale,
        num_negatives=len(rows) - num_positives,
        num_positives=num_positives,
    )


def _standardisation(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and inverse standard deviation per feature; 1 where a feature does not vary."""
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > 0, 1.0 / np.where(deviation > 0, deviation, 1.0), 1.0)
    return mean.astype(np.float32), scale.astype(np.float32)


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([rows, np.full(size - len(rows), rows[0], dtype=rows.dtype)])


def _key_data(seed: int, purpose: int) -> np.ndarray:
    """Raw threefry key data, made without JAX: a lane costs no device call."""
    return np.random.SeedSequence([seed, purpose]).generate_state(2, dtype=np.uint32)


def _as_array(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    kinds = {"f": np.float32, "i": np.int32, "b": np.float32}
    return array.astype(kinds[array.dtype.kind]) if array.dtype.kind in kinds else array
