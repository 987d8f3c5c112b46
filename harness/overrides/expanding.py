"""From the overrides of a sweep to those of its jobs: choices, ranges and globs, multiplied.

Jobs are counted before any is made: a slip such as `seed=range(100000000)` is refused at once.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, RangeSweep

from harness.errors import UserError

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
    counts = {str(one.input_line): _count(one, loader) for one in swept.values()}
    check_number(counts)
    values = ([f"{key}={text}" for text in _texts(one, loader)] for key, one in swept.items())
    return [list(job) for job in itertools.product(*values)]


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
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


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
