"""Everything measured of a batch of trained runs, from their logits.

Scores come in versions: raw, `corrected` (the posterior the loss hides, moved to the natural prior)
and one for each calibrator. What validation decides is a `Chosen`; nothing that makes one sees the
test part.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.evaluate.bootstrap import intervals
from harness.evaluate.calibrators import CALIBRATORS, Fitted
from harness.evaluate.decisions import decide, decision_metrics, net_benefit
from harness.evaluate.metrics import order_metrics, probability_metrics
from harness.evaluate.ranking import Array, Ranking, rank_rows
from harness.evaluate.settings import Criterion, Evaluation
from harness.evaluate.thresholds import choose_threshold_from_ranking


@dataclass(frozen=True, eq=False)
class Scored:
    """One part of the data under each run: (runs, n) each.

    Attributes:
        logits, labels, valid: the raw scores, and which rows count.
        corrected: posterior logits under the natural prior; NaN for a run whose loss hides none.
    """

    logits: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    corrected: np.ndarray

    def ranked(self) -> Ranking:
        return rank_rows(logits=self.logits, labels=self.labels, valid=self.valid)

    def ranked_corrected(self) -> Ranking:
        return rank_rows(logits=self.corrected, labels=self.labels, valid=self.valid)

    def of(self, runs: Sequence[int]) -> "Scored":
        return Scored(**{name: values[runs] for name, values in vars(self).items()})


@dataclass(frozen=True, eq=False)
class Chosen:
    """What the validation part decided for each run.

    Attributes:
        thresholds: by rule, (runs,) logits on raw scores; `tuned` is the configured one.
        calibrators: by name, fitted to raw scores.
    """

    thresholds: Mapping[str, Array]
    calibrators: Mapping[str, Fitted]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What is known of a batch of runs.

    Attributes:
        metrics: ``<part>/[<version>/]<metric>[@<rule>]`` to (runs,) values.
        facts: what validation decided, by stored name: thresholds and calibrators' parameters.
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
    facts = {f"threshold_logit@{rule}": cut for rule, cut in chosen.thresholds.items()}
    facts["threshold_logit"] = facts.pop("threshold_logit@tuned")
    for fitted in chosen.calibrators.values():
        facts |= fitted.parameters
    calibrated = {}
    if evaluation.calibrator is not None:
        apply = chosen.calibrators[evaluation.calibrator].apply
        for part, scored in (("validation", validation), ("test", test)):
            with np.errstate(invalid="ignore"):
                calibrated[part] = apply(np.asarray(scored.logits, dtype=np.float64))
    return Evaluated(metrics, facts, calibrated)


def choose(*, validation: Ranking, evaluation: Evaluation) -> Chosen:
    """Thresholds and calibrators, from the validation part alone."""
    criteria: dict[str, Criterion] = {"tuned": evaluation.threshold}
    criteria |= {rule: rule for rule in get_args(Criterion) if rule in evaluation.thresholds}
    return Chosen(
        thresholds={
            rule: choose_threshold_from_ranking(
                criterion=criterion, ranking=validation, settings=evaluation
            )
            for rule, criterion in criteria.items()
        },
        calibrators={name: CALIBRATORS[name](validation) for name in evaluation.calibrators},
    )


def _measured(
    part: str, scored: Scored, ranking: Ranking, chosen: Chosen, evaluation: Evaluation
) -> dict[str, Array]:
    """The metrics of one part, for every version of its scores."""
    stated: dict[str, ArrayLike] = {
        rule: _logit(p) for rule, p in _stated_probabilities(evaluation).items()
    }
    raw: dict[str, ArrayLike] = {"0.5": 0.0, **stated, **chosen.thresholds}
    if part == "test" and "oracle" in evaluation.thresholds:
        raw["oracle"] = choose_threshold_from_ranking(
            criterion=evaluation.threshold, ranking=ranking, settings=evaluation
        )
    metrics: dict[str, Array] = {}
    for version, scores, rows in _versions(scored, ranking, chosen):
        thresholds = stated if version else raw
        has_line = part == "test" and version in ("", "corrected/")
        measure = partial(_values, version=version, evaluation=evaluation, has_line=has_line)
        values = measure(scores, thresholds)
        if part == "test" and evaluation.bootstrap:
            values |= _intervals(
                logits=rows(),
                scored=scored,
                usable=scores.usable,
                thresholds=thresholds,
                measure=measure,
                evaluation=evaluation,
            )
        metrics |= {f"{part}/{version}{name}": value for name, value in values.items()}
    return metrics


def _versions(
    scored: Scored, ranking: Ranking, chosen: Chosen
) -> Iterator[tuple[str, Ranking, Callable[[], Array]]]:
    """The prefix of each version of the scores, their ranking, and a call for them by row."""
    yield "", ranking, lambda: scored.logits
    yield "corrected/", scored.ranked_corrected(), lambda: scored.corrected
    for name, fitted in chosen.calibrators.items():
        with np.errstate(invalid="ignore"):
            calibrated = ranking.mapped(fitted.apply(ranking.logits))
        rows = np.asarray(scored.logits, dtype=np.float64)
        yield f"{name}/", calibrated, partial(fitted.apply, rows)


def _intervals(
    *,
    logits: Array,
    scored: Scored,
    usable: NDArray[np.bool_],
    thresholds: Mapping[str, ArrayLike],
    measure: Callable[..., dict[str, Array]],
    evaluation: Evaluation,
) -> dict[str, Array]:
    """Bootstrap intervals of what ``measure`` gives, run by run; NaN where there is no model."""
    columns: dict[str, Array] = {}
    for run in np.flatnonzero(usable):
        valid = scored.valid[run]
        cuts = {
            rule: values if np.ndim(values) == 0 else np.asarray(values)[run]
            for rule, values in thresholds.items()
        }
        ends = intervals(
            logits=np.asarray(logits[run, valid], dtype=np.float64),
            labels=scored.labels[run, valid],
            statistics=partial(measure, thresholds=cuts),
            num_resamples=evaluation.bootstrap,
            level=evaluation.bootstrap_level,
        )
        for name, value in ends.items():
            columns.setdefault(name, np.full(len(usable), np.nan))[run] = value
    return columns


def _values(
    ranking: Ranking,
    thresholds: Mapping[str, ArrayLike],
    *,
    version: str,
    evaluation: Evaluation,
    has_line: bool,
) -> dict[str, Array]:
    """All metrics of one version of the scores."""
    values = probability_metrics(
        ranking,
        num_bins=evaluation.ece_bins,
        line=has_line,
        decompose=evaluation.decompositions and not version,
    )
    if not version:
        values |= order_metrics(
            ranking,
            max_fpr=evaluation.max_fpr,
            alerts=evaluation.alerts,
            min_precision=evaluation.min_precision,
            min_recall=evaluation.min_recall,
        )
    stated = {"0.5": 0.5, **_stated_probabilities(evaluation)}
    for rule, cuts in thresholds.items():
        confusion = decide(ranking, cuts)
        decided = decision_metrics(confusion, beta=evaluation.beta, costs=evaluation.costs)
        if rule in stated:
            decided["net_benefit"] = net_benefit(confusion, probability=stated[rule])
        values |= {f"{name}@{rule}": value for name, value in decided.items()}
    return values


def _stated_probabilities(evaluation: Evaluation) -> dict[str, float]:
    """The rules that state a probability, which any version of the scores can be held to.

    >>> _stated_probabilities(Evaluation(thresholds=(0.1, "mcc", "bayes")))
    {'0.1': 0.1, 'bayes': 0.5}
    """
    return {
        f"{rule:g}" if isinstance(rule, float) else rule: (
            rule if isinstance(rule, float) else evaluation.costs.threshold
        )
        for rule in evaluation.thresholds
        if isinstance(rule, float) or rule == "bayes"
    }


def _logit(probability: float) -> float:
    return log(probability / (1 - probability))


def by_evaluation(evaluations: Sequence[Evaluation]) -> dict[Evaluation, list[int]]:
    """Positions of the runs that are evaluated alike."""
    positions: dict[Evaluation, list[int]] = {}
    for position, evaluation in enumerate(evaluations):
        positions.setdefault(evaluation, []).append(position)
    return positions
