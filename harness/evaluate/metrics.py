"""The metrics that need no threshold, batched over runs, on the host in float64.

A metric that is undefined for a run is NaN, never an exception: that includes every metric of a
run that has a non-finite logit on a valid row (dropping such rows would score a diverged model on
the rows it survived), or no valid row at all.
"""

import numpy as np
from numpy.typing import ArrayLike

from harness.evaluate import order
from harness.evaluate.decomposition import decompositions
from harness.evaluate.probability import calibration_errors, probabilities, proper_scores
from harness.evaluate.ranking import Array, Ranking, rank_rows
from harness.evaluate.reliability import calibration_line

PROBABILITY_METRICS = ("log_loss", "skill", "brier", "brier_skill", "ece", "ece_debiased")
CALIBRATION_LINE = ("calibration_intercept", "calibration_slope")
ORDER_METRICS = (
    "auroc",
    "partial_auroc",
    "average_precision",
    "random_average_precision",
    "precision_at_k",
    "recall_at_k",
    "lift_at_k",
    "recall_at_precision",
    "precision_at_recall",
)
DECOMPOSITION = tuple(
    f"{score}_{part}"
    for score in ("log_loss", "brier")
    for part in ("miscalibration", "discrimination", "uncertainty")
)
SCORE_METRICS = (*PROBABILITY_METRICS, *CALIBRATION_LINE, *DECOMPOSITION, *ORDER_METRICS)


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
    """All of `SCORE_METRICS`, each (runs,).

    Args:
        logits, labels, valid: as in `rank_rows`, with the same errors.
        num_bins: bins of `ece` and `ece_debiased`, at least 1.
        max_fpr, alerts, min_precision, min_recall: as in `harness.evaluate.order`.

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
    ) | order_metrics(
        ranking,
        max_fpr=max_fpr,
        alerts=alerts,
        min_precision=min_precision,
        min_recall=min_recall,
    )


def probability_metrics(
    ranking: Ranking, *, num_bins: int, line: bool, decompose: bool
) -> dict[str, Array]:
    """`PROBABILITY_METRICS`, and where asked for `CALIBRATION_LINE` and `DECOMPOSITION`.

    On logits, so in full precision: log loss does not clip.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    probs = probabilities(ranking.logits)
    with np.errstate(all="ignore"):  # 0/0 is how undefined becomes NaN; 1e308 + 1e308 is inf
        values = proper_scores(ranking, probs)
        values |= calibration_errors(ranking, probs, num_bins=num_bins)
        if line:
            values |= calibration_line(ranking)
        if decompose:
            values |= decompositions(ranking, values)
    return _where_usable(ranking, values)


def order_metrics(
    ranking: Ranking, *, max_fpr: float, alerts: float, min_precision: float, min_recall: float
) -> dict[str, Array]:
    """`ORDER_METRICS` of rows already ranked.

    On logits: the sigmoid saturates, which makes ties that the model did not.
    """
    with np.errstate(all="ignore"):
        values = {
            "auroc": order.auroc(ranking),
            "partial_auroc": order.partial_auroc(ranking, max_fpr=max_fpr),
            "average_precision": order.average_precision(ranking),
            "random_average_precision": order.random_average_precision(ranking),
            **order.top_of_ranking(ranking, alerts=alerts),
            "recall_at_precision": order.recall_at_precision(ranking, min_precision=min_precision),
            "precision_at_recall": order.precision_at_recall(ranking, min_recall=min_recall),
        }
    return _where_usable(ranking, values)


def _where_usable(ranking: Ranking, values: dict[str, Array]) -> dict[str, Array]:
    return {name: np.where(ranking.usable, value, np.nan) for name, value in values.items()}
