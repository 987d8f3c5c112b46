"""The store: append-only Parquet shards, one folder a batch of runs.

``<folder>/shards/<id>/{runs,history,predictions}.parquet`` and their hashes. A shard folder is
written whole under a temporary name and then renamed, so a reader sees all of a batch or none,
several writers need no lock, and a killed process loses at most what it had not stored yet. Small
ones are merged into large ones (`harness.sweep.merging`): a merged one says which it replaces.

Nothing of a shard is believed before it is checked (`harness.record.shard`). The runs of a damaged
one are as if they were not stored: `harness train` moves it to ``<folder>/damaged`` and trains them
again, all others leave it out and say so.

Beside the shards, ``plan.json`` holds how many runs the folder is to have and which metric is its
objective, as the last command that trained into it said, and ``data/<fingerprint>.json`` what was
found in a data set.
"""

import json
import os
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any, TypeVar

import polars as pl
from pydantic import ConfigDict, Field, TypeAdapter, with_config

from harness.data.fetching import say
from harness.files import InUse, whole_folder, write_whole
from harness.record import file_form, first_form
from harness.record.schema import FACTS, FORMAT, RUN, Columns, flat, joined, nested
from harness.record.shard import (
    FORM,
    REPLACES,
    SUMS,
    TABLES,
    fault,
    opened,
    replaced_by,
    sums,
    table_path,
    write_table,
)

__all__ = ["FORM", "SUMS", "TABLES"]

DAMAGED = "damaged"  # the folder, beside `shards`, of those that were set aside
PLAN = "plan.json"
_LONGEST = 2**20  # bytes of a file of JSON: one that is longer is nobody's but a stranger's
_ROW_GROUP = {"predictions": 128}  # who wants one run of many reads the scores of 64


def new_name() -> str:
    """A name that no other shard has."""
    return uuid.uuid4().hex


def write_shard(
    folder: Path, tables: Mapping[str, pl.DataFrame], *, name: str | None = None
) -> Path:
    """Adds one shard holding ``tables`` (one frame for each of `TABLES`) and returns its folder.

    Args:
      name: its `new_name`. Whoever is stopped in the midst and begins again with the same name
        has it there once.

    Raises:
      OSError: it cannot be written; nothing of it is there then.
    """
    shard = folder / "shards" / (name or new_name())
    if shard.exists():
        return shard
    return _write(shard, {**tables, "runs": file_form.packed(tables["runs"])}, {})


def write_merged(
    folder: Path, tables: Mapping[str, pl.DataFrame], *, replaces: Iterable[Path]
) -> Path:
    """Adds one shard in place of others, which readers pass over from then on.

    Args:
      tables: as files of today's form hold them.
      replaces: shards of the folder, of whose runs ``tables`` hold the latest rows.

    Raises:
      OSError: as `write_shard`.
    """
    names = " ".join(sorted(one.name for one in replaces))
    return _write(folder / "shards" / new_name(), tables, {REPLACES: names})


def _write(shard: Path, written: Mapping[str, pl.DataFrame], about: Mapping[str, str]) -> Path:
    with whole_folder(shard) as temporary:
        for name in TABLES:
            write_table(
                written[name],
                table_path(temporary, name),
                compression="zstd",
                row_group_size=_ROW_GROUP.get(name),
                metadata={FORM: str(FORMAT), **about},
            )
        (temporary / SUMS).write_bytes(sums(temporary).encode())
    return shard


@with_config(ConfigDict(strict=True))
@dataclass(frozen=True)
class _Plan:
    runs: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    objective: str | None = None


@with_config(ConfigDict(strict=True))
@dataclass(frozen=True)
class _Findings:
    found: tuple[str, ...]


_PLAN, _FINDINGS = TypeAdapter(_Plan), TypeAdapter(_Findings)


def write_plan(folder: Path, num_runs: int | None, objective: str | None = None) -> None:
    """Says what the folder is to have once what is being trained is whole.

    Args:
      num_runs: how many runs; None where that is not known.
      objective: the sweep's `evaluation.objective`; None where its jobs do not agree. It is no part
        of a run: one that was stored before may have been asked for another.
    """
    write_whole(folder / PLAN, json.dumps(asdict(_Plan(num_runs, objective))) + "\n")


def planned(folder: Path) -> int | None:
    """How many runs the folder is to have; None where nobody said, or nothing readable."""
    return (_read_json(folder / PLAN, _PLAN) or _Plan()).runs


def planned_objective(folder: Path) -> str | None:
    """The objective of the last sweep into the folder; None as of `planned`."""
    return (_read_json(folder / PLAN, _PLAN) or _Plan()).objective


def write_findings(folder: Path, fingerprint: str, lines: Sequence[str]) -> None:
    """Keeps what was found in a data set, a sentence a line."""
    content = json.dumps(asdict(_Findings(tuple(lines))))
    write_whole(_findings(folder, fingerprint), f"{content}\n")


def has_findings(folder: Path, fingerprint: str) -> bool:
    """Whether `write_findings` was told of the data set before."""
    return _findings(folder, fingerprint).is_file()


def findings(folder: Path) -> dict[str, tuple[str, ...]]:
    """What was found in each data set, by its fingerprint; what cannot be read is left out."""
    read = {
        path.stem: _read_json(path, _FINDINGS) for path in sorted((folder / "data").glob("*.json"))
    }
    return {name: of.found for name, of in read.items() if of is not None}


def _findings(folder: Path, fingerprint: str) -> Path:
    return folder / "data" / f"{fingerprint}.json"


Content = TypeVar("Content")


def _read_json(path: Path, kind: TypeAdapter[Content]) -> Content | None:
    """What a file holds, as far as it is of this kind; None of one that is not."""
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
        return kind.validate_json(content) if len(content) <= _LONGEST else None
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Shards:
    """The finished shards of a folder. None is deleted while this lives (`harness.sweep.merging`).

    Attributes:
      damaged: what is wrong with each.
      replaced: those whose runs lie in a whole one, which was merged from them.
    """

    whole: tuple[Path, ...]
    damaged: Mapping[Path, str]
    replaced: tuple[Path, ...]
    in_use: InUse

    def paths(self, table: str) -> list[Path]:
        """The files of ``table`` in the whole ones."""
        return [table_path(shard, table) for shard in self.whole]


def shards(folder: Path, *, but: Collection[str] = ()) -> Shards:
    """The shards of ``folder``, all of their content checked; without those of these names.

    Raises:
      UserError: one may not be read, or is of a form that only later versions know.
    """
    in_use = InUse(folder / "shards")  # before they are listed
    found = (one for one in (folder / "shards").glob("*") if not one.name.startswith("."))
    checked = {one: _checked(one) for one in sorted(found) if one.name not in but and one.is_dir()}
    replaced = {name for told in checked.values() for name in told.replaces}
    seen = {one: told.fault for one, told in checked.items() if one.name not in replaced}
    return Shards(
        whole=tuple(one for one, told in seen.items() if not told),
        damaged={one: told for one, told in seen.items() if told},
        replaced=tuple(one for one in checked if one.name in replaced),
        in_use=in_use,
    )


@dataclass(frozen=True)
class _Checked:
    fault: str
    replaces: tuple[str, ...] = ()  # of a whole one


def _check(shard: Path) -> _Checked:
    told = fault(shard)
    return _Checked(told, () if told else replaced_by(shard))


def _checked(shard: Path) -> _Checked:
    """`_check`, of content that is read once a process: a launch asks several times, and a search
    at each of its batches."""
    try:
        with os.scandir(shard) as files:
            facts = [(one.name, one.stat()) for one in files]
    except OSError:
        return _check(shard)
    changes = ((name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in facts)
    return _once_checked(shard, tuple(sorted(changes)))


@cache
def _once_checked(shard: Path, changes: tuple[tuple[str | int, ...], ...]) -> _Checked:
    """Where the files' facts, ``changes``, are the same, so is their content."""
    return _check(shard)


def sweeps_in(folder: Path) -> list[Path]:
    """The sweep folders that lie in ``folder``, such as those of `runs`."""
    return sorted(one.parent for one in Path(folder).glob("*/shards") if one.is_dir())


def set_aside(folder: Path) -> None:
    """Moves damaged shards to ``folder``/damaged and says so: their runs are trained again."""
    for shard, told in shards(folder).damaged.items():
        # One that was damaged before may be there: a backup put back what had been set aside.
        names = chain([shard.name], (f"{shard.name}-{number}" for number in count(2)))
        place = next(one for name in names if not (one := folder / DAMAGED / name).exists())
        place.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # another sweep was first
            shard.rename(place)
            say(f"{shard} is damaged ({told}): moved to {place}, its runs are trained again")


def scan(path: Path) -> pl.LazyFrame:
    """A shard's table, as it is stored; raises as `opened`."""
    return opened(path)[0]


def read_runs(path: Path) -> pl.DataFrame:
    """A shard's table `runs` as `harness.record.tables` makes it, whichever form the file has.

    What a later version of today's form adds is passed over; raises as `opened`.
    """
    lazy, form = opened(path)
    if form == 1:
        return nested(*first_form.converted(lazy.collect()))
    known = {*RUN, *FACTS, "config", *file_form.groups()}
    frame = lazy.select(name for name in lazy.collect_schema() if name in known).collect()
    return frame if form == 2 else file_form.unpacked(frame)


def runs(folder: Path) -> tuple[pl.DataFrame, Columns]:
    """`flat_runs` of all whole shards; raises as `shards`."""
    return flat_runs(shards(folder))


def flat_runs(of: Shards) -> tuple[pl.DataFrame, Columns]:
    """The flat table of the whole shards with its `shard`, and what its columns are.

    A run that was trained twice has two rows. Without a row it has no columns.
    """
    parts = []
    for path in of.paths("runs"):
        if (frame := read_runs(path)).height:
            parts.append(flat(frame.with_columns(pl.lit(path.parent.name).alias("shard"))))
    return union(parts)


def union(parts: Sequence[tuple[pl.DataFrame, Columns]]) -> tuple[pl.DataFrame, Columns]:
    """Flat tables below each other: what one lacks is null there."""
    if not parts:
        return pl.DataFrame(), Columns()
    table = pl.concat([frame for frame, _ in parts], how="diagonal_relaxed")
    columns = joined(columns for _, columns in parts)
    named = [*columns.facts, *columns.config, *columns.metrics]
    rest = [name for name in table.columns if name not in {*RUN, *named}]
    return table.select(*(name for name in RUN if name in table.columns), *named, *rest), columns


def stored(folder: Path, names: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """These facts, metrics and config keys of every stored run, by run_id; None where it lacks one.

    Of a run that was trained again they are the latest. Says which shards are left out; raises as
    `shards`.
    """
    of = shards(folder)
    for shard, told in of.damaged.items():
        _say_once(f"{shard} is damaged ({told}): left out; `harness train` trains its runs again")
    found = [_selected(path, names) for path in of.paths("runs")]
    if not found:
        return {}
    rows = pl.concat(found, how="vertical_relaxed").sort("created")
    return {row["run_id"]: row for row in rows.iter_rows(named=True)}


@cache
def _say_once(line: str) -> None:
    say(line)


def _selected(path: Path, names: Sequence[str]) -> pl.DataFrame:
    lazy, form = opened(path)
    schema = lazy.collect_schema()
    values = (_found(name, schema, form).alias(name) for name in (*RUN, *names))
    return lazy.select(values).collect()


def _found(name: str, schema: Mapping[str, Any], form: int) -> pl.Expr:
    """A fact, a metric, or a config key by its dotted name."""
    for first, *rest in ((name,), ("metrics", name), ("config", *name.split("."))):
        value, kind = pl.col(first), schema.get(first)
        for key in rest:
            inner = {one.name: one.dtype for one in kind.fields} if kind == pl.Struct else {}
            value, kind = value.struct.field(key), inner.get(key)
        if kind is not None:
            return value
    is_metric = "/" in name  # else a key that came after the shard
    return file_form.more("metrics", name) if is_metric and form == FORMAT else pl.lit(None)
