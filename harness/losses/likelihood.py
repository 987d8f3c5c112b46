"""Cross-entropy, and what moves it: clipping, class weights, smoothing, the prior, margins."""

from dataclasses import dataclass, replace
from math import log
from typing import Annotated, Any, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Gt, Lt
from jax import Array
from jax.nn import sigmoid, softplus

from harness.losses.base import (
    Derived,
    NonNegative,
    PointwiseLoss,
    Positive,
    Rows,
    Share,
    check_shapes,
    float64,
    known,
    log_sigmoid,
    logit_of,
    signed,
    static_name,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BCE(PointwiseLoss):
    """Binary cross-entropy: softplus(z) - y z. Proper; its minimiser is logit(eta)."""

    name: Literal["bce"] = static_name("bce")

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        return optax.losses.sigmoid_binary_cross_entropy(logits, labels)

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        return float64(logits)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ClippedBCE(PointwiseLoss):
    """BCE of a probability clipped to [epsilon, 1 - epsilon]: the textbook's, kept as an ablation.

    As Keras with ``from_logits=False`` (epsilon 1e-7). The gradient is exactly zero on confidently
    wrong examples; in float32 an epsilon below 2^-25 clips nothing at the top, and saturated
    examples give NaN or infinity.
    """

    name: Literal["clipped_bce"] = static_name("clipped_bce")
    epsilon: Annotated[float, Gt(0), Lt(0.5)] = 1e-7

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        probs = jnp.clip(sigmoid(logits), self.epsilon, 1.0 - self.epsilon)
        return -(labels * jnp.log(probs) + (1.0 - labels) * jnp.log(1.0 - probs))

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        return float64(logits)

    def constant_logit(self, prior_logit: float) -> float:
        # Where it clips, no row has a gradient: a prior out there would be a start for ever.
        has_gradient = abs(prior_logit) < log(1.0 / self.epsilon - 1.0)
        return prior_logit if has_gradient else 0.0


class _Weighted(PointwiseLoss):
    """w1 y softplus(-z) + w0 (1-y) softplus(z); the minimiser is logit(eta) + ln(w1 / w0)."""

    positive_weight: float | None
    negative_weight: float | None

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        positive = labels * softplus(-logits) * known(self.positive_weight)
        return positive + (1.0 - labels) * softplus(logits) * known(self.negative_weight)

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        return float64(logits) - log(known(self.positive_weight) / known(self.negative_weight))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class WeightedBCE(_Weighted):
    """BCE with class weights.

    A weight left empty is "balanced", n / (2 n_k), as scikit-learn's ``class_weight="balanced"``:
    the mean weight is 1, so one learning rate stays comparable. ``negative_weight=1`` with a given
    ``positive_weight`` is PyTorch's ``pos_weight``.
    """

    name: Literal["weighted_bce"] = static_name("weighted_bce")
    positive_weight: Positive | None = None
    negative_weight: Positive | None = None

    def fitted(self, *, num_negatives: float, num_positives: float) -> Self:
        total = num_negatives + num_positives
        positive, negative = self.positive_weight, self.negative_weight
        return replace(
            self,
            positive_weight=total / (2 * num_positives) if positive is None else positive,
            negative_weight=total / (2 * num_negatives) if negative is None else negative,
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ClassBalanced(_Weighted):
    """BCE weighted by the effective number of examples (Cui et al. 2019, equation 2 and section 4).

    w_k = (1 - beta) / (1 - beta^n_k), scaled to sum to 2. beta 0 is BCE; beta -> 1 is inverse
    frequency. The weights are filled in from the class counts.
    """

    name: Literal["class_balanced"] = static_name("class_balanced")
    beta: Share = 0.9999
    positive_weight: Derived = None
    negative_weight: Derived = None

    def fitted(self, *, num_negatives: float, num_positives: float) -> Self:
        negative, positive = effective_weights(self.beta, num_negatives, num_positives)
        return replace(self, positive_weight=positive, negative_weight=negative)


def effective_weights(
    beta: float, num_negatives: float, num_positives: float
) -> tuple[float, float]:
    """(negative, positive) weights of Cui et al. 2019, which sum to 2.

    >>> negative, positive = effective_weights(0.9999, 950, 50)
    >>> round(positive / negative, 2)
    18.17
    """
    negative, positive = 1.0 - beta**num_negatives, 1.0 - beta**num_positives
    return 2.0 * positive / (negative + positive), 2.0 * negative / (negative + positive)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LabelSmoothing(PointwiseLoss):
    """BCE on y (1 - e) + e / 2. The minimiser is p = (1 - e) eta + e / 2."""

    name: Literal["label_smoothing"] = static_name("label_smoothing")
    epsilon: Share = 0.1

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        targets = labels * (1.0 - self.epsilon) + 0.5 * self.epsilon
        return optax.losses.sigmoid_binary_cross_entropy(logits, targets)

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        probs = np.exp(log_sigmoid(float64(logits)))
        return logit_of((probs - 0.5 * self.epsilon) / (1.0 - self.epsilon))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LogitAdjustment(PointwiseLoss):
    """BCE(z + tau logit(pi)) with the training prior pi (Menon et al. 2021, equation 10).

    Predictions use the unadjusted z, whose minimiser is logit(eta) - tau logit(pi).
    """

    name: Literal["logit_adjustment"] = static_name("logit_adjustment")
    tau: NonNegative = 1.0
    prior_logit: float | None = None

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        adjusted = logits + self.tau * known(self.prior_logit)
        return optax.losses.sigmoid_binary_cross_entropy(adjusted, labels)

    def fitted(self, *, num_negatives: float, num_positives: float) -> Self:
        if self.prior_logit is not None:
            return self
        return replace(self, prior_logit=log(num_positives / num_negatives))

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        return float64(logits) + self.tau * known(self.prior_logit)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class VectorScaling(PointwiseLoss):
    """w_y softplus(-s (D_y z + tau logit(pi))), D_y = (n_y / n_max)^gamma (Kini et al. 2021).

    The rarer class's logit is scaled down (D < 1), so that its margin must be the larger: the one
    change here that outlives separation. Some code divides by (n_max / n_y)^gamma, the same thing.
    gamma 0 is `LogitAdjustment`; weights w_y are `ClassBalanced`'s of ``beta``, 1 at beta 0.
    """

    name: Literal["vector_scaling"] = static_name("vector_scaling")
    gamma: NonNegative = 0.3
    tau: NonNegative = 1.0
    beta: Share = 0.0
    prior_logit: Derived = None
    positive_scale: Derived = None
    negative_scale: Derived = None
    positive_weight: Derived = None
    negative_weight: Derived = None

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        shift = self.tau * known(self.prior_logit)
        positive = softplus(-(known(self.positive_scale) * logits + shift))
        negative = softplus(known(self.negative_scale) * logits + shift)
        return labels * positive * known(self.positive_weight) + (1.0 - labels) * negative * known(
            self.negative_weight
        )

    def fitted(self, *, num_negatives: float, num_positives: float) -> Self:
        most = max(num_negatives, num_positives)
        negative, positive = effective_weights(self.beta, num_negatives, num_positives)
        return replace(
            self,
            prior_logit=log(num_positives / num_negatives),
            positive_scale=(num_positives / most) ** self.gamma,
            negative_scale=(num_negatives / most) ** self.gamma,
            positive_weight=positive,
            negative_weight=negative,
        )

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        z, shift = float64(logits), self.tau * known(self.prior_logit)
        of_positive, of_negative = known(self.positive_scale), known(self.negative_scale)
        steepness = log(of_negative * known(self.negative_weight)) - log(
            of_positive * known(self.positive_weight)
        )
        pulled = log_sigmoid(of_negative * z + shift) - log_sigmoid(-(of_positive * z + shift))
        return steepness + pulled


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LDAM(PointwiseLoss):
    """w_y softplus(-(s z - M_y)): margins larger for rarer classes (Cao et al. 2019, equation 11).

    M_y = scale m_y with m_y proportional to n_y^(-1/4) and at most ``max_margin``. z is a logit of
    a normalised head of that ``scale`` (`model.head=normalized`), used without margin to predict.
    Deferred reweighting: from a share ``deferral`` of the training on, `ClassBalanced`'s weights of
    ``beta``; before it 1. The paper's 160 of 200 epochs are .8. The validation loss has the late
    weights throughout: epochs are compared by one measure; early stopping may end before them.
    """

    name: Literal["ldam"] = static_name("ldam")
    max_margin: NonNegative = 0.5
    scale: Positive = 30.0
    beta: Share = 0.9999
    deferral: Share = 0.8
    positive_margin: Derived = None
    negative_margin: Derived = None
    positive_weight: Derived = None
    negative_weight: Derived = None

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        positive, negative = known(self.positive_margin), known(self.negative_margin)
        margins = labels * positive + (1.0 - labels) * negative
        weights = labels * known(self.positive_weight) + (1.0 - labels) * known(
            self.negative_weight
        )
        return weights * softplus(margins - signed(logits, labels))

    def fitted(self, *, num_negatives: float, num_positives: float) -> Self:
        fewest = min(num_negatives, num_positives)
        negative, positive = effective_weights(self.beta, num_negatives, num_positives)
        largest = self.scale * self.max_margin
        return replace(
            self,
            positive_margin=largest * (fewest / num_positives) ** 0.25,
            negative_margin=largest * (fewest / num_negatives) ** 0.25,
            positive_weight=positive,
            negative_weight=negative,
        )

    def at(self, progress: Array | float) -> Self:
        def deferred(weight: float | None) -> Any:  # an array: a lane's own
            return jnp.where(progress < self.deferral, 1.0, known(weight))

        return replace(
            self,
            positive_weight=deferred(self.positive_weight),
            negative_weight=deferred(self.negative_weight),
        )

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        z = float64(logits)
        pulled = log_sigmoid(z + known(self.negative_margin)) - log_sigmoid(
            known(self.positive_margin) - z
        )
        return pulled + log(known(self.negative_weight) / known(self.positive_weight))
