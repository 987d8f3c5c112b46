"""Reading what was stored, or mirrored, before there was a schema.

The table `runs` was flat: facts, config keys and metrics side by side, lists as text joined by
commas, and a column for each key that some run of the shard had. Which column is what is known by
the names that form had, which no longer change.
"""

from collections.abc import Iterator

import polars as pl

from harness.record.schema import FACTS, RUN, Columns

CONFIG = frozenset(
    {
        "dataset", "imbalance", "sampler", "model", "loss", "optimizer", "schedule", "batching",
        "seed", "impute", "split", "training", "init", "evaluation", "wandb", "name", "root",
        "rerun",
    }
)  # fmt: skip
"""The first parts of its config keys."""

LISTS: dict[str, pl.DataType] = {
    "dataset.drop": pl.String(),
    "dataset.categorical": pl.String(),
    "schedule.milestones": pl.Float64(),
    "evaluation.thresholds": pl.String(),
    "evaluation.calibrators": pl.String(),
    "wandb.tags": pl.String(),
}
"""What its lists held."""


def converted(runs: pl.DataFrame) -> tuple[pl.DataFrame, Columns]:
    """The flat table, with its lists, and what its columns are.

    >>> old = pl.DataFrame({"run_id": ["a"], "impute": ["mean"], "wandb.tags": ["a,b"]})
    >>> frame, columns = converted(old)
    >>> frame["wandb.tags"].to_list(), columns.config
    ([['a', 'b']], ('impute', 'wandb.tags'))
    """
    config = [name for name in runs.columns if _is_config(name)]
    metrics = [name for name in runs.columns if "/" in name]
    rest = [name for name in runs.columns if name not in {*config, *metrics, *RUN}]
    chosen = [name for name in rest if name not in FACTS and runs.schema[name].is_float()]
    columns = Columns(
        config=tuple(config),
        facts=(*(name for name in FACTS if name in rest), *chosen),
        metrics=tuple(metrics),
    )
    return runs.with_columns(_typed(runs, columns)), columns


def _is_config(column: str) -> bool:
    return "/" not in column and column.partition(".")[0] in CONFIG


def _typed(runs: pl.DataFrame, columns: Columns) -> Iterator[pl.Expr]:
    for name in columns.config:
        if name in LISTS and runs.schema[name] in (pl.String, pl.Null):
            text = pl.col(name).cast(pl.String)
            items = pl.when(text == "").then(pl.lit([], pl.List(pl.String)))
            yield items.otherwise(text.str.split(",")).cast(pl.List(LISTS[name])).alias(name)
    for name in columns.facts:
        yield pl.col(name).cast(FACTS.get(name, pl.Float64()))
    for name in columns.metrics:
        yield pl.col(name).cast(pl.Float64)
