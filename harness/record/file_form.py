"""The table `runs` as files hold it: one Parquet schema, whatever was measured of a run.

What runs are measured by depends on `evaluation`: its cuts, calibrators and intervals. The structs
`metrics` and `chosen` of a file have the fields of the default evaluation, null where a run lacks
one, and what others add stands beside them in `more_metrics` and `more_chosen`, lists of names and
values. In memory the structs hold everything and nothing that no run has (`harness.record.tables`).
"""

from collections.abc import Mapping, Sequence
from functools import cache

import polars as pl

from harness.metrics.own import OwnMetric
from harness.metrics.settings import Evaluation
from harness.record.schema import FACTS

MORE = "more_"
NAMED_VALUES = pl.List(pl.Struct({"name": pl.String(), "value": pl.Float64()}))


@cache
def usual() -> Mapping[str, tuple[str, ...]]:
    """The fields of each struct of a file: what the default evaluation measures and chooses."""
    evaluation = Evaluation()
    measured = (*evaluation.measured("validation"), *evaluation.measured("test"))
    metrics = [one for one in measured if not isinstance(one.definition, OwnMetric)]
    return {
        "chosen": tuple(sorted({*evaluation.decided()} - FACTS.keys())),
        "metrics": tuple(sorted(map(str, metrics))),
    }


def groups() -> frozenset[str]:
    """The columns of a file that hold what was measured and chosen."""
    return frozenset(one for group in usual() for one in (group, f"{MORE}{group}"))


def packed(runs: pl.DataFrame) -> pl.DataFrame:
    """The table in memory as a file holds it.

    >>> runs = pl.DataFrame({"metrics": [{"test/auroc": 0.9, "test/f1@0.1": 0.5}]})
    >>> packed(runs)["more_metrics"].to_list()
    [[{'name': 'test/f1@0.1', 'value': 0.5}]]
    """
    made = []
    nothing = pl.Series([None] * runs.height, dtype=pl.Float64)
    for group, names in usual().items():
        fields = _fields(runs, group)
        own = [fields.pop(name, nothing.alias(name)) for name in names]
        made.append(pl.DataFrame(own).to_struct(group))
        made.append(_listed(list(fields.values()), runs.height).alias(f"{MORE}{group}"))
    return runs.drop(usual(), strict=False).with_columns(made)


def unpacked(stored: pl.DataFrame) -> pl.DataFrame:
    """The table of a file as it is in memory; `packed` undone."""
    runs = stored.drop(groups())
    for group in usual():
        fields = _fields(stored, group).values()
        measured = [one for one in fields if one.null_count() < len(one)]
        further = _spread(stored[f"{MORE}{group}"])
        if found := sorted([*measured, *further], key=lambda one: one.name):
            runs = runs.with_columns(pl.DataFrame(found).to_struct(group))
    return runs


def more(group: str, name: str) -> pl.Expr:
    """One value of a file's further ones, null where a run lacks it."""
    one = pl.element().struct
    found = pl.element().filter(one.field("name") == name).struct.field("value")
    return pl.col(f"{MORE}{group}").list.eval(found).list.first()


def _fields(table: pl.DataFrame, group: str) -> dict[str, pl.Series]:
    """The fields of a struct, by name; none where there is no struct."""
    fields = table[group].struct.unnest().get_columns() if group in table.columns else []
    return {one.name: one for one in fields}


def _listed(values: Sequence[pl.Series], height: int) -> pl.Series:
    """Each row's values, with their names, without those it lacks."""
    rows = pl.DataFrame({"row": range(height)}, schema={"row": pl.UInt32})
    long = rows.with_columns(values).unpivot(index="row", variable_name="name")
    pairs = pl.struct(pl.col("name"), pl.col("value").cast(pl.Float64)).alias("pairs")
    lists = long.drop_nulls("value").group_by("row", maintain_order=True).agg(pairs)
    joined = rows.join(lists, on="row", how="left", maintain_order="left")
    return joined["pairs"].cast(NAMED_VALUES).fill_null(pl.Series([[]], dtype=NAMED_VALUES))


def _spread(lists: pl.Series) -> list[pl.Series]:
    """A column for each name in some row's list."""
    rows = pl.DataFrame({"row": range(len(lists)), "pairs": lists})
    long = rows.explode("pairs").drop_nulls("pairs").unnest("pairs")
    if not long.height:
        return []
    wide = rows.select("row").join(
        long.pivot("name", index="row", values="value"), on="row", how="left", maintain_order="left"
    )
    return wide.drop("row").get_columns()
