"""Taking runs out of a sweep folder, whose shards are never rewritten.

A shard that holds runs to remove is replaced: one with its other runs is written first, then the
old one is moved to ``<folder>/removed/shards``, both under the lock by which sweeps claim runs. A
reader in between finds some runs twice, with the same values, and takes one of each; whoever is
killed in between leaves that, and the same command again ends it. Nobody's open file changes.
"""

import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import polars as pl

from harness import checkpoints
from harness.errors import UserError
from harness.record.mirror import Ledger
from harness.record.shard import TABLES, table_path
from harness.record.store import read_runs, scan, shards, write_shard
from harness.sweep.claims import alone_in

REMOVED = "removed"  # the folder, beside `shards`, of what was taken out


@dataclass(frozen=True)
class Removed:
    """What was taken out of a folder.

    Attributes:
      run_ids: sorted.
      sent: those of them that W&B's service has, where they stay.
      place: the folder that holds them; None where they were deleted.
    """

    run_ids: tuple[str, ...]
    sent: tuple[str, ...]
    place: Path | None


def remove(folder: Path, run_ids: Collection[str], *, delete: bool = False) -> Removed:
    """Takes runs out: their rows, curves and scores, saved models and offline W&B folders.

    What the ledger says was sent of them is taken back: trained again, they are owed again.

    Args:
      folder: a sweep folder. Its damaged shards stay as they are.
      run_ids: those stored there; of others nothing is done.
      delete: keeps nothing of them.

    Raises:
      UserError: a sweep is training into the folder; nothing is changed then.
      OSError: it cannot be written. What was moved by then stays moved.
    """
    place = folder / REMOVED
    moved: list[Path] = []
    with alone_in(folder) as others:
        if others:
            raise UserError(f"a sweep is training into {folder}: let it end first, or stop it")
        gone: set[str] = set()
        for one in shards(folder).replaced:  # whose runs would be back without what was merged
            shutil.rmtree(one)
        for shard in shards(folder).whole:
            stored = read_runs(table_path(shard, "runs"))
            leaving = pl.col("run_id").is_in(list(run_ids))
            if not (found := set(stored.filter(leaving)["run_id"])):
                continue
            if (kept := stored.filter(~leaving)).height:
                rest = {
                    name: scan(table_path(shard, name)).filter(~leaving).collect()
                    for name in TABLES
                    if name != "runs"
                }
                write_shard(folder, {"runs": kept, **rest})
            moved.append(_move(shard, place / "shards"))
            gone |= found
        for one in _beside(folder, gone):
            moved.append(_move(one, place / one.parent.name))
        ledger = Ledger(folder)
        sent = sorted(gone & ledger.sent().keys())
        if errors := ledger.note_removed(gone) if sent else []:
            raise errors[0]
        if delete:
            for one in moved:
                shutil.rmtree(one)
    return Removed(tuple(sorted(gone)), tuple(sent), None if delete else place)


def _beside(folder: Path, run_ids: Collection[str]) -> Iterator[Path]:
    """Saved models and offline W&B folders of these runs, found by their names in the folder:
    an id that a stranger wrote leads nowhere else."""
    for one in sorted((folder / checkpoints.FOLDER).glob("*")):
        if one.name in run_ids:
            yield one
    for one in sorted((folder / "wandb").glob("offline-run-*")):
        if one.name.split("-", 3)[-1] in run_ids:
            yield one


def _move(one: Path, into: Path) -> Path:
    into.mkdir(parents=True, exist_ok=True)
    names = chain([one.name], (f"{one.name}-{number}" for number in count(2)))
    place = next(place for name in names if not (place := into / name).exists())
    return one.rename(place)
