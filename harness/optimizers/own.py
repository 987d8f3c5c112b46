"""An optimizer of somebody else's: a factory of an Optax transformation, as lanes carry it.

>>> import optax
>>> as_optimizer(optax.amsgrad)(learning_rate=0.1).b1
0.9
"""

import inspect
from dataclasses import make_dataclass
from types import FunctionType
from typing import Any, Literal

import jax
import optax

from harness.errors import UserError
from harness.optimizers.base import NonNegative, Optimizer, named
from harness.signatures import public_names


def as_optimizer(given: Any, name: str | None = None) -> type[Optimizer]:
    """The class of optimizers that ``given`` makes; its fields are the hyperparameters.

    Args:
      given: a function ``(learning_rate, number=default, ...)`` that returns an
        `optax.GradientTransformation`, such as `optax.amsgrad`; its learning rate is a schedule.
        What has a float as its default is a hyperparameter; the rest stays at its default. A
        ``weight_decay`` of its own stands for the L2 term. Or a subclass of `Optimizer`.
      name: what it is chosen by; its own name where there is none.

    Raises:
      UserError: it is no such function.
    """
    called = name or str(getattr(given, "__name__", repr(given)))
    own: list[Any] = []
    namespace: dict[str, Any] = {}
    bases: tuple[Any, ...] = (Optimizer,)
    if isinstance(given, type) and issubclass(given, Optimizer):
        bases = (given,)
    elif isinstance(given, FunctionType):
        own, namespace = _of_factory(given, called)
    else:
        raise UserError(f"optimizer={called} is a {type(given).__name__}: give a function")
    made: Any = make_dataclass(
        given.__name__,
        [*own, ("name", Literal[called], named(called))],
        bases=bases,
        namespace=namespace,
        frozen=True,
    )
    jax.tree_util.register_dataclass(made)
    # It stands where what it is made of stands, for whoever reads its source.
    made.__module__, made.__qualname__ = given.__module__, given.__qualname__
    made.__doc__, made.given = given.__doc__, given
    return made


def _of_factory(given: Any, name: str) -> tuple[list[Any], dict[str, Any]]:
    takes = [*inspect.signature(given).parameters.values()]
    rest = takes[1:]
    if not takes or any(one.default is inspect.Parameter.empty for one in rest):
        raise UserError(
            f"optimizer={name}: write def {given.__name__}(learning_rate), and after it "
            "hyperparameters with defaults, such as momentum=0.9"
        )
    numbers = [one for one in rest if type(one.default) is float]
    taken = public_names(Optimizer) - {"weight_decay"}
    if clash := taken & {one.name for one in numbers}:
        raise UserError(
            f"optimizer={name}: every optimizer has {min(clash)}: give that number another name"
        )

    def rule(self: Any, schedule: optax.Schedule) -> optax.GradientTransformation:
        return given(schedule, **{one.name: getattr(self, one.name) for one in numbers})

    namespace: dict[str, Any] = {"rule": rule}
    if any(one.name == "weight_decay" for one in numbers):
        namespace["decay"] = lambda self: optax.identity()
    kinds = {"weight_decay": NonNegative}
    return [(one.name, kinds.get(one.name, float), one.default) for one in numbers], namespace
