"""Everything measured of a batch of trained runs, from their logits.

Scores come in versions: raw, `corrected` (the posterior the loss hides, moved to the natural prior)
and one for each calibrator. What validation decides is a `Chosen`; nothing that makes one sees the
test part.

A metric that is undefined for a run is NaN, never an exception: that includes every metric of a
run that has a non-finite logit on a valid row (dropping such rows would score a diverged model on
the rows it survived), or no valid row at all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from harness.metrics.bootstrap import intervals
from harness.metrics.calibration import CALIBRATORS, Fitted
from harness.metrics.decision_metrics import decide_all, decision_metrics, net_benefit
from harness.metrics.names import ENDS, MetricName, threshold_fact
from harness.metrics.probability_metrics import Line, line_of, probability_metrics
from harness.metrics.ranked_rows import Array, Ranking, rank_rows
from harness.metrics.ranking_metrics import ranking_metrics
from harness.metrics.settings import Evaluation
from harness.metrics.thresholds import choose_threshold_from_ranking

Part = Literal["validation", "test"]
At = tuple[str, str]
"""A metric and the rule of its threshold, empty without one."""


@dataclass(frozen=True, eq=False)
class Scored:
    """One part of the data under each run: (runs, n) each.

    Attributes:
        logits, labels, valid: the raw scores, and which rows count.
        corrected: posterior logits under the natural prior; NaN for a run whose loss hides none.
        row_weights: what each row counts, above 0 on valid ones; None where all count the same.
    """

    logits: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    corrected: np.ndarray
    row_weights: np.ndarray | None = None

    def ranked(self) -> Ranking:
        return rank_rows(logits=self.logits, labels=self.labels, valid=self.valid)

    def ranked_corrected(self) -> Ranking:
        return rank_rows(logits=self.corrected, labels=self.labels, valid=self.valid)

    def of(self, runs: Sequence[int]) -> "Scored":
        there = {name: values for name, values in vars(self).items() if values is not None}
        return Scored(**{name: values[runs] for name, values in there.items()})


@dataclass(frozen=True, eq=False)
class Chosen:
    """What the validation part decided for each run.

    Attributes:
        thresholds: by rule, (runs,) logits on raw scores; `tuned` is the configured one.
        calibrators: by name, fitted to raw scores.
    """

    thresholds: Mapping[str, Array]
    calibrators: Mapping[str, Fitted]

    @property
    def facts(self) -> dict[str, Array]:
        """As `Evaluated.facts`."""
        facts = {threshold_fact(rule): cut for rule, cut in self.thresholds.items()}
        for fitted in self.calibrators.values():
            facts |= fitted.parameters
        return facts


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What is known of a batch of runs.

    Attributes:
        metrics: by full name (`names.MetricName`), (runs,) values.
        facts: what validation decided, by stored name (`Evaluation.decided`), (runs,) values.
        calibrated: by part, (runs, n) logits of the configured calibrator; empty without one.
    """

    metrics: dict[str, Array]
    facts: dict[str, Array]
    calibrated: dict[str, Array]


def evaluate(*, validation: Scored, test: Scored, evaluation: Evaluation) -> Evaluated:
    """Chooses on validation, then measures both parts."""
    ranking = validation.ranked()
    chosen = choose(validation=ranking, evaluation=evaluation)
    metrics = _measured("validation", validation, ranking, chosen, evaluation)
    metrics |= _measured("test", test, test.ranked(), chosen, evaluation)
    calibrated = {}
    if evaluation.calibrator is not None:
        apply = chosen.calibrators[evaluation.calibrator].apply
        for part, scored in (("validation", validation), ("test", test)):
            with np.errstate(invalid="ignore"):
                calibrated[part] = apply(np.asarray(scored.logits, dtype=np.float64))
    return Evaluated(metrics, chosen.facts, calibrated)


def choose(*, validation: Ranking, evaluation: Evaluation) -> Chosen:
    """Thresholds and calibrators, from the validation part alone."""
    return Chosen(
        thresholds={
            rule: choose_threshold_from_ranking(
                criterion=criterion, ranking=validation, settings=evaluation
            )
            for rule, criterion in evaluation.criteria.items()
        },
        calibrators={name: CALIBRATORS[name](validation) for name in evaluation.calibrators},
    )


def _measured(
    part: Part, scored: Scored, ranking: Ranking, chosen: Chosen, evaluation: Evaluation
) -> dict[str, Array]:
    """The metrics of one part, for every version of its scores."""
    stated: dict[str, ArrayLike] = {rule: _logit(p) for rule, p in evaluation.stated.items()}
    raw: dict[str, ArrayLike] = {"0.5": 0.0, **stated, **chosen.thresholds}
    if part == "test" and "oracle" in evaluation.thresholds:
        raw["oracle"] = choose_threshold_from_ranking(
            criterion=evaluation.threshold, ranking=ranking, settings=evaluation
        )
    metrics: dict[str, Array] = {}
    resampled: dict[str, _Resampled] = {}
    for version, scores, rows in _versions(scored, ranking, chosen):
        thresholds = stated if version else raw
        measure = partial(_values, part=part, version=version, evaluation=evaluation)
        metrics |= {
            str(MetricName(metric, part, version, rule)): value
            for (metric, rule), value in measure(scores, thresholds).items()
        }
        if part == "test" and evaluation.bootstrap:
            resampled[version] = _Resampled(scores, rows(), thresholds, measure)
    metrics |= {str(name): value for name, value in _intervals(scored, resampled, evaluation)}
    return metrics


@dataclass(frozen=True, eq=False)
class _Resampled:
    """A version of the scores whose resamples are measured: ranked, by row, at these cuts."""

    scores: Ranking
    rows: Array
    thresholds: Mapping[str, ArrayLike]
    measure: Callable[..., dict[At, Array]]

    def of(self, run: int) -> Callable[[Ranking], dict[At, Array]]:
        """What measures resamples of a run, at the run's own cuts."""
        cuts = {
            rule: values if np.ndim(values) == 0 else np.asarray(values)[run]
            for rule, values in self.thresholds.items()
        }
        original = line_of(self.scores.of(np.array([run])))
        return partial(self.measure, thresholds=cuts, original=original)


def _versions(
    scored: Scored, ranking: Ranking, chosen: Chosen
) -> Iterator[tuple[str, Ranking, Callable[[], Array]]]:
    """Each version of the scores, their ranking, and a call for them by row."""
    yield "", ranking, lambda: scored.logits
    yield "corrected", scored.ranked_corrected(), lambda: scored.corrected
    for name, fitted in chosen.calibrators.items():
        with np.errstate(invalid="ignore"):
            calibrated = ranking.mapped(fitted.apply(ranking.logits))
        rows = np.asarray(scored.logits, dtype=np.float64)
        yield name, calibrated, partial(fitted.apply, rows)


def _intervals(
    scored: Scored, resampled: Mapping[str, _Resampled], evaluation: Evaluation
) -> Iterator[tuple[MetricName, Array]]:
    """Bootstrap intervals of all versions, run by run; NaN where there is no model."""
    columns: dict[tuple[str, At], Array] = {}
    num_runs = len(scored.logits)
    for run in range(num_runs):
        versions = {name: of for name, of in resampled.items() if of.scores.usable[run]}
        if not versions:
            continue
        valid = scored.valid[run]
        found = intervals(
            logits={
                name: np.asarray(of.rows[run, valid], dtype=np.float64)
                for name, of in versions.items()
            },
            labels=scored.labels[run, valid],
            statistics={name: of.of(run) for name, of in versions.items()},
            num_resamples=evaluation.bootstrap,
            level=evaluation.bootstrap_level,
        )
        for version, of_version in found.items():
            for at, interval in of_version.items():
                if (version, at) not in columns:
                    columns[version, at] = np.full((num_runs, len(ENDS)), np.nan)
                columns[version, at][run] = interval
    for (version, (metric, rule)), column in columns.items():
        for end, values in zip(ENDS, column.T, strict=True):
            yield MetricName(metric, "test", version, rule, end), values


def _values(
    ranking: Ranking,
    thresholds: Mapping[str, ArrayLike],
    *,
    part: Part,
    version: str,
    evaluation: Evaluation,
    original: Line | None = None,
) -> dict[At, Array]:
    """All metrics of one version of the scores of a part; ``original`` as in `calibration_line`."""
    plain = probability_metrics(
        ranking,
        num_bins=evaluation.ece_bins,
        line=part == "test" and version in ("", "corrected"),
        decompose=evaluation.decompositions and not version,
        original=original,
    )
    if not version:
        plain |= ranking_metrics(
            ranking,
            max_fpr=evaluation.max_fpr,
            alerts=evaluation.alerts,
            min_precision=evaluation.min_precision,
            min_recall=evaluation.min_recall,
        )
    values = {(metric, ""): value for metric, value in plain.items()}
    return values | decisions(ranking, thresholds, evaluation)


def decisions(
    ranking: Ranking, thresholds: Mapping[str, ArrayLike], evaluation: Evaluation
) -> dict[At, Array]:
    """The metrics of decisions at each of ``thresholds``, logits by rule."""
    if not thresholds:
        return {}
    stated = {"0.5": 0.5, **evaluation.stated}
    # All in one: of few runs, a call costs more than its arithmetic.
    confusion = decide_all(ranking, list(thresholds.values()))
    together = decision_metrics(confusion, beta=evaluation.beta, costs=evaluation.costs)
    probabilities = [stated.get(rule, np.nan) for rule in thresholds]
    together["net_benefit"] = net_benefit(
        confusion, probability=np.repeat(probabilities, ranking.num_runs)
    )
    return {
        (metric, rule): of_rule
        for metric, values in together.items()
        for rule, of_rule in zip(thresholds, values.reshape(len(thresholds), -1), strict=True)
        if metric != "net_benefit" or rule in stated
    }


def _logit(probability: float) -> float:
    return log(probability / (1 - probability))


def score_metrics(
    *,
    logits: ArrayLike,
    labels: ArrayLike,
    valid: ArrayLike,
    num_bins: int = 15,
    max_fpr: float = 0.1,
    alerts: float = 0.05,
    min_precision: float = 0.9,
    min_recall: float = 0.9,
) -> dict[str, Array]:
    """The metrics that need no threshold, of raw scores, each (runs,).

    Args:
        logits, labels, valid: as in `rank_rows`, with the same errors.
        num_bins: bins of `ece` and `ece_debiased`, at least 1.
        max_fpr, alerts, min_precision, min_recall: as in `harness.metrics.ranking_metrics`.

    >>> result = score_metrics(logits=[[2.0, 0.0, -1.0, 9.0]], labels=[[1, 0, 1, 0]],
    ...                        valid=[[True, True, True, False]])
    >>> names = ("log_loss", "skill", "brier", "auroc", "average_precision", "ece")
    >>> {name: round(float(result[name][0]), 4) for name in names}
    {'log_loss': 0.7111, 'skill': -0.1172, 'brier': 0.2662, 'auroc': 0.5, \
'average_precision': 0.8333, 'ece': 0.4501}
    """
    ranking = rank_rows(logits=logits, labels=labels, valid=valid)
    return probability_metrics(
        ranking, num_bins=num_bins, line=True, decompose=True
    ) | ranking_metrics(
        ranking,
        max_fpr=max_fpr,
        alerts=alerts,
        min_precision=min_precision,
        min_recall=min_recall,
    )


def by_evaluation(evaluations: Sequence[Evaluation]) -> dict[Evaluation, list[int]]:
    """Positions of the runs that are evaluated alike."""
    positions: dict[Evaluation, list[int]] = {}
    for position, evaluation in enumerate(evaluations):
        positions.setdefault(evaluation, []).append(position)
    return positions
