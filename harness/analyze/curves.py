"""Curves of each group: of its stored predictions, its training and its tuning."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import precision_recall_curve, roc_curve

from harness.analyze.groups import GROUP, SCENARIO, shared_runs
from harness.analyze.headings import picking_sign, sign
from harness.analyze.keys import varying
from harness.analyze.load import Runs
from harness.analyze.statistics import expected_best
from harness.errors import UserError, cut
from harness.metrics.weighted import effective_rows

MAX_SEEDS = 20
RECALLS = np.linspace(0, 1, 51)[1:]
FALSE_POSITIVE_RATES = np.r_[0, np.geomspace(1e-3, 1, 49)]
NUM_BINS = 10
THRESHOLDS = np.round(np.linspace(-8, 8, 161), 1)
"""Logits between which scores are counted; 0 is a probability of one half."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_POINTS = 60
HISTORY = ("train/loss", "train/log_loss", "validation/loss", "validation/log_loss")
MAX_TRIALS = 200
SHARE_OF_FALL = 0.95


@dataclass(frozen=True)
class ScoreCurves:
    """Of test rows, unless said otherwise; one row a point.

    Attributes:
        recall: GROUP, recall, precision.
        roc: GROUP, fpr, tpr.
        bins: GROUP, bin, predicted, observed, low, high: equal-sized bins and the 95% Wilson
            interval at one run's bin size, since runs share rows.
        counts: GROUP, split, label, num_runs, counts: how many scores of rows with that label
            lie below, between and above THRESHOLDS, summed over num_runs runs.
    """

    recall: pl.DataFrame
    roc: pl.DataFrame
    bins: pl.DataFrame
    counts: pl.DataFrame


def score_curves(runs: Runs, chosen: pl.DataFrame) -> ScoreCurves:
    """Curves of each group, over up to MAX_SEEDS of its runs."""
    groups = chosen.select(GROUP).unique().sort(GROUP).with_row_index("group")
    members = chosen.select(*GROUP, "run_id", "shard").join(groups, on=GROUP, nulls_equal=True)
    members = members.sort("run_id").group_by("group", maintain_order=True).head(MAX_SEEDS)
    wanted = members.select("group", "run_id", "shard")
    read = [_read_shard(part, wanted) for part in runs.predictions]
    points = pl.concat([_points([]), *(points for points, _ in read)])
    means = points.group_by("group", "curve", "point").mean().fill_nan(None).drop_nulls()
    means = groups.join(means, on="group").sort("group", "curve", "point")
    pr, roc, bins = (means.filter(pl.col("curve") == c) for c in ("pr", "roc", "reliability"))
    low, high = wilson(bins["y"].to_numpy(), bins["size"].to_numpy())
    return ScoreCurves(
        recall=pr.select(*GROUP, recall="x", precision="y"),
        roc=roc.select(*GROUP, fpr="x", tpr="y"),
        bins=bins.with_columns(pl.Series("low", low), pl.Series("high", high)).select(
            *GROUP, "low", "high", bin="point", predicted="x", observed="y"
        ),
        counts=_summed([counts for _, counts in read], groups),
    )


def precision_at(
    logits: NDArray[np.float32], labels: NDArray[np.int8], weights: Floats | None = None
) -> Floats:
    """Precision where each of RECALLS is first reached; NaN without a positive."""
    if not labels.any():
        return np.full(RECALLS.size, np.nan)
    precision, recall, _ = precision_recall_curve(
        labels, logits, sample_weight=weights, drop_intermediate=True
    )
    precision, recall = precision[::-1], recall[::-1]  # now from the highest threshold down
    reached = np.searchsorted(recall, RECALLS - 1e-12)
    return np.asarray(precision[reached], float)


def recall_at(
    logits: NDArray[np.float32], labels: NDArray[np.int8], weights: Floats | None = None
) -> Floats:
    """The ROC curve at FALSE_POSITIVE_RATES; NaN without both classes."""
    if labels.min() == labels.max():
        return np.full(FALSE_POSITIVE_RATES.size, np.nan)
    fpr, tpr, _ = roc_curve(labels, logits, sample_weight=weights)
    # Of the points that share a false positive rate, the highest is the one reached.
    last = np.searchsorted(fpr, np.unique(fpr), "right") - 1
    return np.asarray(np.interp(FALSE_POSITIVE_RATES, fpr[last], tpr[last]))


def reliability(
    logits: NDArray[np.float32], labels: NDArray[np.int8], weights: Floats | None = None
) -> tuple[Floats, Floats, Floats]:
    """Mean predicted probability, share of positives and rows of bins of equal size.

    Bins of weighted rows hold as many rows; their means are weighted, and they count as many rows
    as those are worth.
    """
    order = np.argsort(logits, kind="stable")
    probs = expit(logits[order].astype(float))
    edges = np.linspace(0, order.size, NUM_BINS + 1).astype(int)
    spans = [slice(a, b) for a, b in pairwise(edges) if b > a]
    sorted_labels = labels[order]
    if weights is None:
        predicted = np.array([probs[s].mean() for s in spans])
        observed = np.array([sorted_labels[s].mean() for s in spans])
        return predicted, observed, np.array([float(s.stop - s.start) for s in spans])
    own = [weights[order][s] for s in spans]
    means = (
        np.array([np.average(values[s], weights=w) for s, w in zip(spans, own, strict=True)])
        for values in (probs, sorted_labels)
    )
    predicted, observed = means
    return predicted, observed, np.array([effective_rows(w) for w in own])


def wilson(share: Floats, size: Floats, *, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's (1927) interval of a share observed on `size` rows."""
    z2 = norm.isf((1 - confidence) / 2) ** 2
    centre = (share + z2 / (2 * size)) / (1 + z2 / size)
    half = np.sqrt(z2 * (share * (1 - share) / size + z2 / (4 * size**2))) / (1 + z2 / size)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def score_counts(
    logits: NDArray[np.float32], labels: NDArray[np.int8], weights: Floats | None = None
) -> tuple[Ints | Floats, Ints | Floats]:
    """How many scores of negatives and of positives lie in each gap of THRESHOLDS; of weighted rows
    the sums of their weights, in units of their mean.

    A row is predicted positive at THRESHOLDS[i] where its logit is at least that: those in the
    gaps i + 1 and above.
    """
    gap = np.searchsorted(THRESHOLDS, logits.astype(float), side="right")
    size = THRESHOLDS.size + 1
    if weights is None:
        negative, positive = (np.bincount(gap[labels == y], minlength=size) for y in (0, 1))
        return negative, positive
    shares = weights / weights.mean()
    negative, positive = (
        np.bincount(gap[labels == y], shares[labels == y], minlength=size) for y in (0, 1)
    )
    return negative, positive


Counts = dict[tuple[int, str], list[Any]]


def _read_shard(part: pl.LazyFrame, wanted: pl.DataFrame) -> tuple[pl.DataFrame, Counts]:
    """Points (group, curve, point, x, y, size) and counts of the wanted runs in one shard."""
    columns = ["run_id", "shard", "split", "logits", "labels"]
    weighted = "row_weights" in part.collect_schema()
    columns += ["row_weights"] if weighted else []
    found = part.select(columns).join(wanted.lazy(), on=["run_id", "shard"]).collect()
    tables: list[tuple[int, str, Floats, Floats, Any]] = []
    counts = Counts()
    for row in found.sort("run_id").iter_slices(1):
        group, split = row["group"][0], row["split"][0]
        logits, labels = row["logits"][0].to_numpy(), row["labels"][0].to_numpy()
        known = row["row_weights"][0] if weighted else None
        weights = None if known is None else known.to_numpy()
        if not labels.size or not np.isfinite(logits).all():
            continue
        total = counts.setdefault((group, split), [0, 0, 0])
        negative, positive = score_counts(logits, labels, weights)
        counts[group, split] = [total[0] + 1, total[1] + negative, total[2] + positive]
        if split == "test":
            predicted, observed, size = reliability(logits, labels, weights)
            tables.append((group, "pr", RECALLS, precision_at(logits, labels, weights), 0))
            found_at = recall_at(logits, labels, weights)
            tables.append((group, "roc", FALSE_POSITIVE_RATES, found_at, 0))
            tables.append((group, "reliability", predicted, observed, size))
    return _points(tables), counts


def _points(tables: list[tuple[int, str, Floats, Floats, Any]]) -> pl.DataFrame:
    schema = {"group": pl.UInt32, "curve": pl.String, "point": pl.Int64}
    schema |= dict.fromkeys(("x", "y", "size"), pl.Float64)
    lengths = [x.size for _, _, x, _, _ in tables]
    if not tables:
        return pl.DataFrame(schema=schema)
    columns = {
        "group": np.repeat([group for group, *_ in tables], lengths),
        "curve": np.repeat([curve for _, curve, *_ in tables], lengths),
        "point": np.concatenate([np.arange(n) for n in lengths]),
        "x": np.concatenate([x for _, _, x, _, _ in tables]),
        "y": np.concatenate([y for _, _, _, y, _ in tables]),
        "size": np.concatenate([np.broadcast_to(s, x.shape) for _, _, x, _, s in tables]),
    }
    return pl.DataFrame(columns, schema_overrides=schema, strict=False)


def _summed(parts: list[Counts], groups: pl.DataFrame) -> pl.DataFrame:
    totals = Counts()
    for part in parts:
        for key, counted in part.items():
            before = totals.get(key, [0, 0, 0])
            totals[key] = [a + b for a, b in zip(before, counted, strict=True)]
    rows = [
        (group, split, label, runs, counts.tolist())
        for (group, split), (runs, *by_label) in sorted(totals.items())
        for label, counts in enumerate(by_label)
    ]
    schema = {"group": pl.UInt32, "split": pl.String, "label": pl.Int8, "num_runs": pl.Int64}
    # Whole numbers, but where rows of some run have weights.
    whole = all(isinstance(one, int) for *_, counts in rows for one in counts)
    kind = pl.List(pl.Int64 if whole else pl.Float64)
    table = pl.DataFrame(rows, schema={**schema, "counts": kind}, orient="row", strict=whole)
    return groups.join(table, on="group").sort("group", "split", "label").drop("group")


def learning_curves(runs: Runs, chosen: pl.DataFrame) -> pl.DataFrame:
    """Median and 10% to 90% band over seeds at up to MAX_POINTS epochs, first and last included.

    Returns:
        Rows (GROUP, epoch, curve, median, low, high), curve one of HISTORY.
    """
    members = chosen.select(*GROUP, "run_id", "shard").lazy()
    history = runs.history.join(members, on=["run_id", "shard"])
    columns = [c for c in HISTORY if c in runs.history.collect_schema()]
    if not columns:  # scores of other tools have no curves
        kinds = {"epoch": pl.Int32, "curve": pl.String}
        kinds |= dict.fromkeys(("median", "low", "high"), pl.Float64)
        none = (pl.lit(None, kind).alias(name) for name, kind in kinds.items())
        return chosen.head(0).select(*GROUP, *none)
    # From one point to the next may be several epochs: as many as before the first.
    epoch = pl.col("epoch").cast(pl.Int64)
    ends = history.group_by(GROUP).agg(stride=epoch.min(), last=epoch.max())
    step = (epoch // pl.col("stride") - 1) * (MAX_POINTS - 1)
    steps = pl.max_horizontal(pl.col("last") // pl.col("stride") - 1, 1)
    kept = step // steps != (step - (MAX_POINTS - 1)) // steps
    statistics = [e for c in columns for e in _band(c)]
    wide = (
        history.join(ends, on=GROUP, nulls_equal=True)
        .filter(kept)
        .group_by(*GROUP, "epoch")
        .agg(statistics)
        .sort(*GROUP, "epoch")
        .collect(engine="streaming")
    )
    parts = ("median", "low", "high")
    long = [
        wide.select(
            *GROUP, "epoch", pl.lit(c).alias("curve"), *(pl.col(f"{c} {p}").alias(p) for p in parts)
        )
        for c in columns
    ]
    return pl.concat(long)


def _band(column: str) -> list[pl.Expr]:
    value = pl.col(column).cast(pl.Float64).filter(pl.col(column).is_finite())
    return [
        value.median().alias(f"{column} median"),
        value.quantile(0.1, "linear").alias(f"{column} low"),
        value.quantile(0.9, "linear").alias(f"{column} high"),
    ]


def budgets(labelled: pl.DataFrame, *, selection: str) -> pl.DataFrame:
    """Expected best validation score of n tried configurations, n = 1 .. all of a group.

    Returns:
        Rows (GROUP, trials, expected), of groups with two configurations or more.
    """
    better = sign(selection)
    schema = {**_schema(labelled), "trials": pl.Int64, "expected": pl.Float64}
    tables = [pl.DataFrame(schema=schema)]
    for key, rows in _configurations(labelled, selection).group_by(GROUP, maintain_order=True):
        if rows.height >= 2:
            expected = better * expected_best(better * rows["score"].to_numpy())
            at = np.unique(np.geomspace(1, expected.size, MAX_TRIALS).astype(int))
            named = zip(_schema(rows).items(), key, strict=True)
            labels = [pl.lit(value, dtype).alias(column) for (column, dtype), value in named]
            table = pl.DataFrame({"trials": at, "expected": expected[at - 1]})
            tables.append(table.select(*labels, "trials", "expected"))
    return pl.concat(tables)


def responses(
    labelled: pl.DataFrame, *, keys: Sequence[str], selection: str, tuned: tuple[str, ...]
) -> pl.DataFrame:
    """Best mean validation score at each value of each numeric hyperparameter, others free.

    Returns:
        Rows (GROUP, key, value, score), of keys with two values or more.
    """
    numeric = [
        key
        for key in varying(labelled, keys)
        if key.startswith(tuple(tuned)) and labelled.schema[key].is_numeric()
    ]
    better = sign(selection)
    tables = []
    for key in numeric:
        means = _configurations(labelled, selection, key).drop_nulls([key, "score"])
        best = means.group_by(*GROUP, key).agg((pl.col("score") * better).max() * better)
        value = pl.col(key).cast(pl.Float64).alias("value")
        tables.append(best.select(*GROUP, pl.lit(key).alias("key"), value, "score"))
    schema = {**_schema(labelled), "key": pl.String, "value": pl.Float64, "score": pl.Float64}
    return pl.concat([pl.DataFrame(schema=schema), *tables]).sort("key", *GROUP, "value")


def _configurations(labelled: pl.DataFrame, selection: str, *more: str) -> pl.DataFrame:
    score = pl.col(selection).cast(pl.Float64)
    finite = shared_runs(labelled).filter(score.is_finite())
    return (
        finite.group_by(*GROUP, "tuning", *more)
        .agg(score.mean().alias("score"))
        .sort(*GROUP, "tuning", nulls_last=True)
    )


def _schema(table: pl.DataFrame) -> dict[str, Any]:
    return {c: table.schema[c] for c in GROUP}


def parse_target(text: str) -> tuple[str, float | None]:
    """`validation/log_loss=0.2` as its curve and value; no value where the text is empty.

    Raises:
        UserError: not of that form, of a curve not measured on validation, of an unknown metric or
            of one without direction.
    """
    if not text:
        return "validation/log_loss", None
    curve, _, value = text.partition("=")
    curve = curve.strip() if "/" in curve else f"validation/{curve.strip()}"
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number) or not curve.startswith("validation/"):
        raise UserError(f"--target {cut(text)}: write such as validation/log_loss=0.2")
    picking_sign(curve, asked=f"--target {cut(text)}")
    return curve, number


def steps_to_target(
    runs: Runs, chosen: pl.DataFrame, *, baseline: str, target: str = ""
) -> pl.DataFrame:
    """The first step at which each run's validation curve is at its scenario's target or better.

    Without a target of the reader's, it is what the baseline's median curve reaches after
    SHARE_OF_FALL of its way from the first to the best epoch.

    Returns:
        Rows (GROUP, run_id, curve, target, steps), steps null where a run never gets there. Empty
        where there is no such curve or no target.

    Raises:
        UserError: no run has the curve asked for.
    """
    curve, value = parse_target(target)
    columns = runs.history.collect_schema().names()
    if curve not in columns or "step" not in columns:
        if target:
            raise UserError(f"--target {cut(target)}: no run has the curve {cut(curve)}")
        return pl.DataFrame()
    better = sign(curve)
    history = runs.history.select("run_id", "shard", "epoch", "step", pl.col(curve).alias("y"))
    history = history.join(chosen.select(*GROUP, "run_id", "shard").lazy(), on=["run_id", "shard"])
    targets = chosen.select(SCENARIO).unique().with_columns(pl.lit(value).alias("target"))
    if value is None:
        targets = _usual_targets(history.filter(pl.col("method") == baseline), better)
    reached = (
        history.join(targets.lazy(), on=SCENARIO, nulls_equal=True)
        .filter(pl.col("y") * better >= pl.col("target") * better)
        .group_by("run_id")
        .agg(pl.col("step").min().cast(pl.Int64).alias("steps"))
        .collect(engine="streaming")
    )
    members = chosen.select(*GROUP, "run_id").join(targets, on=SCENARIO, nulls_equal=True)
    table = members.join(reached, on="run_id", how="left")
    table = table.with_columns(pl.lit(curve).alias("curve"))
    return table.select(*GROUP, "run_id", "curve", "target", "steps").sort(*GROUP, "run_id")


def _usual_targets(baseline: pl.LazyFrame, better: int) -> pl.DataFrame:
    medians = baseline.group_by(*SCENARIO, "epoch").agg(pl.col("y").median() * better).sort("epoch")
    first, best = pl.col("y").first(), pl.col("y").max()
    target = (first + SHARE_OF_FALL * (best - first)) * better
    return medians.group_by(SCENARIO).agg(target.alias("target")).collect()


def reached_shares(steps: pl.DataFrame) -> pl.DataFrame:
    """Share of a group's runs that have reached the target by a step.

    Returns:
        Rows (GROUP, steps, share, median_steps, target, curve).
    """
    if not steps.height:
        return steps
    total = pl.len().over(GROUP)
    table = steps.with_columns(total.alias("total"))
    counts = table.drop_nulls("steps").group_by(*GROUP, "curve", "target", "total", "steps").len()
    share = (pl.col("len").cum_sum().over(GROUP, order_by="steps") / pl.col("total")).alias("share")
    start = table.select(*GROUP, "curve", "target", steps=pl.lit(0, pl.Int64), share=pl.lit(0.0))
    points = counts.with_columns(share).select(*GROUP, "curve", "target", "steps", "share")
    end = points.group_by(*GROUP, "curve", "target").agg(pl.col("share").max())
    latest = pl.lit(steps["steps"].max(), pl.Int64).alias("steps")
    end = end.with_columns(latest).select(points.columns)
    joined = pl.concat([start.unique(), points, end]).unique()
    return joined.sort(*GROUP, "steps", "share", nulls_last=True)
