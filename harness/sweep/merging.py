"""Merging the small shards of a folder, so that a store of many runs has few files.

A sweep writes a shard of 64 runs at most, lest a killed one loses more. Where many have gathered,
they are merged into shards of some thousand runs: as a sweep begins, as it ends, and as it hears
from its workers, which look at the store before each unit. It is safe to be killed at any step: the
merged shard says which it replaces, and from its rename on, which is one step, readers pass these
over. They are deleted when nobody reads in the folder
(`harness.files.unused`), else by a later sweep. All of it happens under the lock by which sweeps
claim runs; where there are no locks, a folder stays as it is.
"""

import shutil
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import polars as pl

from harness.data.fetching import say
from harness.files import unused
from harness.record import store
from harness.record.schema import FORMAT
from harness.record.shard import TABLES, opened, table_path
from harness.sweep.claims import sealed

MANY = 32  # small shards of one schema, which are merged
RUNS_PER_SHARD = 1024  # and this many bytes of files: what one flipped bit costs, and what is
BYTES_PER_SHARD = 64 * 2**20  # held in memory at once


def has_many(folder: Path) -> bool:
    """Whether `merge` may find something to merge, by the names of shards alone."""
    return sum(1 for _ in (folder / "shards").glob("*")) >= MANY


def merge(folder: Path) -> None:
    """Merges the small shards of ``folder`` where there are many, and deletes what was replaced.

    Values are copied as they are stored; of a run that was trained twice the latest row is kept. A
    folder that cannot be written stays as it is, with a word.
    """
    found = store.shards(folder)
    if len(found.whole) < MANY and not found.replaced:
        return  # as almost always
    del found  # which would be in use
    try:
        with sealed(folder) as is_sealed:
            if is_sealed:
                for shards in _bins(store.shards(folder)):
                    _merge(folder, shards)
                _delete_replaced(folder)
    except OSError as error:
        say(f"{folder}: its shards could not be merged ({error.strerror}); nothing is lost")


@dataclass(frozen=True)
class _Small:
    path: Path
    num_runs: int
    num_bytes: int


def _bins(found: store.Shards) -> Iterator[list[Path]]:
    """Shards that are to be one."""
    by_schema: dict[Hashable, list[_Small]] = defaultdict(list)
    for path in found.whole:
        if (small := _small(path)) is not None:
            by_schema[_schema(path)].append(small)
    for members in by_schema.values():
        if len(members) >= MANY:
            yield from (of for of in _filled(members) if len(of) > 1)


def _filled(members: Sequence[_Small]) -> Iterator[list[Path]]:
    """``members`` in their order, as many at a time as one shard may hold."""
    held: list[_Small] = []
    for one in members:
        after = [*held, one]
        runs, size = sum(x.num_runs for x in after), sum(x.num_bytes for x in after)
        if held and (runs > RUNS_PER_SHARD or size > BYTES_PER_SHARD):
            yield [x.path for x in held]
            after = [one]
        held = after
    yield [x.path for x in held]


@cache
def _small(shard: Path) -> _Small | None:
    """A shard of today's form that is less than half full. None is ever rewritten: asked once."""
    size = sum(table_path(shard, name).stat().st_size for name in TABLES)
    if size > BYTES_PER_SHARD // 2:
        return None
    runs, form = opened(table_path(shard, "runs"))
    num_runs = runs.select(pl.len()).collect().item()
    is_small = form == FORMAT and num_runs <= RUNS_PER_SHARD // 2
    return _Small(shard, num_runs, size) if is_small else None


@cache
def _schema(shard: Path) -> Hashable:
    """Equal where tables can be put below each other as they are."""
    return tuple(repr(store.scan(table_path(shard, name)).collect_schema()) for name in TABLES)


def _merge(folder: Path, shards: Sequence[Path]) -> None:
    """Adds a shard of all runs of ``shards``, in the order of their ids."""
    latest = pl.concat([_of(one, "runs").select("run_id", "created", "shard") for one in shards])
    latest = latest.sort("created", "shard").unique("run_id", keep="last")
    rows = latest.collect().select("run_id", "shard").lazy()
    tables = {
        name: pl.concat([_of(one, name) for one in shards])
        .join(rows, on=["run_id", "shard"], how="semi")
        .drop("shard")
        .sort("run_id", maintain_order=True)
        .collect()
        for name in TABLES
    }
    store.write_merged(folder, tables, replaces=shards)


def _of(shard: Path, table: str) -> pl.LazyFrame:
    return store.scan(table_path(shard, table)).with_columns(pl.lit(shard.name).alias("shard"))


def _delete_replaced(folder: Path) -> None:
    """Of those that are whole alone is it known what they replace: they are read again first."""
    if replaced := store.shards(folder).replaced:
        with unused(folder / "shards") as is_unused:
            for one in replaced if is_unused else ():
                shutil.rmtree(one)
