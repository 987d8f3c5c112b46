"""What every model shares: what it sees, the options of its head, dropout and activations."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import jax
from annotated_types import Ge, Gt, Le, Lt
from flax import nnx
from jax import Array

Activation = Literal["relu", "gelu", "silu", "tanh"]
Rate = Annotated[float, Ge(0), Lt(1)]
Units = Annotated[int, Ge(1), Le(65536)]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nnx.relu,
    "gelu": nnx.gelu,
    "silu": nnx.silu,
    "tanh": nnx.tanh,
}


@dataclass(frozen=True)
class Inputs:
    """The columns of a data set: the last ``len(cardinalities)`` hold codes 0 .. k - 1."""

    num_features: int
    cardinalities: tuple[int, ...] = ()

    @property
    def num_numeric(self) -> int:
        return self.num_features - len(self.cardinalities)


class Body(nnx.Module):
    """All of a network but its head: features (batch, d) to hidden values (batch, ``width``)."""

    width: int

    def __call__(self, features: Array, *, dropout_key: Array | None = None) -> Array:
        raise NotImplementedError


@dataclass(frozen=True)
class Model:
    """What all models may be asked for; `harness.models.heads` says what the heads compute.

    ``scale`` (and whether it is learned) is the normalised head's alone: 1 under a loss that
    scales its logits itself, as LDAM does. The first prediction is ``initial_logit`` on every
    row, plus the loss's own best constant where ``prior_bias`` is set (`LossFn.constant_logit`).
    """

    head: Literal["linear", "normalized"] = "linear"
    scale: Annotated[float, Gt(0)] = 10.0
    learn_scale: bool = False
    prior_bias: bool = True
    initial_logit: Annotated[float, Ge(-1e4), Le(1e4)] = 0.0

    def body(self, inputs: Inputs, rngs: nnx.Rngs) -> Body:
        """Freshly initialised layers.

        Raises:
          UserError: ``inputs`` do not fit this model.
        """
        raise NotImplementedError

    @property
    def is_random(self) -> bool:
        """Whether training draws random numbers, as dropout does."""
        return False

    @property
    def shape(self) -> str:
        """The layers in a few characters, for people."""
        return ""

    def static(self) -> Self:
        """What of this is fixed at compile time; the rest is in the lane."""
        return replace(self, prior_bias=False, initial_logit=0.0, scale=1.0)


def kernel_init(activation: Activation) -> nnx.Initializer:
    """Keeps the variance of what passes through: He for rectifiers, LeCun for tanh."""
    if activation == "tanh":
        return nnx.initializers.lecun_normal()
    return nnx.initializers.he_normal()


def dropped(hidden: Array, *, rate: float, key: Array | None, depth: int) -> Array:
    """``hidden`` with a share ``rate`` of it set to 0 and the rest scaled up, if a key is given."""
    if not rate or key is None:
        return hidden
    keep = jax.random.bernoulli(jax.random.fold_in(key, depth), 1.0 - rate, hidden.shape)
    return keep * hidden / (1.0 - rate)
