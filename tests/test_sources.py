"""The same runs give the same tables from the store, from offline folders and from the service."""

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from rich.console import Console

from harness.analyze import Question, analyze, answer, load
from harness.analyze.load import INCOMPLETE, Runs, complete
from harness.analyze.sources import offline
from harness.errors import UserError
from harness.record import wandb_client, wandb_read
from harness.record.replay import Sync
from harness.record.wandb_client import LEAN
from harness.record.wandb_log import RunLog
from harness.record.wandb_read import read_log
from harness.record.wandb_write import write_log
from tests.logged import NASTY, records, write_offline, write_store
from tests.wandb_client import DEAD, KEY, forget_server
from tests.wandb_server import StandIn

pytestmark = pytest.mark.usefixtures("lone_client")


def assert_same(one: Runs, other: Runs) -> None:
    """Every value of both is the same, and every type of the runs' columns."""
    frames = [runs.runs.drop("shard") for runs in (one, other)]
    assert_frame_equal(*frames, check_exact=True, check_column_order=False)
    by = ["run_id", "epoch"]
    curves = [runs.history.collect().drop("shard").sort(by) for runs in (one, other)]
    # The store's curves have 32 bits, W&B's JSON has room for 64.
    assert_frame_equal(*curves, check_exact=True, check_column_order=False, check_dtypes=False)


def boards(runs: Runs) -> list[pl.DataFrame]:
    """What an analysis says of the runs."""
    analysis = answer(runs, Question())
    return [analysis.board, analysis.differences]


def logs(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/*run-*/*.wandb"))


def test_three_sources_one_truth(tmp_path: Path, server: StandIn, monkeypatch: Any) -> None:
    folder = tmp_path / "sweep"
    write_store(folder, records(num_seeds=2)[:3])
    write_store(folder, records(num_seeds=2)[3:])
    write_offline(folder, records(num_seeds=2))
    assert len(list(Sync(folder).send(timeout=10.0))) == 4
    monkeypatch.setattr(wandb_client, "RUNS_PER_PAGE", 3)
    stored, offline, served = map(load, (folder, str(folder / "wandb"), "ent/proj/sweep"))
    assert_same(stored, offline)
    assert_same(stored, served)
    assert stored.runs["dataset.name"].unique().to_list() == [NASTY]
    assert stored.runs["training.big"][0] == 2**53 - 1
    assert math.isinf(served.runs["test/skill"][0])
    assert (stored.name, served.name) == ("sweep", "sweep")
    assert stored.notes == () and "without predictions" in offline.notes[0]
    for runs in (offline, served):
        for one, other in zip(boards(stored), boards(runs), strict=True):
            assert_frame_equal(one, other, check_exact=True)
    # One request a page, one a run, and none for a run of another group.
    reads = [name for name in server.operations if name in server.reads]
    assert reads[:6] == ["Runs", *["RunFullHistory"] * 3, "Runs", "RunFullHistory"]
    assert load("ent/proj").runs.height == 4
    with pytest.raises(UserError, match="ent/proj/other holds no run of this harness"):
        load("ent/proj/other")


def test_a_report_without_predictions(tmp_path: Path) -> None:
    write_offline(tmp_path, records())
    console = Console(file=io.StringIO(), width=200)
    report = analyze(tmp_path, output=tmp_path / "out", console=console)
    assert "<script>alert" not in report.read_text()
    assert "without predictions" in console.file.getvalue()  # type: ignore[attr-defined]


def test_folders_that_the_client_wrote(tmp_path: Path) -> None:
    import wandb

    folder = tmp_path / "sweep"
    runs = records(num_seeds=1)
    write_store(folder, runs)
    write_offline(tmp_path / "ours", runs)
    for path in logs(tmp_path / "ours"):
        log = read_log(path)
        live = wandb.init(
            id=log.run_id, config=dict(log.config), dir=tmp_path / "theirs", mode="offline",
            project="proj", reinit="create_new", settings=wandb.Settings(**LEAN),
        )  # fmt: skip
        for row in log.rows:
            live.log({key: row[key] for key in row if not key.startswith("_")})
        live.summary.update({k: v for k, v in log.summary.items() if not k.startswith("_")})
        live.finish(exit_code=0)
    forget_server()  # the client writes out what it holds as it ends
    assert_same(load(folder), load(tmp_path / "theirs" / "wandb"))
    assert_same(load(folder), load(tmp_path / "theirs"))
    one = logs(tmp_path / "theirs")[0]
    assert load(one).runs.height == load(one.parent).runs.height == 1


def test_truncated_logs_give_what_they_have(tmp_path: Path) -> None:
    write_offline(tmp_path, records())
    whole = load(tmp_path)
    cut, headless, broken, rest = logs(tmp_path)[0], *logs(tmp_path)[1:3], logs(tmp_path)[3:]
    (at,) = [at for at in [cut.read_bytes().rfind(b"average_precision")] if at > 0]
    cut.write_bytes(cut.read_bytes()[:at])  # within the summary: after the curves
    headless.write_bytes(headless.read_bytes()[:40])
    broken.write_bytes(b"PAR1")
    runs = load(tmp_path)
    (row,) = runs.runs.filter(status=INCOMPLETE).iter_rows(named=True)
    assert row["loss.name"] and row["test/auroc"] is None and len(rest) == 3
    assert runs.history.filter(run_id=row["run_id"]).collect().height == 3
    assert complete(runs).runs.height == 3
    kept = whole.runs.filter(pl.col("run_id").is_in(complete(runs).runs["run_id"].to_list()))
    assert_frame_equal(complete(runs).runs, kept, check_column_order=False)
    said = " ".join(runs.notes)
    assert "1 of 4 runs are incomplete" in said and "1 logs cannot be read" in said
    assert "1 runs of others" in said  # of the headless one even its origin is unknown
    for path in (headless, broken, *rest):
        path.unlink()
    with pytest.raises(UserError, match="incomplete"):
        complete(load(tmp_path))


def test_runs_of_others_are_counted_not_read(tmp_path: Path) -> None:
    write_offline(tmp_path, records())
    ours = dict(read_log(logs(tmp_path)[0]).config)
    strange: list[dict[str, Any]] = [
        {},
        {"lr": 0.1, "harness": "mine"},
        {"harness": {"format": 99}},
        {"harness": {"format": 1, "created": "soon", "curves": [], "floats": []}},
        ours | {"harness": ours["harness"] | {"floats": 3}},
        ours | {"harness": ours["harness"] | {"created": "2026-01-01"}},
    ]
    for i, config in enumerate(strange):
        write_log(RunLog(f"other{i}", config=config, exit_code=0), tmp_path)
    runs = load(tmp_path)
    assert runs.runs.height == 6 and any("6 runs of others" in note for note in runs.notes)
    for path in logs(tmp_path):
        if "other" not in path.name:
            path.unlink()
    with pytest.raises(UserError, match="no run of this harness"):
        load(tmp_path)


def test_what_is_logged_stays_data(tmp_path: Path) -> None:
    write_offline(tmp_path, records())
    log = read_log(logs(tmp_path)[0])
    sent = log.config["harness"] | {"floats": ["seconds", "seed"]}
    config = {
        **log.config, "harness": sent, "run_id": "stolen", "created": "never", "shard": 7,
        "deep": {"_target_": "os.system", "list": [{"a": 1}]}, "seed": 10**400, "large": 2**80,
    }  # fmt: skip
    summary = {**log.summary, "shard": "x", "test/auroc": "high", "test/chart": {"_type": "table"}}
    history = [{"epoch": "one"}, {"epoch": -1}, {"epoch": 1, "step": 1e300, "test/x": {"a": []}}]
    write_log(RunLog("evil", config=config, summary=summary, history=history), tmp_path)
    runs = load(tmp_path)
    assert runs.runs.height == 7
    (row,) = runs.runs.filter(run_id="evil").iter_rows(named=True)
    assert row["deep._target_"] == "os.system" and math.isnan(row["test/auroc"])
    assert "test/chart" not in row and row["shard"].startswith("offline-run-")
    curve = runs.history.filter(run_id="evil").collect()
    assert curve["epoch"].to_list() == [1] and curve["step"].to_list() == [None]


def test_sources_join_and_most_is_kept(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write_store(first, records()[:4])
    write_store(second, records()[2:5])  # two runs of both
    write_offline(second, records())
    joined = load(second / "wandb", first, second)
    write_store(tmp_path / "all", records())
    whole = load(tmp_path / "all")
    assert_frame_equal(
        joined.runs.drop("shard"), whole.runs.drop("shard"), check_column_order=False
    )
    assert joined.name == "wandb + first + second" and len(joined.predictions) == 2
    assert joined.notes == (
        "1 of 6 runs come without predictions, which W&B does not keep: "
        "figures drawn from predictions leave them out.",
    )
    kept = joined.runs.join(joined.history.collect(), on=["run_id", "shard"])
    assert kept.height == 6 * 3


def test_a_rerun_replaces_and_a_cut_one_does_not(tmp_path: Path) -> None:
    write_offline(tmp_path, records())
    path = logs(tmp_path)[0]
    log = read_log(path)
    later = log.config["harness"] | {"created": "2027-01-01T00:00:00+00:00"}
    again = {"config": {**log.config, "harness": later, "seed": 77}, "summary": log.summary}
    name = RunLog(log.run_id, exit_code=0, history=log.history, **again)
    new = write_log(name, tmp_path)
    assert load(tmp_path).runs.filter(run_id=log.run_id)["seed"].item() == 77
    file = next(new.glob("*.wandb"))
    file.write_bytes(file.read_bytes()[:-40])
    assert load(tmp_path).runs.filter(run_id=log.run_id)["seed"].item() != 77


def test_a_service_that_thins_or_has_half_a_run(tmp_path: Path, server: StandIn) -> None:
    folder = tmp_path / "sweep"
    write_store(folder, records(num_seeds=1))
    assert len(list(Sync(folder, everything=True).send(timeout=10.0))) == 2
    sampled = server.reads["RunFullHistory"]
    server.reads["RunFullHistory"] = lambda asked: sampled(asked | {"samples": 1})
    half = server.runs[records()[0].run_id]
    half.exit_code = None
    runs = load("ent/proj")
    assert runs.runs.filter(status=INCOMPLETE)["run_id"].to_list() == [records()[0].run_id]
    assert runs.history.collect().height == 6 and "HistoryPage" in server.operations


def test_a_service_out_of_reach_is_one_line(tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(UserError, match="no folder here"):
        load("ent/proj")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", DEAD)
    monkeypatch.setattr(wandb_client, "READING_SECONDS", 1)
    with pytest.raises(UserError, match="cannot read ent/proj from W&B") as caught:
        load("ent/proj")
    assert KEY not in str(caught.value) and "\n" not in str(caught.value)
    (tmp_path / "a").mkdir()
    for source in (tmp_path / "a", "gone", "./ent/proj"):
        with pytest.raises(UserError):
            load(source)


def test_no_project_is_one_line(server: StandIn) -> None:
    with pytest.raises(UserError, match=r"cannot read ent/none from W&B .*none"):
        load("ent/none")


def test_an_answer_nested_beyond_reason_is_one_line(monkeypatch: Any) -> None:
    """This client refuses most of them in its own words; another may let Python's through."""

    class Client:
        def Api(self, **_: Any) -> Any:
            return self

        def runs(self, *_: Any, **__: Any) -> Any:
            return [json.loads("[" * 100_000)]

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb_client, "quiet_client", Client)
    with pytest.raises(UserError, match=r"cannot read ent/proj from W&B .*RecursionError"):
        load("ent/proj")


def test_the_store_alone_is_read_without_wandb(tmp_path: Path) -> None:
    write_store(tmp_path / "sweep", records())
    code = (
        "import sys; from harness.analyze import load;"
        f"load({str(tmp_path / 'sweep')!r}); sys.exit('wandb' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_many_processes_read_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_offline(tmp_path, records())
    logs(tmp_path)[-1].write_bytes(b"PAR1")
    write_log(RunLog("other", exit_code=0), tmp_path)
    one = load(tmp_path)
    monkeypatch.setattr(offline, "FILES_PER_PROCESS", 3)
    monkeypatch.setattr(offline.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    started = []
    start = offline._start
    monkeypatch.setattr(
        offline, "_start", lambda *a, **n: started.append(start(*a, **n)) or started[-1]
    )
    many = load(tmp_path)
    assert len(started) == 2
    assert_frame_equal(one.runs, many.runs)
    assert_frame_equal(one.history.collect(), many.history.collect())
    assert one.notes == many.notes and "1 runs of others" in one.notes[0]
    # A process that dies must not be taken for one that found nothing.
    monkeypatch.setattr(offline.sys, "executable", "/bin/false")
    with pytest.raises(UserError, match="ended with code 1"):
        load(tmp_path)


def test_rows_of_one_shape_are_read_as_protobuf_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["x", "é \x7f\u2028", "\x12\x02", '"', "\n\x82\x01", ""]
    history = [
        {"epoch": i, "a/b": 10.0**i, "text": texts[i % len(texts)] * (40 * i)} for i in range(12)
    ]
    odd = [*history, {"epoch": 3}, {"a/b": math.nan, "epoch": 4, "text": "later keys differ"}]
    row_pattern = wandb_read.row_pattern
    monkeypatch.setattr(wandb_read, "row_pattern", lambda _: None)
    for rows in (history, odd, history[:1], []):
        write_log(RunLog("r", history=rows, exit_code=0), tmp_path)
        slow = read_log(logs(tmp_path)[0])
        with monkeypatch.context() as fast:
            fast.setattr(wandb_read, "row_pattern", row_pattern)
            fast.setattr(wandb_read, "_history", None if rows is history else wandb_read._history)
            assert str(read_log(logs(tmp_path)[0]).rows) == str(slow.rows)  # NaN too
        assert [row["epoch"] for row in slow.rows] == [row["epoch"] for row in rows]


def test_lists_that_were_sent_as_text_are_lists(tmp_path: Path) -> None:
    """As `harness sync` sent them of stores of the first form."""
    write_offline(tmp_path, records(num_seeds=1))
    log = read_log(logs(tmp_path)[0])
    evaluation = {**log.config["evaluation"], "calibrators": "platt,beta", "thresholds": ""}
    sent = {key: value for key, value in log.config["harness"].items() if key != "types"}
    old = {**log.config, "evaluation": evaluation, "harness": sent}
    write_log(RunLog("old", config=old, summary=log.summary, exit_code=0), tmp_path)
    runs = load(tmp_path).runs
    assert runs.schema["evaluation.calibrators"] == pl.List(pl.String)
    (row,) = runs.filter(run_id="old").to_dicts()
    assert row["evaluation.calibrators"] == ["platt", "beta"]
    assert row["evaluation.thresholds"] == [] and row["status"] == "finished"
