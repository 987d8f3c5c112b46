"""Engines: whoever trains a sweep, and whichever workers are lost, it leaves the same."""

import json
import os
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from harness.config import Config
from harness.config.engines import Processes, Ray, Submitit
from harness.data import in_memory
from harness.engines import processes, sharing, submitted, worker
from harness.engines.units import Unit, answered
from harness.errors import UserError
from harness.interface.sweeps import load
from harness.record import store
from harness.record.wandb_form import is_of_a_sweep
from harness.record.wandb_read import read_log
from harness.sweep import compiled, engine
from harness.sweep.engine import Result, run_sweep, stored_results
from harness.sweep.recorder import Recorder
from tests.conftest import TINY
from tests.runs import config, runs_of
from tests.stored import assert_same_runs, stored_tables

NUM_SEEDS = 20

# A worker that is killed as it writes a table, if it is the first to come there.
MORTAL = """
import os, signal
import polars as pl
from pathlib import Path
write = pl.DataFrame.write_parquet
def write_or_die(frame, path, **options):
    write(frame, path, **options)
    try:
        os.close(os.open({flag!r}, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
pl.DataFrame.write_parquet = write_or_die
"""

# A process that takes its time over each file.
SLOW = """
import time
import polars as pl
write = pl.DataFrame.write_parquet
def write_slowly(frame, path, **options):
    write(frame, path, **options)
    time.sleep(0.5)
pl.DataFrame.write_parquet = write_slowly
"""


def sweep(**changes: Any) -> list[Config]:
    return [
        config(
            model={"name": "logistic"},
            loss={"name": loss},
            seed=seed,
            training={"num_epochs": 2, "batch_size": 128},
            wandb={"mode": "offline"},
            **changes,
        )
        for loss in ("bce", "brier")
        for seed in range(NUM_SEEDS // 2)
    ]


def train(configs: list[Config], root: Path, engine: Any, progress: Any = None) -> list[Result]:
    placed = [replace(one, root=str(root), engine=engine) for one in configs]
    return sharing.train(placed, progress=progress or Quiet())


class Quiet:
    """Progress that nobody sees; it ends the sweep, as its user would, after so many runs."""

    def __init__(self, runs: int = 10**9):
        self.left = runs

    def training(self, total: int) -> "Quiet":
        return self

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, number: int) -> None:
        self.left -= number
        if self.left <= 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep's folder, trained by this process."""
    root = tmp_path_factory.mktemp("whole")
    run_sweep([replace(one, root=str(root)) for one in sweep()], progress=Quiet())
    return root / "default"


def assert_same_sweep(folder: Path, whole: Path) -> None:
    """The same tables, to the bit, none twice; the same plan and findings, W&B runs and report."""
    assert store.runs(folder)[0]["run_id"].is_unique().all()
    assert_same_runs(stored_tables(folder), stored_tables(whole))
    for file in (store.PLAN, *(path.relative_to(whole) for path in whole.glob("data/*"))):
        assert (folder / file).read_text() == (whole / file).read_text()
    assert not [path.name for path in folder.glob(".*")]
    assert logged(folder) == logged(whole)
    assert reported(folder) == reported(whole)


def reported(folder: Path) -> str:
    """The page of a sweep, but for when it was trained, for how long, and when it was written."""
    with TemporaryDirectory() as place:
        page = load(folder).report(Path(place)).read_text(encoding="utf-8")
    return re.sub(r"<dt>(trained|training time|report written)</dt><dd>[^<]*</dd>", "", page)


def logged(folder: Path) -> dict[str, str]:
    """What offline W&B runs say, but for clocks and places."""
    said = {}
    for path in folder.glob("wandb/*/*.wandb"):
        log = read_log(path)
        if is_of_a_sweep(log.config):
            continue
        config = {key: value for key, value in log.config.items() if key != "root"}
        config["harness"] = {**config["harness"], "created": None}
        summary = {key: log.summary[key] for key in log.summary if "/" in key}
        history = {key: list(log.history[key]) for key in log.history if not key.startswith("_")}
        assert log.run_id not in said
        told = (log.name, log.group, log.tags, config, summary, history)
        said[log.run_id] = json.dumps(told, sort_keys=True)
    return said


def customized(folder: Path, code: str) -> str:
    """A PYTHONPATH under which processes run ``code`` as they start."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


@pytest.fixture
def mortal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the processes that write a shard, the first is killed; the file that it leaves."""
    flag = tmp_path / "killed"
    code = MORTAL.format(flag=str(flag))
    monkeypatch.setenv("PYTHONPATH", customized(tmp_path / "mortal", code))
    return flag


@pytest.mark.slow
def test_processes_leave_what_one_does(tmp_path, whole):
    results = train(sweep(), tmp_path, Processes(workers=2, cpus=1))
    assert [one.error for one in results] == [None] * NUM_SEEDS
    assert_same_sweep(tmp_path / "default", whole)
    again = train(sweep(), tmp_path, Processes())
    assert all(one.was_stored for one in again)
    assert [one.objectives for one in again] == [one.objectives for one in results]


@pytest.mark.slow
def test_a_process_that_is_killed_costs_its_batch_alone(tmp_path, whole, mortal):
    results = train(sweep(), tmp_path, Processes(workers=2, cpus=1))
    assert [one.error for one in results] == [None] * NUM_SEEDS and mortal.exists()
    assert_same_sweep(tmp_path / "default", whole)


@pytest.mark.slow
def test_processes_that_are_stopped_have_stored_what_had_finished(tmp_path, monkeypatch):
    """Of more units, and slower ones, than finish as the first one's answer is taken."""
    long = [replace(one, seed=one.seed + 100 * lap) for lap in range(5) for one in sweep()]
    with monkeypatch.context() as slow, pytest.raises(KeyboardInterrupt):
        slow.setenv("PYTHONPATH", customized(tmp_path / "slow", SLOW))
        train(long, tmp_path, Processes(workers=2), Quiet(runs=1))
    stored = set(store.stored(tmp_path / "default"))
    assert 0 < len(stored) < len(long) and logged(tmp_path / "default").keys() == stored
    assert not any(one.error for one in train(long, tmp_path, Processes(workers=2)))
    stored = set(store.stored(tmp_path / "default"))
    assert len(stored) == len(long) and logged(tmp_path / "default").keys() == stored


def test_a_sweep_that_is_stopped_looks_once_for_what_workers_stored(tmp_path, monkeypatch):
    """Not once for each run that is left, of which there may be thousands."""
    looks = []

    def stopped(texts, engine, folder):
        raise KeyboardInterrupt
        yield

    def looked(runs, columns):
        looks.append(len(runs))
        return stored_results(runs, columns)

    monkeypatch.setattr(sharing, "_run", stopped)
    monkeypatch.setattr(sharing, "stored_results", looked)
    with pytest.raises(KeyboardInterrupt):
        train(sweep(), tmp_path, Processes(workers=2))
    assert looks == [NUM_SEEDS, NUM_SEEDS]  # as it begins, and as it ends


def test_work_whose_workers_are_always_lost_says_what_the_last_one_said(tmp_path, monkeypatch):
    command = [sys.executable, "-c", "raise SystemExit('no luck')"]
    monkeypatch.setattr(processes, "COMMAND", command)
    results = train(sweep()[:2], tmp_path, Processes(workers=1, retries=1))
    assert {str(one.error) for one in results} == {
        "2 workers were lost: the last ended with 1, saying no luck"
    }
    assert not (tmp_path / "default" / store.PLAN).exists()


def test_a_crew_that_was_stopped_starts_no_worker(monkeypatch):
    """Nor minds that a worker was lost as it was stopped."""
    monkeypatch.setattr(processes, "COMMAND", [sys.executable, "-c", "pass"])
    crew = processes._Crew(retries=2)
    lost = crew._worker()
    assert lost.end() == lost.end() == "the last ended with 0"
    crew.stop()
    assert "refused" in crew.ask("{}")
    with ThreadPoolExecutor(1) as another:
        assert "the sweep was stopped" in another.submit(crew.ask, "{}").result()
    assert not crew._all


def test_a_worker_compiles_a_program_once(monkeypatch):
    made = []
    monkeypatch.setattr(compiled, "keeping", True)
    monkeypatch.setattr(engine, "_kept", lru_cache(lambda program: made.append(program)))
    assert engine._compile("one") is engine._compile("one") and made == ["one"]


def test_a_worker_trains_no_run_but_the_one_that_is_meant(tmp_path):
    """As where its code, data or processor differ."""
    (run,) = runs_of(replace(sweep()[0], root=str(tmp_path)))
    recorder = Recorder([run.config])
    unit = Unit.of([run], devices=1, recorder=recorder, columns=[])
    (result,) = answered([run], worker.work(replace(unit, run_ids=["0" * 16]).text()))
    assert "the same configuration is another run on" in str(result.error)
    assert store.stored(tmp_path / "default") == {}


@pytest.mark.slow
def test_what_an_engine_cannot_do_is_one_line(harness, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "submitit", None)
    for given, saying in {
        "engine=ray": "engine=ray needs Ray: pip install 'bce-harness[ray]'",
        "engine=submitit": "engine=submitit needs submitit: pip install",
        "engine=local,processes": "engine=local, processes: a sweep has one engine",
        "engine=spark": "engine=spark",
    }.items():
        said = harness("train", "-m", *TINY, given)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1) and saying in said.err
        assert not list((tmp_path / "runs").rglob("*.parquet"))


def test_data_in_memory_has_no_use_for_other_processes(tmp_path):
    frame, target = in_memory.held({"a": [0.0, 1.0] * 40, "y": [0, 1] * 40}, "y")
    data = {"kind": "memory", "name": "d", "contents": frame.contents, "target": target}
    with pytest.raises(UserError, match="engine=processes: other processes cannot see data"):
        train([config(dataset=data)], tmp_path, Processes())


ENGINES = [
    pytest.param(Submitit(executor="local", workers=2, cpus=1), id="submitit"),
    pytest.param(Ray(workers=2), id="ray"),
]


@pytest.mark.engines
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_leaves_what_one_process_does_also_where_a_worker_is_killed(
    engine, tmp_path, whole, mortal
):
    pytest.importorskip(engine.name)
    results = train(sweep(), tmp_path, engine)
    assert [one.error for one in results] == [None] * NUM_SEEDS and mortal.exists()
    assert_same_sweep(tmp_path / "default", whole)


@pytest.mark.engines
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_that_is_stopped_loses_nothing(engine, tmp_path, whole):
    pytest.importorskip(engine.name)
    with pytest.raises(KeyboardInterrupt):
        train(sweep(), tmp_path, engine, Quiet(runs=1))
    stored = set(store.stored(tmp_path / "default"))
    assert stored and logged(tmp_path / "default").keys() == stored
    train(sweep(), tmp_path, engine)
    assert_same_sweep(tmp_path / "default", whole)


@pytest.mark.engines
def test_a_job_that_is_out_of_time_is_queued_again_and_goes_on(tmp_path, whole, monkeypatch):
    """Slurm says so with SIGUSR2 to the job."""
    pytest.importorskip("submitit")
    said = []

    def sleeping(seconds):
        controllers = psutil.Process().children()
        jobs = [one for parent in controllers for one in parent.children()]
        if not said and jobs and store.stored(tmp_path / "default"):
            jobs[0].send_signal(signal.SIGUSR2)
            said.append(jobs[0].pid)
        time.sleep(0.05)

    monkeypatch.setattr(
        submitted, "time", SimpleNamespace(sleep=sleeping, monotonic=time.monotonic)
    )
    monkeypatch.setenv("PYTHONPATH", customized(tmp_path / "slow", SLOW))
    train(sweep(), tmp_path, Submitit(executor="local", workers=1, cpus=1, retries=0))
    assert said
    assert_same_sweep(tmp_path / "default", whole)
