"""Tables that need no training, or all runs at once: of the losses, precisions, libraries, nulls.

Each takes the experiment's folder, its runs as `Rows`, and its parameters from `tables` in
claims.yaml.
"""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from harness.analyze.comparisons import test_train_ratio
from harness.analyze.keys import rows_where
from harness.errors import UserError
from harness.reproduce.claims import Claim, Side, Test
from harness.reproduce.judging import Pairs, judge
from harness.reproduce.loss_tables import loss_curves, parity, precision
from harness.reproduce.quantities import Rows, test_rows

Table = Callable[..., pl.DataFrame]


def rejections(
    folder: Path,
    rows: Rows,
    *,
    by: str,
    arm: str,
    metric: str,
    pair: str,
    where: str,
    tests: list[Test],
    alpha: float = 0.05,
) -> pl.DataFrame:
    """What the judge says of many small sweeps: is any ``arm`` better or worse than the first?

    Of the runs ``where``, those of one ``by`` are one sweep; its first arm (in sorted order) is
    compared with each other, as one family, paired by the column ``pair``. Rows (test, by,
    difference and p of the most striking comparison, rejects: 1 where any is decided, favours: 1
    where an arm's metric is found higher than the first's, share_below: of the test's sweeps, those
    with no larger p).
    """
    runs = rows_where(rows.table, where)
    arms = sorted(runs[arm].unique())
    if len(arms) < 2:
        raise UserError(f"rejections: {arm} needs two values where {where}, got {arms}")
    found = []
    for test, ((unit,), group) in product(tests, sorted(runs.group_by(by))):
        first, *others = [group.filter(pl.col(arm) == value).sort(pair) for value in arms]
        ratio = group.select(test_train_ratio(group.columns)).item() if test == "repeats" else 0.0
        verdicts = judge(
            [_better(str(i), metric, test) for i, _ in enumerate(others)],
            [Pairs((other[metric] - first[metric]).to_numpy(), ratio) for other in others],
            alpha=alpha / 2,  # of both sides of no difference, since either is a finding here
        )
        words = {verdict.word for verdict in verdicts}
        most = min(verdicts, key=lambda verdict: 1.0 if verdict.p is None else verdict.p)
        two_sided = None if most.p is None else min(1.0, 2 * most.p)
        seen = {"test": test, by: unit, "difference": most.effect, "p": two_sided}
        rejects = float(words != {"undecided"})
        found.append(seen | {"rejects": rejects, "favours": float("supported" in words)})
    share = pl.col("p").rank("max").over("test") / pl.len().over("test")
    return pl.DataFrame(found).with_columns(share_below=share)


def _better(name: str, metric: str, test: Test) -> Claim:
    """That an arm scores higher than the first, by however little."""
    return Claim(
        name=name,
        says="The arm is better.",
        of=Side(measure=metric),
        than=Side(where="the first arm"),
        expect="higher",
        test=test,
    )


def correlations(
    folder: Path, rows: Rows, *, by: list[str], pairs: dict[str, list[str]], where: str = ""
) -> pl.DataFrame:
    """For each value of ``by``: Spearman's correlation of two columns over the other runs.

    Rows (by..., pair, rho, num_runs), a row for each of the named ``pairs`` of columns; 0 where a
    column does not vary, which then tells no run from another; null where a run has no number.
    """
    runs = rows_where(rows.table, where)
    return pl.concat(
        runs.group_by(by)
        .agg(_spearman(*columns).alias("rho"), pl.len().alias("num_runs"))
        .with_columns(pair=pl.lit(name))
        .sort(by)
        for name, columns in pairs.items()
    )


def _spearman(x: str, y: str) -> pl.Expr:
    columns = [pl.col(name).cast(pl.Float64) for name in (x, y)]
    is_known = pl.all_horizontal(*(column.is_finite().fill_null(False) for column in columns)).all()
    is_still = pl.any_horizontal(*(column.n_unique() == 1 for column in columns))
    rho = pl.when(is_still).then(0.0).otherwise(pl.corr(*columns, method="spearman"))
    return pl.when(is_known).then(rho)


def scored(
    folder: Path,
    rows: Rows,
    *,
    by: list[str],
    edges: list[float],
    scores: dict[str, str],
    where: str = "",
) -> pl.DataFrame:
    """How the test rows of runs are spread over bins of their score, and who is positive there.

    ``edges`` are the first, the last and the width of a bin; what lies outside is in the first or
    last. ``scores`` names a kind of score: a probability by one of the stored logits (`raw:
    logits`), or a margin, the logit on the side of the label (`margin: logits`). Rows (by..., kind,
    bin: its middle, share of the rows, and where there are any: mean score, rate of positives),
    runs of equal ``by`` counted as one.

    Raises:
      UserError: no run ``where`` that stored such scores.
    """
    runs = rows_where(rows.table, where)
    first, last, width = edges
    inner = first + width * np.arange(1, round((last - first) / width))
    keys = {run: tuple(rest) for run, *rest in runs.select("run_id", *by).iter_rows()}
    counts: dict[tuple[Any, ...], NDArray[np.float64]] = {}
    for kind, column in scores.items():
        for run, _, logits, labels in test_rows(Rows(runs, rows.runs), column):
            score = np.where(labels == 1, logits, -logits) if kind == "margin" else expit(logits)
            at = np.digitize(score, inner)
            sums = [np.bincount(at, w, len(inner) + 1) for w in (None, score, labels)]
            counts.setdefault((*keys[run], kind), np.zeros((3, len(inner) + 1)))
            counts[(*keys[run], kind)] += np.array(sums, float)
    if not counts:
        raise _unscored("scored", where)
    middles = first + width * (np.arange(len(inner) + 1) + 0.5)
    found = [
        {
            **dict(zip((*by, "kind"), key, strict=True)),
            "bin": float(middle),
            "share": count / of_all[0].sum(),
            "mean": total / count if count else None,
            "rate": positives / count if count else None,
        }
        for key, of_all in sorted(counts.items())
        for middle, (count, total, positives) in zip(middles, of_all.T, strict=True)
    ]
    return pl.DataFrame(found)


def _unscored(table: str, where: str) -> UserError:
    return UserError(
        f"{table}.where: none of the runs has stored scores of its test rows, got {where!r}; name "
        "runs that were trained and hold the scores asked for"
    )


_ROW_SCORES: dict[str, Callable[[NDArray[np.float64], NDArray[np.int8]], NDArray[np.float64]]] = {
    "accuracy": lambda logits, labels: ((logits >= 0) == (labels == 1)).astype(np.float64),
    "log_loss": lambda logits, labels: np.logaddexp(0, logits) - labels * logits,
    "brier": lambda logits, labels: (expit(logits) - labels) ** 2,
}


def row_scores(
    folder: Path, rows: Rows, *, by: list[str], score: str, where: str = ""
) -> pl.DataFrame:
    """Each row of a data set with its mean score over the runs that it was a test row of.

    ``score`` is `accuracy` (of the decision at .5), `log_loss` or `brier`. Rows (by..., row: its
    number in the data set, value, num_runs), runs of equal ``by`` counted as one; rows that no
    split tested on are not there.

    Raises:
      UserError: another score, or no run ``where`` that stored scores.
    """
    if score not in _ROW_SCORES:
        raise UserError(f"row_scores.score: one of {', '.join(_ROW_SCORES)}, got {score!r}")
    runs = rows_where(rows.table, where)
    keys = runs.select("run_id", *by)
    scored_rows = [
        pl.DataFrame({"row": numbers, "value": _ROW_SCORES[score](logits, labels)}).with_columns(
            run_id=pl.lit(run)
        )
        for run, numbers, logits, labels in test_rows(Rows(runs, rows.runs))
    ]
    if not scored_rows:
        raise _unscored("row_scores", where)
    joined = pl.concat(scored_rows).join(keys, on="run_id")
    grouped = joined.group_by(*by, "row").agg(pl.col("value").mean(), num_runs=pl.len())
    return grouped.sort(*by, "row")


TABLES: dict[str, Table] = {
    "loss_curves": loss_curves,
    "precision": precision,
    "parity": parity,
    "rejections": rejections,
    "correlations": correlations,
    "scored": scored,
    "row_scores": row_scores,
}
