"""The networks (Flax NNX): features (batch, num_features) to logits (batch,).

The head starts at zero, so that the first prediction is the prior, exactly: probability one half
(loss ln 2), or the training positive rate where ``prior_bias`` is set (loss H(pi); the option is
from Lin et al. 2017, section 3.3).
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import jax
from annotated_types import Ge, Le, Lt
from flax import nnx
from jax import Array


@dataclass(frozen=True)
class LogisticRegression:
    """One linear layer."""

    name: Literal["logistic"] = "logistic"
    prior_bias: bool = False

    @property
    def hidden(self) -> tuple[int, ...]:
        return ()

    @property
    def dropout(self) -> float:
        return 0.0


@dataclass(frozen=True)
class MLP:
    """``depth`` hidden layers of ``width`` ReLU units, dropout after each."""

    name: Literal["mlp"] = "mlp"
    width: Annotated[int, Ge(1), Le(65536)] = 64
    depth: Annotated[int, Ge(1), Le(64)] = 2
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    prior_bias: bool = False

    @property
    def hidden(self) -> tuple[int, ...]:
        return (self.width,) * self.depth


Model = LogisticRegression | MLP


class Network(nnx.Module):
    """Dense layers with ReLU and dropout, and a linear head to one logit."""

    def __init__(
        self, num_features: int, *, hidden: tuple[int, ...], dropout: float, rngs: nnx.Rngs
    ):
        sizes = (num_features, *hidden)
        self.layers = nnx.List(
            nnx.Linear(i, o, kernel_init=nnx.initializers.he_normal(), rngs=rngs)
            for i, o in zip(sizes, hidden, strict=False)
        )
        self.head = nnx.Linear(sizes[-1], 1, kernel_init=nnx.initializers.zeros, rngs=rngs)
        self.dropout = dropout

    def __call__(self, features: Array, *, dropout_key: Array | None = None) -> Array:
        """Logits (batch,) of features (batch, num_features); dropout only where a key is given."""
        hidden = features
        for depth, layer in enumerate(self.layers):
            hidden = nnx.relu(layer(hidden))
            if self.dropout and dropout_key is not None:
                keep = jax.random.bernoulli(
                    jax.random.fold_in(dropout_key, depth), 1.0 - self.dropout, hidden.shape
                )
                hidden = keep * hidden / (1.0 - self.dropout)
        return self.head(hidden)[:, 0]


def network(model: Model, num_features: int, key: Array, *, head_bias: Array) -> Network:
    """A freshly initialised network; pure in ``key`` and ``head_bias`` (a logit)."""
    net = Network(num_features, hidden=model.hidden, dropout=model.dropout, rngs=nnx.Rngs(key))
    assert net.head.bias is not None  # use_bias is on
    net.head.bias[...] = net.head.bias[...] + head_bias
    return net


def scale_inputs(net: Network, scale: Array) -> None:
    """Multiplies the weights that a fresh ``net`` gives its inputs by ``scale`` (num_features,).

    A draw does not depend on how many are drawn after it: rounding aside, a network with room for
    more features, whose scale is 0, starts where one without does. The head starts at zero anyway.
    """
    if net.layers:
        kernel = net.layers[0].kernel
        kernel[...] = kernel[...] * scale[:, None]
