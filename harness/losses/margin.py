"""Squared errors and hinges."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn import sigmoid

from harness.losses.base import (
    PointwiseLoss,
    Positive,
    Rows,
    check_shapes,
    float64,
    logit_of,
    signed,
    static_name,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Brier(PointwiseLoss):
    """Squared error through the sigmoid: (p - y)^2. Proper, but not convex in z.

    Its gradient 2 (p-y) p (1-p) vanishes where the model is confidently wrong.
    """

    name: Literal["brier"] = static_name("brier")

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        # 1 - p_t from the other side: exact where p_t rounds to 1.
        return jnp.square(sigmoid(-signed(logits, labels)))

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        return float64(logits)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SquaredError(PointwiseLoss):
    """Squared error on the raw output against targets -1 and +1 (Hui and Belkin 2021).

    The minimiser is 2 eta - 1: linear in eta, no logit.
    """

    name: Literal["squared_error"] = static_name("squared_error")

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        return optax.losses.squared_error(logits, 2.0 * labels - 1.0)

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        return logit_of((1.0 + float64(logits)) / 2.0)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hinge(PointwiseLoss):
    """max(0, margin - s z). Its minimiser is the sign of 2 eta - 1: scores, no probabilities."""

    name: Literal["hinge"] = static_name("hinge")
    margin: Positive = 1.0

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        # m * hinge(z / m) is optax's margin-1 hinge moved to margin m.
        targets = 2.0 * labels - 1.0
        return self.margin * optax.losses.hinge_loss(logits / self.margin, targets)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SquaredHinge(PointwiseLoss):
    """max(0, margin - s z)^2. Its minimiser is margin (2 eta - 1)."""

    name: Literal["squared_hinge"] = static_name("squared_hinge")
    margin: Positive = 1.0

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        return jnp.square(jnp.maximum(0.0, self.margin - signed(logits, labels)))

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        return logit_of((1.0 + float64(logits) / self.margin) / 2.0)
