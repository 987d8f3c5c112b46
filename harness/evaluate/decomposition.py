"""What a proper score is made of: miscalibration, discrimination and uncertainty."""

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import xlog1py, xlogy

from harness.evaluate.probability import label_entropy, label_variance
from harness.evaluate.ranking import Array, Ranking


def decompositions(ranking: Ranking, scores: dict[str, Array]) -> dict[str, Array]:
    """The CORP decomposition of log loss and Brier score: score = MCB - DSC + UNC.

    With R the score after the isotonic recalibration that fits these very rows best, and U that
    of the constant pi:

    - `log_loss_miscalibration`, `brier_miscalibration`: score - R, at least 0. What recalibrating
      could win.
    - `log_loss_discrimination`, `brier_discrimination`: U - R, at least 0, at most U. What the
      order of the rows is worth; no increasing map of the logits changes it.
    - `log_loss_uncertainty`, `brier_uncertainty`: U, the same for every model.

    No bins and no tuning, but it is fitted on the rows it scores: on few rows both parts are
    biased upwards, by the same amount.

    Args:
        scores: `log_loss` and `brier` of the same ranking.

    References:
        Dimitriadis, Gneiting and Jordan, Stable reliability diagrams for probabilistic
        classifiers (2021).
    """
    best = _recalibrated(ranking)
    parts = {
        "log_loss": (
            ranking.total(
                -xlogy(ranking.group_positives, best) - xlog1py(ranking.group_negatives, -best)
            ),
            label_entropy(ranking),
        ),
        "brier": (
            ranking.total(
                ranking.group_positives * (1 - best) ** 2 + ranking.group_negatives * best**2
            ),
            label_variance(ranking),
        ),
    }
    values: dict[str, Array] = {}
    for name, (summed, uncertainty) in parts.items():
        recalibrated = summed / ranking.num_rows
        values |= {
            f"{name}_miscalibration": scores[name] - recalibrated,
            f"{name}_discrimination": uncertainty - recalibrated,
            f"{name}_uncertainty": uncertainty,
        }
    return values


def isotonic_fit(ranking: Ranking, run: int) -> tuple[Array, Array]:
    """Distinct logits of one run, ascending, and the non-decreasing shares of positives that fit
    best, by the pool-adjacent-violators algorithm. Both (groups,)."""
    ends = np.flatnonzero(ranking.is_end[run])[::-1]
    positives = ranking.group_positives[run, ends]
    sizes = positives + ranking.group_negatives[run, ends]
    # A resample may have left a group no row: it then weighs next to nothing.
    weights = np.maximum(sizes, 1e-9)
    return ranking.logits[run, ends], isotonic_regression(positives / weights, weights=weights).x


def _recalibrated(ranking: Ranking) -> Array:
    """(runs, width) isotonic shares at each group's end; 0 elsewhere."""
    best = np.zeros_like(ranking.logits)
    for run in np.flatnonzero(ranking.usable):
        ends = np.flatnonzero(ranking.is_end[run])[::-1]
        best[run, ends] = isotonic_fit(ranking, int(run))[1]
    return best
