"""Small shards are merged: whatever happens meanwhile, each run is there once."""

import fcntl
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.analyze import load
from harness.record import replay, store
from harness.record.mirror import LEDGER_FILE
from harness.record.replay import StoredLogs, Sync
from harness.record.schema import Record
from harness.record.tables import tables
from harness.sweep import merging
from harness.sweep.merging import merge
from harness.sweep.recorder import Part, Recorder
from harness.sweep.removal import remove
from tests.fabricated import Sweep, fabricate
from tests.runs import config, runs_of
from tests.stored import assert_same_runs, stored_tables
from tests.test_stored_form import FIRST_FORM

NUM_SHARDS = 8
RUNS = Sweep(seeds=range(4), num_rows=20, num_epochs=2)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate(tmp_path_factory.mktemp("many") / "s", RUNS, num_shards=NUM_SHARDS)


@pytest.fixture(scope="module")
def whole(many: Path) -> dict[str, pl.DataFrame]:
    return stored_tables(many)


@pytest.fixture
def folder(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of eight shards, of which four are many."""
    monkeypatch.setattr(merging, "MANY", 4)
    return shutil.copytree(many, tmp_path / "s")


def names(folder: Path) -> set[str]:
    return {one.name for one in (folder / "shards").iterdir()}


def assert_there_once(folder: Path, whole: dict[str, pl.DataFrame]) -> None:
    found = store.shards(folder)
    assert found.damaged == {}
    runs, _ = store.flat_runs(found)
    assert runs["run_id"].is_unique().all() and runs.height == whole["runs"].height
    assert_same_runs(stored_tables(folder), whole)
    seen = load(folder)
    assert seen.notes == () and seen.runs.height == runs.height
    for frames, name in (([seen.history], "history"), (seen.predictions, "predictions")):
        assert sum(one.collect().height for one in frames) == whole[name].height


def test_merged_shards_hold_what_the_small_ones_did(folder, whole):
    merge(folder)
    assert len(names(folder)) == 1
    assert_there_once(folder, whole)
    before = names(folder)
    merge(folder)  # of few none are merged
    assert names(folder) == before


def test_a_merged_shard_is_no_larger_than_is_said(folder, whole, monkeypatch):
    monkeypatch.setattr(merging, "RUNS_PER_SHARD", 3)
    merge(folder)
    heights = sorted(pl.read_parquet(one).height for one in store.shards(folder).paths("runs"))
    assert heights == [2, 3, 3]
    assert_there_once(folder, whole)
    monkeypatch.setattr(merging, "RUNS_PER_SHARD", 100)
    monkeypatch.setattr(merging, "MANY", 3)
    monkeypatch.setattr(merging, "BYTES_PER_SHARD", 1)  # all of them are large
    before = names(folder)
    merge(folder)
    assert names(folder) == before


class Killed(BaseException):
    pass


def kill_at(at: int, patch: pytest.MonkeyPatch) -> None:
    """Has the process end at the so-manieth step of a merge, halfway through it, and do no more."""
    done = []

    def counted(step: Callable) -> Callable:
        def stepping(*given: Any, **options: Any) -> Any:
            done.append(step)
            if len(done) < at:
                return step(*given, **options)
            if len(done) == at and step is not rename:  # which is one step
                half_done(*given, **options)
            raise Killed

        return stepping

    rename = Path.rename
    for owner, name in ((store, "write_table"), (Path, "rename"), (shutil, "rmtree")):
        patch.setattr(owner, name, counted(getattr(owner, name)))


def half_done(first: Any, *given: Any, **options: Any) -> None:
    if isinstance(first, pl.DataFrame):
        given[0].write_bytes(b"PAR1")
    elif not options:  # of a folder that is deleted; one that was never whole stays, as of a kill
        next(iter(first.iterdir())).unlink()


@pytest.mark.parametrize("at", [1, 3, 4, 5, 6, 12])
def test_a_merge_killed_at_any_step_loses_nothing(at, folder, whole, monkeypatch):
    """In a table, before it has its name, in the first shard that it replaces, and later."""
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(at, patch)
        merge(folder)
    assert len([one for one in names(folder) if one[0] != "."]) > 1
    assert_there_once(folder, whole)
    merge(folder)
    assert len([one for one in names(folder) if one[0] != "."]) == 1
    assert_there_once(folder, whole)


def test_a_reader_keeps_what_it_has_listed(folder, whole):
    reading = load(folder)
    merge(folder)
    assert len(names(folder)) == NUM_SHARDS + 1
    assert sum(one.collect().height for one in reading.predictions) == whole["predictions"].height
    assert reading.history.collect().height == whole["history"].height
    assert_there_once(folder, whole)
    del reading
    merge(folder)
    assert len(names(folder)) == 1
    assert_there_once(folder, whole)


def test_a_damaged_merged_shard_replaces_nothing(folder, whole):
    reading = store.shards(folder)
    merge(folder)
    (merged,) = store.shards(folder).whole
    path = merged / "history.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    found = store.shards(folder)
    assert set(found.damaged) == {merged} and found.whole == reading.whole
    del reading
    merge(folder)
    store.set_aside(folder)
    assert_there_once(folder, whole)


def test_of_a_run_that_was_trained_twice_the_latest_is_kept(folder, whole):
    record = RUNS.records()[0]
    later = replace(
        record, created=record.created + timedelta(days=1), facts={**record.facts, "seconds": 9.0}
    )
    store.write_shard(folder, tables([later]))
    merge(folder)
    assert len(names(folder)) == 1
    assert store.stored(folder, ["seconds"])[record.run_id]["seconds"] == 9.0
    assert_there_once(folder, whole)


def test_runs_that_are_taken_out_do_not_come_back(folder, whole):
    reading = store.shards(folder)
    merge(folder)
    assert store.shards(folder).replaced  # somebody reads them
    gone = min(whole["runs"]["run_id"])
    assert remove(folder, [gone]).run_ids == (gone,)
    del reading
    rest = {name: table.filter(pl.col("run_id") != gone) for name, table in whole.items()}
    assert_there_once(folder, rest)


def test_without_locks_nothing_is_merged(folder, monkeypatch):
    def refused(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    before = names(folder)
    monkeypatch.setattr(fcntl, "flock", refused)
    merge(folder)
    assert names(folder) == before


def test_a_merge_that_cannot_be_written_is_one_line(folder, whole, monkeypatch, capsys):
    def full(self: pl.DataFrame, path: Path, **_: Any) -> None:
        path.write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", full)
        merge(folder)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "could not be merged (No space left on device)" in said
    assert len(names(folder)) == NUM_SHARDS
    assert_there_once(folder, whole)


def test_shards_of_other_forms_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "MANY", 2)
    old = shutil.copytree(FIRST_FORM, tmp_path / "old")
    before = names(old)
    merge(old)
    assert names(old) == before


def test_shards_of_other_columns_are_not_put_below_each_other(folder, whole):
    def renamed(record: Record) -> Record:
        loss = {"name": "mine", "own": 1.0}
        return replace(record, run_id=f"x{record.run_id}", config={**record.config, "loss": loss})

    fabricate(folder, RUNS, num_shards=2, changed=renamed)
    merge(folder)
    assert len(names(folder)) == 3  # two of another schema are not many
    assert len(store.stored(folder)) == 2 * whole["runs"].height


def test_what_is_owed_to_the_mirror_is_as_before(folder, whole):
    ids = sorted(whole["runs"]["run_id"])
    lines = f'{{"sent": {{"{ids[0]}": "2026-01-01T00:00:00+00:00"}}}}\n'
    (folder / LEDGER_FILE).write_text(lines)
    everything = Sync(folder, everything=True).unsent()
    owed, logs = Sync(folder).unsent(), list(StoredLogs(folder)(ids))
    merge(folder)
    assert sorted(Sync(folder).unsent()) == sorted(owed)
    assert Sync(folder, everything=True).unsent() == everything == ids
    by_id = {log.run_id: log for log in logs}
    assert {log.run_id: log for log in StoredLogs(folder)(ids)} == by_id


def test_who_asks_again_for_logs_reads_new_shards_alone(folder, monkeypatch):
    read: list[Path] = []

    def scan(path: Path) -> pl.LazyFrame:
        read.append(path)
        return store.scan(path)

    monkeypatch.setattr(replay, "scan", scan)
    logs = StoredLogs(folder)
    (record, *_) = RUNS.records()
    assert [log.run_id for log in logs([record.run_id])] == [record.run_id]
    assert len(read) == NUM_SHARDS + 1  # each shard's ids, and the curves of one
    store.write_shard(folder, tables([replace(record, run_id="new")]))
    assert [log.run_id for log in logs(["new", "none"])] == ["new"]
    assert len(read) == NUM_SHARDS + 3
    merge(folder)
    assert [log.run_id for log in logs([record.run_id])] == [record.run_id]


def test_a_sweep_merges_what_it_finds_and_what_it_leaves(folder, whole):
    one = replace(config(), root=str(folder.parent), name=folder.name)
    Recorder([one], part=Part([])).finish()  # a worker leaves it to who shares out the work
    assert len(names(folder)) == NUM_SHARDS
    recorder = Recorder([one])
    assert len(names(folder)) == 1
    fabricate(folder, replace(RUNS, seeds=range(4, 8)), num_shards=NUM_SHARDS)
    recorder.finish()
    assert len(names(folder)) == 1
    fabricate(folder, replace(RUNS, seeds=range(8, 12)), num_shards=NUM_SHARDS)
    recorder.took(runs_of(one))  # as workers answer
    assert len(names(folder)) == 1
    ids = set(whole["runs"]["run_id"])
    assert store.stored(folder).keys() > ids and len(store.stored(folder)) == 3 * len(ids)
