"""Trained runs as the three tables of a shard: `runs`, `history` and `predictions`."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from harness.record.config_struct import caster, widened
from harness.record.schema import CURVES, FACTS, RUN, SCORES, Record


def tables(records: Sequence[Record]) -> dict[str, pl.DataFrame]:
    """The tables of one shard, as `harness.record.schema` describes them.

    Raises:
      ValueError: a record has a fact that the schema does not name.
    """
    return {
        "runs": _runs(records),
        "history": _history(records),
        "predictions": _predictions(records),
    }


def _runs(records: Sequence[Record]) -> pl.DataFrame:
    if unknown := {name for record in records for name in record.facts} - FACTS.keys():
        raise ValueError(f"facts that harness.record.schema.FACTS does not name: {unknown}")
    dtype = widened(record.config for record in records)
    cast = caster(dtype)
    columns = [
        *(pl.Series(name, [getattr(r, name) for r in records], kind) for name, kind in RUN.items()),
        *(pl.Series(name, [r.facts.get(name) for r in records], k) for name, k in FACTS.items()),
        pl.Series("config", [cast(record.config) for record in records], dtype),
        # Parquet holds no struct without fields: what no run has is left out.
        *_numbers("chosen", [record.chosen for record in records]),
        *_numbers("metrics", [record.metrics for record in records]),
    ]
    return pl.DataFrame(columns)


def _numbers(group: str, values: Sequence[Any]) -> Iterable[pl.Series]:
    """A struct column of floats, in the order of their names, null where a run lacks one."""
    names = sorted({name for one in values for name in one})
    if names:
        fields = [pl.Series(name, [one.get(name) for one in values], pl.Float64) for name in names]
        yield pl.DataFrame(fields).to_struct(group)


def _history(records: Sequence[Record]) -> pl.DataFrame:
    lengths = [len(record.epochs) for record in records]
    epochs = np.concatenate([np.array(record.epochs, dtype=np.int32) for record in records])
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
    run_ids, splits, parts = zip(
        *((one.run_id, *item) for one in records for item in one.predictions.items()), strict=True
    )
    return pl.DataFrame(
        {
            "run_id": run_ids,
            "split": splits,
            "rows": _lists([part.rows for part in parts], np.int32),
            "labels": _lists([part.labels for part in parts], np.int8),
            **{
                name: _lists([getattr(part, name) for part in parts], np.float32) for name in SCORES
            },
            # Of runs on weighted rows alone: shards without any are as they were before there were.
            **_row_weights([part.row_weights for part in parts]),
        }
    )


def _row_weights(parts: Sequence[np.ndarray | None]) -> dict[str, pl.Series]:
    if all(weights is None for weights in parts):
        return {}
    return {"row_weights": _lists(parts, np.float64)}


def _lists(arrays: Sequence[np.ndarray | None], dtype: Any) -> pl.Series:
    # One series a row: a list of equally long arrays would become a fixed-width column. The cast
    # is for a column of nulls alone; a dtype given to the constructor would take a hundred times
    # as long, value by value.
    inner = pl.Series(np.empty(0, dtype)).dtype
    rows = [None if array is None else pl.Series(array.astype(dtype)) for array in arrays]
    return pl.Series(rows).cast(pl.List(inner))
