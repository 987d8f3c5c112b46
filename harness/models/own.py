"""A network of somebody else's: a Flax NNX module, as the body of a model.

>>> from flax import nnx
>>> class Wide(nnx.Module):
...     def __init__(self, inputs, *, units: int = 8, rngs):
...         self.layer = nnx.Linear(inputs.num_features, units, rngs=rngs)
...
...     def __call__(self, features):
...         return nnx.relu(self.layer(features))
>>> as_model(Wide)(units=4).units
4
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from harness.errors import UserError, first_line
from harness.layout import TABLE, Part, parts_of, places_of, shaped
from harness.models.base import Body, Inputs, Model
from harness.signatures import chosen_as, name_of, settings_of, values_of


@dataclass(frozen=True)
class OwnInputs(Inputs):
    """What a network is made for: the arrays of a row, by name.

    >>> OwnInputs(3, (4,)).shapes
    {'table': (3,)}
    """

    @property
    def parts(self) -> tuple[Part, ...]:
        return parts_of(self.cardinalities)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of one row's arrays, such as ``{"image": (8, 8, 1), "table": (5,)}``."""
        table = {TABLE: (self.table.num_features,)} if self.table.num_features else {}
        return {part.name: part.shape for part in self.parts} | table

    @property
    def vocabularies(self) -> Mapping[str, int]:
        """How many ids there are of each array of token ids: those are 0 to one less."""
        return {one.name: one.vocabulary for one in self.parts if one.vocabulary is not None}

    @property
    def table(self) -> Inputs:
        """Of the features that are of no array."""
        codes = [
            levels
            for place, levels in enumerate(self.cardinalities, start=self.num_numeric)
            if not any(place in places_of(part) for part in self.parts)
        ]
        return Inputs(len(self.places_of_table), tuple(codes))

    @property
    def places_of_table(self) -> tuple[int, ...]:
        """Which features these are."""
        of_arrays = {place for one in self.parts for place in places_of(one)}
        return tuple(place for place in range(self.num_features) if place not in of_arrays)

    def array(self, name: str, features: Array) -> Array:
        """The array called ``name`` of rows, (batch, num_features), behind an axis of the batch.

        float32, as the run has standardised it; int32 of token ids.
        """
        if name == TABLE:
            return features[:, np.array(self.places_of_table)] if self.parts else features
        (part,) = (one for one in self.parts if one.name == name)
        places = places_of(part)
        values = features[:, places.start : places.stop].reshape(-1, *part.shape)
        return values if part.vocabulary is None else values.astype(jnp.int32)

    def __str__(self) -> str:
        if not self.parts:
            return f"{self.num_features} features"
        return ", ".join(f"{name} {shaped(shape)}" for name, shape in self.shapes.items())


def as_model(given: Any, name: str | None = None) -> type[Model]:
    """The class of models whose body ``given`` is; its settings are fixed at compile time.

    The head is ours, whatever the body: its weights start at zero and its bias at the first
    prediction, so that ``prior_bias``, the normalised head and fine-tuning are as of our own.

    Args:
      given: a Flax NNX module, made by ``given(inputs, setting=default, ..., rngs=rngs)`` of
        `OwnInputs`. It is called with the arrays of a data set that the parameters of its
        ``__call__`` are named after, each behind an axis of the batch; or, where the one parameter
        is no name of theirs, with features, (batch, inputs.num_features) float32. It returns hidden
        values, (batch, any number) float32. The call may take ``dropout_key``: a key in training,
        None elsewhere. Or a subclass of `Model`.
      name: what it is chosen by; its own name where there is none.

    Raises:
      UserError: it is neither, or a setting has no default.
    """
    called = name_of(given, name)
    choice = f"model={called}"
    if not isinstance(given, type) or not issubclass(given, nnx.Module | Model):
        raise UserError(f"{choice} is no network: give a class Net(flax.nnx.Module)")
    if issubclass(given, Model):
        return chosen_as(given, called, bases=(given,), choice=choice)
    settings = settings_of(given, after=["inputs"], given=["rngs"], choice=choice)
    takes_key = "dropout_key" in inspect.signature(given.__call__).parameters
    arguments = _arguments(given)

    def body(self: Any, inputs: Inputs, rngs: nnx.Rngs) -> Body:
        there = OwnInputs(inputs.num_features, inputs.cardinalities)
        try:
            made: Any = given
            taken = _taken(arguments, there, choice)
            net = made(there, **values_of(self, settings), rngs=rngs)
            return OwnBody(net, there, taken, takes_key=takes_key, choice=choice)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{choice} fails on {there} ({type(error).__name__}: {first_line(error)}): "
                "look at its layers' sizes, or use another model for these data"
            ) from error

    namespace = {
        "body": body,
        "is_random": property(lambda self: takes_key),
        "arguments": arguments,
    }
    return chosen_as(given, called, settings, bases=(Model,), namespace=namespace, choice=choice)


def _arguments(given: Any) -> tuple[str, ...]:
    """The names of what ``given`` is called with, but for the key of its dropout."""
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    _, *takes = inspect.signature(given.__call__).parameters.values()
    return tuple(
        one.name
        for one in takes
        if one.kind in by_position
        and one.default is inspect.Parameter.empty
        and one.name != "dropout_key"
    )


def _taken(arguments: Sequence[str], inputs: OwnInputs, choice: str) -> tuple[str, ...]:
    """The arrays that a network is called with; none where it takes features.

    Raises:
      UserError: it takes several, and one of them is none of the data set's.
    """
    unknown = [name for name in arguments if name not in inputs.shapes]
    if unknown and len(arguments) > 1:
        raise UserError(
            f"{choice}: __call__ takes {unknown[0]!r}, and a row has {inputs}: name its parameters "
            f"after {', '.join(inputs.shapes)}, or take one, the features of a row side by side"
        )
    return () if unknown else tuple(arguments)


class OwnBody(Body):
    """``net`` as a body: tried once, on shapes alone.

    Raises:
      UserError: its result is no hidden values, or it holds state that training would lose.
    """

    def __init__(
        self, net: Any, inputs: OwnInputs, taken: tuple[str, ...], *, takes_key: bool, choice: str
    ):
        self.net = net
        self.inputs = inputs
        self.taken = taken
        self.takes_key = takes_key
        for _, variable in nnx.to_flat_state(nnx.state(net)):
            _check_stateless(variable, choice)
        features = jax.eval_shape(lambda: jnp.zeros((3, inputs.num_features), jnp.float32))
        hidden = jax.eval_shape(self.__call__, features)
        if getattr(hidden, "ndim", 0) != 2 or hidden.shape[0] != 3 or hidden.dtype != jnp.float32:
            raise UserError(
                f"{choice} returned {getattr(hidden, 'dtype', type(hidden).__name__)} of shape "
                f"{getattr(hidden, 'shape', '')} for 3 rows: return float32 hidden values "
                "(rows, any number); the head that makes logits of them is put on by itself"
            )
        self.width = hidden.shape[1]

    def __call__(self, features: Array, *, dropout_key: Array | None = None) -> Array:
        given = [self.inputs.array(name, features) for name in self.taken] or [features]
        if self.takes_key:
            return self.net(*given, dropout_key=dropout_key)
        return self.net(*given)


def _check_stateless(variable: Any, choice: str) -> None:
    """A step returns parameters and nothing else."""
    if isinstance(variable, nnx.BatchStat):
        raise UserError(
            f"{choice} keeps statistics of batches, which would tie a row's score to its company: "
            "use nnx.LayerNorm or nnx.GroupNorm in place of nnx.BatchNorm"
        )
    if isinstance(variable, nnx.RngState):
        raise UserError(
            f"{choice} keeps random state, as nnx.Dropout with rngs does: let __call__ take "
            "dropout_key=None, and call nnx.Dropout(rate) with rngs=dropout_key and "
            "deterministic=dropout_key is None"
        )
