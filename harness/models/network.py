"""A network: a model's body and its head, and its parameters by name."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import Array

from harness.models.base import Inputs, Model
from harness.models.dense import MLP, Dense, LogisticRegression
from harness.models.heads import LinearHead, NormalizedHead


class Network(nnx.Module):
    """Features (batch, d) to logits (batch,)."""

    def __init__(self, model: Model, inputs: Inputs, *, bias: Array, scale: Array, rngs: nnx.Rngs):
        self.body = model.body(inputs, rngs)
        width = self.body.width
        self.head: LinearHead | NormalizedHead
        if model.head == "linear":
            self.head = LinearHead(width, bias=bias, rngs=rngs)
        else:
            self.head = NormalizedHead(
                width, bias=bias, scale=scale, learn_scale=model.learn_scale, rngs=rngs
            )

    def __call__(self, features: Array, *, dropout_key: Array | None = None) -> Array:
        """Logits (batch,); dropout only where a key is given."""
        return self.head(self.body(features, dropout_key=dropout_key))


def network(
    model: Model, inputs: Inputs, key: Array, *, head_bias: Any = 0.0, head_scale: Any = 1.0
) -> Network:
    """A freshly initialised network; pure in ``key``, ``head_bias`` (a logit) and ``head_scale``.

    Raises:
      UserError: ``inputs`` do not fit ``model``.
    """
    return Network(model, inputs, bias=head_bias, scale=head_scale, rngs=nnx.Rngs(key))


def scale_inputs(net: Network, scale: Array) -> None:
    """Multiplies the weights that a fresh ``net`` gives its inputs by ``scale`` (num_features,).

    A draw does not depend on how many are drawn after it: rounding aside, a network with room for
    more features, whose scale is 0, starts where one without does. A linear head starts at zero.
    """
    if isinstance(net.body, Dense) and net.body.layers:
        kernel = net.body.layers[0].kernel
        kernel[...] = kernel[...] * scale[:, None]


def takes_padding(model: Model) -> bool:
    """Whether features that are always zero change nothing but the rows of one matrix."""
    return isinstance(model, LogisticRegression | MLP) and model.head == "linear"


def without_padding(params: Mapping[str, Any], *, num_features: int) -> dict[str, Any]:
    """Named parameters, behind a leading axis, of lanes of a model that takes padding, without it.

    The kernel that meets the features has a row for each.
    """
    first = _kernel_of_features(params)
    return {**params, first: params[first][:, :num_features]}


def with_padding(params: Mapping[str, Any], *, num_features: int) -> dict[str, Any]:
    """Named parameters of a model that takes padding, with room for ``num_features``."""
    first = _kernel_of_features(params)
    room = num_features - len(params[first])
    return {**params, first: np.pad(params[first], ((0, room), (0, 0)))}


def _kernel_of_features(params: Mapping[str, Any]) -> str:
    return "body.layers.0.kernel" if "body.layers.0.kernel" in params else "head.kernel"


def trained(*, head_only: bool) -> Any:
    """The filter of the variables that training moves, for `nnx.split`."""
    return nnx.All(nnx.Param, nnx.PathContains("head")) if head_only else nnx.Param


def named_params(net: Network) -> dict[str, Array]:
    """The learned arrays by dotted name, such as ``body.layers.0.kernel``."""
    flat = nnx.to_flat_state(nnx.state(net, nnx.Param))
    return {".".join(map(str, path)): variable[...] for path, variable in flat}


def set_params(net: Network, named: Mapping[str, Array]) -> None:
    """Sets those learned arrays of ``net`` that ``named`` names."""
    for path, variable in nnx.to_flat_state(nnx.state(net, nnx.Param)):
        name = ".".join(map(str, path))
        if name in named:
            variable[...] = named[name]


@lru_cache(maxsize=256)
def param_shapes(model: Model, inputs: Inputs) -> dict[str, tuple[int, ...]]:
    """The shape of every learned array, by name; computes none."""
    shapes = jax.eval_shape(lambda: named_params(network(model, inputs, jax.random.key(0))))
    return {name: leaf.shape for name, leaf in shapes.items()}
