"""Losses of the overlap between the positives and those predicted, over a batch."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from harness.losses.base import BatchLoss, NonNegative, Rows, Scalar, check_shapes, static_name

# Keeps a batch without a positive finite, and its loss at 1 - 1e-5 / (1e-5 + false positives).
SMOOTH = 1e-5


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Tversky(BatchLoss):
    """1 - TP / (TP + a FP + b FN) of soft counts (Salehi et al. 2017, equation 2).

    TP = sum of p y, FP = sum of p (1-y), FN = sum of (1-p) y over the batch. Here a weighs false
    positives and b false negatives; some codes have it the other way round. Its minimiser is hard,
    0 or 1: not calibrated.
    """

    name: Literal["tversky"] = static_name("tversky")
    false_positive_weight: NonNegative = 0.3
    false_negative_weight: NonNegative = 0.7

    def mean(self, *, logits: Rows, labels: Rows, weights: Rows) -> Scalar:
        check_shapes(logits, labels)
        true_positives = jnp.sum(weights * labels * sigmoid(logits))
        false_positives = jnp.sum(weights * (1.0 - labels) * sigmoid(logits))
        false_negatives = jnp.sum(weights * labels * sigmoid(-logits))
        wrong = (
            self.false_positive_weight * false_positives
            + self.false_negative_weight * false_negatives
        )
        # The complement of the share: exact where the overlap is almost whole.
        return wrong / (true_positives + wrong + SMOOTH)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Dice(Tversky):
    """Soft Dice, which is 1 - soft F1: `Tversky` with both weights one half.

    Below the line stand sums of p and of y, as in Drozdzal et al. 2016 (arXiv:1608.04117). The Dice
    loss of Milletari et al. 2016 sums their squares there, and is another.
    """

    name: Literal["dice"] = static_name("dice")  # type: ignore[assignment]
    false_positive_weight: NonNegative = 0.5
    false_negative_weight: NonNegative = 0.5
