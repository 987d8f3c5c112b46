"""Derived quantities of runs: what a claim may measure beyond the columns of the store.

Each takes the rows and its parameters from `measures` in claims.yaml, and gives one column.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import entr, expit, logit

from harness import plugins
from harness.analyze.runs import Runs
from harness.config import AnyDataset, config_keys, parse_as
from harness.data import library
from harness.data.packages import Mislabelled
from harness.data.synthetic import SYNTHETIC, Cue
from harness.errors import UserError, first_line
from harness.metrics.decision_metrics import decide, decision_metrics
from harness.metrics.ranked_rows import Ranking, rank_rows
from harness.metrics.ranking_metrics import auroc, average_precision
from harness.metrics.settings import Costs
from harness.reproduce import gaussians

_KNOWN = {kind.kind for kind in (*SYNTHETIC, Mislabelled)}


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
            if "row_weights" in frame.collect_schema():
                raise UserError(
                    f"{runs.name}: a quantity of scores counts rows, and these have weights: claim "
                    "a stored metric, or leave dataset.weight out"
                )
            columns = (
                of_test.select("run_id", "rows", scores, "labels").drop_nulls(scores).collect()
            )
            for run, *lists in zip(*columns, strict=True):
                numbers, logits, labels = (values.to_numpy() for values in lists)
                yield run, numbers, logits.astype(np.float64), labels


def floor(rows: Rows) -> pl.Series:
    """Log loss of the true posterior on a run's own test rows; null where nobody knows it."""
    found = {}
    configs = _configs(rows)
    for run, numbers, _, labels in test_rows(rows):
        source = configs[run]
        posterior = None if source is None else library.datasets.get(source).posterior
        if posterior is not None:
            given = np.where(labels == 1, posterior[numbers], 1 - posterior[numbers])
            found[run] = float(-np.log(np.maximum(given, np.finfo(np.float64).tiny)).mean())
    return _in_order(rows, found)


def clean(rows: Rows, *, score: str, at: float | str = 0.5) -> pl.Series:
    """A score of a run's test rows against their labels before noise (`flip_positives`, ...).

    ``score`` is `auroc`, `average_precision` or a metric of decisions (`decisions`) at the
    probability ``at``, a number or a column. Null where the data are no cue: those have no noise.
    """
    measure = _score(score)
    configs = _configs(rows)
    given = pl.col(at) if isinstance(at, str) else pl.lit(at)
    thresholds = dict(rows.table.select("run_id", given.alias("at")).iter_rows())
    found = {}
    for run, numbers, logits, _ in test_rows(rows):
        if isinstance(configs[run], Cue | Mislabelled):
            # Features and clean labels have streams of their own, which noise does not touch.
            without = replace(configs[run], flip_positives=0.0, flip_negatives=0.0)
            labels = library.datasets.get(without).labels[numbers]
            ranking = rank_rows(
                logits=logits[None], labels=labels[None], valid=np.ones((1, len(labels)), bool)
            )
            found[run] = float(measure(ranking, float(logit(thresholds[run])))[0])
    return _in_order(rows, found)


def _score(name: str) -> Callable[[Ranking, float], Any]:
    ranks = {"auroc": auroc, "average_precision": average_precision}
    if name in ranks:
        return lambda ranking, _: ranks[name](ranking)

    def of_decisions(ranking: Ranking, threshold: float) -> Any:
        values = decision_metrics(decide(ranking, threshold), beta=1.0, costs=Costs())
        if name not in values:
            raise UserError(f"clean: score must be one of {', '.join([*ranks, *values])}")
        return values[name]

    return of_decisions


def _configs(rows: Rows) -> dict[str, Any]:
    """By run, the config of its data set; None where its labels hide nothing that is known."""
    names = [c for c in rows.table.columns if c.startswith("dataset.")]
    known: dict[str, Any] = {}  # many runs share one, and reading it takes time
    configs = {}
    for run, *row in rows.table.select("run_id", *names).iter_rows():
        if (key := repr(row)) not in known:
            known[key] = _known(dict(zip(names, row, strict=True)))
        configs[run] = known[key]
    return configs


@cache
def _lists() -> frozenset[str]:
    """The config keys that hold lists of texts."""
    kinds = config_keys().items()
    return frozenset(key for key, kind in kinds if "tuple[str" in str(kind))


def _known(columns: Mapping[str, Any]) -> Any:
    # What only other kinds of data set have is null, and lists are text, as labels are.
    given = {
        key.removeprefix("dataset."): [part for part in value.split(",") if part]
        if isinstance(value, str) and key in _lists()
        else value
        for key, value in columns.items()
        if value is not None
    }
    return parse_as(AnyDataset, given, at="dataset") if given["kind"] in _KNOWN else None


def _in_order(rows: Rows, found: Mapping[str, float]) -> pl.Series:
    return pl.Series([found.get(run) for run in rows.table["run_id"]], dtype=pl.Float64)


def formula(rows: Rows, *, sql: str) -> pl.Series:
    """An SQL expression of the row's columns; names with dots or slashes in double quotes."""
    try:
        column = rows.table.select(pl.sql_expr(sql).alias("formula")).to_series()
        return column.cast(pl.Float64) if column.dtype.is_decimal() else column
    except pl.exceptions.PolarsError as error:
        raise UserError(f"formula {sql!r}: {first_line(error)}") from error


def entropy(rows: Rows, *, of: str) -> pl.Series:
    """H(pi) in nats: the log loss of always predicting pi, the best constant."""
    pi = rows.table[of].to_numpy().astype(np.float64)
    return pl.Series(entr(pi) + entr(1 - pi))


def steps_to(rows: Rows, *, column: str, target: float | str) -> pl.Series:
    """Steps until a curve first is at or below the target (a number, or a column of the runs).

    A run that never gets there counts with all its steps: too few, so differences are understated.
    """
    targets = rows.table.select(
        "run_id",
        "shard",
        (pl.col(target) if isinstance(target, str) else pl.lit(target)).alias("t"),
    )
    reached = [
        runs.history.join(targets.lazy(), on=["run_id", "shard"])
        .filter(pl.col(column) <= pl.col("t"))
        .group_by("run_id")
        .agg(pl.col("step").min())
        .collect()
        for runs in rows.runs
    ]
    # Two sweeps that hold the same run hold the same curve.
    known = pl.concat(reached).unique("run_id")
    steps = rows.table.select("run_id", "num_steps").join(
        known, on="run_id", how="left", maintain_order="left"
    )
    return steps.select(pl.coalesce("step", "num_steps").cast(pl.Float64)).to_series()


def at_epoch(rows: Rows, *, column: str, epoch: Literal["best", "last"]) -> pl.Series:
    """A curve's value after the epoch that was kept, or after the last one trained.

    Of `train/...` it is the mean over that epoch's batches, each before its step and with dropout.
    """
    if epoch not in ("best", "last"):
        raise UserError(f"at_epoch: epoch must be best or last, got {epoch!r}")
    wanted = rows.table.select("run_id", "shard", "best_epoch").lazy()
    at = pl.col("best_epoch") if epoch == "best" else pl.col("epoch").max().over("run_id")
    found = [
        runs.history.join(wanted, on=["run_id", "shard"])
        .filter(pl.col("epoch") == at)
        .select("run_id", pl.col(column).cast(pl.Float64).alias("value"))
        .collect()
        for runs in rows.runs
    ]
    known = pl.concat(found).unique("run_id")  # two sweeps may hold the same run
    runs = rows.table.select("run_id")
    return runs.join(known, on="run_id", how="left", maintain_order="left")["value"]


def place(rows: Rows, *, of: str, within: list[str]) -> pl.Series:
    """A column's place among the rows of equal ``within``: 0 lowest, 1 highest, ties share one.

    Null where the row is alone or has no number.
    """
    value = pl.col(of).cast(pl.Float64).fill_nan(None)
    others = value.count().over(within) - 1
    rank = value.rank().over(within) - 1
    return rows.table.select(pl.when(others > 0).then(rank / others).alias("place"))["place"]


def share_within(
    rows: Rows, *, distance: float, of: float | str = "threshold", scores: str = "logits"
) -> pl.Series:
    """Share of test rows whose probability is less than ``distance`` from ``of``.

    ``of`` is a number or a column. ``scores`` are those stored: `logits`, `corrected_logits` or
    `calibrated_logits`.
    """
    return _of_test_rows(rows, of, scores, lambda p, _, at: float(np.mean(abs(p - at) < distance)))


def error_beyond(
    rows: Rows, *, distance: float, of: float | str = "threshold", scores: str = "logits"
) -> pl.Series:
    """Share of errors at the threshold ``of``, among the other rows: those that are clear of it."""

    def error(p: np.ndarray, labels: np.ndarray, at: float) -> float | None:
        clear = abs(p - at) >= distance
        return float(np.mean((p >= at) != (labels == 1), where=clear)) if clear.any() else None

    return _of_test_rows(rows, of, scores, error)


def _of_test_rows(
    rows: Rows,
    of: float | str,
    scores: str,
    value: Callable[[np.ndarray, np.ndarray, float], float | None],
) -> pl.Series:
    """``value`` of each run's test probabilities, labels, and number or column ``of``."""
    at = pl.col(of) if isinstance(of, str) else pl.lit(of)
    centres = dict(rows.table.select("run_id", at.alias("of")).iter_rows())
    found = {
        run: value(expit(logits), labels, centres[run])
        for run, _, logits, labels in test_rows(rows, scores)
    }
    return pl.Series([found.get(run) for run in rows.table["run_id"]], dtype=pl.Float64)


def gaussian(rows: Rows, *, value: str, at: float | str = 0.5) -> pl.Series:
    """What the true posterior of two Gaussians scores, by quadrature: one of `gaussians.SCORES`.

    ``at`` is the threshold, a probability: a number or a column. Null for other data.
    """
    threshold = pl.col(at) if isinstance(at, str) else pl.lit(at)
    wanted = rows.table.select("dataset.distance", "dataset.positive_rate", threshold.alias("at"))
    known = {
        row: None if row[0] is None else gaussians.SCORES[value](*row)
        for row in set(wanted.iter_rows())
    }
    return pl.Series([known[row] for row in wanted.iter_rows()], dtype=pl.Float64)


def off_centre(rows: Rows, *, in_logits: bool = False) -> pl.Series:
    """Where zero lies between the classes' nearest test logits: 0 midway, 1 at the negatives.

    (a - b) / (a + b), a the lowest logit of a positive and -b the highest of a negative; a - b
    with ``in_logits``. Null where the logits do not separate the classes.
    """
    found = {}
    for run, _, logits, labels in test_rows(rows):
        a, b = logits[labels == 1].min(), -logits[labels == 0].max()
        if a + b > 0:
            found[run] = float(a - b) if in_logits else float((a - b) / (a + b))
    return pl.Series([found.get(run) for run in rows.table["run_id"]], dtype=pl.Float64)


def reported_log_loss(rows: Rows, *, within: float) -> pl.Series:
    """Test log loss where no probability below ``within`` or above 1 - ``within`` is reported."""

    def loss(p: np.ndarray, labels: np.ndarray, _: float) -> float:
        reported = np.clip(p, within, 1 - within)
        return float(-np.log(np.where(labels == 1, reported, 1 - reported)).mean())

    return _of_test_rows(rows, within, "logits", loss)


MEASURES: dict[str, Callable[..., pl.Series]] = {
    "formula": formula,
    "entropy": entropy,
    "steps_to": steps_to,
    "at_epoch": at_epoch,
    "place": place,
    "share_within": share_within,
    "error_beyond": error_beyond,
    "gaussian": gaussian,
    "off_centre": off_centre,
    "reported_log_loss": reported_log_loss,
    "floor": floor,
    "clean": clean,
}


def measures() -> dict[str, Callable[..., pl.Series]]:
    """`MEASURES`, and those that are plugged in.

    Raises:
      UserError: one of these has the name of one of ours.
    """
    own = plugins.plugged("measure")
    if clash := MEASURES.keys() & own.keys():
        name = min(clash)
        raise UserError(f"measure {name} of {own[name].__module__} is one of ours: rename yours")
    return {**MEASURES, **{name: _own(name, function) for name, function in own.items()}}


def _own(name: str, function: Callable[..., Any]) -> Callable[..., pl.Series]:
    def derive(rows: Rows, **given: Any) -> pl.Series:
        try:
            column = function(rows, **given)
            found = column if isinstance(column, pl.Series) else pl.Series(np.asarray(column))
        except UserError:
            raise
        except Exception as error:
            told = " ".join(str(error).split())
            raise UserError(f"measure {name}: {type(error).__name__}: {told}") from error
        if len(found) != rows.table.height:
            raise UserError(
                f"measure {name} gives {len(found)} values of {rows.table.height} rows: return one "
                "a row"
            )
        return found

    return derive
