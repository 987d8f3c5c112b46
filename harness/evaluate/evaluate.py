"""All metrics of a batch of trained runs, from their logits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.config import Evaluation
from harness.evaluate.metrics import (
    Ranking,
    rank_rows,
    score_ranking,
    threshold_metrics,
)
from harness.evaluate.thresholds import choose_threshold_from_ranking


@dataclass(frozen=True, eq=False)
class Scored:
    """One part of the data under each run: logits and labels (runs, n), and which rows count."""

    logits: np.ndarray
    labels: np.ndarray
    valid: np.ndarray


def evaluate(
    *, validation: Scored, test: Scored, evaluation: Evaluation
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The thresholds chosen on validation, and every metric of both parts.

    Returns:
      thresholds: (runs,) logits.
      metrics: ``<part>/<metric>`` and ``<part>/<metric>@<0.5 or tuned>`` to (runs,) values.
    """
    ranking = rank_rows(**vars(validation))
    # Chosen before test is touched.
    tuned = choose_threshold_from_ranking(criterion=evaluation.threshold, ranking=ranking)
    metrics = _part("validation", validation, ranking, tuned, evaluation.ece_bins)
    metrics |= _part("test", test, rank_rows(**vars(test)), tuned, evaluation.ece_bins)
    return tuned, metrics


def _part(
    name: str, part: Scored, ranking: Ranking, tuned: np.ndarray, num_bins: int
) -> dict[str, np.ndarray]:
    scores = score_ranking(ranking, num_bins=num_bins)
    metrics = {f"{name}/{metric}": values for metric, values in scores.items()}
    for label, thresholds in (("0.5", np.zeros_like(tuned)), ("tuned", tuned)):
        decisions = threshold_metrics(**vars(part), threshold_logits=thresholds)
        metrics |= {f"{name}/{metric}@{label}": values for metric, values in decisions.items()}
    return metrics


def by_evaluation(evaluations: Sequence[Evaluation]) -> dict[Evaluation, list[int]]:
    """Positions of the runs that are evaluated alike."""
    positions: dict[Evaluation, list[int]] = {}
    for position, evaluation in enumerate(evaluations):
        positions.setdefault(evaluation, []).append(position)
    return positions
