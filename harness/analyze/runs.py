"""What every source of logged runs gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from harness.record.schema import Columns

INCOMPLETE = "incomplete"
"""The status of a run whose log, or whose upload, ends before the run did."""

Scale = Literal["auto", "logit", "probability", "rank"]
"""What the numbers in a table of scores are."""

HISTORY_SCHEMA = {"run_id": pl.String, "epoch": pl.Int32, "shard": pl.String}


@dataclass(frozen=True)
class Runs:
    """Logged runs, from wherever they were logged.

    Attributes:
        name: what to call the sweep in a report.
        runs: one row a run, sorted by run_id, with its `shard`; flat, see `columns`.
        history: lazy rows (run_id, shard, epoch, `<split>/<metric>`...).
        predictions: one lazy frame a shard, so that a reader holds one shard at a time.
            Rows (run_id, shard, split, logits, labels). W&B has none.
        columns: which column of `runs` is configuration, which a fact, which a metric.
        notes: sentences on what the sources lack.
        found: sentences on each data set, by its fingerprint; W&B has none.
        baseline: what the others are compared with where nobody asks and no run is the usual one.
        keep: holds the files that `history` and `predictions` read, for as long as the runs live.

    A run that was trained twice has its older history and predictions too: readers of those join
    on (run_id, shard) with `runs`.
    """

    name: str
    runs: pl.DataFrame
    history: pl.LazyFrame
    predictions: tuple[pl.LazyFrame, ...]
    columns: Columns
    notes: tuple[str, ...] = ()
    found: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    baseline: str = ""
    keep: Any = None
