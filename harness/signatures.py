"""What a class or function of somebody else's can be set to: its parameters, as fields of a config
group.

>>> class Net:
...     def __init__(self, inputs, *, width: int = 8, init=None, rngs): ...
>>> settings_of(Net, after=["inputs"], given=["rngs"], choice="model=Net")
[('width', <class 'int'>, 8)]
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, make_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from harness.errors import UserError

_PLAIN = (bool, int, float, str)

Setting = tuple[str, Any, Any]  # its name, its type with what annotates it, its default


def settings_of(
    made_by: Any, *, after: Sequence[str] = (), given: Sequence[str] = (), choice: str
) -> list[Setting]:
    """The parameters of a class or function that a configuration can hold: numbers, switches and
    texts.

    What has another default, such as None, stays at it.

    Args:
      after: how the first parameters are called here, which are no settings.
      given: the names of others that are none.
      choice: what chooses it, for errors.

    Raises:
      UserError: a parameter has no default, or the first ones are missing.
    """
    call = getattr(made_by, "__init__") if isinstance(made_by, type) else made_by  # noqa: B009
    own = ["self"] if isinstance(made_by, type) else []
    takes = [*inspect.signature(call).parameters.values()][len(own) :]
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    first = [one for one in takes if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    rest = [
        one for one in takes[len(after) :] if one.name not in given and one.kind not in variable
    ]
    lacks = [one.name for one in rest if one.default is inspect.Parameter.empty]
    if len(first) < len(after) or lacks:
        wanted = ", ".join([*own, *after, "number=default", *(f"{one}=..." for one in given)])
        what = f"{lacks[0]} has no default" if lacks else f"it takes no {after[-1]}"
        raise UserError(f"{choice}: {what}: write def {call.__name__}({wanted})")
    hints = _hints(call)
    typed = [(one.name, _type(one.default, hints.get(one.name)), one.default) for one in rest]
    return [one for one in typed if _is_plain(one[1]) and type(one[2]) in (*_PLAIN, NoneType)]


def chosen_as(
    given: Any,
    name: str,
    settings: Sequence[Setting] = (),
    *,
    bases: tuple[type, ...] = (),
    namespace: dict[str, Any] | None = None,
    tag: str = "name",
    free: Sequence[str] = (),
    choice: str,
) -> Any:
    """The config dataclass of what is called ``name``: ``settings``, and those of ``bases``.

    Args:
      tag: the key that says which choice of its group it is.
      free: keys of ``bases`` that ``settings`` may have too, and then say what they mean.

    Raises:
      UserError: ``bases`` have one of ``settings`` already.
    """
    common = {tag}.union(*map(public_names, bases))
    if taken := (common - {*free}) & {key for key, _, _ in settings}:
        raise UserError(f"{choice}: {min(taken)} is a key of all such choices: rename yours")
    made: Any = make_dataclass(
        given.__name__,
        [*settings, (tag, Literal[name], name)],
        bases=bases,
        namespace=namespace or {},
        frozen=True,
    )
    # It stands where what it is made of stands, for whoever reads its source.
    made.__module__, made.__qualname__ = given.__module__, given.__qualname__
    made.__doc__, made.given = given.__doc__, given
    return made


def check_storable(made: Any, ours: Sequence[type], *, choice: str) -> None:
    """Raises UserError where a key of ``made`` is of another kind in ``ours``, the choices of its
    group that are not plugged in: the store has one type for a key."""
    known = {key: hint for cls in ours for key, hint in get_type_hints(cls).items()}
    for key, hint in get_type_hints(made).items():
        kinds, there = set(_kinds(hint)), set(_kinds(known.get(key, hint)))
        if key != "name" and not kinds <= there | {NoneType} | ({int} if float in there else set()):
            words = " or ".join(sorted(one.__name__ for one in there))
            raise UserError(f"{choice}: {key} is {words} where our own have it: rename yours")


def public_names(cls: Any) -> set[str]:
    """The fields and methods of ``cls``, which none of a subclass's may stand in for."""
    own = {one.name for one in fields(cls)} if is_dataclass(cls) else set()
    return own | {name for name in dir(cls) if not name.startswith("_")}


def takes(cls: Any, name: str) -> bool:
    """Whether ``cls`` is made with a parameter of this name, such as ``random_state``."""
    return name in inspect.signature(cls.__init__).parameters


def values_of(chosen: Any, settings: Sequence[Setting]) -> dict[str, Any]:
    """What ``chosen`` has for its ``settings``, by name."""
    return {name: getattr(chosen, name) for name, _, _ in settings}


def name_of(given: Any, name: str | None) -> str:
    """What it is chosen by: ``name``, or its own."""
    return name or str(getattr(given, "__name__", repr(given)))


def _hints(call: Any) -> dict[str, Any]:
    try:
        return get_type_hints(call, include_extras=True)
    except Exception:  # names that only a type checker knows
        return {}


def _type(default: Any, hint: Any) -> Any:
    """The hint; of one that takes more than a configuration can hold, what it has by default."""
    kind = type(default)
    if hint is None or (kind in _PLAIN and not _is_plain(hint) and kind in _kinds(hint)):
        return kind
    return hint


def _is_plain(hint: Any) -> bool:
    return set(_kinds(hint)) <= {*_PLAIN, NoneType} and hint is not NoneType


def _kinds(hint: Any) -> Iterator[type]:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        yield from _kinds(inner[0])
    elif origin in (Union, UnionType):
        for one in inner:
            yield from _kinds(one)
    elif origin is Literal:
        yield from map(type, inner)
    else:
        yield hint
