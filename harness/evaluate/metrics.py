"""Metrics of binary classifiers, batched over runs, on the host in float64.

Every score here is a function of the distinct logits of a run and of how many positives and
negatives sit at each (`Ranking`): one sort serves all of them and the choice of a threshold, and
neither the order of rows nor the order within ties can matter. A metric that is undefined for a
run is NaN, never an exception: that includes every metric of a run that has a non-finite logit
on a valid row (dropping such rows would score a diverged model on the rows it survived), or no
valid row at all.

A run's numbers have the same bits whatever runs and padding stand beside it. Hence two rules:
counts are summed as integers, and floats by `_total`. `ndarray.sum` will not do: it adds pairwise,
in an order that depends on the width of the padded array.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

SCORE_METRICS = ("log_loss", "skill", "brier", "auroc", "average_precision", "ece")
THRESHOLD_METRICS = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "mcc")


@dataclass(frozen=True)
class Ranking:
    """The rows of each run sorted by logit, highest first, with padding last.

    Rows with equal logits are a group, which a threshold can only take whole; its counts stand at
    its last row (`is_end`). All arrays are (runs, width), but the last three, which are (runs,).

    Attributes:
        logits: descending; 0 on padding, and throughout a run that is not `usable`.
        is_end: True on the last row of each group of equal logits.
        true_positives, false_positives: among this row and those above. Only meaningful at ends.
        group_positives, group_negatives: the rows of each label in the group; 0 but at ends.
        num_positives, num_negatives: the valid rows of each label.
        usable: the run has a valid row, and its valid logits are finite.
    """

    logits: Array
    is_end: NDArray[np.bool_]
    true_positives: Counts
    false_positives: Counts
    group_positives: Counts
    group_negatives: Counts
    num_positives: Counts
    num_negatives: Counts
    usable: NDArray[np.bool_]

    @property
    def num_rows(self) -> Counts:
        return self.num_positives + self.num_negatives


def rank_rows(*, logits: ArrayLike, labels: ArrayLike, valid: ArrayLike) -> Ranking:
    """Sort every run once, to be shared by `score_ranking` and `choose_threshold_from_ranking`.

    Args:
        logits: (runs, n), any float type.
        labels: (runs, n), 1 = positive, 0 = negative; anything on padding.
        valid: (runs, n) bool, False on padding, which may stand anywhere.

    Raises:
        ValueError: the shapes differ or are not (runs, n), or a label is neither 0 nor 1.
    """
    scores, positive, is_valid = _checked(logits, labels, valid)
    num_runs, width = scores.shape
    usable = _usable(scores, is_valid)
    descending = np.where(usable[:, None], -scores, 0.0)
    descending[~is_valid] = np.inf
    order = np.argsort(descending, axis=1)  # need not be stable: groups have no inner order
    order += width * np.arange(num_runs)[:, None]
    scores = -descending.ravel()[order]

    num_positives, num_rows = positive.sum(axis=1), is_valid.sum(axis=1)
    is_padding = np.arange(width) >= num_rows[:, None]
    is_end = np.ones_like(is_padding)
    np.not_equal(scores[:, 1:], scores[:, :-1], out=is_end[:, :-1])
    is_end &= ~is_padding
    scores[is_padding] = 0.0

    true_positives = np.cumsum(positive.ravel()[order], axis=1, dtype=np.int64)
    false_positives = np.minimum(np.arange(1, width + 1), num_rows[:, None]) - true_positives
    return Ranking(
        logits=scores,
        is_end=is_end,
        true_positives=true_positives,
        false_positives=false_positives,
        group_positives=_increments(true_positives, is_end),
        group_negatives=_increments(false_positives, is_end),
        num_positives=num_positives,
        num_negatives=num_rows - num_positives,
        usable=usable,
    )


def score_metrics(
    *, logits: ArrayLike, labels: ArrayLike, valid: ArrayLike, num_bins: int = 15
) -> dict[str, Array]:
    """The metrics that need no threshold: `SCORE_METRICS`, each (runs,).

    With z a logit, p = sigmoid(z), n valid rows, of which a share pi is positive:

    - `log_loss`: mean of softplus(z) - y z. No clipping: a logit of -1e4 on a positive costs 1e4.
    - `skill`: D2 = 1 - log_loss / H(pi), H the entropy of this split's own labels. 1 is perfect,
      0 is the constant pi, negative is worse. NaN with one class.
    - `brier`: mean of (p - y)^2.
    - `auroc`: P(z+ > z-) + P(z+ = z-) / 2, exact. NaN with one class. Like the next, on logits:
      the sigmoid saturates, which makes ties that the model did not.
    - `average_precision`: sum over distinct logits of (recall gained) x precision, without
      interpolation (scikit-learn's). NaN without positives.
    - `ece`: expected calibration error of P(y=1), sum over bins of |sum of p - sum of y| / n. A
      row goes to bin floor(num_bins x r / n), r its rank from the highest logit, counted at the
      row's middle (1/2, 3/2, ...); rows with equal logits share their mean rank, hence a bin, so
      that bins hold n / num_bins rows up to rounding and ties. It is biased upwards: a perfect
      model shows about the sum over bins of sqrt(2 pbar (1-pbar) n_bin / Pi) / n, Pi = 3.14.

    Args:
        logits, labels, valid: as in `rank_rows`, with the same errors.
        num_bins: bins of `ece`, at least 1.

    References:
        Nixon et al., Measuring Calibration in Deep Learning (2019), for equal-mass bins.

    >>> result = score_metrics(logits=[[2.0, 0.0, -1.0, 9.0]], labels=[[1, 0, 1, 0]],
    ...                        valid=[[True, True, True, False]])
    >>> {name: round(float(values[0]), 4) for name, values in result.items()}
    {'log_loss': 0.7111, 'skill': -0.1172, 'brier': 0.2662, 'auroc': 0.5, \
'average_precision': 0.8333, 'ece': 0.4501}
    """
    ranking = rank_rows(logits=logits, labels=labels, valid=valid)
    return score_ranking(ranking, num_bins=num_bins)


def score_ranking(ranking: Ranking, *, num_bins: int = 15) -> dict[str, Array]:
    """`score_metrics` of rows already ranked."""
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    scores = ranking.logits
    # exp(-|z|) cannot overflow; below are sigmoid(z), 1 - sigmoid(z) and the two softplus of it
    tail = np.exp(-np.abs(scores))
    probs = np.where(scores >= 0, 1.0, tail) / (1 + tail)
    complements = np.where(scores >= 0, tail, 1.0) / (1 + tail)
    log_tail = np.log1p(tail)
    with np.errstate(all="ignore"):  # 0/0 is how undefined becomes NaN; 1e308 + 1e308 is inf
        log_loss = _mean_over_rows(
            ranking,
            of_positives=np.maximum(-scores, 0) + log_tail,
            of_negatives=np.maximum(scores, 0) + log_tail,
        )
        values = {
            "log_loss": log_loss,
            "skill": 1 - log_loss / _label_entropy(ranking),
            "brier": _mean_over_rows(ranking, of_positives=complements**2, of_negatives=probs**2),
            "auroc": _auroc(ranking),
            "average_precision": _average_precision(ranking),
            "ece": _calibration_error(ranking, probs, num_bins),
        }
    return {name: np.where(ranking.usable, value, np.nan) for name, value in values.items()}


def threshold_metrics(
    *, logits: ArrayLike, labels: ArrayLike, valid: ArrayLike, threshold_logits: ArrayLike
) -> dict[str, Array]:
    """The metrics of decisions: `THRESHOLD_METRICS`, each (runs,).

    A row is predicted positive when its logit is *at or above* the threshold, so that logit 0 is
    probability >= 0.5. Where a ratio is undefined scikit-learn's conventions hold: precision,
    recall, f1 and mcc are 0; balanced accuracy is the recall of the one class present.

    Args:
        logits, labels, valid: as in `rank_rows`, with the same errors.
        threshold_logits: (runs,) or a scalar. +-inf predicts none or all; NaN gives NaN.

    >>> result = threshold_metrics(logits=[[2.0, 0.0, -1.0]], labels=[[1, 0, 1]],
    ...                            valid=[[True] * 3], threshold_logits=0.0)
    >>> {name: round(float(values[0]), 4) for name, values in result.items()}
    {'accuracy': 0.3333, 'balanced_accuracy': 0.25, 'precision': 0.5, 'recall': 0.5, \
'f1': 0.5, 'mcc': -0.5}
    """
    scores, positive, is_valid = _checked(logits, labels, valid)
    thresholds = np.broadcast_to(np.asarray(threshold_logits, dtype=np.float64), len(scores))
    predicted = (scores >= thresholds[:, None]) & is_valid
    tp, taken = (predicted & positive).sum(axis=1), predicted.sum(axis=1)
    p, n = positive.sum(axis=1), is_valid.sum(axis=1)
    values = _confusion_metrics(tp=tp, fp=taken - tp, fn=p - tp, tn=n - p - taken + tp)
    defined = _usable(scores, is_valid) & ~np.isnan(thresholds)
    return {name: np.where(defined, value, np.nan) for name, value in values.items()}


def _confusion_metrics(*, tp: Counts, fp: Counts, fn: Counts, tn: Counts) -> dict[str, Array]:
    recall, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    num_classes = ((tp + fn) > 0).astype(np.int64) + ((tn + fp) > 0)
    # As floats, since the product of four counts leaves int64 beyond 10^5 rows.
    spread = ((tp + fn) * (tn + fp)).astype(np.float64) * ((tp + fp) * (tn + fn))
    return {
        "accuracy": _ratio(tp + tn, tp + fp + fn + tn),
        "balanced_accuracy": _ratio(recall + specificity, num_classes),
        "precision": _ratio(tp, tp + fp),
        "recall": recall,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": _ratio(tp * tn - fp * fn, np.sqrt(spread)),
    }


def _mean_over_rows(ranking: Ranking, *, of_positives: Array, of_negatives: Array) -> Array:
    summed = ranking.group_positives * of_positives + ranking.group_negatives * of_negatives
    return _total(summed) / ranking.num_rows


def _label_entropy(ranking: Ranking) -> Array:
    """In nats; NaN with one class."""
    n, p, q = ranking.num_rows, ranking.num_positives, ranking.num_negatives
    return p / n * np.log(n / p) + q / n * np.log(n / q)


def _auroc(ranking: Ranking) -> Array:
    """The Mann-Whitney statistic, doubled so that a tie's half is an integer too."""
    positives_above_or_tied = 2 * ranking.true_positives - ranking.group_positives
    doubled = (ranking.group_negatives * positives_above_or_tied).sum(axis=1)
    return doubled / (2 * ranking.num_positives * ranking.num_negatives)


def _average_precision(ranking: Ranking) -> Array:
    seen = np.maximum(ranking.true_positives + ranking.false_positives, 1)
    precision = ranking.true_positives / seen
    return _total(ranking.group_positives * precision) / ranking.num_positives


def _calibration_error(ranking: Ranking, probs: Array, num_bins: int) -> Array:
    """`ece` of `score_metrics`. `bincount` adds in the order of rows, like `_total`."""
    num_runs, num_rows = len(probs), np.maximum(ranking.num_rows, 1)
    sizes = ranking.group_positives + ranking.group_negatives
    doubled_ranks = 2 * (ranking.true_positives + ranking.false_positives) - sizes
    bins = doubled_ranks * num_bins // (2 * num_rows[:, None])
    bins = np.minimum(bins, num_bins - 1)  # only reached off the ends, where sizes are 0
    bins += num_bins * np.arange(num_runs)[:, None]

    def per_bin(values: NDArray) -> Array:
        size = num_runs * num_bins
        sums = np.bincount(bins.ravel(), weights=values.ravel(), minlength=size)
        return sums.reshape(num_runs, num_bins).astype(np.float64)

    gaps = np.abs(per_bin(sizes * probs) - per_bin(ranking.group_positives))
    return _total(gaps) / num_rows


def _checked(
    logits: ArrayLike, labels: ArrayLike, valid: ArrayLike
) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Logits in float64, positives (False on padding) and the mask, at least one column wide."""
    scores, is_valid = np.asarray(logits, dtype=np.float64), np.asarray(valid, dtype=np.bool_)
    targets = np.asarray(labels)
    if scores.ndim != 2 or not scores.shape == targets.shape == is_valid.shape:
        shapes = f"{scores.shape}, {targets.shape} and {is_valid.shape}"
        raise ValueError(f"logits, labels and valid must all be (runs, n), got {shapes}")
    positive = (targets == 1) & is_valid
    if not (positive | (targets == 0) | ~is_valid).all():
        raise ValueError("labels must be 0 or 1 on valid rows")
    if scores.shape[1] == 0:  # the last column of a running sum must exist
        empty = np.zeros((len(scores), 1), dtype=np.bool_)
        return np.zeros(empty.shape), empty, empty
    return scores, positive, is_valid


def _usable(scores: Array, is_valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.any(is_valid, axis=1) & np.all(np.isfinite(scores) | ~is_valid, axis=1)


def _increments(cumulative: Counts, is_end: NDArray[np.bool_]) -> Counts:
    """What each group adds to a running count, at the group's end; 0 elsewhere."""
    at_ends = np.where(is_end, cumulative, 0)
    reached = np.maximum.accumulate(at_ends, axis=1)
    at_ends[:, 1:] -= np.where(is_end[:, 1:], reached[:, :-1], 0)
    return at_ends


def _total(terms: Array) -> Array:
    """Sum of each run, left to right: zeros at any place, such as padding, change no bit."""
    return np.cumsum(terms, axis=1)[:, -1]


def _ratio(numerator: NDArray, denominator: NDArray) -> Array:
    """0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator != 0)
