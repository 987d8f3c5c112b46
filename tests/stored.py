"""What a sweep folder holds, in the form in which two sweeps are compared."""

from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

from harness.record import store

# What says when, where or why a run was trained, and what only its machine decides.
NOT_COMPARED = ("created", "seconds", "name", "root", "rerun")
ORDER = {
    "runs": ["run_id"],
    "history": ["run_id", "epoch"],
    "predictions": ["run_id", "split"],
}


def stored_tables(folder: Path) -> dict[str, pl.DataFrame]:
    """The tables of a sweep folder in one order of rows and columns; of a rerun, its last shard."""
    tables = {name: _newest_first(folder, name) for name in ORDER}
    return {
        name: table.select(sorted(set(table.columns) - set(NOT_COMPARED)))
        .select(pl.exclude("^wandb\\..*$"))
        .unique(order, keep="first", maintain_order=True)
        .sort(order)
        for (name, table), order in zip(tables.items(), ORDER.values(), strict=True)
    }


def _newest_first(folder: Path, name: str) -> pl.DataFrame:
    runs, _ = store.runs(folder)
    newest = runs.group_by("shard").agg(pl.col("created").max()).sort("created", descending=True)
    if name == "runs":
        return (
            runs.with_columns(newest=pl.col("created").max().over("shard"))
            .sort("newest", descending=True, maintain_order=True)
            .drop("newest", "shard")
        )
    paths = [folder / "shards" / shard / f"{name}.parquet" for shard in newest["shard"]]
    return pl.concat([store.scan(path).collect() for path in paths], how="diagonal_relaxed")


def assert_same_runs(one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame]) -> None:
    """Every stored value of both is equal to the bit (NaN equals NaN)."""
    for name in ORDER:
        assert_frame_equal(one[name], other[name], check_exact=True, check_column_order=False)


def only(tables: dict[str, pl.DataFrame], run_ids: set[str]) -> dict[str, pl.DataFrame]:
    """The rows of some runs, without columns that no run of them has."""
    kept = {name: t.filter(pl.col("run_id").is_in(run_ids)) for name, t in tables.items()}
    return {
        name: t.select(c.name for c in t.get_columns() if c.null_count() < t.height)
        for name, t in kept.items()
    }
