"""The columns of a table as a network's first values: numbers, then embedded or one-hot codes."""

from itertools import accumulate

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from harness.models.base import Inputs


class Columns(nnx.Module):
    """Features (batch, d) to (batch, ``width``): numeric columns as they are, codes looked up.

    ``embedding`` values stand for a code, learned; 0 of them is one-hot. A column's code 0 means
    unknown: its embedding starts at zero, so that a category never trained on says nothing.
    """

    def __init__(self, inputs: Inputs, *, embedding: int, rngs: nnx.Rngs):
        columns = len(inputs.cardinalities)
        total = sum(inputs.cardinalities)
        self.inputs = inputs
        self.width = inputs.num_numeric + (embedding * columns if embedding else total)
        # The codes of all columns follow each other in one table.
        self.offsets = tuple(accumulate(inputs.cardinalities[:-1], initial=0))
        self.table = self._table(total, embedding, rngs) if columns and embedding else None

    def _table(self, total: int, embedding: int, rngs: nnx.Rngs) -> nnx.Embed:
        normal = nnx.initializers.normal(stddev=1.0)  # as standardised numbers
        table = nnx.Embed(total, embedding, embedding_init=normal, rngs=rngs)
        table.embedding[...] = table.embedding[...].at[jnp.array(self.offsets)].set(0.0)
        return table

    def __call__(self, features: Array) -> Array:
        cardinalities, numeric = self.inputs.cardinalities, self.inputs.num_numeric
        if not cardinalities:
            return features
        codes = features[:, numeric:].astype(jnp.int32)
        if self.table is None:
            looked_up = [jax.nn.one_hot(codes[:, i], k) for i, k in enumerate(cardinalities)]
        else:
            rows = self.table(codes + jnp.array(self.offsets, dtype=jnp.int32))
            looked_up = [rows.reshape(len(features), -1)]
        return jnp.concatenate([features[:, :numeric], *looked_up], axis=1)
