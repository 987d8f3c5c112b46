"""The mirror against W&B's own readers, and against servers that are well, down and half down."""

import json
import logging
import math
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.record import wandb_log, wandb_write
from harness.record.mirror import Ledger, Mirror, Patience
from harness.record.wandb_access import Labels, Mode, check_labels, labels, named
from harness.record.wandb_client import LEAN
from harness.record.wandb_log import BLOCK, CHUNK, MAGIC, Columns, Rows, RunLog, pack, unpack
from harness.record.wandb_read import read_log
from harness.record.wandb_write import write_log
from tests.wandb_client import DEAD, KEY, forget_server
from tests.wandb_server import StandIn

WANDB = [sys.executable, "-m", "wandb"]  # the client of this Python, wherever its scripts are
pytestmark = pytest.mark.usefixtures("lone_client")
OWN_CLOCK = {"_timestamp", "_runtime", "_wandb", "_wandb.runtime"}
STARTED = datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)

ROWS: list[dict[str, Any]] = [
    {"epoch": 1, "train/loss": 0.6931471805599453, "validation/loss": math.nan},
    {"epoch": 2, "train/loss": 1e-300, "validation/loss": math.inf},
    {"epoch": 3, "train/loss": np.float32(0.1), "validation/loss": -math.inf},
    {"epoch": 4, "train/loss": None, "note": "é" * 40_000},
]
RUN = RunLog(
    run_id="00112233445566ff",
    name="focal ✓ 雪",
    config={
        "seed": 3,
        "loss": {"name": "focal", "gamma": 2.0, "class_weights": [1.0, math.inf, math.nan]},
        "imbalance": {"positive_rate": None, "where": "train"},
        "undefined": math.nan,
        "rate": np.float32(0.1),
        "unbounded": -math.inf,
        "note": "naïve 雪 \U0001f600 <&>\n" + "x" * 70_000,
    },
    history=ROWS,
    summary={"test/auroc": 0.75, "test/mcc": math.nan, "epoch": 2, "worst": math.inf, "s": "ü"},
    tags=["a", "ß"],
    job_type="train ✓",
    notes="why:\nto see",
    exit_code=1,
    started=STARTED,
    seconds=8.0,
)


def make_mirror(
    folder: Path,
    mode: Mode = "offline",
    timeout: float = 2.0,
    patience: Patience | None = None,
) -> Mirror:
    told = {"job_type": RUN.job_type, "notes": RUN.notes}
    labels = Labels(project="proj", entity="ent", group="sweep", tags=("a", "ß"), **told)
    return Mirror(mode=mode, labels=labels, folder=folder, timeout=timeout, patience=patience)


def log_of(folder: Path) -> Path:
    (path,) = folder.glob("wandb/*run-*/*.wandb")
    return path


def without_clock(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in OWN_CLOCK}


def inspect(path: Path) -> dict[str, Any]:
    """The run as `wandb leet inspect`, which shares no code with ours, reads it."""
    command = [*WANDB, "leet", "inspect", "--json", str(path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seen: dict[str, Any] = {"history": [], "summary": {}, "exit_code": None}
    for record in map(json.loads, shown.splitlines()):
        content = record.get(record["type"])
        if record["type"] == "run":
            names = ("run_id", "display_name", "entity", "project", "run_group", "tags")
            names += ("job_type", "notes")
            seen |= {name: content.get(name) for name in names}
            seen["config"] = without_clock(content["config"]["update"])
        elif record["type"] == "history":
            seen["history"].append(without_clock(content["item"]) | content["step"])
        elif record["type"] == "summary":
            seen["summary"] |= without_clock(content["update"])
        elif record["type"] == "exit":
            seen["exit_code"] = content.get("exit_code", 0)
    return seen


def write_by_public_api(run: RunLog, folder: Path) -> None:
    import wandb

    live = wandb.init(
        id=run.run_id,
        name=run.name,
        config=dict(run.config),
        tags=list(run.tags),
        job_type=run.job_type,
        notes=run.notes,
        group="sweep",
        project="proj",
        entity="ent",
        dir=folder,
        mode="offline",
        reinit="create_new",
        settings=wandb.Settings(**LEAN),
    )
    for step, row in enumerate(ROWS):
        live.log(dict(row), step=step, commit=True)
    live.summary.update(dict(run.summary))
    live.finish(exit_code=run.exit_code)


def same(left: Any, right: Any) -> bool:
    """Equality under which NaN equals NaN."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def test_writes_what_the_public_api_writes(tmp_path: Path) -> None:
    assert make_mirror(tmp_path / "ours").write([RUN]) == [RUN.run_id]
    write_by_public_api(RUN, tmp_path / "theirs")
    ours, theirs = log_of(tmp_path / "ours"), log_of(tmp_path / "theirs")
    seen = inspect(ours)
    assert seen == inspect(theirs)
    assert seen["exit_code"] == 1 and seen["config"]["loss"]["name"] == "focal"
    assert [row["num"] for row in seen["history"]] == [0, 1, 2, 3]
    # Our reader: the same of both, and NaN and infinity themselves.
    mine, real = read_log(ours), read_log(theirs.parent)
    fields = ("run_id", "name", "config", "tags", "exit_code", "project", "entity", "group")
    for field in (*fields, "job_type", "notes"):
        assert same(getattr(mine, field), getattr(real, field)), field
    assert same(without_clock(dict(mine.summary)), without_clock(dict(real.summary)))
    losses = [row.get("validation/loss") for row in mine.rows]
    assert str(losses[0]) == "nan" and losses[1:] == [math.inf, -math.inf, None]
    assert (mine.config["undefined"], mine.summary["test/mcc"]) == (None, None)
    assert (mine.started, mine.seconds) == (STARTED, 8.0)
    assert [row["_runtime"] for row in mine.rows] == [2.0, 4.0, 6.0, 8.0]


def test_columns_are_rows(tmp_path: Path) -> None:
    columns: Columns = {
        "_step": [10, 20],
        "l": np.array([0.5, np.nan], np.float32),
        "s": ["a, b", "c"],
    }
    rows: Rows = [{"_step": 10, "l": 0.5, "s": "a, b"}, {"_step": 20, "l": math.nan, "s": "c"}]
    write_log(RunLog("r", history=columns, started=STARTED), tmp_path / "columns")
    write_log(RunLog("r", history=rows, started=STARTED), tmp_path / "rows")
    by_columns, by_rows = (read_log(log_of(tmp_path / name)) for name in ("columns", "rows"))
    assert same(by_columns.rows, by_rows.rows)
    assert [row["_step"] for row in by_columns.rows] == [10, 20]
    write_log(RunLog("r", history={"l": []}, started=STARTED), tmp_path / "empty")
    assert read_log(log_of(tmp_path / "empty")).rows == []


def test_records_that_end_at_a_block_s_edge_are_read_by_the_client(tmp_path: Path) -> None:
    pb = wandb_log.proto()
    payloads = [pb.Record(num=1, header=pb.HeaderRecord()).SerializeToString()]
    for left in range(20):  # bytes left in the block as the next record begins
        used = len(pack(payloads)) % BLOCK
        size = BLOCK - left - used - CHUNK.size
        payloads.append(_history_record(len(payloads) + 1, size))
        assert (BLOCK - len(pack(payloads))) % BLOCK == left
        payloads.append(_history_record(len(payloads) + 1, 100 + left))
    payloads.append(pb.Record(num=99, exit=pb.RunExitRecord(exit_code=7)).SerializeToString())
    path = tmp_path / "run-edges.wandb"
    path.write_bytes(pack(payloads))
    seen = inspect(path)
    assert len(seen["history"]) == 40 and seen["exit_code"] == 7


def _history_record(number: int, size: int) -> bytes:
    pb, length = wandb_log.proto(), size
    for _ in range(10):
        item = pb.HistoryItem(nested_key=["s"], value_json=json.dumps("x" * length))
        record = pb.Record(
            num=number, history=pb.HistoryRecord(item=[item], step=pb.HistoryStep(num=number))
        ).SerializeToString()
        if len(record) == size:
            return record
        length -= len(record) - size
    raise AssertionError(size)


@given(st.lists(st.sampled_from([0, 1, 6, 7, 8, 1000, BLOCK - 14, BLOCK - 7, BLOCK, 3 * BLOCK])))
def test_packing_is_undone_by_unpacking(sizes: list[int]) -> None:
    payloads = [bytes([i % 251]) * size for i, size in enumerate(sizes)]
    packed = pack(payloads)
    assert list(unpack(packed)) == payloads
    assert list(unpack(packed + bytes(50))) == payloads


def test_truncated_logs_read_as_far_as_they_go(tmp_path: Path) -> None:
    history: Columns = {"l": np.linspace(0, 1, 20), "s": ["x" * 5000] * 20}
    whole = replace(RUN, config={"a": 1}, history=history)
    make_mirror(tmp_path).write([whole])
    data = log_of(tmp_path).read_bytes()
    path = tmp_path / "run-cut.wandb"
    rows = []
    for size in [*range(200), *range(200, len(data), 997), len(data) - 1, len(data)]:
        path.write_bytes(data[:size])
        rows.append(len(read_log(path).rows))
        assert read_log(path).exit_code == (1 if size == len(data) else None)
    assert rows == sorted(rows) and rows[0] == 0 and rows[-1] == 20
    path.write_bytes(data[:60_000] + bytes([data[60_000] ^ 1]) + data[60_001:])
    assert 0 < len(read_log(path).rows) < 20  # a flipped bit ends the reading


def test_what_is_no_log_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    for content in (b"PAR1 and more", MAGIC[:3] + b"?", pack([b"\xff\xff"])):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"run-x\.wandb"):
            read_log(path)
    with pytest.raises(UserError, match="cannot read"):
        read_log(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="cannot read"):
        read_log(tmp_path / "empty")


def test_sync_twice_uploads_the_runs_once(server: StandIn, tmp_path: Path) -> None:
    runs = [RUN, replace(RUN, run_id="b", history={"l": np.arange(50.0)}, exit_code=0)]
    rerun = replace(RUN, started=STARTED + timedelta(minutes=1))
    mirror = make_mirror(tmp_path)
    assert mirror.write([*runs, RUN, rerun]) == [RUN.run_id, "b", RUN.run_id, RUN.run_id]
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 3
    for _ in range(2):
        command = [*WANDB, "sync", "--no-skip-synced", *map(str, tmp_path.glob("wandb/off*"))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
    assert set(server.runs) == {RUN.run_id, "b"}
    check_served(server, started=rerun.started)  # the later one, uploaded last
    assert [row["l"] for row in server.runs["b"].history] == list(range(50))
    assert server.runs["b"].exit_code == 0


def check_served(server: StandIn, started: datetime = STARTED) -> None:
    """The server has RUN as it was given."""
    served = server.runs[RUN.run_id]
    config = json.loads(json.dumps(dict(RUN.config), default=float).replace("NaN", "null"))
    assert served.config == config
    assert [row["epoch"] for row in served.history] == [1, 2, 3, 4]
    assert [row["_step"] for row in served.history] == [0, 1, 2, 3]
    assert math.isnan(served.history[0]["validation/loss"])
    assert served.history[1]["validation/loss"] == math.inf
    assert served.history[3]["_timestamp"] == (started + timedelta(seconds=8)).timestamp()
    assert served.summary["test/auroc"] == 0.75 and served.summary["worst"] == math.inf
    assert served.summary["epoch"] == 2 and served.summary.get("test/mcc") is None
    assert served.exit_code == 1
    fields = served.fields
    assert (fields["displayName"], fields["groupName"]) == (RUN.name, "sweep")
    assert (fields["project"], fields["entity"], fields["tags"]) == ("proj", "ent", ["a", "ß"])


def test_online_twice_uploads_the_run_once(server: StandIn, tmp_path: Path) -> None:
    mirror = make_mirror(tmp_path, mode="auto", timeout=10.0)
    assert mirror.mode == "online"
    for _ in range(2):
        assert mirror.write([RUN]) == [RUN.run_id]
        check_served(server)
    assert Ledger(tmp_path).sent() == {RUN.run_id: STARTED}
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not [path for path in written if KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize("trouble", ["dead", 401, 403, 429, 500, "garbage", "drops"])
def test_a_server_in_trouble_costs_little_and_loses_nothing(
    trouble: str | int,
    server: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if trouble == "dead":
        monkeypatch.setenv("WANDB_BASE_URL", DEAD)
    elif isinstance(trouble, str):
        setattr(server, trouble, True)
    else:
        server.stream_status = trouble
    runs = [replace(RUN, run_id=f"{trouble}-{i}") for i in range(5)]
    mirror = make_mirror(tmp_path, mode="online", timeout=1.0)
    begun = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="harness"):
        assert mirror.write(runs[:3]) == []
        taken = time.monotonic() - begun
        assert mirror.write(runs[3:]) == []
    assert taken < 10  # once the timeout of init or of finish, and the client's start
    assert time.monotonic() - begun - taken < 0.5  # it is not asked again at once
    (warning,) = [text for name, _, text in caplog.record_tuples if name.startswith("harness")]
    assert "harness sync" in warning and KEY not in caplog.text
    assert Ledger(tmp_path).sent() == {}
    # Later the server is well: what is owed is paid, and is owed no more.
    forget_server()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    server.stream_status, server.garbage, server.drops = 200, False, False
    later = make_mirror(tmp_path, mode="online", timeout=10.0)
    assert later.write(runs[:2]) == [run.run_id for run in runs[:2]]
    assert list(Ledger(tmp_path).sent()) == [run.run_id for run in runs[:2]]
    assert len(server.runs[runs[0].run_id].history) == 4


@pytest.mark.parametrize("delay", [0.4, 1.5])
def test_a_slow_server_is_waited_for_no_longer_than_is_said(
    delay: float, server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    server.delay = delay
    runs = [replace(RUN, run_id=f"slow-{i}") for i in range(12)]
    patience, begun = Patience(6.0), time.monotonic()
    mirrors = [make_mirror(tmp_path / name, "online", 2.0, patience) for name in ("a", "b")]
    mirrored = [run_id for mirror in mirrors for run_id in mirror.write(runs)]
    assert time.monotonic() - begun < 6.0 + 3.0  # of all mirrors; 3 for the client to start
    assert len(mirrored) < len(runs)
    sent = [run_id for name in ("a", "b") for run_id in Ledger(tmp_path / name).sent()]
    assert sent == mirrored and "not mirrored" in caplog.text


def test_another_client_writes_by_itself_and_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One whose form nobody has held ours to: what it wrote reads as what we write."""
    import wandb

    make_mirror(tmp_path / "ours").write([RUN])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(wandb_write, "_version", lambda: "0.99.1")
    wandb_write.say_unproven.cache_clear()
    # A client that has lost a setting which only makes it lean.
    known = wandb.Settings.model_fields.keys() - {"x_disable_stats"}
    monkeypatch.setattr(wandb.Settings, "model_fields", dict.fromkeys(known), raising=False)
    mirror = make_mirror(tmp_path / "theirs")
    second = replace(RUN, run_id="ffee")
    assert mirror.write([RUN]) + mirror.write([second]) == [RUN.run_id, "ffee"]
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "wandb 0.99.1 is not the 0.31.x" in said
    logs = sorted((tmp_path / "theirs").glob("wandb/*run-*/*.wandb"))
    assert len(logs) == 2
    mine, real = read_log(log_of(tmp_path / "ours")), read_log(logs[0])
    for field in ("run_id", "name", "config", "tags", "group", "job_type", "notes"):
        assert same(getattr(mine, field), getattr(real, field)), field
    assert same(without_clock(dict(mine.summary)), without_clock(dict(real.summary)))


def test_settings_win_over_variables_and_these_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert labels(sweep="s") == Labels("bce-harness", "", "s", ())
    variables = {
        "PROJECT": "p", "ENTITY": "e", "RUN_GROUP": "g", "JOB_TYPE": "j", "NOTES": "n",
        "TAGS": "a, b,a", "NAME": "mine",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    assert labels(sweep="s") == Labels("p", "e", "g", ("a", "b"), "j", "n")
    own = {"project": "P", "entity": "E", "group": "G", "job_type": "J", "notes": "N"}
    assert labels(**own, tags=["c"], sweep="s") == Labels("P", "E", "G", ("c",), "J", "N")
    assert (named({}, "usual"), named({"run_name": "own"}, "usual")) == ("mine", "own")
    monkeypatch.delenv("WANDB_NAME")
    assert named({"run_name": None}, "usual") == "usual"
    with pytest.raises(UserError, match=r"wandb\.job_type 'x+\.\.\. has 129"):
        check_labels(labels(job_type="x" * 129, sweep="s"))


def test_one_unwritable_run_keeps_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [replace(RUN, run_id="../up"), replace(RUN, run_id="u", history={"a": [1], "b": [1, 2]})]
    mirror = make_mirror(tmp_path)
    assert mirror.write([bad[0], RUN, bad[1]]) == [RUN.run_id]
    assert mirror.write([replace(RUN, run_id="u")]) == ["u"]
    assert len(caplog.records) == 1


def test_no_folder_is_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    assert make_mirror(tmp_path / "file").write([RUN]) == []
    assert len(caplog.records) == 1


def test_a_log_is_written_without_the_client(tmp_path: Path) -> None:
    """Which takes half a second to import."""
    code = (
        "import sys; from harness.record.wandb_log import RunLog; "
        "from harness.record.wandb_write import write_log; "
        "write_log(RunLog('r', history={'l': [1.0]}), sys.argv[1]); "
        "sys.exit(bool({'wandb', 'google'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == 0
    assert read_log(log_of(tmp_path)).history["l"] == [1.0]


def test_records_are_the_bytes_that_protobuf_writes(tmp_path: Path) -> None:
    """It writes each as it was read, byte by byte: fields known, in order, none left empty."""
    write_log(replace(RUN, project="p" * 200, entity="e", group="g"), tmp_path)
    record = wandb_log.proto().Record
    payloads = list(unpack(log_of(tmp_path).read_bytes()))
    assert [record.FromString(one).num for one in payloads] == list(range(1, 9))
    for payload in payloads:
        assert record.FromString(payload).SerializeToString() == payload


def test_mode_follows_the_key_and_wandb_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_BASE_URL")
    assert make_mirror(tmp_path, "auto").mode == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert make_mirror(tmp_path, "auto").mode == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert make_mirror(tmp_path, "auto").mode == "offline"
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert make_mirror(tmp_path, "auto").mode == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert make_mirror(tmp_path, "auto").mode == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    mirror = make_mirror(tmp_path, "auto")
    assert mirror.write([RUN]) == []
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(UserError, match="WANDB_MODE"):
        make_mirror(tmp_path, "auto")


def test_online_without_a_key_does_not_ask_for_one(tmp_path: Path) -> None:
    assert make_mirror(tmp_path, "online").write([RUN]) == []
    assert Ledger(tmp_path).sent() == {}


def test_importing_the_mirror_does_not_import_wandb() -> None:
    code = "import sys, harness.record.mirror; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
