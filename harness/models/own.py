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
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from harness.errors import UserError
from harness.models.base import Body, Inputs, Model
from harness.signatures import chosen_as, name_of, settings_of, values_of


def as_model(given: Any, name: str | None = None) -> type[Model]:
    """The class of models whose body ``given`` is; its settings are fixed at compile time.

    The head is ours, whatever the body: its weights start at zero and its bias at the first
    prediction, so that ``prior_bias``, the normalised head and fine-tuning are as of our own.

    Args:
      given: a Flax NNX module, made by ``given(inputs, setting=default, ..., rngs=rngs)`` of
        `Inputs`. Called with features, (batch, inputs.num_features) float32, it returns hidden
        values, (batch, any number). The call may take ``dropout_key``: a key in training, None
        elsewhere. Or a subclass of `Model`.
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

    def body(self: Any, inputs: Inputs, rngs: nnx.Rngs) -> Body:
        try:
            made: Any = given
            net = made(inputs, **values_of(self, settings), rngs=rngs)
            return OwnBody(net, inputs, takes_key=takes_key, choice=choice)
        except UserError:
            raise
        except Exception as error:
            first = str(error).strip().partition("\n")[0]
            raise UserError(
                f"{choice} fails on {inputs.num_features} features ({type(error).__name__}: "
                f"{first}): look at its layers' sizes, or use another model for these data"
            ) from error

    namespace = {"body": body, "is_random": property(lambda self: takes_key)}
    return chosen_as(given, called, settings, bases=(Model,), namespace=namespace, choice=choice)


class OwnBody(Body):
    """``net`` as a body: tried once, on shapes alone.

    Raises:
      UserError: its result is no hidden values, or it holds state that training would lose.
    """

    def __init__(self, net: Any, inputs: Inputs, *, takes_key: bool, choice: str):
        self.net = net
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
        if self.takes_key:
            return self.net(features, dropout_key=dropout_key)
        return self.net(features)


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
