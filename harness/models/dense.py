"""Models of tables: logistic regression, a multilayer perceptron and a residual one."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le
from flax import nnx
from jax import Array

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
from harness.models.columns import Columns

Depth = Annotated[int, Ge(1), Le(64)]
Embedding = Annotated[int, Ge(0), Le(1024)]


@dataclass(frozen=True)
class LogisticRegression(Model):
    """The head alone; categorical columns are one-hot."""

    name: Literal["logistic"] = "logistic"

    def body(self, inputs: Inputs, rngs: nnx.Rngs) -> Body:
        return Dense(inputs, hidden=(), activation="relu", dropout=0.0, embedding=0, rngs=rngs)


@dataclass(frozen=True)
class MLP(Model):
    """``depth`` hidden layers of ``width`` units, dropout after each."""

    name: Literal["mlp"] = "mlp"
    width: Units = 64
    depth: Depth = 2
    activation: Activation = "relu"
    dropout: Rate = 0.0
    embedding: Embedding = 8

    def body(self, inputs: Inputs, rngs: nnx.Rngs) -> Body:
        return Dense(
            inputs,
            hidden=(self.width,) * self.depth,
            activation=self.activation,
            dropout=self.dropout,
            embedding=self.embedding,
            rngs=rngs,
        )

    @property
    def is_random(self) -> bool:
        return self.dropout > 0

    @property
    def shape(self) -> str:
        return "-".join([str(self.width)] * self.depth)


@dataclass(frozen=True)
class ResidualMLP(Model):
    """``depth`` blocks, each x + W2 drop(act(W1 norm(x))), after Gorishniy et al. (2021).

    Theirs normalises over the batch, which would tie a row's prediction to its company; ours over
    the units of a row. W2 starts at zero: every block starts as the identity, at any depth.
    ``expansion`` is the inner width over ``width``.
    """

    name: Literal["residual_mlp"] = "residual_mlp"
    width: Units = 64
    depth: Depth = 2
    expansion: Annotated[int, Ge(1), Le(16)] = 2
    layer_norm: bool = True
    activation: Activation = "relu"
    dropout: Rate = 0.0
    embedding: Embedding = 8

    def body(self, inputs: Inputs, rngs: nnx.Rngs) -> Body:
        return Residual(self, inputs, rngs)

    @property
    def is_random(self) -> bool:
        return self.dropout > 0

    @property
    def shape(self) -> str:
        return f"{self.width}x{self.depth}"


class Dense(Body):
    """Dense layers, each with an activation and dropout."""

    def __init__(
        self,
        inputs: Inputs,
        *,
        hidden: tuple[int, ...],
        activation: Activation,
        dropout: float,
        embedding: int,
        rngs: nnx.Rngs,
    ):
        self.columns = Columns(inputs, embedding=embedding, rngs=rngs)
        sizes = (self.columns.width, *hidden)
        self.layers = nnx.List(
            nnx.Linear(i, o, kernel_init=kernel_init(activation), rngs=rngs)
            for i, o in zip(sizes, hidden, strict=False)
        )
        self.activation = activation
        self.dropout = dropout
        self.width = sizes[-1]

    def __call__(self, features: Array, *, dropout_key: Array | None = None) -> Array:
        hidden = self.columns(features)
        for depth, layer in enumerate(self.layers):
            hidden = ACTIVATIONS[self.activation](layer(hidden))
            hidden = dropped(hidden, rate=self.dropout, key=dropout_key, depth=depth)
        return hidden


class Residual(Body):
    """A dense layer to ``width``, residual blocks, and a last norm."""

    def __init__(self, model: ResidualMLP, inputs: Inputs, rngs: nnx.Rngs):
        width = model.width
        self.columns = Columns(inputs, embedding=model.embedding, rngs=rngs)
        self.stem = nnx.Linear(self.columns.width, width, rngs=rngs)
        self.blocks = nnx.List(Block(model, rngs) for _ in range(model.depth))
        self.norm = nnx.LayerNorm(width, rngs=rngs) if model.layer_norm else None
        self.activation = model.activation
        self.width = width

    def __call__(self, features: Array, *, dropout_key: Array | None = None) -> Array:
        hidden = self.stem(self.columns(features))
        for depth, block in enumerate(self.blocks):
            hidden = hidden + block(hidden, dropout_key=dropout_key, depth=depth)
        if self.norm is not None:
            hidden = self.norm(hidden)
        return ACTIVATIONS[self.activation](hidden)


class Block(nnx.Module):
    """What one residual block adds to its input."""

    def __init__(self, model: ResidualMLP, rngs: nnx.Rngs):
        width, inner = model.width, model.width * model.expansion
        init = kernel_init(model.activation)
        self.norm = nnx.LayerNorm(width, rngs=rngs) if model.layer_norm else None
        self.up = nnx.Linear(width, inner, kernel_init=init, rngs=rngs)
        self.down = nnx.Linear(inner, width, kernel_init=nnx.initializers.zeros, rngs=rngs)
        self.activation = model.activation
        self.dropout = model.dropout

    def __call__(self, hidden: Array, *, dropout_key: Array | None, depth: int) -> Array:
        if self.norm is not None:
            hidden = self.norm(hidden)
        hidden = ACTIVATIONS[self.activation](self.up(hidden))
        return self.down(dropped(hidden, rate=self.dropout, key=dropout_key, depth=depth))
