"""From the overrides of a sweep to those of its jobs: choices, ranges and globs, multiplied.

Choices and ranges with a tag that begins with `zip` vary together (`harness.overrides.zipping`).
Jobs are counted before any is made: a slip such as `seed=range(100000000)` is refused at once.
"""

import itertools
import math
import shlex
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, RangeSweep, Transformer

from harness.errors import UserError
from harness.errors import override as written_as

# In place of a value: the job leaves the key as it is.
UNSET = '"(as it is)"'
# In place of null, which Hydra's `choice(...)` does not take.
NULL = '"(null)"'
_ZIP = "zip"  # how the tag of sweeps begins that vary together

# A job holds some kilobytes, so that this many take some gigabytes.
MOST_JOBS = 1_000_000


def expand(arguments: Sequence[str], loader: ConfigLoader) -> list[list[str]]:
    """The overrides of each job of a sweep, the last key varying fastest.

    A key given twice has its last values, in its first place.

    Raises:
      UserError: a range without end, a sweep that a search alone can run, or too many jobs.
      hydra.errors.HydraException: an argument that is no override.
    """
    parsed = OverridesParser.create().parse_overrides(list(arguments))
    swept = {one.get_key_element(): one for one in parsed}
    check_number(numbers([(one, _count(one, loader)) for one in swept.values()]))
    texts = [[f"{key}={text}" for text in _texts(one, loader)] for key, one in swept.items()]
    # What varies together is one axis of the grid, in the place of its first key.
    axes: dict[Any, list[list[str]]] = {}
    for (key, one), values in zip(swept.items(), texts, strict=True):
        axes.setdefault(zip_tag(one) or (key,), []).append(values)
    grid = itertools.product(*(zip(*together, strict=True) for together in axes.values()))
    return [
        [text for values in job for text in values if not text.endswith(f"={UNSET}")]
        for job in grid
    ]


def zip_tag(override: Override) -> str | None:
    """The tag that a sweep has in common with those it varies with; None where it has none.

    >>> zip_tag(OverridesParser.create().parse_override("seed=tag(zip1,range(2))"))
    'zip1'
    """
    tags = getattr(override.value(), "tags", ())
    return next((tag for tag in sorted(tags) if tag.startswith(_ZIP)), None)


def numbers(counted: Sequence[tuple[Override, int]]) -> dict[str, int]:
    """How many values each axis of a sweep has, by one of its overrides.

    Raises:
      UserError: keys that vary together name values of different number.
    """
    found: dict[str, int] = {}
    first: dict[str, tuple[Override, int]] = {}
    for one, number in counted:
        tag = zip_tag(one)
        if tag is None or tag not in first:
            found[str(one.input_line)] = number
        else:
            other, wanted = first[tag]
            if number != wanted:
                raise UserError(
                    f"{one.get_key_element()} names {number} values and {other.get_key_element()} "
                    f"{wanted}, which vary together ({tag}): give each key as many"
                )
        if tag is not None:
            first.setdefault(tag, (one, number))
    return found


def count(override: Override) -> int:
    """How many values an override names that is no glob, without making them.

    Raises:
      UserError: a range without end, or an interval.
    """
    if override.is_range_sweep():
        return _range_count(override)
    if override.is_interval_sweep():
        raise UserError(
            f"{override.input_line}: an interval is no list of values: give some, or search it "
            "with hydra/sweeper=optuna"
        )
    return sum(1 for _ in override.sweep_iterator()) if override.is_sweep_override() else 1


def _count(override: Override, loader: ConfigLoader) -> int:
    value = override.value()
    return len(_matches(override, value, loader)) if isinstance(value, Glob) else count(override)


def _range_count(override: Override) -> int:
    swept = override.value()
    assert isinstance(swept, RangeSweep)
    ends = [Decimal(str(value)) for value in (swept.start, swept.stop, swept.step)]
    start, stop, step = ends
    if step == 0 or not all(value.is_finite() for value in ends):
        raise UserError(
            f"{override.input_line}: a range needs finite ends and a step that is not 0, such as "
            "range(0,10) or range(0,1,0.25)"
        )
    return max(0, math.ceil((stop - start) / step))


def check_number(counts: Mapping[str, int]) -> None:
    """Raises UserError where ``counts``, by override, multiply to more than a sweep holds."""
    total = math.prod(counts.values())
    if total > MOST_JOBS:
        largest = max(counts, key=counts.__getitem__)
        raise UserError(
            f"the sweep has {total:,} jobs, {largest} alone {counts[largest]:,} values; at most "
            f"{MOST_JOBS:,} jobs are one sweep: narrow it, or run it in parts"
        )


def check_some(configs: Sequence[Any]) -> Sequence[Any]:
    """``configs``. Raises UserError where there are none."""
    if not configs:
        raise UserError(
            "the sweep is empty: an override names no value, such as seed=range(0), or a "
            "dataset=glob(...) that matches none"
        )
    return configs


def _texts(override: Override, loader: ConfigLoader) -> list[str]:
    value = override.value()
    if isinstance(value, Glob):
        return _matches(override, value, loader)
    if isinstance(value, ChoiceSweep) and not value.simple_form:
        return [_text(one) for one in override.sweep_iterator()]
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def _text(value: Any) -> str:
    """A value of Hydra's `choice(...)`, which takes the quotes off texts, as an override has it."""
    if isinstance(value, str):
        (written,) = shlex.split(written_as("", value))
        text = written.removeprefix("=")
        return "null" if text == NULL else text
    return str(Transformer.str(value))


def _matches(override: Override, glob: Glob, loader: ConfigLoader) -> list[str]:
    return glob.filter(group_choices(override.key_or_group, loader))


def group_choices(group: str, loader: ConfigLoader) -> list[str]:
    """The choices of a group, those in folders of it too: `dataset=glob(keel/*)` finds them.

    Hydra's own globs look into no deeper folder.
    """
    names = list(loader.get_group_options(group, ObjectType.CONFIG))
    for folder in loader.get_group_options(group, ObjectType.GROUP):
        inner = group_choices(f"{group}/{folder}", loader)
        names += [f"{folder}/{name}" for name in inner]
    return names
