"""The rows of a table that quantities are derived from, and the test rows behind them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.analyze.runs import Runs


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a table and, where they are runs, what else is stored of them."""

    table: pl.DataFrame
    runs: tuple[Runs, ...] = ()


def test_rows(
    rows: Rows, scores: str = "logits"
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float64], NDArray[np.int8]]]:
    """(run_id, row numbers, scores, labels) of the test part, one shard in memory at a time.

    Without the runs that have no such scores: a loss that hides no posterior has none corrected.
    """
    wanted = rows.table.select("run_id", "shard").lazy()
    for runs in rows.runs:
        for frame in runs.predictions:
            of_test = frame.filter(pl.col("split") == "test").join(wanted, on=["run_id", "shard"])
            columns = (
                of_test.select("run_id", "rows", scores, "labels").drop_nulls(scores).collect()
            )
            for run, *lists in zip(*columns, strict=True):
                numbers, logits, labels = (values.to_numpy() for values in lists)
                yield run, numbers, logits.astype(np.float64), labels
