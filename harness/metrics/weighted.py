"""Everything measured of runs on rows that count differently: `harness.metrics.evaluate`'s twin.

The formulas are the same ones, of sums of weights in place of numbers of rows, and for weights
that are whole numbers of the same rows repeated. Only ratios of weights count: in units of a run's
smallest weight, so that what guards a formula against a group of no row holds for these too.

What is known of rows and not of weights: a calibrator's pull towards the middle (Platt's targets,
Laplace's rule) and the tails of an interval go by the effective number of rows, (sum w)^2 / sum w^2
(Kish, Survey Sampling, 1965, section 8.2). `UNMEASURED` metrics are of counted rows, and NaN here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.metrics import bootstrap, ranking_metrics
from harness.metrics.calibration import CALIBRATORS
from harness.metrics.definitions import Criterion
from harness.metrics.evaluate import Chosen, Evaluated, Part, Scored, _logit, decisions, evaluate
from harness.metrics.names import ENDS, MetricName
from harness.metrics.probability_metrics import (
    Line,
    Probs,
    calibration_line,
    decompositions,
    line_of,
    probabilities,
    proper_scores,
)
from harness.metrics.ranked_rows import Array, Ranking, rank_rows
from harness.metrics.settings import Evaluation
from harness.metrics.thresholds import _cut_logits, _objective

UNMEASURED = ("ece_debiased", "random_average_precision")

# Cuts whose criteria differ by less are equally good: sums of weights are rounded.
_SLACK = 1e-12


class WeightedRanking(Ranking):
    """The rows of one run, or of its resamples, by groups of equal logits: sums of their weights.

    No column is padding. ``num_rows`` is the sum of all weights.
    """

    def total(self, terms: Array) -> Array:
        return terms.sum(axis=1)

    def of(self, runs: NDArray) -> "WeightedRanking":
        shared = ("logits", "is_end") if self.shares_logits else ()
        own = {k: v if k in shared else v[runs] for k, v in vars(self).items()}
        return WeightedRanking(**own)

    def scaled(self, factor: float) -> "WeightedRanking":
        """All weights times ``factor``."""
        kept = {"logits", "is_end", "usable"}
        scaled = {k: v * factor for k, v in vars(self).items() if k not in kept}
        return replace(self, **scaled)


@dataclass(frozen=True)
class _Rows:
    """One run's valid rows: (n,) each.

    Attributes:
        weights: in units of the smallest.
    """

    logits: Array
    labels: NDArray
    weights: Array

    @property
    def is_usable(self) -> bool:
        return len(self.logits) > 0 and bool(np.isfinite(self.logits).all())

    @property
    def effective(self) -> float:
        """How many rows of equal weight they are worth."""
        return effective_rows(self.weights)

    def for_calibrators(self) -> WeightedRanking:
        """Ranked, in units in which they weigh as many rows as they are worth."""
        return self.ranked().scaled(self.effective / max(float(self.weights.sum()), 1.0))

    def ranked(self, times: NDArray | None = None) -> WeightedRanking:
        """Once, or each row as often as ``times`` (resamples, n) says."""
        logits = self.logits if self.is_usable else np.zeros(max(1, len(self.logits)))
        order = np.argsort(-logits, kind="stable")
        descending = logits[order]
        starts = np.flatnonzero(np.append(True, descending[1:] != descending[:-1]))
        weights = self.weights[None] if times is None else times * self.weights
        if not len(self.logits):
            weights = np.zeros((1, 1))
        labels = self.labels if len(self.labels) else np.zeros(1)
        of_labels = (weights[:, order] * (labels[order] == one) for one in (1, 0))
        positives, negatives = (np.add.reduceat(one, starts, axis=1) for one in of_labels)
        above = np.cumsum(positives, axis=1), np.cumsum(negatives, axis=1)
        return WeightedRanking(
            logits=descending[starts][None],
            is_end=np.ones((1, len(starts)), dtype=bool),
            true_positives=above[0],
            false_positives=above[1],
            group_positives=positives,
            group_negatives=negatives,
            num_positives=above[0][:, -1],
            num_negatives=above[1][:, -1],
            usable=np.full(len(weights), self.is_usable),
        )


def effective_rows(row_weights: NDArray) -> float:
    """(sum w)^2 / sum w^2: the number of rows, where all weights are equal.

    >>> effective_rows(np.array([2.0, 2.0, 2.0])), effective_rows(np.array([1.0, 3.0]))
    (3.0, 1.6)
    """
    return float(row_weights.sum() ** 2 / (row_weights**2).sum()) if len(row_weights) else 0.0


def for_calibrators(logits: NDArray, labels: NDArray, row_weights: NDArray) -> WeightedRanking:
    """One run's validation rows, (n,) each, as calibrators are fitted to them."""
    return _Rows(
        logits.astype(np.float64), labels, row_weights / row_weights.min()
    ).for_calibrators()


def evaluate_either(*, validation: Scored, test: Scored, evaluation: Evaluation) -> Evaluated:
    """`evaluate`, or `evaluate_weighted` where rows have weights."""
    measure = evaluate if test.row_weights is None else evaluate_weighted
    return measure(validation=validation, test=test, evaluation=evaluation)


def evaluate_weighted(*, validation: Scored, test: Scored, evaluation: Evaluation) -> Evaluated:
    """`harness.metrics.evaluate.evaluate` of weighted rows; all values are (runs,), as there."""
    runs = [
        _evaluated(_Run(validation, run), _Run(test, run), evaluation)
        for run in range(len(validation.logits))
    ]

    def joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        return {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}

    return Evaluated(
        metrics=joined([one.metrics for one in runs]),
        facts=joined([one.facts for one in runs]),
        calibrated=joined([one.calibrated for one in runs]),
    )


@dataclass(frozen=True)
class _Run:
    """One run of a part."""

    part: Scored
    run: int

    def rows(self, scores: np.ndarray | None = None) -> _Rows:
        """Its valid rows under ``scores`` (n,); the raw ones where none are given."""
        valid = self.part.valid[self.run]
        logits = self.raw[0] if scores is None else scores
        assert self.part.row_weights is not None
        weights = self.part.row_weights[self.run, valid].astype(np.float64)
        return _Rows(
            logits[valid].astype(np.float64),
            self.part.labels[self.run, valid],
            weights / weights.min() if len(weights) else weights,
        )

    @property
    def raw(self) -> Array:
        """(1, n), with padding."""
        return np.asarray(self.part.logits[self.run : self.run + 1], dtype=np.float64)


def _evaluated(validation: _Run, test: _Run, evaluation: Evaluation) -> Evaluated:
    rows = validation.rows()
    ranking = rows.ranked()
    calibrating = rows.for_calibrators()
    chosen = Chosen(
        thresholds={
            rule: _threshold(criterion, ranking, evaluation)
            for rule, criterion in evaluation.criteria.items()
        },
        calibrators={name: CALIBRATORS[name](calibrating) for name in evaluation.calibrators},
    )
    metrics = _measured("validation", validation, chosen, evaluation)
    metrics |= _measured("test", test, chosen, evaluation)
    calibrated = {}
    if evaluation.calibrator is not None:
        apply = chosen.calibrators[evaluation.calibrator].apply
        with np.errstate(invalid="ignore"):
            calibrated = {"validation": apply(validation.raw), "test": apply(test.raw)}
    return Evaluated(metrics, chosen.facts, calibrated)


def _threshold(criterion: Criterion, ranking: WeightedRanking, settings: Evaluation) -> Array:
    """`choose_threshold` of one run."""
    both = (ranking.num_positives > 0) & (ranking.num_negatives > 0)
    if not (both[0] and ranking.usable[0] and ranking.logits.shape[1] > 1):
        return np.zeros(1)
    above: list[Any] = [
        np.append(0.0, sums[0]) for sums in (ranking.true_positives, ranking.false_positives)
    ]
    values = _objective(criterion, settings)(
        above[0], above[1], ranking.num_positives, ranking.num_negatives
    ).astype(np.float64)
    one_each = np.zeros(ranking.logits.shape, dtype=int)
    cuts = _cut_logits(rank_rows(logits=ranking.logits, labels=one_each, valid=one_each == 0))[0]
    best = values.max()
    is_best = values >= best - _SLACK * abs(best)
    return cuts[[np.argmin(np.where(is_best, np.abs(cuts), np.inf))]]


def _measured(part: Part, scored: _Run, chosen: Chosen, evaluation: Evaluation) -> dict[str, Array]:
    """The metrics of one part, for every version of its scores."""
    rows = scored.rows()
    stated: dict[str, ArrayLike] = {rule: _logit(p) for rule, p in evaluation.stated.items()}
    raw: dict[str, ArrayLike] = {"0.5": 0.0, **stated, **chosen.thresholds}
    if part == "test" and "oracle" in evaluation.thresholds:
        raw["oracle"] = _threshold(evaluation.threshold, rows.ranked(), evaluation)
    metrics: dict[str, Array] = {}
    resampled: dict[str, tuple[_Rows, Callable[..., dict[MetricName, Array]]]] = {}
    for version, ranking, own in _versions(scored, rows, chosen):
        cuts = stated if version else raw
        measure = partial(
            _values, thresholds=cuts, part=part, version=version, evaluation=evaluation
        )
        metrics |= {str(name): value for name, value in measure(ranking).items()}
        if part == "test" and evaluation.bootstrap:
            resampled[version] = own, partial(measure, original=line_of(ranking))
    metrics |= {str(name): value for name, value in _intervals(rows, resampled, evaluation)}
    return metrics


def _versions(
    scored: _Run, rows: _Rows, chosen: Chosen
) -> Iterator[tuple[str, WeightedRanking, _Rows]]:
    """Each version of the scores: ranked, and by row."""
    ranking = rows.ranked()
    yield "", ranking, rows
    corrected = scored.rows(scored.part.corrected[scored.run])
    yield "corrected", corrected.ranked(), corrected
    for name, fitted in chosen.calibrators.items():
        with np.errstate(invalid="ignore"):
            mapped = ranking.mapped(fitted.apply(ranking.logits))
            own = scored.rows(fitted.apply(scored.raw)[0])
        yield name, mapped, own  # type: ignore[misc]


def _intervals(
    rows: _Rows,
    resampled: Mapping[str, tuple[_Rows, Callable[..., dict[MetricName, Array]]]],
    evaluation: Evaluation,
) -> Iterator[tuple[MetricName, Array]]:
    """As `bootstrap.intervals`: rows are drawn as there, and keep their weights."""
    usable = {version: of for version, of in resampled.items() if of[0].is_usable}
    names = [name for own, measure in resampled.values() for name in measure(own.ranked())]
    found = {name: (np.nan, np.nan) for name in names}
    if usable:
        rarer = min(effective_rows(rows.weights[rows.labels == label]) for label in (0, 1))
        tail = bootstrap._tail(evaluation.bootstrap_level, int(rarer))
        parts: list[dict[MetricName, Array]] = []
        for drawn in bootstrap._drawn(rows.labels, evaluation.bootstrap, 0):
            parts.append({})
            for own, measure in usable.values():
                parts[-1] |= measure(own.ranked(drawn))
        found |= bootstrap._ends(parts, tail)
    for name, interval in found.items():
        for end, value in zip(ENDS, interval, strict=True):
            yield replace(name, end=end), np.array([value])


def _values(
    ranking: WeightedRanking,
    *,
    thresholds: Mapping[str, ArrayLike],
    part: Part,
    version: str,
    evaluation: Evaluation,
    original: Line | None = None,
) -> dict[MetricName, Array]:
    """All metrics of one version of the scores of a part, of a run or of its resamples."""
    named = partial(MetricName, split=part, version=version)
    probs = probabilities(ranking.logits)
    with np.errstate(all="ignore"):
        plain = proper_scores(ranking, probs)
        plain["ece"] = _calibration_error(ranking, probs, num_bins=evaluation.ece_bins)
        if part == "test" and version in ("", "corrected"):
            plain |= calibration_line(ranking, original)
        if evaluation.decompositions and not version:
            plain |= decompositions(ranking, plain)
        if not version:
            plain |= _of_order(ranking, evaluation)
    unmeasured = UNMEASURED if not version else UNMEASURED[:1]
    plain |= {name: np.full(ranking.num_runs, np.nan) for name in unmeasured}
    values = {named(metric): v for metric, v in ranking.where_usable(plain).items()}  # type: ignore[arg-type]
    for (metric, rule), value in decisions(ranking, thresholds, evaluation).items():
        values[named(metric, rule=rule)] = value
    return values


def _of_order(ranking: WeightedRanking, asked: Evaluation) -> dict[str, Array]:
    """The metrics of the order of the scores alone."""
    top = ranking_metrics.top_of_ranking(ranking, alerts=min(asked.alerts, 1.0))
    if asked.alerts >= 1:  # a number of rows, which weights are none of
        top = {name: np.full(ranking.num_runs, np.nan) for name in top}
    return {
        "auroc": ranking_metrics.auroc(ranking),
        "partial_auroc": ranking_metrics.partial_auroc(ranking, max_fpr=asked.max_fpr),
        "average_precision": ranking_metrics.average_precision(ranking),
        "recall_at_precision": ranking_metrics.recall_at_precision(
            ranking, min_precision=asked.min_precision
        ),
        "precision_at_recall": ranking_metrics.precision_at_recall(
            ranking, min_recall=asked.min_recall
        ),
        **top,
    }


def _calibration_error(ranking: WeightedRanking, probs: Probs, *, num_bins: int) -> Array:
    """`ece` with bins of equal weight: a group lies in the bin that holds its middle."""
    sizes = ranking.group_positives + ranking.group_negatives
    middle = ranking.true_positives + ranking.false_positives - sizes / 2
    bins = (num_bins * middle / ranking.num_rows[:, None]).astype(np.int64)
    bins = np.clip(bins, 0, num_bins - 1) + num_bins * np.arange(len(sizes))[:, None]
    gaps = sizes * probs.probs - ranking.group_positives
    by_bin = np.bincount(bins.ravel(), weights=gaps.ravel(), minlength=num_bins * len(sizes))
    return np.abs(by_bin.reshape(len(sizes), num_bins)).sum(axis=1) / ranking.num_rows
