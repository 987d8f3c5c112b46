"""Losses that remember from step to step: of average precision, and of AUROC as a min-max problem.

`harness.losses.ranking` has their batch forms, which look at one batch alone. A batch with few
positives says little about ranks, averages over batches more.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Gt, Le
from jax.lax import stop_gradient
from jax.nn import sigmoid

from harness.losses.base import (
    Memory,
    Positive,
    Rows,
    Scalar,
    StatefulLoss,
    check_shapes,
    static_name,
)
from harness.losses.ranking import AUCMargin


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SOAP(StatefulLoss):
    """1 - a surrogate of average precision, by moving averages (Qi et al. 2021, algorithm 1).

    A positive's precision is u+ / u, the means over positives and over all rows j of the squared
    hinge max(0, margin - (z - z_j))^2. Of one batch both are noisy and their ratio is biased, so
    each positive keeps averages of both, of which a new batch is the share ``gamma``; the gradient
    is that of the ratio at these averages, as in LibAUC's APLoss, and the value the ratio itself.
    Scores are logits, so ``margin`` is one of logits; LibAUC's trainer takes their sigmoid first.
    """

    name: Literal["soap"] = static_name("soap")
    is_shift_invariant = True
    per_row = 2  # the averages over positives and over all rows
    margin: Positive = 1.0
    gamma: Annotated[float, Gt(0), Le(1)] = 0.9

    def step(
        self, *, logits: Rows, labels: Rows, weights: Rows, memory: Memory
    ) -> tuple[Scalar, Memory]:
        check_shapes(logits, labels)
        positives = weights * labels
        above = jnp.square(jnp.maximum(0.0, self.margin - (logits[:, None] - logits[None, :])))
        over = jnp.stack([positives, weights], axis=1) / jnp.sum(weights)
        batch = above @ over  # (n, 2)
        averages = (1.0 - self.gamma) * memory.rows + self.gamma * stop_gradient(batch)
        # Rows that are no positives, or not there, keep what they have.
        counts = (positives > 0)[:, None]
        averages = jnp.where(counts, averages, memory.rows)
        among_positives, among_all = jnp.where(counts, averages, 1.0).T
        precision = among_positives / among_all
        # Of no value, but with the gradient of the ratio.
        slope = (batch[:, 0] - precision * batch[:, 1]) / among_all
        followed = precision + slope - stop_gradient(slope)
        total = jnp.sum(positives)
        missed = jnp.sum(positives * (1.0 - followed)) / jnp.where(total > 0, total, 1.0)
        both = (total > 0) & (jnp.sum(weights) > total)
        return jnp.where(both, missed, 0.0), Memory(averages, memory.run)

    def mean(self, *, logits: Rows, labels: Rows, weights: Rows) -> Scalar:
        """The same of one batch alone."""
        alone = replace(self, gamma=1.0)
        return StatefulLoss.mean(alone, logits=logits, labels=labels, weights=weights)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AUCMinMax(StatefulLoss):
    """`AUCMargin` before its auxiliary variables are solved for (Yuan et al. 2021, equation 3).

    With h = p: mean (h+ - a)^2 + mean (h- - b)^2 + 2 alpha (margin + mean h- - mean h+) - alpha^2,
    up to the factor pi (1 - pi). The run remembers a, b and alpha >= 0: after each batch a and b
    descend and alpha ascends by ``rate``, as in PESG, whose momentum, clipping and pull towards an
    earlier stage of the weights belong to an optimizer. The factor is no part of ``rate``.
    """

    name: Literal["auc_min_max"] = static_name("auc_min_max")
    per_run = 3  # a, b and alpha
    margin: Positive = 1.0
    rate: Annotated[float, Gt(0), Le(0.5)] = 0.1  # at 1/2 a batch's own means are all that counts

    def step(
        self, *, logits: Rows, labels: Rows, weights: Rows, memory: Memory
    ) -> tuple[Scalar, Memory]:
        check_shapes(logits, labels)
        probs = sigmoid(logits)
        positives, negatives = weights * labels, weights * (1.0 - labels)
        both = (jnp.sum(positives) > 0) & (jnp.sum(negatives) > 0)

        def mean(of: Rows, over: Rows) -> Scalar:
            return jnp.sum(of * over) / jnp.where(both, jnp.sum(over), 1.0)

        def value(run: jax.Array) -> Scalar:
            a, b, alpha = run
            spread = mean(jnp.square(probs - a), positives) + mean(jnp.square(probs - b), negatives)
            short = self.margin + mean(probs, negatives) - mean(probs, positives)
            return spread + 2.0 * alpha * short - jnp.square(alpha)

        loss, slopes = jax.value_and_grad(value)(memory.run)
        moved = memory.run - self.rate * slopes * jnp.array([1.0, 1.0, -1.0], slopes.dtype)
        moved = moved.at[2].set(jnp.maximum(moved[2], 0.0))
        run = stop_gradient(jnp.where(both, moved, memory.run))
        return jnp.where(both, loss, 0.0), Memory(memory.rows, run)

    def mean(self, *, logits: Rows, labels: Rows, weights: Rows) -> Scalar:
        """The same at the a, b and alpha that solve it: `AUCMargin`."""
        margin = AUCMargin(margin=self.margin)
        return margin.mean(logits=logits, labels=labels, weights=weights)
