"""Metrics of decisions: what becomes of the rows at or above a threshold."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.metrics.ranked_rows import Array, Counts, Ranking, rank_rows, ratio
from harness.metrics.settings import Costs


@dataclass(frozen=True)
class Confusion:
    """Rows by prediction and label, (runs,) each; `defined` is False where there is no model."""

    tp: Counts
    fp: Counts
    fn: Counts
    tn: Counts
    defined: NDArray[np.bool_]


def threshold_metrics(
    *,
    logits: ArrayLike,
    labels: ArrayLike,
    valid: ArrayLike,
    threshold_logits: ArrayLike,
    beta: float = 2.0,
    costs: Costs | None = None,
) -> dict[str, Array]:
    """The metrics of decisions, each (runs,).

    A row is predicted positive when its logit is *at or above* the threshold, so that logit 0 is
    probability >= 0.5. Where a ratio is undefined scikit-learn's conventions hold: precision,
    recall, f1, f_beta and mcc are 0; balanced accuracy is the recall of the one class present.

    - `f_beta`: (1 + beta^2) TP / ((1 + beta^2) TP + beta^2 FN + FP).
    - `g_mean`: sqrt(recall x specificity), the geometric mean of the classes' recalls.
    - `p4`: the harmonic mean of precision, recall, specificity and negative predictive value,
      4 TP TN / (4 TP TN + (TP + TN)(FP + FN)); 0 where TP or TN is.
    - `flagged`: the share of rows predicted positive.
    - `expected_cost`: the mean cost of a row's decision, by default the share of errors.

    Args:
        logits, labels, valid: as in `rank_rows`, with the same errors.
        threshold_logits: (runs,) or a scalar. +-inf predicts none or all; NaN gives NaN.

    References:
        Kubat and Matwin, Addressing the curse of imbalanced training sets (1997), for g_mean;
        Sitarz, Extending F1 metric, probabilistic approach (2022), for p4.

    >>> result = threshold_metrics(logits=[[2.0, 0.0, -1.0]], labels=[[1, 0, 1]],
    ...                            valid=[[True] * 3], threshold_logits=0.0)
    >>> {name: round(float(result[name][0]), 4) for name in ("accuracy", "f1", "g_mean", "mcc")}
    {'accuracy': 0.3333, 'f1': 0.5, 'g_mean': 0.0, 'mcc': -0.5}
    """
    ranking = rank_rows(logits=logits, labels=labels, valid=valid)
    return decision_metrics(decide(ranking, threshold_logits), beta=beta, costs=costs or Costs())


def decide(ranking: Ranking, threshold_logits: ArrayLike) -> Confusion:
    """What becomes of the rows of each run at its threshold, (runs,) or a scalar, a logit."""
    thresholds = np.asarray(threshold_logits, dtype=np.float64)
    taken = ranking.is_end & (ranking.logits >= thresholds.reshape(-1, 1))
    # The last group taken holds the counts of all above it.
    last = taken.shape[1] - 1 - np.argmax(taken[:, ::-1], axis=1)
    runs, any_taken = np.arange(ranking.num_runs), taken.any(axis=1)
    tp = np.where(any_taken, ranking.true_positives[runs, last], 0)
    fp = np.where(any_taken, ranking.false_positives[runs, last], 0)
    return Confusion(
        tp=tp,
        fp=fp,
        fn=ranking.num_positives - tp,
        tn=ranking.num_negatives - fp,
        defined=ranking.usable & ~np.isnan(thresholds),
    )


def decide_all(ranking: Ranking, threshold_logits: Sequence[ArrayLike]) -> Confusion:
    """`decide` at several thresholds: (thresholds x runs,), the runs of each after one another."""
    if ranking.shares_logits and not any(map(np.ndim, threshold_logits)):
        return _decide_shared(ranking, np.asarray(threshold_logits, dtype=np.float64)[:, None])
    decided = [decide(ranking, cuts) for cuts in threshold_logits]
    names = (field.name for field in fields(Confusion))
    return Confusion(*(np.concatenate([getattr(one, k) for one in decided]) for k in names))


def _decide_shared(ranking: Ranking, thresholds: Array) -> Confusion:
    """Of runs that share their logits: a cut (cuts, 1) takes the same groups of all."""
    num_taken = (ranking.logits >= thresholds).sum(axis=1)
    none, last = num_taken[:, None] == 0, np.maximum(num_taken - 1, 0)
    tp = np.where(none, 0, ranking.true_positives.T[last])
    fp = np.where(none, 0, ranking.false_positives.T[last])
    return Confusion(
        tp=tp.ravel(),
        fp=fp.ravel(),
        fn=(ranking.num_positives - tp).ravel(),
        tn=(ranking.num_negatives - fp).ravel(),
        defined=(ranking.usable & ~np.isnan(thresholds)).ravel(),
    )


def decision_metrics(confusion: Confusion, *, beta: float, costs: Costs) -> dict[str, Array]:
    """`threshold_metrics` of rows already decided upon."""
    tp, fp, fn, tn = confusion.tp, confusion.fp, confusion.fn, confusion.tn
    recall, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    num_classes = ((tp + fn) > 0).astype(np.int64) + ((tn + fp) > 0)
    n = tp + fp + fn + tn
    # As floats, since the product of four counts leaves int64 beyond 10^5 rows.
    spread = ((tp + fn) * (tn + fp)).astype(np.float64) * ((tp + fp) * (tn + fn))
    squared = beta**2
    spent = (
        costs.true_positive * tp
        + costs.false_positive * fp
        + costs.false_negative * fn
        + costs.true_negative * tn
    )
    values = {
        "accuracy": ratio(tp + tn, n),
        "balanced_accuracy": ratio(recall + specificity, num_classes),
        "precision": ratio(tp, tp + fp),
        "recall": recall,
        "specificity": specificity,
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "f_beta": ratio((1 + squared) * tp, (1 + squared) * tp + squared * fn + fp),
        "mcc": ratio(tp * tn - fp * fn, np.sqrt(spread)),
        "g_mean": np.sqrt(recall * specificity),
        "p4": ratio(4 * tp * tn, 4 * tp * tn + (tp + tn) * (fp + fn)),
        "flagged": ratio(tp + fp, n),
        "expected_cost": ratio(spent, n),
    }
    return {name: np.where(confusion.defined, value, np.nan) for name, value in values.items()}


def net_benefit(confusion: Confusion, *, probability: float | Array) -> Array:
    """TP/n - FP/n x t / (1 - t): what deciding at probability t is worth, in true positives.

    Whoever cuts at t holds a missed positive to be (1 - t) / t times as bad as a false alarm.
    Predicting none is worth 0, and all pi - (1 - pi) t / (1 - t).

    References:
        Vickers and Elkin, Decision curve analysis (2006).
    """
    n = confusion.tp + confusion.fp + confusion.fn + confusion.tn
    benefit = ratio(confusion.tp - confusion.fp * (probability / (1 - probability)), n)
    return np.where(confusion.defined, benefit, np.nan)
