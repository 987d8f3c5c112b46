"""The store's rows of trained runs: what the tables `runs`, `history` and `predictions` say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

CURVES = {
    "train_loss": "train/loss",
    "train_log_loss": "train/log_loss",
    "validation_loss": "validation/loss",
    "validation_log_loss": "validation/log_loss",
    "validation_brier": "validation/brier",
}

# Further versions of the logits: under the natural prior, and by the configured calibrator. Null
# where the loss hides no posterior, or no calibrator is configured.
MENDED = ("corrected_logits", "calibrated_logits")


@dataclass(frozen=True, eq=False)
class Record:
    """One trained run, as it is stored and mirrored."""

    run_id: str
    config: Mapping[str, Any]
    facts: Mapping[str, Any]  # status, counts, best epoch, ...
    metrics: Mapping[str, float]
    curves: Mapping[str, np.ndarray]  # by stored name, one value an epoch trained
    steps_per_epoch: int
    predictions: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]  # rows, logits, labels
    mended: Mapping[str, Mapping[str, np.ndarray]]  # logits by part, then by column of MENDED
    created: datetime

    @property
    def num_epochs(self) -> int:
        """Epochs trained: fewer than asked where the run stopped early."""
        return len(next(iter(self.curves.values())))


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots; lists as text, so that a column has one type.

    >>> flatten({"loss": {"name": "focal", "gamma": 2.0}, "seed": 0})
    {'loss.name': 'focal', 'loss.gamma': 2.0, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = ",".join(map(str, value)) if isinstance(value, list) else value
    return flat


def tables(records: Sequence[Record]) -> dict[str, pl.DataFrame]:
    """The three frames of one shard."""
    return {
        "runs": pl.from_dicts([_run(record) for record in records], infer_schema_length=None),
        "history": _history(records),
        "predictions": _predictions(records),
    }


def _run(record: Record) -> dict[str, Any]:
    return {
        "run_id": record.run_id,
        "created": record.created,
        **record.facts,
        **flatten(record.config),
        **record.metrics,
    }


def _history(records: Sequence[Record]) -> pl.DataFrame:
    lengths = [record.num_epochs for record in records]
    epochs = np.concatenate([np.arange(1, length + 1, dtype=np.int32) for length in lengths])
    steps = np.repeat([record.steps_per_epoch for record in records], lengths)
    curves = {
        name: np.concatenate([record.curves[name] for record in records])
        for name in CURVES.values()
    }
    run_ids = np.repeat([record.run_id for record in records], lengths)
    return pl.DataFrame(
        {"run_id": run_ids, "epoch": epochs, "step": epochs * steps.astype(np.int32), **curves}
    )


def _predictions(records: Sequence[Record]) -> pl.DataFrame:
    parts = [
        (record.run_id, split, *part, *(record.mended[split].get(name) for name in MENDED))
        for record in records
        for split, part in record.predictions.items()
    ]
    run_ids, splits, rows, logits, labels, *mended = zip(*parts, strict=True)
    return pl.DataFrame(
        {
            "run_id": run_ids,
            "split": splits,
            "rows": _lists(rows, np.int32),
            "logits": _lists(logits, np.float32),
            "labels": _lists(labels, np.int8),
            **{
                name: _lists(column, np.float32)
                for name, column in zip(MENDED, mended, strict=True)
            },
        }
    )


def _lists(arrays: Sequence[np.ndarray | None], dtype: Any) -> pl.Series:
    # One series a row: a list of equally long arrays would become a fixed-width column. The cast
    # is for a column of nulls alone; a dtype given to the constructor would take a hundred times
    # as long, value by value.
    inner = pl.Series(np.empty(0, dtype)).dtype
    rows = [None if array is None else pl.Series(array.astype(dtype)) for array in arrays]
    return pl.Series(rows).cast(pl.List(inner))
