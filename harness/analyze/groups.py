"""Which runs are compared with which: labels, and the choice of hyperparameters on validation.

Every run belongs to a *scenario* (data set, positive rate, and any other setting that varies), has
a *loss* (its name, and those of its hyperparameters that vary within a scenario), a *tuning* (the
hyperparameters to choose on validation) and a replicate (its seeds, fold and repeat).
"""

from collections.abc import Sequence

import polars as pl

from harness.analyze.metrics import sign
from harness.errors import UserError

SCENARIO = ("dataset", "positive_rate", "settings")
GROUP = (*SCENARIO, "loss")
TUNED = ("optimizer.", "schedule.", "training.")
"""Config columns with these prefixes are hyperparameters, unless they are a `.name`: which
optimizer to use is a question, at which learning rate is not."""

BASELINE = "bce"


def config_columns(runs: pl.DataFrame) -> list[str]:
    """The columns that hold a run's config: `seed` and the dotted ones."""
    return [c for c in runs.columns if c == "seed" or ("." in c and "/" not in c)]


def varying_columns(runs: pl.DataFrame) -> list[str]:
    """Config columns with at least two values (null counts as one), sorted."""
    return sorted(c for c in config_columns(runs) if runs[c].n_unique() > 1)


def seed_columns(columns: Sequence[str]) -> list[str]:
    """Columns that draw the same question anew: seeds, and folds and repeats of a split."""
    drawn = ("seed", "split.fold", "split.repeat")
    return [c for c in columns if c in drawn or c.endswith(".seed")]


def label_runs(runs: pl.DataFrame, *, tuned: Sequence[str] = TUNED) -> pl.DataFrame:
    """Add the columns `dataset, positive_rate, settings, loss, tuning, replicate`.

    Of runs with one config and one data fingerprint (older numerics) only the latest is kept.

    Raises:
        UserError: the runs have no `loss.name`.
    """
    if "loss.name" not in runs.columns:
        raise UserError("the runs have no config column loss.name: nothing to compare")
    runs = _plain_columns(runs)
    varying = varying_columns(runs)
    seeds = seed_columns(varying)
    tuning = [c for c in varying if _is_tuned(c, tuned) and c not in seeds]
    settings = [c for c in varying if c not in {*seeds, *tuning, "loss.name", "dataset.name"}]
    settings = [c for c in settings if c != "imbalance.positive_rate"]
    runs = _latest(runs, varying).with_columns(
        _dataset(runs).alias("dataset"),
        _column(runs, "imbalance.positive_rate", pl.Float64).alias("positive_rate"),
        _pairs(tuning).alias("tuning"),
        _pairs(seeds).alias("replicate"),
    )
    scenario = [c for c in settings if not c.startswith("loss.")]
    kept = _informative(runs, scenario, given=["dataset", "positive_rate"])
    runs = runs.with_columns(_pairs(kept).alias("settings"))
    parameters = [c for c in settings if c.startswith("loss.")]
    return runs.with_columns(_loss_label(parameters).alias("loss")).sort("run_id")


def choose_configurations(candidates: pl.DataFrame, *, metric: str) -> pl.DataFrame:
    """The best tuning of each group by its mean validation score over seeds.

    Args:
        candidates: rows with the columns GROUP, `tuning` and `metric`, and no test column.
        metric: a column named `validation/...`.

    Returns:
        Rows (GROUP, tuning, num_configurations), one a group.

    Raises:
        UserError: the metric is missing or not measured on validation.
        ValueError: a test column is present; what picks must not see test.
    """
    if leaked := [c for c in candidates.columns if c.startswith("test/")]:
        raise ValueError(f"hyperparameters are chosen on validation, but {leaked[0]} was given")
    if not metric.startswith("validation/") or metric not in candidates.columns:
        known = [c for c in candidates.columns if c.startswith("validation/")]
        raise UserError(f"cannot choose by {metric}; choose by one of {', '.join(known)}")
    gain = (pl.col(metric) * sign(metric)).fill_nan(None)
    # A run that diverged before its first epoch scores as the worst of its group: left out, a
    # configuration would profit from diverging on its hard seeds.
    penalised = gain.fill_null(gain.min().over(GROUP)).fill_null(0.0)
    scored = (
        candidates.with_columns(penalised.alias("gain"))
        .group_by(*GROUP, "tuning")
        .agg(pl.col("gain").mean(), pl.len().alias("num_runs"))
    )
    # In a half-finished sweep a configuration with fewer seeds could win by luck.
    complete = scored.filter(pl.col("num_runs") == pl.col("num_runs").max().over(GROUP))
    best = complete.sort("gain", "tuning", descending=[True, False]).group_by(GROUP).first()
    counts = scored.group_by(GROUP).agg(pl.len().alias("num_configurations"))
    columns = [*GROUP, "tuning", "num_configurations"]
    return best.join(counts, on=GROUP, nulls_equal=True).select(columns).sort(GROUP)


def chosen_runs(labelled: pl.DataFrame, *, metric: str) -> pl.DataFrame:
    """The runs of the chosen configurations, with `num_configurations`; sorted by run_id."""
    candidates = labelled.select(*GROUP, "tuning", pl.col("^validation/.*$"))
    chosen = choose_configurations(candidates, metric=metric)
    joined = labelled.join(chosen, on=[*GROUP, "tuning"], nulls_equal=True)
    return joined.sort("run_id")


def _is_tuned(column: str, prefixes: Sequence[str]) -> bool:
    return column.startswith(tuple(prefixes)) and not column.endswith(".name")


def _plain_columns(runs: pl.DataFrame) -> pl.DataFrame:
    """Lists and structs as text: they are labels here."""
    for column in config_columns(runs):
        dtype = runs.schema[column]
        if isinstance(dtype, pl.List):
            text = pl.col(column).cast(pl.List(pl.String)).list.join(",")
            runs = runs.with_columns(text)
        elif isinstance(dtype, pl.Struct):
            runs = runs.with_columns(pl.col(column).struct.json_encode())
    return runs


def _latest(runs: pl.DataFrame, varying: list[str]) -> pl.DataFrame:
    same = [*varying, *(c for c in ("data_fingerprint",) if c in runs.columns)]
    return runs.sort("created", "run_id").unique(same, keep="last") if same else runs.tail(1)


def _dataset(runs: pl.DataFrame) -> pl.Expr:
    columns = [c for c in ("dataset.name", "dataset.kind") if c in runs.columns]
    return pl.coalesce(*(pl.col(c).cast(pl.String) for c in columns), pl.lit("data"))


def _column(runs: pl.DataFrame, name: str, dtype: type[pl.DataType]) -> pl.Expr:
    return (pl.col(name) if name in runs.columns else pl.lit(None)).cast(dtype)


def _informative(runs: pl.DataFrame, columns: list[str], *, given: list[str]) -> list[str]:
    """Those columns that say more than the ones before them (dataset.path repeats the name)."""
    kept = list(given)
    for column in sorted(columns, key=lambda c: (not c.endswith(".name"), c)):
        if runs.select(*kept, column).n_unique() > runs.select(kept).n_unique():
            kept.append(column)
    return kept[len(given) :]


def _pairs(columns: Sequence[str]) -> pl.Expr:
    """`width=64, sampler=smote`: last parts of the names, or all where those would collide."""
    last = [c.removesuffix(".name").rpartition(".")[2] for c in columns]
    names = [s if last.count(s) == 1 else c for s, c in zip(last, columns, strict=True)]
    texts = [
        pl.concat_str(pl.lit(f"{name}="), pl.col(column).cast(pl.String))
        for name, column in zip(names, columns, strict=True)
    ]
    return pl.concat_str(texts, separator=", ", ignore_nulls=True) if texts else pl.lit("")


def _loss_label(parameters: list[str]) -> pl.Expr:
    texts = []
    for column in parameters:
        varies = pl.col(column).n_unique().over(*SCENARIO, "loss.name") > 1
        shown = varies.any().over("loss.name")  # one label for a loss in every scenario
        text = pl.concat_str(pl.lit(column.removeprefix("loss.") + "="), pl.col(column))
        texts.append(pl.when(shown).then(text))
    if not texts:
        return pl.col("loss.name")
    inside = pl.concat_str(texts, separator=", ", ignore_nulls=True)
    label = pl.concat_str(pl.col("loss.name"), pl.lit(" ("), inside, pl.lit(")"))
    return pl.when(inside == "").then(pl.col("loss.name")).otherwise(label)
