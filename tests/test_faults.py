"""Faults that no other file causes: a clock moved back, power cut, full and read-only disks, and
numbers beyond all reason. docs/faults.md lists all."""

import builtins
import errno
import io
import logging
import os
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jax
import polars as pl
import pytest

from harness import files
from harness.analyze import load
from harness.record import collect, store
from harness.record.mirror import LEDGER_FILE, Ledger, mirror_run
from harness.record.replay import Sync
from harness.record.tables import tables
from harness.sweep import compiled, merging, recorder
from harness.sweep.merging import merge
from tests.conftest import TINY
from tests.fabricated import Sweep, fabricate
from tests.logged import records
from tests.runs import config, prepared
from tests.stored import assert_same_runs, only, stored_tables
from tests.test_resume import train, trained

FOLDER = Path("runs") / "default"
FULL = pytest.param(errno.ENOSPC, id="full")
SLOW_FULL = pytest.param(errno.ENOSPC, id="full", marks=pytest.mark.slow)
READ_ONLY = pytest.param(errno.EROFS, id="read-only")
LOGISTIC: dict[str, Any] = {"model": {"name": "logistic"}}


def test_a_clock_that_is_moved_back_changes_nothing(tmp_path, monkeypatch):
    """Runs that were stored later seem earlier: each is there once, with its values."""
    configs = [config(seed=seed, **LOGISTIC) for seed in range(3)]
    before = trained(configs[:2], tmp_path)
    moment = [datetime.now(UTC)]

    class Backwards(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            moment[0] -= timedelta(days=1)
            return moment[0]

    monkeypatch.setattr(collect, "datetime", Backwards)
    again = replace(configs[0], rerun=True)
    assert [one.was_stored for one in train([again, *configs[1:]], tmp_path)] == [
        False,
        True,
        False,
    ]
    ids = set(before["runs"]["run_id"])
    now = stored_tables(tmp_path / "default")
    assert_same_runs(only(now, ids), only(before, ids))
    assert now["runs"].height == load(tmp_path / "default").runs.height == 3
    assert sorted(Sync(tmp_path / "default", everything=True).unsent()) == sorted(
        now["runs"]["run_id"]
    )


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has writing below a place fail with this error, as on a disk that is full or read-only."""

    def plant(place: Path, number: int) -> None:
        def guarded(do: Any, writes: Any) -> Any:
            def doing(path: Any, *given: Any, **options: Any) -> Any:
                is_path = isinstance(path, str | os.PathLike)
                below = is_path and Path(os.path.abspath(path)).is_relative_to(place)
                if below and writes(*given, **options):
                    raise OSError(number, os.strerror(number), str(path))
                return do(path, *given, **options)

            return doing

        def opens(mode: str = "r", *_: Any, **options: Any) -> bool:
            return bool(set(options.get("mode", mode)) & set("wax+"))

        for owner, name, writes in (
            (os, "mkdir", lambda *_: True),
            (os, "open", lambda flags, *_, **__: bool(flags & (os.O_WRONLY | os.O_RDWR))),
            (builtins, "open", opens),
            (io, "open", opens),
        ):
            monkeypatch.setattr(owner, name, guarded(getattr(owner, name), writes))

    return plant


@pytest.mark.slow
@pytest.mark.parametrize("number", [SLOW_FULL, READ_ONLY])
def test_a_store_that_cannot_be_written_is_one_line(number, broken, harness, tmp_path):
    assert harness("train", *TINY).code == 0
    before = stored_tables(tmp_path / FOLDER)
    broken(tmp_path / FOLDER, number)
    said = harness("train", *TINY, "seed=1")
    assert said.code == 2 and said.err.count("\n") == 1
    assert os.strerror(number) in said.err and "nothing stored so far is lost" in said.err
    assert_same_runs(stored_tables(tmp_path / FOLDER), before)


@pytest.mark.parametrize("number", [FULL, READ_ONLY])
def test_a_ledger_that_cannot_be_written_says_that_nothing_was_sent(number, broken, tmp_path):
    broken(tmp_path / LEDGER_FILE, number)
    (error,) = Ledger(tmp_path).note_sent([mirror_run(records(1)[0])])
    assert isinstance(error, OSError) and error.errno == number
    assert Ledger(tmp_path).sent() == {}  # owed again, which sends it twice and loses nothing


@pytest.mark.parametrize("number", [SLOW_FULL, READ_ONLY])
def test_a_folder_of_wandb_that_cannot_be_written_stops_no_training(
    number, broken, harness, tmp_path, caplog
):
    broken(tmp_path / FOLDER / "wandb", number)
    with caplog.at_level(logging.WARNING, logger="harness"):
        said = harness("train", *TINY[:2], "wandb=offline")
    assert said.code == 0 and said.out.startswith("1 trained")
    assert "mirror them later with `harness sync" in caplog.text
    assert store.runs(tmp_path / FOLDER)[0].height == 1


@pytest.mark.parametrize("number", [FULL, READ_ONLY])
def test_a_cache_that_cannot_be_written_is_done_without(number, broken, tmp_path, monkeypatch):
    place, made = tmp_path / "cache" / "programs" / "x", []
    monkeypatch.setattr(compiled, "_place", lambda *_: place)
    program = prepared(config(**LOGISTIC)).program
    broken(tmp_path / "cache", number)

    def lower() -> Any:
        made.append(1)
        return jax.jit(lambda x: x + number).lower(1.0)

    assert compiled.compiled(program, lower, width=8)(1.0) == number + 1
    assert made and not place.parent.exists()


class Power:
    """Copies a folder as a power cut would leave it, after each flush, rename and deletion.

    Every name is there that was; of each file what had been flushed by then, else nothing.
    """

    def __init__(self, folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch):
        self.folder, self.place = folder, place
        self.flushed = {content(path) for path in folder.rglob("*") if path.is_file()}
        self.cuts: list[Path] = []
        for owner, name in ((files, "flush"), (Path, "rename"), (shutil, "rmtree")):
            monkeypatch.setattr(owner, name, self.around(getattr(owner, name)))

    def around(self, do: Any) -> Any:
        def doing(path: Path, *given: Any, **options: Any) -> Any:
            if do.__name__ == "flush" and path.is_file():
                self.flushed.add(content(path))
            done = do(path, *given, **options)
            self.cut()
            return done

        return doing

    def cut(self) -> None:
        copy = self.place / str(len(self.cuts))
        for path in self.folder.rglob("*"):
            to = copy / path.relative_to(self.folder)
            if path.is_file():
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_bytes(path.read_bytes() if content(path) in self.flushed else b"")
        self.cuts.append(copy)


def content(path: Path) -> bytes:
    return path.read_bytes()


def test_a_power_cut_at_any_moment_loses_nothing_that_was_stored(tmp_path, monkeypatch):
    """Of a shard that is written, and of shards that are merged."""
    monkeypatch.setattr(merging, "MANY", 3)
    folder = fabricate(tmp_path / "s", Sweep(seeds=(0, 1), num_rows=20, num_epochs=2))
    ids = set(stored_tables(folder)["runs"]["run_id"])
    expected = only(stored_tables(folder), ids)
    (more,) = Sweep(effects={"bce": 0}, seeds=(9,), num_rows=20, num_epochs=2).records()
    with monkeypatch.context() as patch:
        power = Power(folder, tmp_path / "cuts", patch)
        store.write_shard(folder, tables([more]))
        merge(folder)
    assert len(store.shards(folder).whole) == 1 and len(power.cuts) > 15
    seen = set()
    for cut in power.cuts:
        found = store.shards(cut)
        assert found.damaged == {}
        runs, _ = store.flat_runs(found)
        assert runs["run_id"].is_unique().all()
        seen.add((runs.height, len(found.whole)))
        assert_same_runs(only(stored_tables(cut), ids), expected)
    assert seen == {(4, 3), (5, 4), (5, 1)}


SCALED = """
from dataclasses import dataclass
import jax.numpy as jnp
from harness.plugins import loss

@loss("scaled")
@dataclass(frozen=True)
class Scaled:
    by: float = 1.0

    def __call__(self, logits, labels):
        return self.by * (jnp.logaddexp(0.0, logits) - labels * logits)
"""


@pytest.mark.slow
def test_runs_whose_writer_is_stopped_after_the_rename_are_there_once(tmp_path, monkeypatch):
    """A signal comes between the rename of a shard and the word that it was written."""
    write, stopped = store.write_shard, []

    def then_stopped(*given, **named):
        shard = write(*given, **named)
        if not stopped:
            stopped.append(shard)
            raise KeyboardInterrupt
        return shard

    monkeypatch.setattr(store, "write_shard", then_stopped)
    monkeypatch.setattr(recorder, "RUNS_PER_SHARD", 1)
    runs = [config(**LOGISTIC, seed=seed) for seed in range(2)]
    with pytest.raises(KeyboardInterrupt):
        train(runs, tmp_path)
    table, _ = store.runs(tmp_path / "default")
    assert stopped and table["run_id"].is_unique().all()


def test_a_loss_beyond_all_reason_changes_no_other_lane(tmp_path, monkeypatch, nothing_stays):
    (tmp_path / "mine.py").write_text(SCALED)
    monkeypatch.syspath_prepend(str(tmp_path))
    from harness import plugins

    plugins.load("mine")
    sgd = {"name": "sgd", "learning_rate": 0.05}

    def runs(*scales: float) -> list[Any]:
        return [
            config(loss={"name": "scaled", "by": by}, optimizer=sgd, seed=seed, **LOGISTIC)
            for by in scales
            for seed in range(2)
        ]

    calm = trained(runs(1.0), tmp_path / "calm")
    ids = set(calm["runs"]["run_id"])
    mixed = trained(runs(1e30, 1.0, -1e30), tmp_path / "mixed")
    assert_same_runs(only(mixed, ids), only(calm, ids))
    wild = mixed["runs"].filter(~pl.col("run_id").is_in(ids))
    assert wild.height == 4 and set(wild["status"]) <= {"diverged", "finished"}


@pytest.mark.parametrize("page", ["faults.md", "threats.md"])
def test_every_test_that_a_page_names_is_there(page):
    tests = Path(__file__).parent
    file = ""
    for name in re.findall(r"test_\w+(?:\.py)?", (tests.parent / "docs" / page).read_text()):
        if name.endswith(".py"):
            file = name
            assert (tests / file).is_file(), name
        else:
            assert f"\ndef {name}(" in (tests / file).read_text(), name
