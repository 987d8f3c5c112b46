"""A small convolutional network for small images, such as 8 x 8 and 28 x 28 digits."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import jax.numpy as jnp
from annotated_types import Ge, Le
from flax import nnx
from jax import Array

from harness.errors import UserError
from harness.models.base import (
    ACTIVATIONS,
    Activation,
    Body,
    Inputs,
    Model,
    Rate,
    Units,
    dropped,
    kernel_init,
)

Pixels = Annotated[int, Ge(2), Le(1024)]


@dataclass(frozen=True)
class CNN(Model):
    """``blocks`` of (3 x 3 convolution, activation, 2 x 2 maximum), then a dense layer.

    The first block has ``filters``, each next one twice as many. A row of the data set is an image
    read row by row, the channels of a pixel together: ``height`` x ``width`` x ``channels``.
    """

    name: Literal["cnn"] = "cnn"
    height: Pixels = 8
    width: Pixels = 8
    channels: Annotated[int, Ge(1), Le(64)] = 1
    filters: Annotated[int, Ge(1), Le(1024)] = 16
    blocks: Annotated[int, Ge(1), Le(6)] = 2
    units: Units = 64
    activation: Activation = "relu"
    dropout: Rate = 0.0

    def body(self, inputs: Inputs, rngs: nnx.Rngs) -> Body:
        self._check(inputs)
        return Convolutional(self, rngs)

    def _check(self, inputs: Inputs) -> None:
        image = self.height * self.width * self.channels
        if inputs.cardinalities:
            raise UserError("model=cnn: the data set has categorical columns or texts; use mlp")
        if image != inputs.num_features:
            raise UserError(
                f"model=cnn: {self.height} x {self.width} x {self.channels} is {image} values, "
                f"but a row of the data set has {inputs.num_features}: "
                "set model.height, model.width and model.channels"
            )
        if min(self.height, self.width) < 2**self.blocks:
            raise UserError(
                f"model.blocks={self.blocks} halves {self.height} x {self.width} pixels to "
                "nothing: use fewer"
            )

    @property
    def is_random(self) -> bool:
        return self.dropout > 0

    @property
    def shape(self) -> str:
        return "-".join(str(self.filters * 2**i) for i in range(self.blocks)) + f"-{self.units}"


class Convolutional(Body):
    """Convolutions as products of shifted copies: see `Convolution`."""

    def __init__(self, model: CNN, rngs: nnx.Rngs):
        init = kernel_init(model.activation)
        channels = [model.channels, *(model.filters * 2**i for i in range(model.blocks))]
        self.image = (model.height, model.width, model.channels)
        self.convolutions = nnx.List(
            Convolution(i, o, init=init, rngs=rngs) for i, o in pairwise(channels)
        )
        shrink = 2**model.blocks
        flat = (model.height // shrink) * (model.width // shrink) * channels[-1]
        self.dense = nnx.Linear(flat, model.units, kernel_init=init, rngs=rngs)
        self.activation = model.activation
        self.dropout = model.dropout
        self.width = model.units

    def __call__(self, features: Array, *, dropout_key: Array | None = None) -> Array:
        activation = ACTIVATIONS[self.activation]
        hidden = features.reshape(-1, *self.image)
        for convolution in self.convolutions:
            hidden = _pooled(activation(convolution(hidden)))
        hidden = activation(self.dense(hidden.reshape(len(features), -1)))
        return dropped(hidden, rate=self.dropout, key=dropout_key, depth=0)


class Convolution(nnx.Module):
    """3 x 3, zero padding: images (batch, h, w, in) to (batch, h, w, out).

    One product with the nine shifted copies of an image side by side. XLA turns a convolution
    whose kernel differs from lane to lane into a grouped one, 14 times slower on a CPU.
    """

    def __init__(self, i: int, o: int, *, init: nnx.Initializer, rngs: nnx.Rngs):
        self.product = nnx.Linear(9 * i, o, kernel_init=init, rngs=rngs)

    def __call__(self, images: Array) -> Array:
        _, height, width, _ = images.shape
        padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
        shifted = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
        return self.product(jnp.concatenate(shifted, axis=-1))


def _pooled(images: Array) -> Array:
    """The maximum of every 2 x 2 square; a last odd row or column is dropped."""
    batch, height, width, channels = images.shape
    even = images[:, : height // 2 * 2, : width // 2 * 2]
    return even.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))
