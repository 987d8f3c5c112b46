"""Sweeps whose keys vary together: `zip(...)`, and the rows of a table of overrides.

Both become what Hydra's grammar has: choices with a tag (`loss=tag(zip1,choice(bce,focal))`), so
that Hydra parses, completes and records them. Choices of one such tag are taken side by side by
`harness.overrides.expanding`, in a product with all else that is swept.
"""

import csv
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import count as counted
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from harness.errors import UserError, override, shown
from harness.overrides.expanding import NULL, UNSET, count

FROM_TABLE = "overrides_from"
_KEY = re.compile(r"\+{0,2}[\w/]+(\.\w+)*(@[\w.]+)?")
_SHOWN = "zip(loss=bce,focal; optimizer.learning_rate=.01,.03)"


def unzipped(overrides: Sequence[str]) -> list[str]:
    """``overrides`` in Hydra's grammar: those that vary together as choices of one tag.

    Raises:
      UserError: keys of a zip name values of different number, or a table is not one of overrides.

    >>> unzipped(["zip(loss=bce,focal; seed=range(2))", "split.seed=1"])
    ['loss=tag(zip1,choice(bce,focal))', 'seed=tag(zip1,range(2))', 'split.seed=1']
    """
    found: list[str] = []
    tags = (f"zip{number}" for number in counted(1))
    for text in overrides:
        key, _, value = text.partition("=")
        if re.match(r"zip\s*\(", text):
            found += _of_zip(text, next(tags))
        elif key == FROM_TABLE:
            found += _of_table(value.strip("\"'"), next(tags))
        else:
            found.append(text)
    keys = [text.partition("=")[0].lstrip("+") for text in found]
    for text, key in zip(found, keys, strict=True):
        if "=tag(zip" in text and keys.count(key) > 1:
            raise UserError(f"{key} is given beside a zip or table that has it: give it once")
    return found


def _of_zip(text: str, tag: str) -> Iterator[str]:
    inner = text[text.index("(") + 1 :].rstrip()
    if not inner.endswith(")"):
        raise UserError(f"{shown(text)} has no closing bracket: write '{_SHOWN}'")
    # At semicolons that stand in no quotes.
    parts = re.split(r""";(?=(?:[^'"]|'[^']*'|"[^"]*")*$)""", inner[:-1])
    counts: dict[str, int] = {}
    for part in (part.strip() for part in parts):
        if "=" not in part:
            raise UserError(f"{shown(text)}: {part or 'an empty part'} is no key=values: {_SHOWN}")
        key, _, value = part.partition("=")
        try:
            one = _parsed(part)
        except HydraException:
            raise UserError(f"{shown(text)}: {shown(part)} is no key=values: {_SHOWN}") from None
        if not value:
            raise UserError(f"{shown(text)}: {key} has no values: {_SHOWN}")
        if not re.match(r"\w+\(", value):
            value = f"choice({','.join(_values(one))})"
        # The values of a glob are known to no parser.
        if isinstance(one.value(), Glob) or (
            one.is_sweep_override() and not one.is_discrete_sweep()
        ):
            raise UserError(f"{shown(part)}: a zip takes lists and ranges: name the values")
        if key in counts:
            raise UserError(f"{shown(text)} names {key} twice: give it once")
        counts[key] = count(one)
        yield f"{key}=tag({tag},{value})"
    if len(set(counts.values())) > 1:
        told = " and ".join(f"{number} values of {key}" for key, number in counts.items())
        raise UserError(f"zip names {told}, which vary together: give each key as many")


def _of_table(path: str, tag: str) -> Iterator[str]:
    """The columns of a CSV file whose header is keys and whose rows are jobs.

    An empty cell leaves its key as it is.
    """
    keys, rows = _read(path)
    for place, key in enumerate(keys):
        values = [
            _written(key, cells[place].strip(), f"{path}: line {line}") for line, cells in rows
        ]
        yield f"{key}=tag({tag},choice({','.join(values)}))"


def _read(path: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row with its line."""
    place = f"{FROM_TABLE}={path}"
    try:
        with Path(path).expanduser().open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            records = [(reader.line_num, cells) for cells in reader if "".join(cells).strip()]
    except (OSError, UnicodeDecodeError, csv.Error, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{place}: cannot be read as CSV ({reason}): check the path") from None
    if len(records) < 2:
        raise UserError(f"{place} has no row below a header: keys in line 1, a job in each other")
    keys = [key.strip() for key in records[0][1]]
    for key in keys:
        if key and not _KEY.fullmatch(key):
            raise UserError(
                f"{place}: {shown(key)} in line 1 is no key, such as loss or loss.gamma"
            )
    if "" in keys or len(set(keys)) < len(keys):
        at = next(i for i, key in enumerate(keys) if not key or key in keys[:i])
        said = f"{keys[at]} a second time" if keys[at] else "no key"
        raise UserError(f"{place}: column {at + 1} has {said}: each column is a key of its own")
    for line, cells in records[1:]:
        if len(cells) != len(keys):
            raise UserError(
                f"{place}: line {line} has {len(cells)} cells, the header {len(keys)}: an empty "
                "cell leaves a key as it is"
            )
    return keys, records[1:]


def _written(key: str, cell: str, place: str) -> str:
    """A cell as Hydra's grammar has it."""
    if not cell:
        return UNSET
    try:
        one = _parsed(f"{key}={cell}")
    except HydraException:
        (text,) = shlex.split(override(key, cell))
        return text.partition("=")[2]
    if one.is_sweep_override():
        raise UserError(f"{place}: {key}={cell} names several values: a row is one job")
    (value,) = _values(one)
    return value


def _values(one: Override) -> Iterator[str]:
    """What an override names, as `choice(...)` takes it."""
    is_list = one.is_sweep_override()
    texts = one.sweep_string_iterator() if is_list else iter([one.get_value_element_as_str()])
    for text in texts:
        yield NULL if text == "null" else text


def _parsed(text: str) -> Override:
    """Raises HydraException where ``text`` is no override."""
    (one,) = OverridesParser.create().parse_overrides([text])
    return one
