"""`harness sync` sends what the mirror lacks, once, and says in one line what keeps it from it."""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.errors import UserError
from harness.record import replay
from harness.record.mirror import LEDGER_FILE, Ledger, Mirror, mirror_run
from harness.record.replay import Sync, stored_logs, sweep_folder
from harness.record.wandb_access import Labels
from tests.logged import records, write_offline, write_store
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
    for log, record in zip(stored_logs(folder, ["bce" + "0" * 12]), records(1)[:1], strict=True):
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
    # A run trained again, and mirrored offline again, is owed again.
    write_store(folder, records(1)[:1])
    write_offline(folder, records(1)[:1])
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
    assert set(Ledger(folder).standings().values()) == {"offline"}
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
    paid = [one for one, standing in Ledger(tmp_path).standings().items() if standing == "online"]
    assert sorted(paid) == sorted(sent) and 1 < most <= replay.NUM_SENDERS
    # A consumer that stops, as one that is killed, loses nothing either.
    (tmp_path / LEDGER_FILE).unlink()
    sent.clear()
    down = ""
    some = Sync(tmp_path, everything=True).send()
    assert [next(some) for _ in range(3)] == [run.run_id for run in runs[:3]]
    some.close()
    assert sorted(Ledger(tmp_path).standings()) == sorted(sent)
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


def test_a_disabled_mirror_owes_nothing(tmp_path: Path) -> None:
    write_store(tmp_path, records(1))
    Mirror(mode="disabled", labels=Labels("p", "", "g", ()), folder=tmp_path).write(
        [mirror_run(run) for run in records(1)]
    )
    assert Sync(tmp_path).unsent() == []
    assert Sync(tmp_path, everything=True).unsent() == sorted(r.run_id for r in records(1))
    assert sweep_folder(tmp_path / "wandb") == tmp_path.absolute()
