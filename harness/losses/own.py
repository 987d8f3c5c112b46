"""A loss of somebody else's: a function, or a frozen dataclass, as the `LossFn` that lanes carry.

A function takes logits and labels, and numbers with defaults, which are its hyperparameters. A
dataclass is called with logits and labels and may have what our own losses have: `fitted`, `at`,
`posterior_logits`, `is_shift_invariant`, or a `step` with a memory; see `harness.losses.base`.

>>> import jax, jax.numpy as jnp
>>> def soft_hinge(logits, labels, temperature=1.0):
...     margins = (1 - (2 * labels - 1) * logits) / temperature
...     return temperature * jax.nn.softplus(margins)
>>> cls = as_loss(soft_hinge)
>>> cls(temperature=0.5)
soft_hinge(temperature=0.5, name='soft_hinge')
>>> cls()(logits=jnp.array([1.0, -1.0]), labels=jnp.array([1.0, 0.0])).round(3).tolist()
[0.6930000185966492, 0.6930000185966492]
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, make_dataclass
from types import FunctionType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import jax.numpy as jnp

from harness.errors import UserError
from harness.losses.base import BatchLoss, LossFn, Memory, PointwiseLoss, StatefulLoss, static_name
from harness.losses.catalogue import LOSSES

_NUMBERS = (float, int, bool)


def as_loss(given: Any, name: str | None = None, *, of_a_batch: bool = False) -> type[LossFn]:
    """The class of losses that ``given`` defines; its fields are the hyperparameters.

    Args:
      given: a function ``(logits, labels, number=default, ...)`` that returns a loss for each
        example, (n,) each; or a frozen dataclass whose instances are such functions.
      name: what it is chosen by; its own name where there is none.
      of_a_batch: whether it is one value of a whole batch. It then takes
        ``(logits, labels, weights)``; a dataclass does so in a method ``mean``.

    Raises:
      UserError: it is neither, or a hyperparameter is no number.
    """
    called = name or _own_name(given)
    if isinstance(given, type):
        made = _of_class(given, called, of_a_batch=of_a_batch)
    elif isinstance(given, FunctionType):
        made = _of_function(given, called, of_a_batch=of_a_batch)
    else:
        raise UserError(f"loss={called} is a {type(given).__name__}: give a function or a class")
    _check_numbers(made, called)
    # It stands where what it is made of stands, for whoever reads its source.
    made.__module__, made.__qualname__ = given.__module__, given.__qualname__
    made.__doc__, made.given = given.__doc__, given
    return made


def _own_name(given: Any) -> str:
    own = getattr(given, "name", None)
    return own if isinstance(own, str) else getattr(given, "__name__", repr(given))


def _of_class(given: Any, name: str, *, of_a_batch: bool) -> Any:
    if "step" not in dir(given) and {"per_row", "per_run"} & {*dir(given)}:
        raise UserError(
            f"loss={name}: what remembers numbers (per_row, per_run) needs "
            "def step(self, logits, labels, weights, memory)"
        )
    if "__dataclass_fields__" not in vars(given):
        raise UserError(f"loss={name}: write @dataclass(frozen=True) over class {given.__name__}")
    if not given.__dataclass_params__.frozen:
        raise UserError(f"loss={name}: {given.__name__} can change: write @dataclass(frozen=True)")
    bases: tuple[type, ...] = (given,)
    namespace: dict[str, Any] = {}
    if not issubclass(given, LossFn) and isinstance(getattr(given, "step", None), FunctionType):
        bases, namespace = (given, StatefulLoss), _stateful_form(given, name)
    elif not issubclass(given, LossFn):
        of_a_batch = of_a_batch or getattr(given, "of_a_batch", False)
        bases = (given, BatchLoss if of_a_batch else PointwiseLoss)
        method = "mean" if of_a_batch else "__call__"
        function = vars(given).get(method) or getattr(given, method, None)
        if not isinstance(function, FunctionType):
            takes = "logits, labels, weights" if of_a_batch else "logits, labels"
            raise UserError(f"loss={name}: {given.__name__} needs def {method}(self, {takes})")
        namespace = _batch_form(function, name) if of_a_batch else _row_form(function, name)
    return make_dataclass(
        given.__name__, [_named(name)], bases=bases, namespace=namespace, frozen=True
    )


def _of_function(given: Any, name: str, *, of_a_batch: bool) -> Any:
    takes = ("logits", "labels", "weights") if of_a_batch else ("logits", "labels")
    parameters = list(inspect.signature(given).parameters.values())
    rest = parameters[len(takes) :]
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if len(parameters) < len(takes) or any(
        one.default is inspect.Parameter.empty or one.kind not in plain for one in rest
    ):
        raise UserError(
            f"loss={name}: write def {given.__name__}({', '.join(takes)}), and after these "
            "hyperparameters with defaults, such as gamma=2.0"
        )
    hints = get_type_hints(given, include_extras=True)
    own: list[Any] = [
        (one.name, hints.get(one.name, _type_of(one.default)), one.default) for one in rest
    ]

    def with_own(self: Any, *arrays: Any) -> Any:
        return given(*arrays, **{one.name: getattr(self, one.name) for one in rest})

    form = _batch_form if of_a_batch else _row_form
    return make_dataclass(
        given.__name__,
        [*own, _named(name)],
        bases=(BatchLoss if of_a_batch else PointwiseLoss,),
        namespace=form(with_own, name),
        frozen=True,
    )


def _type_of(default: Any) -> type:
    """A whole number as a default says nothing of the others: ``gamma=2`` may be 2.5."""
    return float if type(default) is int else type(default)


def _named(name: str) -> Any:
    return "name", Literal[name], static_name(name)


def _row_form(function: Callable[..., Any], name: str) -> dict[str, Any]:
    call = _by_place(function)

    def each(self: Any, *, logits: Any, labels: Any) -> Any:
        losses = call(self, logits, labels)
        _check_result(losses, jnp.shape(logits), name, "one loss for each example")
        return losses

    return {"__call__": each}


def _batch_form(function: Callable[..., Any], name: str) -> dict[str, Any]:
    call = _by_place(function)

    def mean(self: Any, *, logits: Any, labels: Any, weights: Any) -> Any:
        loss = call(self, logits, labels, weights)
        _check_result(loss, (), name, "one number")
        return loss

    return {"mean": mean}


def _stateful_form(given: Any, name: str) -> dict[str, Any]:
    for key in ("per_row", "per_run"):
        numbers = getattr(given, key, 0)
        is_hyperparameter = any(one.name == key for one in fields(given))
        if type(numbers) is not int or numbers < 0 or is_hyperparameter:
            raise UserError(
                f"loss={name}: {key} = {numbers!r} is how many numbers the loss remembers: write a "
                f"whole number and no annotation, as in {key} = 2"
            )
    call = _by_place(given.step)

    def step(self: Any, *, logits: Any, labels: Any, weights: Any, memory: Any) -> Any:
        result = call(self, logits, labels, weights, memory)
        try:
            loss, (rows, run) = result
        except (TypeError, ValueError):
            raise UserError(f"loss={name}: step is to return (loss, Memory(rows, run))") from None
        _check_result(loss, (), name, "one number")
        for key, array in (("rows", rows), ("run", run)):
            was = getattr(memory, key)
            if (jnp.shape(array), jnp.result_type(array)) != (was.shape, was.dtype):
                raise UserError(
                    f"loss={name} remembers {key} of shape {jnp.shape(array)}, "
                    f"{jnp.result_type(array)}, where it was given {was.shape}, {was.dtype}: keep "
                    "both, and say in per_row and per_run how many numbers there are"
                )
        return loss, Memory(rows, run)

    if "mean" not in dir(given):
        return {"step": step}
    return {"step": step, **_batch_form(given.mean, name)}


def _by_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` by its arguments' places, also where it takes them by name alone."""
    takes = list(inspect.signature(function).parameters.values())
    by_name = [one.name for one in takes if one.kind is inspect.Parameter.KEYWORD_ONLY]
    if len(takes) - len(by_name) > 1 or not by_name:
        return function
    return lambda self, *arrays: function(self, **dict(zip(by_name, arrays, strict=True)))


def _check_result(result: Any, shape: tuple[int, ...], name: str, wanted: str) -> None:
    """(N, 1) against (N,) would broadcast to (N, N) without a word."""
    if jnp.shape(result) != shape:
        raise UserError(
            f"loss={name} returned an array of shape {jnp.shape(result)} for logits and labels of "
            f"one axis: return {wanted}, shape {shape}"
        )


def _check_numbers(made: Any, name: str) -> None:
    """Lanes carry numbers; the store has one type for a key, whichever loss it is of."""
    hints = get_type_hints(made)
    ours = {key: kind for cls in LOSSES for key, kind in get_type_hints(cls).items()}
    for one in fields(made):
        if one.metadata.get("static"):
            continue
        kinds = set(_kinds(hints[one.name]))
        if not kinds or kinds - {*_NUMBERS, type(None)}:
            raise UserError(
                f"loss={name}: {one.name} is to be a number (float, int or bool): another kind of "
                "choice is another loss"
            )
        other = set(_kinds(ours.get(one.name, hints[one.name])))
        if (bool in kinds) != (bool in other):
            raise UserError(
                f"loss={name}: {one.name} is a {'switch' if bool in other else 'number'} of our "
                "own losses: give it another name"
            )


def _kinds(annotation: Any) -> Iterator[type]:
    if get_origin(annotation) is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for one in get_args(annotation):
            yield from _kinds(one)
    else:
        yield annotation
