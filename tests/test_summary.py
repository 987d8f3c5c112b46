"""A sweep's summary run: its tables and its report, online and offline."""

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness import cli
from harness.analyze import load
from harness.errors import UserError
from harness.record import wandb_client
from harness.record.wandb_client import log_summary, summary_id
from harness.record.wandb_read import read_log
from tests.logged import NASTY, records, write_offline, write_store
from tests.wandb_client import DEAD, KEY, forget_server
from tests.wandb_server import StandIn

pytestmark = pytest.mark.usefixtures("lone_client")
BOARD = pl.DataFrame({"loss": ["bce", NASTY], "auroc": [0.5, None], "seeds": [3, 4]})


@pytest.fixture
def output(tmp_path: Path) -> Path:
    place = tmp_path / "analysis"
    place.mkdir()
    BOARD.write_csv(place / "leaderboard.csv")
    (place / "report.html").write_text("<p>the report")
    return place


def test_online_it_has_the_tables_and_the_report(output: Path, server: StandIn) -> None:
    where: dict[str, Any] = {"project": "proj", "entity": "ent", "folder": output}
    for _ in range(2):
        address = log_summary(output, sweep="a/b 雪", **where)
        assert address == f"{server.url}/ent/proj/runs/{summary_id('a/b 雪')}"
    (run_id,) = server.runs
    table = server.runs[run_id].summary["leaderboard"]
    assert (table["_type"], table["nrows"], table["ncols"]) == ("table-file", 2, 3)
    report = f"{run_id}-report"
    assert sorted(set(server.artifacts.files[report])) == ["leaderboard.csv", "report.html"]
    assert report in server.artifacts.committed
    assert server.runs[run_id].fields["jobType"] == "summary"


def test_offline_it_stays_beside_its_sweep_and_is_no_run(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_DATA_DIR")
    folder = tmp_path / "sweep"
    write_store(folder, records(1))
    write_offline(folder, records(1))
    place = Path(log_summary(output, sweep="sweep", project="proj", folder=folder))
    forget_server()  # the client writes out what it holds as it ends
    log = read_log(place)
    assert (log.group, log.project, log.exit_code) == ("sweep", "proj", 0)
    path = place / "files" / str(log.summary["leaderboard"]["path"])
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["columns"] == BOARD.columns
    assert content["data"] == [list(row) for row in BOARD.iter_rows()]
    assert list((folder / "wandb" / "artifacts").rglob("staging/*"))  # what is still to be sent
    runs = load(folder / "wandb")
    assert runs.runs.height == 2 and not any("others" in note for note in runs.notes)


def test_trouble_is_one_line(
    output: Path, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: dict[str, Any] = {"sweep": "s", "project": "p", "folder": output}
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(UserError, match="WANDB_MODE"):
        log_summary(output, **where)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_BASE_URL", DEAD)
    monkeypatch.setattr(wandb_client, "SUMMARY_SECONDS", 1.0)
    with pytest.raises(UserError, match="does not take the report") as caught:
        log_summary(output, **where)
    assert KEY not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("project", ["", "/p", "a/b/c", "a/"])
def test_a_project_has_a_name(
    project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    write_store(tmp_path / "sweep", records(1))
    given = ["harness", "analyze", str(tmp_path / "sweep"), "--log-wandb", project]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit):
        cli.main()
    assert "--log-wandb takes" in capsys.readouterr().err
    assert not (tmp_path / "sweep" / "analysis").exists()
