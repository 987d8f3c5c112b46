"""Heads: hidden values (batch, width) to logits (batch,), and how they start.

Both start at their bias exactly, whatever the features, so that the first prediction is one number:
the loss's best constant, for BCE the training positive rate (loss H(pi); after Lin et al. 2017,
section 4.1), probability one half where that is not wanted (loss ln 2), or any given logit.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

# Below this squared norm a vector counts as zero: dead units must not divide by zero.
_TINY = 1e-12


class Fixed(nnx.Variable[Array]):
    """An array of a network that training leaves alone."""


class LinearHead(nnx.Linear):
    """A weight a hidden unit, and a bias. The weights start at zero."""

    def __init__(self, width: int, *, bias: Array, rngs: nnx.Rngs):
        super().__init__(width, 1, kernel_init=nnx.initializers.zeros, rngs=rngs)
        assert self.bias is not None  # use_bias is on
        self.bias[...] = self.bias[...] + bias

    def __call__(self, inputs: Array, out_sharding: None = None) -> Array:
        return super().__call__(inputs)[:, 0]


class NormalizedHead(nnx.Module):
    """scale (cos(h, w1) - cos(h, w0)) + bias: a prototype a class, as in LDAM (Cao et al. 2019).

    This is the logit of a softmax over the two cosines. A single zero vector has no direction to
    start from, so both prototypes start at one random vector: the logit is the bias to the bit,
    and the first step already tells them apart.
    """

    def __init__(self, width: int, *, bias: Array, scale: Array, learn_scale: bool, rngs: nnx.Rngs):
        prototype = jax.random.normal(rngs.params(), (width, 1)) / jnp.sqrt(width)
        self.prototypes = nnx.Param(jnp.concatenate([prototype, prototype], axis=1))
        self.bias = nnx.Param(jnp.zeros(1) + bias)
        self.scale = (nnx.Param if learn_scale else Fixed)(jnp.zeros(1) + scale)

    def __call__(self, hidden: Array) -> Array:
        unit = _normalised(self.prototypes[...], axis=0)
        # Prototypes before the product: where they are equal, the difference is exactly zero.
        difference = unit[:, 1:] - unit[:, :1]
        cosines = (_normalised(hidden, axis=1) @ difference)[:, 0]
        return self.scale[...] * cosines + self.bias[...]


def _normalised(vectors: Array, *, axis: int) -> Array:
    squares = jnp.sum(jnp.square(vectors), axis=axis, keepdims=True)
    return vectors * jax.lax.rsqrt(squares + _TINY)
