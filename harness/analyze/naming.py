"""Names of what is compared and of where, out of the config keys that vary."""

from collections.abc import Sequence

import polars as pl

from harness.analyze.keys import short_names

SCENARIO = ("dataset", "positive_rate", "settings")


def informative(runs: pl.DataFrame, columns: list[str], *, given: list[str]) -> list[str]:
    """Those columns that say more than the ones before them (dataset.path repeats the name)."""
    kept = list(given)
    for column in sorted(columns, key=lambda c: (not c.endswith(".name"), c)):
        if runs.select(*kept, column).n_unique() > runs.select(kept).n_unique():
            kept.append(column)
    return kept[len(given) :]


def pairs(columns: Sequence[str]) -> pl.Expr:
    """`width=64, sampler=smote`."""
    texts = [
        pl.concat_str(pl.lit(f"{name}="), pl.col(column).cast(pl.String))
        for name, column in zip(short_names(columns), columns, strict=True)
    ]
    return pl.concat_str(texts, separator=", ", ignore_nulls=True) if texts else pl.lit("")


def is_choice(column: str) -> bool:
    return column.endswith(".name")


def label(column: str, parameters: list[str]) -> pl.Expr:
    """`smote (k=5)` for a choice and its varying parameters, `width=64` for a value."""
    name = pl.col(column).cast(pl.String).fill_null("none")
    if not is_choice(column):
        return pl.concat_str(pl.lit(f"{short_names([column])[0]}="), name)
    texts = []
    for parameter in parameters:
        varies = pl.col(parameter).n_unique().over(*SCENARIO, column) > 1
        shown = varies.any().over(column)  # one label for a method in every scenario
        short = parameter.removeprefix(column[:-4])
        text = pl.concat_str(pl.lit(f"{short}="), pl.col(parameter))
        texts.append(pl.when(shown).then(text))
    if not texts:
        return name
    inside = pl.concat_str(texts, separator=", ", ignore_nulls=True)
    label = pl.concat_str(name, pl.lit(" ("), inside, pl.lit(")"))
    return pl.when(inside == "").then(name).otherwise(label)
