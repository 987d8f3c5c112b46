"""Stored runs in hand: listed, shown, compared, exported and taken out of a folder."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from harness import checkpoints
from harness.analyze import load
from harness.errors import UserError
from harness.record import store
from harness.record.mirror import LEDGER_FILE, Ledger
from harness.sweep import claims, removal
from harness.sweep.removal import remove
from tests.fabricated import Sweep, fabricate
from tests.stored import ORDER, assert_same_runs, only, stored_tables


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made") / "s"
    store.write_plan(place, 16)
    return fabricate(place, Sweep(seeds=range(4), learning_rates=(1e-3, 1e-2), num_rows=40))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "s")


def ids(folder: Path, loss: str) -> list[str]:
    return load(folder).runs.filter(pl.col("loss.name") == loss)["run_id"].to_list()


def test_list_show_and_diff(folder, harness):
    said = harness("runs", "list", str(folder), "--where", "loss = focal and seed < 2")
    assert (said.code, said.out.count("focal")) == (0, 4)
    known = ids(folder, "focal")
    assert sum(one[:8] in said.out for one in known) == 4
    one, other = known[0], ids(folder, "bce")[0]
    said = harness("runs", "show", str(folder), one[:8])
    assert said.code == 0 and f"run {one}" in said.out and "optimizer.learning_rate" in said.out
    said = harness("runs", "diff", str(folder), one, other[:9])
    assert said.code == 0 and "loss.name" in said.out and "model.width" not in said.out
    assert "test/average_precision" in said.out


@pytest.mark.parametrize(("arguments", "said"), [
    (("list", "FOLDER", "--since", "2031-01-01"), "no run was stored in that time"),
    (("list", "FOLDER", "--until", "yesterday"), "is no time: write 2025-12-31"),
    (("list", "FOLDER", "--where", "los = bce"), "did you mean loss"),
    (("show", "FOLDER", "nobody"), "has no run 'nobody': see `harness runs list`"),
    (("show", "FOLDER", ""), "has no run ''"),
    (("rm", "FOLDER"), "say which: ids, --where, --since or --until"),
    (("rm", "nowhere", "--where", "seed = 1"), "is no sweep folder"),
    (("export", "FOLDER", "-o", "x.xlsx"), "give a name that ends in .parquet or .csv"),
    (("sell", "FOLDER"), "invalid choice"),
])  # fmt: skip
def test_a_mistake_is_one_line(folder, harness, arguments, said):
    answer = harness("runs", *(str(folder) if word == "FOLDER" else word for word in arguments))
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert said in answer.err


def test_a_days_end_is_in_it(folder, harness):
    day = "2025-01-01"  # of all fabricated runs
    assert harness("runs", "list", str(folder), "--since", day, "--until", day).code == 0
    assert harness("runs", "list", str(folder), "--until", "2024-12-31T23:59").code == 2


def test_an_id_that_may_be_two_is_refused(folder):
    from harness.cli.runs_command import _one

    found = load(folder)
    first = min(found.runs["run_id"])
    with pytest.raises(UserError, match="give more of the id"):
        # One that begins as another does: a whole id is itself.
        twins = found.runs.with_columns(pl.lit("aaaa").alias("run_id") + pl.col("run_id"))
        _one(type(found)(**{**vars(found), "runs": twins}), "aaaa")
    assert _one(found, first)["run_id"] == first


def test_export_is_one_file(folder, harness, tmp_path):
    out = tmp_path / "runs.parquet"
    assert harness("runs", "export", str(folder), "-o", str(out)).code == 0
    table = pl.read_parquet(out)
    assert table.height == 16 and {"seed", "status", "test/auroc"} <= set(table.columns)
    scores = tmp_path / "scores.csv"
    where = ("--where", "seed = 1", "--scores")
    assert harness("runs", "export", str(folder), "-o", str(scores), *where).code == 0
    assert load(scores).runs.height == 4


def test_what_is_removed_is_trained_again_and_all_else_stays(folder, harness):
    before, gone = stored_tables(folder), set(ids(folder, "focal"))
    shards = {one.name for one in (folder / "shards").iterdir()}
    said = harness("runs", "rm", str(folder), "--where", "loss = focal")
    assert "8 runs would move" in said.out and set(store.stored(folder)) >= gone  # a dry run
    for one in sorted(gone)[:1]:
        (folder / checkpoints.FOLDER / one).mkdir(parents=True)
        (folder / "wandb" / f"offline-run-20250101_000000-{one}").mkdir(parents=True)
    (folder / checkpoints.FOLDER / "other").mkdir()
    said = harness("runs", "rm", str(folder), "--where", "loss = focal", "--yes")
    assert (said.code, said.err) == (0, "") and "8 runs moved" in said.out
    kept = set(store.stored(folder))
    assert kept == set(before["runs"]["run_id"]) - gone and len(kept) == 8
    assert_same_runs(only(stored_tables(folder), kept), only(before, kept))
    assert not store.shards(folder).damaged
    # No shard was rewritten: the old ones lie elsewhere, as they were.
    removed = folder / "removed"
    assert {one.name for one in (removed / "shards").iterdir()} == shards
    assert not shards & {one.name for one in (folder / "shards").iterdir()}
    assert set(store.stored(removed)) >= gone
    assert (
        len(list((removed / checkpoints.FOLDER).iterdir()))
        == len(list((removed / "wandb").iterdir()))
        == 1
    )
    assert (folder / checkpoints.FOLDER / "other").is_dir()
    assert any("8 of 16 runs so far" in note for note in load(folder).notes)


def test_deleting_keeps_what_was_archived_before(folder, harness):
    one, other, *_ = ids(folder, "bce")
    assert harness("runs", "rm", str(folder), one[:10], "--yes").code == 0
    archived = set((folder / "removed" / "shards").iterdir())
    said = harness("runs", "rm", str(folder), other, "--yes", "--delete")
    assert "1 run deleted" in said.out
    assert set((folder / "removed" / "shards").iterdir()) == archived
    assert not {one, other} & set(store.stored(folder)) and len(store.stored(folder)) == 14


def test_the_mirror_is_told(folder, harness):
    one = ids(folder, "bce")[0]
    line = f'{{"sent": {{"{one}": "2026-01-01T00:00:00+00:00"}}}}\n'
    (folder / LEDGER_FILE).write_text(line)
    assert one in Ledger(folder).sent()
    said = harness("runs", "rm", str(folder), one, "--yes")
    assert "W&B still has 1 of them" in said.out
    assert one not in Ledger(folder).sent()


def test_not_while_a_sweep_trains_into_the_folder(folder):
    class One:
        run_id, config = "x", type("C", (), {"rerun": False})

    One.folder = folder
    with claims.Claims() as held:
        with held.deciding([One]):
            held.take([One])
        before = sorted(folder.rglob("*"))
        with pytest.raises(UserError, match="a sweep is training into"):
            remove(folder, ids(folder, "bce"))
        assert sorted(folder.rglob("*")) == before
    assert len(remove(folder, ids(folder, "bce")).run_ids) == 8


def test_killed_between_writing_and_moving(folder, monkeypatch):
    before, gone = stored_tables(folder), ids(folder, "focal")[:1]

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(removal, "_move", killed)
        remove(folder, gone)
    assert_same_runs(stored_tables(folder), before)  # some lie in two shards, with the same values
    assert load(folder).runs.height == 16
    assert remove(folder, gone).run_ids == tuple(gone)
    kept = set(before["runs"]["run_id"]) - set(gone)
    assert set(store.stored(folder)) == kept
    assert_same_runs(only(stored_tables(folder), kept), only(before, kept))


def test_an_id_leads_nowhere_else(folder, tmp_path):
    """A stranger's id is a path out of the folder: what lies there stays."""
    (tmp_path / "mine").mkdir()
    (folder / checkpoints.FOLDER).mkdir()
    frame = store.read_runs(store.shards(folder).paths("runs")[0]).head(1)
    tables = {name: store.scan(store.shards(folder).paths(name)[0]).collect() for name in ORDER}
    evil = pl.lit("../../mine").alias("run_id")
    store.write_shard(folder, {**tables, "runs": frame.with_columns(evil)})
    assert remove(folder, ["../../mine"]).run_ids == ("../../mine",)
    assert (tmp_path / "mine").is_dir()


def test_a_folder_of_sweeps_lists_them(made, harness, tmp_path):
    shutil.copytree(made, tmp_path / "runs" / "one")
    (tmp_path / "runs" / "two" / "shards").mkdir(parents=True)
    said = harness("runs", "list", "runs")
    assert (said.code, said.err) == (0, "")
    assert "runs/one" in said.out and "bce, focal" in said.out and "runs/two" in said.out
    said = harness("runs", "show", "runs", "any")
    assert said.code == 2 and "runs is no sweep but holds some: give one, such as runs/" in said.err


def test_a_list_is_no_longer_than_somebody_reads(folder, harness, monkeypatch):
    monkeypatch.setattr("harness.cli.runs_command.MOST_ROWS", 3)
    said = harness("runs", "list", str(folder))
    assert said.code == 0 and "the last 3 of 16 runs; --where and --since choose others" in said.out
    last = load(folder).runs.sort("created", "run_id")["run_id"].to_list()
    assert [one for one in last if one[:8] in said.out] == last[-3:]
