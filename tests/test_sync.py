"""`harness sync` sends what the mirror lacks, once, and says in one line what keeps it from it."""

import json
import shutil
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.errors import UserError
from harness.record import replay
from harness.record.mirror import LEDGER_FILE, Ledger, mirror_run
from harness.record.replay import StoredLogs, Sync, sweep_folder
from harness.record.store import read_runs
from harness.sweep.recorder import Recorder
from tests.logged import records, write_offline, write_store
from tests.runs import config
from tests.wandb_client import DEAD, KEY, forget_server
from tests.wandb_server import StandIn

pytestmark = pytest.mark.usefixtures("lone_client")


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `harness sync` in this process: (exit code, output, errors)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["harness", "sync", *arguments])
        try:
            cli.main()
        except SystemExit as stopped:
            return int(stopped.code or 0), *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep of two runs, mirrored to offline folders."""
    place = tmp_path / "sweep"
    write_store(place, records(num_seeds=1))
    write_offline(place, records(num_seeds=1))
    return place


def test_the_store_gives_the_run_the_mirror_had(folder: Path) -> None:
    for log, record in zip(StoredLogs(folder)(["bce" + "0" * 12]), records(1)[:1], strict=True):
        sent = mirror_run(record)
        assert (log.run_id, log.name, list(log.tags)) == (sent.run_id, sent.name, ["a", "b"])
        assert (log.group, log.project, log.entity) == ("sweep", "proj", "ent")
        assert (log.started, log.seconds) == (sent.started, sent.seconds)
        assert str(dict(log.history)) == str(dict(sent.history))  # NaN too
        assert log.summary == sent.summary
        assert log.config == sent.config


def test_twice_sends_once(folder: Path, server: StandIn, command: Any) -> None:
    assert command(str(folder)) == (0, f"{folder}: 2 sent\n", "")
    assert set(server.runs) == {run.run_id for run in records(1)}
    assert all(len(run.history) == 3 and run.exit_code == 0 for run in server.runs.values())
    asked = len(server.operations)
    assert command(str(folder / "wandb")) == (0, f"{folder}: nothing to send\n", "")
    assert len(server.operations) == asked
    assert command("--all", str(folder)) == (0, f"{folder}: 2 sent\n", "")
    assert len(server.runs) == 2 and all(len(run.history) == 3 for run in server.runs.values())
    # A run trained again is owed again.
    again = replace(records(1)[0], created=records(1)[0].created + timedelta(seconds=1))
    write_store(folder, [again])
    assert Sync(folder).unsent() == [records(1)[0].run_id]
    held = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert held and not [path for path in held if KEY.encode() in path.read_bytes()]


def test_what_keeps_it_is_one_line(
    folder: Path, command: Any, monkeypatch: pytest.MonkeyPatch, server: StandIn
) -> None:
    def fails(*arguments: str, saying: str) -> None:
        code, out, err = command(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert saying in err and KEY not in err

    monkeypatch.setattr("harness.record.replay.TIMEOUT_SECONDS", 1.0)
    monkeypatch.delenv("WANDB_API_KEY")
    fails(str(folder), saying="2 runs")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    server.stream_status = 403
    fails(str(folder), saying="2 are still to be sent")
    monkeypatch.setenv("WANDB_BASE_URL", DEAD)
    forget_server()
    fails(str(folder), saying="2 are still to be sent")
    fails(str(folder.parent), saying="no sweep folder")
    fails("nowhere", saying="no sweep folder")
    assert Ledger(folder).sent() == {}
    shutil.rmtree(folder / "shards")
    one = next((folder / "wandb").glob("offline-run-*-bce*"))
    for source, held in ((folder, 2), (folder / "wandb", 2), (one, 1)):
        fails(str(source), saying=f"{held} offline W&B runs but no store is beside them")
        fails(str(source), saying=f"`wandb sync {one}`")


def test_many_senders_keep_the_order_and_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = records(num_seeds=20)
    write_store(tmp_path, runs)
    sent: list[str] = []
    together, most = 0, 0

    def send(run: Any, *given: Any, **named: Any) -> None:
        nonlocal together, most
        together += 1
        most = max(most, together)
        time.sleep(0.02 if run.run_id.endswith(("0", "5")) else 0.001)
        together -= 1
        if run.run_id == down:
            raise ConnectionError("gone")
        sent.append(run.run_id)

    monkeypatch.setattr(replay, "upload", send)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    down = runs[12].run_id
    with pytest.raises(UserError, match="gone"):
        list(Sync(tmp_path, everything=True).send())
    # All that arrived is noted, and after the outage only what was on its way was tried.
    assert 12 <= len(sent) <= 12 + 2 * replay.NUM_SENDERS
    assert sorted(Ledger(tmp_path).sent()) == sorted(sent) and 1 < most <= replay.NUM_SENDERS
    # A consumer that stops, as one that is killed, loses nothing either.
    (tmp_path / LEDGER_FILE).unlink()
    sent.clear()
    down = ""
    some = Sync(tmp_path, everything=True).send()
    assert [next(some) for _ in range(3)] == [run.run_id for run in runs[:3]]
    some.close()
    assert sorted(Ledger(tmp_path).sent()) == sorted(sent)
    assert len(sent) <= 3 + replay.NUM_SENDERS
    shown = list(Sync(tmp_path, everything=True).send())
    assert shown == [run.run_id for run in runs]


def test_one_refused_run_keeps_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, server: StandIn
) -> None:
    def refuse(run: Any, *given: Any, **named: Any) -> None:
        if run.run_id.startswith("bce"):
            raise ValueError(f"no such thing {KEY} nor {'a1' * 20}")  # the second from netrc

    monkeypatch.setattr(replay, "upload", refuse)
    with pytest.raises(
        UserError, match=r"refused 1 runs, such as bce0+: ValueError: .*\*\*\* nor \*\*\*"
    ):
        list(Sync(folder).send(timeout=1.0))
    assert Sync(folder).unsent() == ["bce" + "0" * 12]


def owed(folder: Path) -> set[str]:
    return set(Sync(folder).unsent())


def test_what_is_owed_follows_from_the_store(
    folder: Path, server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not from what a mirror noted: it is killed before it notes, and its file is lost or torn."""
    ids = {run.run_id for run in records(1)}
    ledger = folder / LEDGER_FILE
    assert not ledger.exists() and owed(folder) == ids
    assert len(list(Sync(folder).send(timeout=10.0))) == 2 and owed(folder) == set()
    noted = ledger.read_bytes()
    with ledger.open("ab") as file:
        file.write(b"[" * 200_000 + b"\n")
        file.write(b'[1]\n{"sent": ["x"]}\n\xff\xfe\n{"sent": {"t')  # of a killed writer
    assert owed(folder) == set()
    ledger.unlink()
    assert owed(folder) == ids
    ledger.mkdir()
    assert owed(folder) == ids and LEDGER_FILE in capsys.readouterr().err
    ledger.rmdir()
    ledger.write_bytes(noted)
    assert owed(folder) == set()


def test_what_earlier_versions_noted_is_understood(folder: Path) -> None:
    first, second = (run.run_id for run in records(1))
    lines = (
        {"owed": [first, second]},
        {"paid": [first, second], "to": "online"},
        {"owed": [second]},
        {"paid": [second], "to": "offline"},
    )
    (folder / LEDGER_FILE).write_text("\n".join(map(json.dumps, lines)))
    assert owed(folder) == {second}


def test_a_run_whose_mirror_was_disabled_is_not_owed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its configuration or by WANDB_MODE: the store says so."""
    (run,) = records(1)[:1]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    settings = config(root=str(tmp_path), name="by environment", wandb={"mode": "auto"})
    recorder = Recorder([settings])
    recorder.add(run, settings)
    recorder.flush()
    folder = tmp_path / "by environment"
    monkeypatch.delenv("WANDB_MODE")
    assert owed(folder) == set()
    assert Sync(folder, everything=True).unsent() == [run.run_id]
    off = {**run.config, "wandb": {**run.config["wandb"], "mode": "disabled"}}
    write_store(tmp_path / "by config", [replace(run, config=off)])
    assert owed(tmp_path / "by config") == set()
    assert sweep_folder(folder / "wandb") == folder.absolute()


def test_a_damaged_shard_is_left_out(folder: Path, server: StandIn, command: Any) -> None:
    write_store(folder, records(2)[1:2])
    shard = next(path for path in (folder / "shards").iterdir() if len(read_ids(path)) == 1)
    with (shard / "runs.parquet").open("r+b") as file:
        file.truncate(100)
    code, out, err = command(str(folder))
    assert (code, out) == (0, f"{folder}: 2 sent\n")
    assert f"{shard} is damaged" in err and err.count("\n") == 1 and shard.is_dir()


def read_ids(shard: Path) -> list[str]:
    return read_runs(shard / "runs.parquet")["run_id"].to_list()
