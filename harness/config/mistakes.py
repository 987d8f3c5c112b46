"""What is wrong with a value of the configuration, in one line: its key, its type and itself."""

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any

from pydantic import ValidationError

from harness import plugins
from harness.errors import none_of, shown


def explained(error: ValidationError, *, at: tuple[str, ...], groups: Set[str]) -> str:
    """The first of ``error``'s complaints; ``at`` is where the values lie, for its key.

    ``groups``: those whose config is one of several choices.
    """
    errors = error.errors()
    first: Mapping[str, Any] = errors[0]
    # A union's location carries the chosen member's tag, which is no config key.
    keys = [*at, *(str(part) for part in first["loc"])]
    if len(keys) > 2 and keys[0] in groups:
        del keys[1]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    if first["type"] == "union_tag_invalid" and keys[-1] in {*plugins.GROUPS, "network"}:
        # A stored run or a model may name one that nobody has loaded here, and nothing loads by it.
        group = "model" if keys[-1] == "network" else keys[-1]
        more = (
            "; a plug-in's is known once its module is named: plugins=[my_module.py], or, without "
            f"a decorator, {group}=my_module.py:NAME"
        )
    return f"{'.'.join(keys)}: {_complaint(first)}{more}"


def _complaint(error: Mapping[str, Any]) -> str:
    given, kind = error["input"], error["type"]
    if kind == "unexpected_keyword_argument":
        return "no such key in this choice; see `harness train --cfg job`"
    expected = error.get("ctx", {}).get("expected") or error.get("ctx", {}).get("expected_tags")
    if kind in ("literal_error", "union_tag_invalid") and expected:
        given = error["ctx"].get("tag", given)
        known = re.findall("'([^']*)'", str(expected))
        return f"{shown(given)} is {none_of(str(given), known)}"
    message = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if isinstance(given, Mapping):
        return message
    return f"{message}, got {shown(given)}{_range_hint(kind, given)}"


def _range_hint(kind: str, given: Any) -> str:
    """Whoever writes `seed=1-5` means a sweep."""
    ends = kind == "int_parsing" and re.fullmatch(r"(\d{1,6})(?:-|:|\.\.)(\d{1,6})", str(given))
    return f"; to run each, add -m and write 'range({ends[1]},{int(ends[2]) + 1})'" if ends else ""


def loose_numbers(values: Mapping[str, Any], read: Any, *at: str) -> Iterator[str]:
    """Where a switch or a text was ``read`` as a number, as pydantic does unless told not to."""
    for key, value in values.items():
        if isinstance(value, (bool, str)):  # first: most values are, of the many of a sweep
            if type(getattr(read, key, None)) in (int, float):
                yield _loose(value, *at, key)
        elif isinstance(value, (list, tuple)):
            for one, as_read in zip(value, getattr(read, key, None) or (), strict=False):
                if isinstance(one, (bool, str)) and type(as_read) in (int, float):
                    yield _loose(one, *at, key)
        elif isinstance(value, Mapping):
            yield from loose_numbers(value, getattr(read, key, None), *at, key)


def _loose(value: Any, *at: str) -> str:
    return f"{'.'.join(at)}: should be a number, got {shown(value)}"
