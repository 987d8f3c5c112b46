"""Binary losses of a logit: pure, per example, unreduced.

A loss is a frozen dataclass and a JAX pytree. Its hyperparameters are leaves, so a sweep maps
over them without recompiling; its ``name`` is static and is what a config selects it by. Calling
it maps ``logits`` and ``labels`` of one shape to losses of that shape.

Notation: z logit, y label in {0, 1}, p = sigmoid(z), s = 2y - 1, p_t = sigmoid(s z) the probability
given to the true class.

>>> half_bce = Focal(gamma=0.0, alpha=0.5)(logits=jnp.array([1.0]), labels=jnp.array([1.0]))
>>> bool(jnp.allclose(2 * half_bce, BCE()(logits=jnp.array([1.0]), labels=jnp.array([1.0]))))
True
"""

from dataclasses import dataclass, field, replace
from math import log
from typing import Annotated, Any, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge, Gt, Le, Lt
from jax import Array
from jax.nn import log_sigmoid, sigmoid, softplus

__all__ = ["POINTWISE", "LossFn", "OneOf", "one_of"]


def _name(value: str) -> Any:
    return field(default=value, metadata={"static": True})


class LossFn:
    """What every loss has: a call, and a chance to see the class counts it trains on."""

    def __call__(self, *, logits: Array, labels: Array) -> Array:
        raise NotImplementedError

    def fitted(self, *, num_negatives: int, num_positives: int) -> Self:
        """This loss with everything that depends on the training class counts filled in.

        Counts are those after imbalance and resampling: what the loss really trains on.
        """
        return self

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray | None:
        """The logit of eta that the population minimiser's output hides, under the training prior.

        On the host. Of a fitted loss, from its raw output in float64; None where the loss hides no
        posterior.
        """
        return None


def _check_shapes(logits: Array, labels: Array) -> None:
    # (N, 1) against (N,) would broadcast to (N, N) without a word.
    if logits.shape != labels.shape:
        raise ValueError(f"logits have shape {logits.shape} but labels {labels.shape}")


def _known(value: float | None) -> float:
    if value is None:
        raise ValueError("this loss depends on the class counts: call fitted() first")
    return value


def _signed(logits: Array, labels: Array) -> Array:
    """s z: positive where the logit is on the label's side."""
    return (2.0 * labels - 1.0) * logits


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BCE(LossFn):
    """Binary cross-entropy: softplus(z) - y z. Proper; its minimiser is logit(eta)."""

    name: Literal["bce"] = _name("bce")

    def __call__(self, *, logits: Array, labels: Array) -> Array:
        _check_shapes(logits, labels)
        return optax.losses.sigmoid_binary_cross_entropy(logits, labels)

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        return logits


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class WeightedBCE(LossFn):
    """BCE with class weights: w1 y softplus(-z) + w0 (1-y) softplus(z).

    A weight left empty is "balanced", n / (2 n_k), as scikit-learn's ``class_weight="balanced"``:
    the mean weight is 1, so one learning rate stays comparable. ``negative_weight=1`` with a given
    ``positive_weight`` is PyTorch's ``pos_weight``. The minimiser is logit(eta) + ln(w1 / w0).
    """

    name: Literal["weighted_bce"] = _name("weighted_bce")
    positive_weight: Annotated[float, Gt(0)] | None = None
    negative_weight: Annotated[float, Gt(0)] | None = None

    def __call__(self, *, logits: Array, labels: Array) -> Array:
        _check_shapes(logits, labels)
        positive = labels * softplus(-logits) * _known(self.positive_weight)
        return positive + (1.0 - labels) * softplus(logits) * _known(self.negative_weight)

    def fitted(self, *, num_negatives: int, num_positives: int) -> Self:
        total = num_negatives + num_positives
        positive, negative = self.positive_weight, self.negative_weight
        return replace(
            self,
            positive_weight=total / (2 * num_positives) if positive is None else positive,
            negative_weight=total / (2 * num_negatives) if negative is None else negative,
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Brier(LossFn):
    """Squared error through the sigmoid: (p - y)^2. Proper, but not convex in z.

    Its gradient 2 (p-y) p (1-p) vanishes where the model is confidently wrong.
    """

    name: Literal["brier"] = _name("brier")

    def __call__(self, *, logits: Array, labels: Array) -> Array:
        _check_shapes(logits, labels)
        # 1 - p_t from the other side: exact where p_t rounds to 1.
        return jnp.square(sigmoid(-_signed(logits, labels)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SquaredError(LossFn):
    """Squared error on the raw output against targets -1 and +1 (Hui and Belkin 2021).

    The minimiser is 2 eta - 1: linear in eta, no logit.
    """

    name: Literal["squared_error"] = _name("squared_error")

    def __call__(self, *, logits: Array, labels: Array) -> Array:
        _check_shapes(logits, labels)
        return optax.losses.squared_error(logits, 2.0 * labels - 1.0)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hinge(LossFn):
    """max(0, margin - s z). Its minimiser is the sign of 2 eta - 1: scores, no probabilities."""

    name: Literal["hinge"] = _name("hinge")
    margin: Annotated[float, Gt(0)] = 1.0

    def __call__(self, *, logits: Array, labels: Array) -> Array:
        _check_shapes(logits, labels)
        # m * hinge(z / m) is optax's margin-1 hinge moved to margin m.
        targets = 2.0 * labels - 1.0
        return self.margin * optax.losses.hinge_loss(logits / self.margin, targets)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SquaredHinge(LossFn):
    """max(0, margin - s z)^2. At margin 1 its minimiser is z = 2 eta - 1."""

    name: Literal["squared_hinge"] = _name("squared_hinge")
    margin: Annotated[float, Gt(0)] = 1.0

    def __call__(self, *, logits: Array, labels: Array) -> Array:
        _check_shapes(logits, labels)
        return jnp.square(jnp.maximum(0.0, self.margin - _signed(logits, labels)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Focal(LossFn):
    """-alpha_t (1 - p_t)^gamma ln p_t (Lin et al. 2017, equation 5).

    alpha weighs the positives, 1 - alpha the negatives: the paper's .25 weighs positives *down*.
    ``alpha=.5`` is half the loss without alpha. Computed in log space: Optax's power of a
    probability loses its gradient to NaN on saturated logits.
    """

    name: Literal["focal"] = _name("focal")
    gamma: Annotated[float, Ge(0)] = 2.0
    alpha: Annotated[float, Gt(0), Lt(1)] = 0.25

    def __call__(self, *, logits: Array, labels: Array) -> Array:
        _check_shapes(logits, labels)
        signed = _signed(logits, labels)
        alpha_t = labels * self.alpha + (1.0 - labels) * (1.0 - self.alpha)
        return -alpha_t * jnp.exp(self.gamma * log_sigmoid(-signed)) * log_sigmoid(signed)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LabelSmoothing(LossFn):
    """BCE on y (1 - e) + e / 2. The minimiser is p = (1 - e) eta + e / 2."""

    name: Literal["label_smoothing"] = _name("label_smoothing")
    epsilon: Annotated[float, Ge(0), Lt(1)] = 0.1

    def __call__(self, *, logits: Array, labels: Array) -> Array:
        _check_shapes(logits, labels)
        targets = labels * (1.0 - self.epsilon) + 0.5 * self.epsilon
        return optax.losses.sigmoid_binary_cross_entropy(logits, targets)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LogitAdjustment(LossFn):
    """BCE(z + tau logit(pi)) with the training prior pi (Menon et al. 2021, equation 10).

    Predictions use the unadjusted z, whose minimiser is logit(eta) - tau logit(pi).
    """

    name: Literal["logit_adjustment"] = _name("logit_adjustment")
    tau: Annotated[float, Ge(0)] = 1.0
    prior_logit: float | None = None

    def __call__(self, *, logits: Array, labels: Array) -> Array:
        _check_shapes(logits, labels)
        adjusted = logits + self.tau * _known(self.prior_logit)
        return optax.losses.sigmoid_binary_cross_entropy(adjusted, labels)

    def fitted(self, *, num_negatives: int, num_positives: int) -> Self:
        if self.prior_logit is not None:
            return self
        return replace(self, prior_logit=log(num_positives / num_negatives))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Poly1(LossFn):
    """BCE + epsilon (1 - p_t) (Leng et al. 2022, equation 4)."""

    name: Literal["poly1"] = _name("poly1")
    epsilon: Annotated[float, Ge(-1)] = 1.0

    def __call__(self, *, logits: Array, labels: Array) -> Array:
        _check_shapes(logits, labels)
        signed = _signed(logits, labels)
        return softplus(-signed) + self.epsilon * sigmoid(-signed)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GeneralizedCE(LossFn):
    """(1 - p_t^q) / q (Zhang and Sabuncu 2018, equation 6): BCE as q -> 0, absolute error at 1."""

    name: Literal["generalized_ce"] = _name("generalized_ce")
    q: Annotated[float, Gt(0), Le(1)] = 0.7

    def __call__(self, *, logits: Array, labels: Array) -> Array:
        _check_shapes(logits, labels)
        return -jnp.expm1(self.q * log_sigmoid(_signed(logits, labels))) / self.q


# Every loss that is a function of one logit and its label. A fused program holds all of them and
# chooses per lane, so the order here is part of the compiled program: append, and raise
# `NUMERICS` in harness/identity.py when it changes.
POINTWISE: tuple[type[LossFn], ...] = (
    BCE,
    WeightedBCE,
    Brier,
    SquaredError,
    Hinge,
    SquaredHinge,
    Focal,
    LabelSmoothing,
    LogitAdjustment,
    Poly1,
    GeneralizedCE,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OneOf(LossFn):
    """The pointwise loss ``members[index]``, chosen at run time.

    All members share one tree structure whichever is chosen, so lanes with different losses run
    in one program. Under ``vmap`` every member is evaluated: elementwise work on a batch of logits,
    a few percent of a training step, against a compilation for each loss.
    """

    index: Array | int
    members: tuple[LossFn, ...]

    def __call__(self, *, logits: Array, labels: Array) -> Array:
        branches = [lambda z, y, m=m: m(logits=z, labels=y) for m in self.members]
        return jax.lax.switch(self.index, branches, logits, labels)


def one_of(loss: LossFn) -> OneOf:
    """``loss`` among the whole pointwise catalogue, as lanes of one program need it.

    Args:
      loss: a fitted pointwise loss.
    """
    index = POINTWISE.index(type(loss))
    members = [cls().fitted(num_negatives=1, num_positives=1) for cls in POINTWISE]
    members[index] = loss
    return OneOf(index=index, members=tuple(members))
