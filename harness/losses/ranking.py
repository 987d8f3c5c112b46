"""Losses of how a batch is ordered: surrogates of AUROC, partial AUROC and average precision.

They say nothing of probabilities: calibrate after. But for the AUC margin loss, which is of
probabilities, they see differences of logits alone (`BatchLoss.is_shift_invariant`). Pairs are
those of a positive and a negative of one batch, so a step costs the square of the batch size.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt, Le
from jax import Array
from jax.nn import sigmoid, softplus

from harness.losses.base import BatchLoss, Positive, Rows, Scalar, check_shapes, static_name

_EPS = float(np.finfo(np.float32).eps)


def _pair_mean(pairs: Array, of_rows: Array, of_columns: Array) -> Array:
    """The weighted mean of ``pairs`` (n, n); 0 where there is none."""
    total = jnp.sum(of_rows) * jnp.sum(of_columns)
    weighted = of_rows @ pairs @ of_columns
    return weighted / jnp.where(total > 0, total, 1.0)


def _gaps(logits: Array) -> Array:
    """z_i - z_j, (n, n)."""
    return logits[:, None] - logits[None, :]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PairwiseLogistic(BatchLoss):
    """Mean over pairs of softplus(-(z+ - z-)), RankNet's loss (Burges et al. 2005, section 3)."""

    name: Literal["pairwise_logistic"] = static_name("pairwise_logistic")
    is_shift_invariant = True

    def mean(self, *, logits: Rows, labels: Rows, weights: Rows) -> Scalar:
        check_shapes(logits, labels)
        positives, negatives = weights * labels, weights * (1.0 - labels)
        return _pair_mean(softplus(-_gaps(logits)), positives, negatives)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PairwiseHinge(BatchLoss):
    """Mean over pairs of max(0, margin - (z+ - z-))^2 (Gao and Zhou 2015: AUROC-consistent)."""

    name: Literal["pairwise_hinge"] = static_name("pairwise_hinge")
    is_shift_invariant = True
    margin: Positive = 1.0

    def mean(self, *, logits: Rows, labels: Rows, weights: Rows) -> Scalar:
        check_shapes(logits, labels)
        positives, negatives = weights * labels, weights * (1.0 - labels)
        pairs = jnp.square(jnp.maximum(0.0, self.margin - _gaps(logits)))
        return _pair_mean(pairs, positives, negatives)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PartialAUC(BatchLoss):
    """`PairwiseHinge` against the highest negatives alone: a share ``max_fpr`` of the batch's.

    The surrogate of the one-way partial AUROC up to that false positive rate (Narasimhan and
    Agarwal 2013, section 3): with ``max_fpr=1`` it is `PairwiseHinge`. At least one negative
    counts; of equal ones at the edge, all do.
    """

    name: Literal["partial_auc"] = static_name("partial_auc")
    is_shift_invariant = True
    margin: Positive = 1.0
    max_fpr: Annotated[float, Gt(0), Le(1)] = 0.1

    def mean(self, *, logits: Rows, labels: Rows, weights: Rows) -> Scalar:
        check_shapes(logits, labels)
        positives, negatives = weights * labels, weights * (1.0 - labels)
        # Weight of the negatives above each row: cheaper than a sort, which XLA does slowly.
        above = (logits[None, :] > logits[:, None]) @ negatives
        limit = self.max_fpr * jnp.sum(negatives)
        # A decimal share is no float32: .3 of 50 must be 15 rows, not one more for rounding up.
        hardest = negatives * (above < limit * (1.0 - 2.0 * _EPS))
        pairs = jnp.square(jnp.maximum(0.0, self.margin - _gaps(logits)))
        return _pair_mean(pairs, positives, jax.lax.stop_gradient(hardest))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AUCMargin(BatchLoss):
    """AUC margin loss (Yuan et al. 2021, equation 3), its auxiliary variables solved for.

    The paper's min over a, b and max over alpha >= 0 has a closed form on a batch, with h = p:
    var(h+) + var(h-) + max(0, margin - mean(h+) + mean(h-))^2, up to the factor pi (1 - pi).
    """

    name: Literal["auc_margin"] = static_name("auc_margin")
    margin: Positive = 1.0

    def mean(self, *, logits: Rows, labels: Rows, weights: Rows) -> Scalar:
        check_shapes(logits, labels)
        probs = sigmoid(logits)
        of_positive, positive_spread, num_positives = _moments(probs, weights * labels)
        of_negative, negative_spread, num_negatives = _moments(probs, weights * (1.0 - labels))
        short = jnp.maximum(0.0, self.margin - of_positive + of_negative)
        both = (num_positives > 0) & (num_negatives > 0)
        return jnp.where(both, positive_spread + negative_spread + jnp.square(short), 0.0)


def _moments(values: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Weighted mean, variance and total weight; 0 where the weight is."""
    total = jnp.sum(weights)
    safe = jnp.where(total > 0, total, 1.0)
    mean = jnp.sum(weights * values) / safe
    return mean, jnp.sum(weights * jnp.square(values - mean)) / safe, total


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SmoothAP(BatchLoss):
    """1 - smoothed average precision (Brown et al. 2020, equations 5 to 7).

    Ranks are sums of sigmoid((z_j - z_i) / temperature). The paper's temperature of .01 is for
    cosines in [-1, 1]; logits spread ten times as far, hence .1.
    """

    name: Literal["smooth_ap"] = static_name("smooth_ap")
    is_shift_invariant = True
    temperature: Positive = 0.1

    def mean(self, *, logits: Rows, labels: Rows, weights: Rows) -> Scalar:
        check_shapes(logits, labels)
        positives = weights * labels
        above = sigmoid(-_gaps(logits) / self.temperature)  # of row i: how much j is above i
        itself = 0.5 * weights  # sigmoid(0), which is no rank of its own
        among_positives = above @ positives - itself * labels
        among_all = above @ weights - itself
        precision = (1.0 + among_positives) / (1.0 + among_all)
        total = jnp.sum(positives)
        missed = jnp.sum(positives * (1.0 - precision)) / jnp.where(total > 0, total, 1.0)
        both = (total > 0) & (jnp.sum(weights) > total)
        return jnp.where(both, missed, 0.0)
