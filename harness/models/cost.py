"""What a model costs, read off its own trace: no formula to keep in step with the layers."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from harness.models.base import Inputs, Model
from harness.models.network import network, param_shapes, trained


@dataclass(frozen=True)
class Cost:
    """Of one row, but for ``num_params``. FLOPs are those of matrix products."""

    num_params: int
    activations: int  # values that are written to memory on the way to a logit
    forward_flops: int
    training_flops: int  # forward, and the gradients of what is trained


@lru_cache(maxsize=256)
def cost(model: Model, inputs: Inputs, *, head_only: bool = False) -> Cost:
    """The cost of ``model`` on rows of ``inputs``, with the head or everything trained."""
    graph, params, fixed = jax.eval_shape(
        lambda: nnx.split(
            network(model, inputs, jax.random.key(0)), trained(head_only=head_only), ...
        )
    )

    def logit(params: Any, fixed: Any, row: jax.Array) -> jax.Array:
        return jnp.sum(nnx.merge(graph, params, fixed)(row))

    row = jax.eval_shape(lambda: jnp.zeros((1, inputs.num_features), jnp.float32))
    forward = list(_equations(jax.make_jaxpr(logit)(params, fixed, row).jaxpr))
    training = _equations(jax.make_jaxpr(jax.value_and_grad(logit))(params, fixed, row).jaxpr)
    # Products and what is put together for them are written out; the rest is fused into them.
    written = {"dot_general", "concatenate"}
    return Cost(
        num_params=sum(map(prod, param_shapes(model, inputs).values())),
        activations=inputs.num_features
        + sum(prod(e.outvars[0].aval.shape) for e in forward if e.primitive.name in written),
        forward_flops=sum(map(_flops, forward)),
        training_flops=sum(map(_flops, training)),
    )


def _flops(equation: Any) -> int:
    if equation.primitive.name != "dot_general":
        return 0
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    return 2 * prod(equation.outvars[0].aval.shape) * prod(shape[axis] for axis in contracted)


def _equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of ``jaxpr``, those of the functions it calls included."""
    for equation in jaxpr.eqns:
        inner = [getattr(value, "jaxpr", value) for value in equation.params.values()]
        inner = [value for value in inner if hasattr(value, "eqns")]
        if not inner:
            yield equation
        for called in inner:
            yield from _equations(called)
