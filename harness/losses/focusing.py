"""Cross-entropies that look away: from easy examples (focal) or from hard, perhaps wrong ones."""

from dataclasses import dataclass
from math import log
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from jax import Array
from jax.nn import sigmoid, softplus

from harness.losses.base import (
    LARGEST,
    NonNegative,
    PointwiseLoss,
    Positive,
    Rows,
    Share,
    bounded,
    check_shapes,
    float64,
    log_sigmoid,
    signed,
    static_name,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Focal(PointwiseLoss):
    """-alpha_t (1 - p_t)^gamma ln p_t (Lin et al. 2017, equation 5).

    alpha weighs the positives, 1 - alpha the negatives: the paper's .25 weighs positives *down*.
    ``alpha=.5`` is half the loss without alpha. Computed in log space: Optax's power of a
    probability loses its gradient to NaN on saturated logits.
    """

    name: Literal["focal"] = static_name("focal")
    gamma: NonNegative = 2.0
    alpha: Annotated[float, Gt(0), Lt(1)] = 0.25

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        towards = signed(logits, labels)
        alpha_t = labels * self.alpha + (1.0 - labels) * (1.0 - self.alpha)
        return alpha_t * jnp.exp(-self.gamma * softplus(towards)) * softplus(-towards)

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        z = float64(logits)
        odds = _focal_pull(-z, self.gamma) - _focal_pull(z, self.gamma)
        return odds + log((1.0 - self.alpha) / self.alpha)


def _focal_pull(z: np.ndarray, gamma: float) -> np.ndarray:
    """ln of the slope of -(1 - p)^gamma ln p, downhill in z: gamma -> phi_gamma of the catalogue.

    The slope is (1 - p)^gamma [(1 - p) - gamma p ln p].
    """
    log_p, log_q = log_sigmoid(z), log_sigmoid(-z)
    return gamma * log_q + np.log(np.exp(log_q) - gamma * np.exp(log_p) * log_p)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Asymmetric(PointwiseLoss):
    """Asymmetric loss (Ridnik et al. 2021, equations 4 to 7).

    Positives -(1-p)^gamma_positive ln p; negatives -p_m^gamma_negative ln(1 - p_m) with
    p_m = max(p - margin, 0): negatives below the margin have no gradient, so p never falls below
    it. ``detach`` holds the focusing weights out of the gradient, as a switch of the authors' code
    does; the fixed points differ. Averaged over examples here, summed there.
    """

    name: Literal["asymmetric"] = static_name("asymmetric")
    gamma_positive: NonNegative = 1.0
    gamma_negative: NonNegative = 4.0
    margin: Share = 0.05
    detach: bool = False

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        probs = sigmoid(logits)
        shifted = jnp.maximum(probs - self.margin, 0.0)
        # Where shifted is 0 the power's gradient may be infinite: look away before, not after.
        inside = shifted > 0.0
        safe = jnp.where(inside, shifted, 0.5)
        # 1 - p_m = (1 - p) + margin keeps its digits where p rounds to 1.
        rest = jnp.where(inside, jnp.minimum(sigmoid(-logits) + self.margin, 1.0), 1.0)
        # At margin 0 and p near 1, ln(1 - p) itself must not underflow.
        log_rest = jnp.where(
            self.margin > 0.0, jnp.log(jnp.maximum(rest, 1e-30)), -softplus(logits)
        )
        of_positive = self._held(jnp.exp(-self.gamma_positive * softplus(logits)))
        of_negative = self._held(jnp.where(inside, safe**self.gamma_negative, 0.0))
        negative = jnp.where(inside, -of_negative * log_rest, 0.0)
        return labels * of_positive * softplus(-logits) + (1.0 - labels) * negative

    def _held(self, weight: Array) -> Array:
        return jnp.where(self.detach, jax.lax.stop_gradient(weight), weight)

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        z = float64(logits)
        moving = 0.0 if self.detach else 1.0
        log_p, log_q = log_sigmoid(z), log_sigmoid(-z)
        probs = np.exp(log_p)
        shifted = np.maximum(probs - self.margin, 0.0)
        rest = np.exp(log_q) + self.margin
        safe = np.where(shifted > 0, shifted, 0.5)
        held = self.gamma_negative * np.log(safe)
        slope = 1.0 / rest - moving * self.gamma_negative / safe * np.log(rest)
        up = log_p + log_q + held + np.log(slope)
        pull = np.exp(log_q) - moving * self.gamma_positive * probs * log_p
        down = self.gamma_positive * log_q + np.log(pull)
        return bounded(np.where(shifted > 0, up - down, -np.inf))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Poly1(PointwiseLoss):
    """BCE + epsilon (1 - p_t) (Leng et al. 2022, equation 4)."""

    name: Literal["poly1"] = static_name("poly1")
    epsilon: Annotated[float, Ge(-1), Le(LARGEST)] = 1.0

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        towards = signed(logits, labels)
        return softplus(-towards) + self.epsilon * sigmoid(-towards)

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        return _poly_posterior(float64(logits), self.epsilon)


def _poly_posterior(z: np.ndarray, epsilon: float) -> np.ndarray:
    p, q = np.exp(log_sigmoid(z)), np.exp(log_sigmoid(-z))
    with np.errstate(divide="ignore"):  # epsilon -1: flat where the example is lost
        return bounded(z + np.log1p(epsilon * q) - np.log1p(epsilon * p))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GeneralizedCE(PointwiseLoss):
    """(1 - p_t^q) / q (Zhang and Sabuncu 2018, equation 6): BCE as q -> 0, absolute error at 1.

    The minimiser is logit(eta) / (1 - q): it forgets the minority.
    """

    name: Literal["generalized_ce"] = static_name("generalized_ce")
    q: Annotated[float, Gt(0), Le(1)] = 0.7

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        return -jnp.expm1(-self.q * softplus(-signed(logits, labels))) / self.q

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray | None:
        return None if self.q == 1.0 else (1.0 - self.q) * float64(logits)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SymmetricCE(PointwiseLoss):
    """a BCE + b RCE (Wang et al. 2019, equation 7): the reverse RCE is -A (1 - p_t), A = ln 1e-4.

    `Poly1` with epsilon -A b / a, times a: at the defaults almost absolute error.
    """

    name: Literal["symmetric_ce"] = static_name("symmetric_ce")
    alpha: Positive = 0.1
    beta: NonNegative = 1.0

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        check_shapes(logits, labels)
        towards = signed(logits, labels)
        return self.alpha * softplus(-towards) - LOG_OF_ZERO * self.beta * sigmoid(-towards)

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray:
        return _poly_posterior(float64(logits), -LOG_OF_ZERO * self.beta / self.alpha)


LOG_OF_ZERO = log(1e-4)
