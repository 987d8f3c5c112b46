"""JAX's random bits from a loop that compiles in a third of the time, for drawing parameters.

JAX writes Threefry as a loop of five times four rounds. XLA puts the four into one kernel in which
each uses both results of the one before: the four kernels that draw an MLP's first weights took a
quarter of what LLVM took for all 218. Here a round is a turn of the loop. Integers do not round:
the bits are JAX's own (`tests/test_same_bits.py`).

References:
    Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (2011).
"""

from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.random import define_prng_impl, threefry_prng_impl

_ROTATIONS = np.array([13, 15, 26, 6, 17, 29, 16, 24], np.uint32)
_PARITY = np.uint32(0x1BD11BDA)

_jax: Any = threefry_prng_impl


def _random_bits(key: Array, bit_width: int, shape: tuple[int, ...]) -> Array:
    """Uniform bits of ``shape`` from ``key`` (2,) uint32, as JAX's implementation gives them."""
    settings: Any = jax.config
    if bit_width != 32 or prod(shape) >= 2**32 or not settings.jax_threefry_partitionable:
        bits: Array = _jax.random_bits(key, bit_width, shape)
        return bits
    keys = jnp.stack([key[0], key[1], key[0] ^ key[1] ^ _PARITY])
    rotations = jnp.asarray(_ROTATIONS)

    def one_round(number: Array, words: tuple[Array, Array]) -> tuple[Array, Array]:
        first, second = words
        number = jnp.uint32(number)  # a number of Python's where nothing is compiled
        left = rotations[number % 8]
        first = first + second
        second = first ^ ((second << left) | (second >> (32 - left)))
        # A key is added after every fourth round.
        group = number // 4 + 1
        adds = jnp.uint32(number % 4 == 3)
        more = keys[(group + 1) % 3] + group
        return first + adds * keys[group % 3], second + adds * more

    counts = jax.lax.iota(jnp.uint32, prod(shape)).reshape(shape)
    words = (jnp.full(shape, keys[0]), counts + keys[1])
    first, second = jax.lax.fori_loop(0, 20, one_round, words)
    return first ^ second


THREEFRY = define_prng_impl(
    key_shape=(2,),
    seed=_jax.seed,
    split=_jax.split,
    random_bits=_random_bits,
    fold_in=_jax.fold_in,
    name="rolled_threefry2x32",
    tag="rfry",
)
"""For `jax.random.wrap_key_data(key, impl=THREEFRY)`."""
