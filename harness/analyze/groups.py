"""Which runs are compared with which: labels, and the choice of hyperparameters on validation.

Every run belongs to a *scenario* (data set, positive rate, and any other setting that varies), has
a *method* (what is compared: a loss, or the values of the keys that `by` names, each with those of
its own hyperparameters that vary within a scenario), a *tuning* (the hyperparameters to choose on
validation) and a replicate (its seeds and folds).

Each replicate that all tunings of a group have chooses by its own validation part: those of other
splits hold rows that it is tested on. On seeds added to one tuning alone, for a closer test score,
the group's best on average stands.
"""

from collections.abc import Sequence
from difflib import get_close_matches

import polars as pl

from harness.analyze.headings import SELECTION, picking_sign
from harness.analyze.keys import (
    as_labels,
    dataset_name,
    replicates,
    resolve,
    short_names,
    suggestion,
    varying,
)
from harness.errors import UserError, cut
from harness.files import conf_dir

SCENARIO = ("dataset", "positive_rate", "settings")
GROUP = (*SCENARIO, "method")
TUNED = ("optimizer.", "schedule.", "training.")
"""Config columns with these prefixes are hyperparameters, unless they are a `.name`: which
optimizer to use is a question, at which learning rate is not."""

BASELINE = "bce"
FINGERPRINT = "data_fingerprint"
_RATE = "imbalance.positive_rate"
_USUAL = {"loss.name": BASELINE, "sampler.name": "none"}


def newest_data(runs: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The runs on the newest version of each data set, which counts alone.

    A data set that is described alike and holds something else has changed: a file was corrected,
    or a source was published anew. Its newest version is that of the latest run on it. Runs that
    do not say what they read stay.
    """
    if FINGERPRINT not in runs.columns:
        return runs
    described = [key for key in varying(runs, keys) if key.startswith("dataset.")]
    newest = pl.col(FINGERPRINT).drop_nulls().last().over(described or pl.lit("all alike"))
    is_newest = pl.col(FINGERPRINT).is_null() | (pl.col(FINGERPRINT) == newest)
    return runs.sort("created", "run_id").filter(is_newest)


def latest_runs(runs: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Of the runs of one configuration on the same data the latest, which counts alone.

    The others were trained by older arithmetic (`numerics`): replicates they are not.
    """
    same = [*varying(runs, keys), *(c for c in (FINGERPRINT,) if c in runs.columns)]
    return runs.sort("created", "run_id").unique(same, keep="last") if same else runs.tail(1)


def label_runs(
    runs: pl.DataFrame,
    *,
    keys: Sequence[str],
    tuned: Sequence[str] = TUNED,
    by: Sequence[str] = ("loss",),
) -> pl.DataFrame:
    """Add the columns `dataset, positive_rate, settings, method, tuning, replicate`.

    Args:
        runs: one row a run, of one configuration and data one alone (`newest_data`, then
            `latest_runs`).
        keys: its columns that hold the configuration.
        tuned: prefixes of the config columns that are hyperparameters to pick.
        by: the keys whose values are compared; the column `method` holds them.

    Raises:
        UserError: the runs have no such key, or no hyperparameter that a prefix of the reader's own
            begins.
    """
    for prefix in tuned if tuple(tuned) != TUNED else ():
        if not any(_is_tuned(key, (prefix,)) for key in keys):
            whole = [key for key in keys if key.endswith(f".{prefix}")] or list(keys)
            near = get_close_matches(prefix, whole, n=2, cutoff=0.5) or ["optimizer.", "loss.gamma"]
            meant = " or ".join(map(cut, near))
            raise UserError(f"--tuned {cut(prefix)}: no hyperparameter begins so; such as {meant}")
    if "loss.name" not in keys and "loss" in by:
        raise UserError("the runs have no config column loss.name: nothing to compare")
    runs = as_labels(runs, keys)
    compared = [resolve(key, keys) for key in by]
    asked = [c for c in varying(runs, keys) if c not in compared]
    seeds = replicates(asked)
    tuning = [c for c in asked if _is_tuned(c, tuned) and c not in seeds]
    settings = [c for c in asked if c not in {*seeds, *tuning, "dataset.name"}]
    settings = [c for c in settings if c != _RATE]
    rate = _column(runs, _RATE, pl.Float64)
    one = pl.lit("all data sets")
    runs = runs.with_columns(
        (one if "dataset.name" in compared else _dataset(runs)).alias("dataset"),
        (pl.lit(None, pl.Float64) if _RATE in compared else rate).alias("positive_rate"),
        pairs(tuning).alias("tuning"),
        pairs(_pairing(runs, seeds)).alias("replicate"),
    )
    # A loss's own hyperparameters are part of what is compared, and so are a sampler's.
    own = {c: [s for s in settings if is_choice(c) and s.startswith(c[:-4])] for c in compared}
    scenario = [c for c in settings if c not in {p for names in own.values() for p in names}]
    kept = informative(runs, scenario, given=["dataset", "positive_rate"])
    runs = runs.with_columns(pairs(kept).alias("settings"))
    label = pl.concat_str([_labelled(c, own[c]) for c in compared], separator=", ")
    return runs.with_columns(label.alias("method")).sort("run_id")


def baseline_label(
    labelled: pl.DataFrame,
    *,
    keys: Sequence[str],
    by: Sequence[str],
    asked: str = "",
    otherwise: str = "",
) -> str:
    """The value of `method` that the others are compared with: `asked`, or bce and no sampler.

    Of several keys, `asked` may give the first values alone. Without a usual baseline among the
    keys it is the first value in alphabetical order; where no run is the usual one, `otherwise`.

    Raises:
        UserError: no run has the value asked for.
    """
    compared = [resolve(key, keys) for key in by]
    labels = sorted(labelled["method"].unique())
    given = [part.strip() for part in asked.split(",")] if asked and asked not in labels else []
    usual = [_USUAL.get(c, "") for c in compared]
    if asked in labels:
        return asked
    wanted = ", ".join([*given, *usual[len(given) :]])
    if wanted in labels:
        return wanted
    if asked:
        near = get_close_matches(asked, labels, n=3, cutoff=0.5)
        some = "; ".join(map(cut, near + [label for label in labels if label not in near][:3]))
        more = f"; ... ({len(labels)})" if len(labels) > len(near) + 3 else ""
        raise UserError(f"--baseline {cut(asked)}: no such group; one of {some}{more}")
    if otherwise in labels:
        return otherwise
    return labels[0] if "" in usual else wanted


def choose_configurations(
    candidates: pl.DataFrame, *, metric: str, sign: int | None = None
) -> pl.DataFrame:
    """The best tuning of each group by its mean validation score over the replicates all share.

    Where a group's tunings share none, each is judged by all of its own runs. Of replicates that
    all share, each has a choice of its own: see `chosen_runs`.

    Args:
        candidates: rows with the columns GROUP, `tuning`, those of `pairing` and `metric`, and no
            test column.
        metric: a column named `validation/...`.
        sign: 1 where its higher values are better, -1 where its lower ones are; must be given of a
            column that is no metric of ours, and of no other.

    Returns:
        Rows (GROUP, tuning, num_configurations, num_shared, num_set_aside), one a group:
        num_shared replicates that all tunings have, and num_set_aside runs beyond them.

    Raises:
        UserError: the metric is missing, unknown, has no direction or is not measured on
            validation.
        ValueError: a test column is present; what picks must not see test.
    """
    if leaked := [c for c in candidates.columns if c.startswith("test/")]:
        raise ValueError(f"hyperparameters are chosen on validation, but {leaked[0]} was given")
    if not metric.startswith("validation/") or metric not in candidates.columns:
        known = [c for c in candidates.columns if c.startswith("validation/")]
        hint = suggestion(metric, known) or f"; choose by one such as {SELECTION}"
        raise UserError(f"cannot choose by {cut(metric)}: no run has it{hint}")
    better = sign or picking_sign(metric, asked=f"cannot choose by {cut(metric)}")
    gain = (pl.col(metric) * better).fill_nan(None)
    counted = shared_runs(candidates.with_columns(gain.alias("gain")))
    # A run that diverged before its first epoch scores as the worst of its group: left out, a
    # configuration would profit from diverging on its hard seeds.
    worst = pl.col("gain").min().over(GROUP)
    scored = (
        counted.with_columns(pl.col("gain").fill_null(worst).fill_null(0.0))
        .group_by(*GROUP, "tuning")
        .agg(pl.col("gain").mean(), pl.col("num_shared", "num_set_aside").first())
    )
    best = scored.sort("gain", "tuning", descending=[True, False]).group_by(GROUP).first()
    counts = scored.group_by(GROUP).agg(pl.len().alias("num_configurations"))
    columns = [*GROUP, "tuning", "num_configurations", "num_shared", "num_set_aside"]
    return best.join(counts, on=GROUP, nulls_equal=True).select(columns).sort(GROUP)


def shared_runs(candidates: pl.DataFrame) -> pl.DataFrame:
    """The runs on replicates that all tunings of their group have; all of a group that has none.

    With `num_shared` and `num_set_aside`, as `choose_configurations` returns them.
    """
    own = pl.struct(pairing(candidates))
    tunings = pl.col("tuning").n_unique()
    is_shared = tunings.over(*GROUP, own) == tunings.over(GROUP)
    shared = own.filter(pl.col("is_shared")).n_unique().over(GROUP)
    marked = candidates.with_columns(is_shared.alias("is_shared"))
    marked = marked.with_columns(shared.cast(pl.Int64).alias("num_shared"))
    counts = pl.col("is_shared") | (pl.col("num_shared") == 0)
    aside = (~counts).sum().over(GROUP).cast(pl.Int64)
    return marked.with_columns(aside.alias("num_set_aside")).filter(counts).drop("is_shared")


def families(labelled: pl.DataFrame) -> pl.DataFrame:
    """Which data sets are one to tests over data sets: rows (dataset, family), one a data set.

    As the runs say (`dataset.family`) or, of runs stored without it, the catalogue; others have no
    kin and are a family of their own.
    """
    from harness.data.named import Catalogue  # late: it loads scikit-learn

    said = _column(labelled, "dataset.family", pl.String).replace("", None)
    known = labelled.select("dataset", name=dataset_name(labelled), said=said)
    known = known.group_by("dataset").agg(
        pl.col("name").first(), pl.col("said").drop_nulls().first()
    )
    catalogue = Catalogue(conf_dir()).families(known["name"])
    listed = pl.col("name").replace_strict(catalogue, default=None, return_dtype=pl.String)
    family = pl.coalesce("said", listed, "dataset")
    return known.select("dataset", family=family).sort("dataset")


def pairing(runs: pl.DataFrame) -> list[str]:
    """The columns that say which runs of a scenario make a pair: replicate, and data if known."""
    return ["replicate", *(c for c in (FINGERPRINT,) if c in runs.columns)]


def chosen_runs(labelled: pl.DataFrame, *, metric: str, sign: int | None = None) -> pl.DataFrame:
    """The runs of the chosen configurations, with the columns of `choose_configurations`.

    A replicate that all tunings of its group have chooses among them by its own validation part
    (of equals, the group's); others have the runs of the group's choice. Sorted by run_id.

    Args: as those of `choose_configurations`.
    """
    candidates = labelled.select(*GROUP, "tuning", *pairing(labelled), pl.col("^validation/.*$"))
    typical = choose_configurations(candidates, metric=metric, sign=sign).rename(
        {"tuning": "typical"}
    )
    better = sign or picking_sign(metric, asked=f"cannot choose by {cut(metric)}")
    gain = (pl.col(metric) * better).fill_nan(None)
    own = [*GROUP, *pairing(labelled)]
    is_typical = pl.col("tuning") == pl.col("typical")
    best = (
        shared_runs(candidates)
        .filter(pl.col("num_shared") > 0)
        .join(typical.select(*GROUP, "typical"), on=GROUP, nulls_equal=True)
        .sort(gain, is_typical, "tuning", descending=[True, True, False], nulls_last=True)
        .unique(own, keep="first", maintain_order=True)
        .select(*own, best="tuning")
    )
    joined = labelled.join(typical, on=GROUP, nulls_equal=True)
    joined = joined.join(best, on=own, how="left", nulls_equal=True)
    is_chosen = pl.col("tuning") == pl.coalesce("best", "typical")
    return joined.filter(is_chosen).drop("best", "typical").sort("run_id")


def leaves_level(runs: pl.DataFrame) -> pl.Expr:
    """Whether a run's loss compares rows with each other alone, so that how high its raw scores are
    is noise (see `headings.needs_level`); runs of earlier versions do not say, and count as no."""
    fact = "shift_invariant"  # of `harness.record.schema.FACTS`
    return _column(runs, fact, pl.Boolean).fill_null(False)


def _is_tuned(column: str, prefixes: Sequence[str]) -> bool:
    return column.startswith(tuple(prefixes)) and not column.endswith(".name")


def _pairing(runs: pl.DataFrame, seeds: list[str]) -> list[str]:
    """The seeds that say which runs make a pair, beside the fingerprint of their data.

    The fingerprint stands for the seeds of a data set: several may draw the same data (which labels
    to flip at a rate of 0), and a run of those is stored once, under the seed that came first.
    """
    known = FINGERPRINT in runs.columns and not runs[FINGERPRINT].null_count()
    return [c for c in seeds if not (known and c.startswith("dataset."))]


def _dataset(runs: pl.DataFrame) -> pl.Expr:
    """What tells data sets apart: the name, or the path where files of one name are several."""
    if "dataset.path" not in runs.columns:
        return dataset_name(runs)
    name, path = dataset_name(runs), pl.col("dataset.path")
    is_shared = path.n_unique().over(name) > 1
    return pl.when(is_shared).then(pl.coalesce(path, name)).otherwise(name)


def _column(runs: pl.DataFrame, name: str, dtype: type[pl.DataType]) -> pl.Expr:
    return (pl.col(name) if name in runs.columns else pl.lit(None)).cast(dtype)


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


def _labelled(column: str, parameters: list[str]) -> pl.Expr:
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
