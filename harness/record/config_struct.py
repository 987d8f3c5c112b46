"""The stored type of a configuration, taken from the dataclasses of `harness.config`.

A config group that is one of several parts has the keys of all of them, null where a run's own part
lacks one: every shard of built-in parts has one Parquet schema. Keys outside of these (a part of
the user's own) are added with the type of their values.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache, reduce
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import polars as pl

from harness.config import UNRECORDED, Config
from harness.record.schema import CHOICES

Type = pl.DataType
Cast = Callable[[Any], Any]


@cache
def config_type() -> pl.Struct:
    """The type of the column `config` for runs of built-in parts."""
    return pl.Struct([one for one in _of_dataclass(Config).fields if one.name not in UNRECORDED])


def widened(configs: Iterable[Mapping[str, Any]]) -> pl.Struct:
    """`config_type`, with the keys that only ``configs`` have."""
    known = config_type()
    extra: dict[str, Type] = {}
    for config in configs:
        _collect(config, known, extra, "")
    return _with(known, extra) if extra else known


def caster(dtype: Type) -> Cast:
    """What makes a value have ``dtype``; keys that it does not have stay as they are.

    >>> caster(pl.Struct({"thresholds": pl.List(pl.String)}))({"thresholds": [0.1, "mcc"]})
    {'thresholds': ['0.1', 'mcc']}
    """
    if isinstance(dtype, pl.Struct):
        casts = {name: caster(inner) for name, inner in _inner(dtype).items()}
        return lambda value: {
            key: item if item is None or key not in casts else casts[key](item)
            for key, item in value.items()
        }
    if isinstance(dtype, pl.List):
        cast = caster(dtype.inner)  # type: ignore[arg-type]
        return lambda value: [item if item is None else cast(item) for item in value]
    if dtype == pl.String:
        return lambda value: value if isinstance(value, str) else str(value)
    return float if dtype == pl.Float64 else lambda value: value


def typed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as the store gives it back."""
    return _usual_cast()(config)


@cache
def _usual_cast() -> Cast:
    return caster(config_type())


def types_of_empty(config: Mapping[str, Any]) -> dict[str, str]:
    """The stored type, by its name, of each key that is null or an empty list."""
    names = _type_names()
    return {key: names[key] for key in _empty(config, "") if key in names}


def _empty(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _empty(value, f"{prefix}{key}.")
        elif value is None or value == []:
            yield f"{prefix}{key}"


@cache
def _type_names() -> dict[str, str]:
    """The name of each key's type, by its dotted key: Polars writes one out anew each time."""
    return dict(_named_types(config_type(), ""))


def _named_types(struct: pl.Struct, prefix: str) -> Iterator[tuple[str, str]]:
    for key, kind in _inner(struct).items():
        yield f"{prefix}{key}", str(kind)
        if isinstance(kind, pl.Struct):
            yield from _named_types(kind, f"{prefix}{key}.")


def own_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration without the keys that its own choices of parts do not have.

    Of a part that is not ours, and of what is outside the schema, what has a value is its own.
    """
    usual = _inner(config_type())
    return {
        key: _own_of(key, value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if value is not None or key in usual
    }


def _own_of(group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    chosen = values.get(_tag(group)) if group in CHOICES else None
    keys = _keys_of(group).get(chosen, frozenset())
    return {key: value for key, value in values.items() if value is not None or key in keys}


def _tag(group: str) -> str:
    """The key of a group that says which part was chosen."""
    return "kind" if group == "dataset" else "name"


@cache
def _keys_of(group: str) -> dict[str | None, frozenset[str]]:
    """The keys of each part that a group may be, by its tag; by None where it is always one."""
    part = get_type_hints(Config).get(group)
    if group in CHOICES:
        tagged = ((get_type_hints(one)[_tag(group)], one) for one in get_args(part))
        return {name: _field_names(one) for hint, one in tagged for name in get_args(hint)}
    return {None: _field_names(part)} if is_dataclass(part) else {}


def _field_names(part: Any) -> frozenset[str]:
    return frozenset(one.name for one in fields(part))


def _of(annotation: Any) -> Type | None:
    """The stored type of a field; None of None alone."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _common([one for one in map(_of, inner) if one is not None])
    if origin is Literal:
        return _common([_of(type(value)) for value in inner if value is not None])
    if origin in (tuple, list):
        return pl.List(_common([_of(one) for one in inner if one is not Ellipsis]))
    if is_dataclass(annotation):
        return _of_dataclass(annotation)
    return {bool: pl.Boolean(), int: pl.Int64(), float: pl.Float64(), str: pl.String()}.get(
        annotation
    )


def _of_dataclass(part: Any) -> pl.Struct:
    hints = get_type_hints(part)
    return pl.Struct({one.name: _of(hints[one.name]) or pl.Null() for one in fields(part)})


def _common(types: Sequence[Type | None]) -> Type:
    """One type that holds the values of all: text where nothing else does."""
    known = [one for one in types if one is not None and one != pl.Null()]
    return reduce(_common_of_two, known) if known else pl.Null()


def _common_of_two(one: Type, other: Type) -> Type:
    if one == other:
        return one
    if isinstance(one, pl.Struct) and isinstance(other, pl.Struct):
        names = dict.fromkeys([*_inner(one), *_inner(other)])
        return pl.Struct(
            {name: _common([_inner(one).get(name), _inner(other).get(name)]) for name in names}
        )
    if isinstance(one, pl.List) and isinstance(other, pl.List):
        return pl.List(_common([one.inner, other.inner]))  # type: ignore[list-item]
    if {str(one), str(other)} == {"Int64", "Float64"}:
        return pl.Float64()
    return pl.String()


def _of_value(value: Any) -> Type:
    if isinstance(value, Mapping):
        return pl.Struct({str(key): _of_value(inner) for key, inner in value.items()})
    if isinstance(value, list | tuple):
        return pl.List(_common([_of_value(item) for item in value]))
    return pl.Null() if value is None else _of(type(value)) or pl.String()


def _collect(
    values: Mapping[str, Any], known: pl.Struct, extra: dict[str, Type], prefix: str
) -> None:
    """Adds the type of each key that ``known`` lacks to ``extra``, by its dotted key."""
    inner = _inner(known)
    for key, value in values.items():
        dtype = inner.get(key)
        if dtype is None:
            path = f"{prefix}{key}"
            extra[path] = _common([extra.get(path), _of_value(value)])
        elif isinstance(dtype, pl.Struct) and isinstance(value, Mapping):
            _collect(value, dtype, extra, f"{prefix}{key}.")


def _with(known: pl.Struct, extra: Mapping[str, Type]) -> pl.Struct:
    wide = known
    for path, dtype in extra.items():
        for key in reversed(path.split(".")):
            dtype = pl.Struct({key: dtype})
        wide = _common_of_two(wide, dtype)  # type: ignore[assignment]
    return wide


@cache
def _inner(struct: pl.Struct) -> dict[str, Type]:
    return {one.name: one.dtype for one in struct.fields}  # type: ignore[misc]
