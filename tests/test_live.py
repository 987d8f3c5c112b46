"""A sweep as a W&B run of its own while it trains, and as a trial of W&B's own agent."""

import logging
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from harness.analyze import load
from harness.record import live
from harness.record.mirror import Mirror, Patience
from harness.record.wandb_access import Labels
from harness.record.wandb_read import read_log
from harness.sweep.recorder import Part, Recorder
from tests.conftest import TINY
from tests.runs import config, runs_of
from tests.wandb_client import DEAD
from tests.wandb_server import StandIn

pytestmark = [
    pytest.mark.usefixtures("lone_client"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:google"),
]
LABELS = Labels("proj", "ent", "group", ("a",), job_type="train", notes="why")


@dataclass(frozen=True)
class Became:
    error: Exception | None = None
    objectives: dict[str, float] = field(default_factory=dict)


def mirror_at(folder: Path, mode: Any = "offline", **given: Any) -> Mirror:
    return Mirror(mode=mode, labels=LABELS, folder=folder, **given)


def log_in(folder: Path) -> Any:
    (path,) = folder.glob("wandb/offline-run-*-sweep-*")
    return read_log(path)


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.02)


def until(true: Any, seconds: float = 20.0) -> None:
    before = time.monotonic()
    while not true():
        assert time.monotonic() < before + seconds
        time.sleep(0.01)


def test_a_sweep_tells_how_far_it_is_and_how_it_ended(tmp_path: Path) -> None:
    results: dict[str, Became] = {"a": Became()}  # which was stored before
    with live.session() as shown:
        shown.show(mirror_at(tmp_path), LABELS, ["a", "b", "c", "d"], results)
        until(lambda: list(tmp_path.glob("wandb/*/*.wandb")))
        first = log_in(tmp_path)
        assert (first.exit_code, first.summary["status"]) == (None, "training")
        results["b"] = Became()
        until(lambda: log_in(tmp_path).rows[-1]["done"] == 2)
        assert log_in(tmp_path).rows[-1]["seconds_left"] > 0
        results |= {"c": Became(), "d": Became()}
        shown.show(mirror_at(tmp_path), LABELS, ["a", "b", "c", "d"], results)  # once more
    last = log_in(tmp_path)
    assert (last.job_type, last.group, last.tags) == ("sweep", "group", ("a",))
    assert first.rows[0] | {"done": 1, "total": 4, "failed": 0} == first.rows[0]
    assert last.rows[-1] | {"done": 4, "total": 4, "failed": 0} == last.rows[-1]
    assert last.rows[-1]["runs_per_second"] > 0 and last.rows[-1]["seconds_left"] == 0
    assert (last.exit_code, last.summary["status"]) == (0, "finished")
    times = [row["_runtime"] for row in last.rows]
    assert times == sorted(times) and last.seconds == times[-1]


@pytest.mark.parametrize(
    ("ends", "status", "code"),
    [(KeyboardInterrupt, "stopped", 130), (OSError, "failed", 1), (None, "failed", 1)],
)
def test_its_outcome_is_the_sweep_s(tmp_path: Path, ends: Any, status: str, code: int) -> None:
    results: dict[str, Became] = {}
    try:
        with live.session() as outer, live.session() as shown:
            assert shown is outer
            shown.show(mirror_at(tmp_path), LABELS, ["a", "b"], results)
            results["a"] = Became(error=None if ends else ValueError("its job failed"))
            if ends:
                raise ends
    except (KeyboardInterrupt, OSError):
        pass
    log = log_in(tmp_path)
    assert (log.summary["status"], log.exit_code) == (status, code)
    assert log.rows[-1]["failed"] == (ends is None)


def test_the_batches_of_a_search_are_one_sweep(tmp_path: Path) -> None:
    """And neither a single run is one, nor a sweep of which all is stored."""
    with live.session() as shown:
        for number in range(3):
            results: dict[int, Became] = {}
            shown.show(mirror_at(tmp_path / "search"), LABELS, [number], results)
            results[number] = Became()
        shown.show(mirror_at(tmp_path / "one"), LABELS, [0], {})
        shown.show(mirror_at(tmp_path / "stored"), LABELS, [0, 1], {0: Became(), 1: Became()})
        shown.show(mirror_at(tmp_path / "off", "disabled"), LABELS, [0, 1], {})
    assert log_in(tmp_path / "search").rows[-1]["done"] == 3
    assert [one.name for one in tmp_path.iterdir()] == ["search"]


def test_the_service_sees_it_while_it_trains(server: StandIn, tmp_path: Path) -> None:
    results: dict[str, Became] = {}
    patience = Patience()
    with live.session() as shown:
        mirror = mirror_at(tmp_path, "auto", patience=patience)
        shown.show(mirror, LABELS, ["a", "b"], results)
        until(lambda: server.runs)
        results |= {"a": Became(), "b": Became(error=ValueError("no"))}
    (served,) = server.runs.values()
    assert served.fields["jobType"] == "sweep" and served.fields["groupName"] == "group"
    assert served.history[0]["total"] == 2 and served.history[-1]["failed"] == 1
    assert (served.summary["status"], served.exit_code) == ("failed", 1)
    assert patience.left < 60


@pytest.mark.parametrize("trouble", ["dead", "slow"])
def test_trouble_with_the_service_is_waited_for_no_longer_than_is_said(
    trouble: str, server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    if trouble == "dead":
        monkeypatch.setenv("WANDB_BASE_URL", DEAD)
    server.delay = 3.0
    patience, begun = Patience(0.5), time.monotonic()
    mirror = mirror_at(tmp_path, "online", timeout=1.0, patience=patience)
    with caplog.at_level(logging.WARNING, logger="harness"), live.session() as shown:
        shown.show(mirror, LABELS, ["a", "b"], {})
        assert time.monotonic() < begun + 0.5  # training goes on at once
    assert time.monotonic() < begun + 1.5
    (thread,) = [one for one in live.threading.enumerate() if one.name == "wandb-live"]
    thread.join(20)
    assert "the sweep is not shown" in caplog.text and "training goes on" in caplog.text


def test_a_sweep_s_own_run_is_no_run_of_it(harness: Any, tmp_path: Path, monkeypatch: Any) -> None:
    sweep = ("train", "-m", *TINY[:-1], "wandb=offline", "loss=bce,focal", "seed=0,1")
    assert harness(*sweep).code == 0
    folder = tmp_path / "runs" / "default"
    assert len([*folder.glob("wandb/offline-run-*")]) == 5
    log = log_in(folder)
    assert (log.name, log.summary["status"], log.rows[-1]["done"]) == (
        "default: sweep", "finished", 4,
    )  # fmt: skip
    logged = load(folder / "wandb")
    assert logged.runs.height == 4 and not logged.notes[:-1]
    assert harness(*sweep).out.startswith("0 trained")
    assert len([*folder.glob("wandb/offline-run-*")]) == 5  # nothing was trained


def test_labels_that_runs_differ_in_are_not_the_sweep_s() -> None:
    both = [
        config(seed=s, wandb={"mode": "offline", "tags": [f"s{s}"], "group": "g"}) for s in (0, 1)
    ]
    told: list[Labels] = []

    class Shown:
        def show(self, mirror: Any, labels: Labels, keys: Any, results: Any) -> None:
            told.append(labels)

    Recorder(both).show(runs_of(*both), {}, Shown())  # type: ignore[arg-type]
    Recorder(both[:1]).show(runs_of(*both[:1]), {}, Shown())  # type: ignore[arg-type]
    Recorder(both, part=Part([])).show(runs_of(*both), {}, Shown())  # type: ignore[arg-type]
    assert [(one.group, one.tags) for one in told] == [("g", ()), ("g", ("s0",))]


def started_by_the_agent(monkeypatch: Any, folder: Path, parameters: dict[str, Any]) -> list[str]:
    """The command line that W&B's own agent makes of our sweep.yaml; it sets what it sets."""
    from wandb import wandb_agent

    page = (Path(__file__).parent.parent / "docs/how-to/wandb.md").read_text(encoding="utf-8")
    asked = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    variables = {
        "SWEEP_ID": "sw33p", "PROJECT": "proj", "ENTITY": "ent", "DIR": str(folder), "RUN_ID": "",
        "SWEEP_PARAM_PATH": "",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    started: list[list[str]] = []

    def process(**given: Any) -> Any:
        started.append(given["command"])
        return SimpleNamespace()

    monkeypatch.setattr(wandb_agent, "AgentProcess", process)
    monkeypatch.chdir(folder)
    agent = wandb_agent.Agent.__new__(wandb_agent.Agent)
    vars(agent).update(
        _in_jupyter=False, _function=None, _forward_signals=False, _run_processes={},
        _sweep_command=asked["command"],
    )  # fmt: skip
    args = {name: {"value": value} for name, value in parameters.items()}
    agent._command_run({"run_id": "ag3nt", "program": asked["program"], "args": args})
    assert set(parameters) <= set(asked["parameters"])
    return [word for word in started[0] if word not in ("/usr/bin/env", "harness")]


@pytest.mark.parametrize("failing", [False, True])
def test_w_and_b_s_agent_gets_the_objective_of_its_trial(
    harness: Any, server: StandIn, tmp_path: Path, monkeypatch: Any, failing: bool
) -> None:
    chosen = {"loss": "focal", "optimizer.learning_rate": -1.0 if failing else 0.01}
    command = started_by_the_agent(monkeypatch, tmp_path, chosen)
    quick = (*TINY[:-1], "name=agents")
    said = harness(*command, *quick)
    if failing:
        assert said.code == 2 and not server.runs
        return
    assert (said.code, said.err) == (0, "")
    trial = server.runs.pop("ag3nt")
    assert (trial.fields["sweep"], trial.fields["project"]) == ("sw33p", "proj")
    assert {key: trial.config[key] for key in chosen} == chosen
    runs = load(tmp_path / "runs" / "agents").runs
    metric = "validation/average_precision"
    assert trial.summary[metric] == pytest.approx(runs[metric].mean())
    assert (trial.summary["status"], trial.exit_code) == ("finished", 0)
    # The runs themselves have their own ids and no parameters of the search.
    assert set(server.runs) == set(runs["run_id"])
    assert all(one.config["loss"]["name"] == "focal" for one in server.runs.values())
    # The same trial again, all of which is stored, gets its number too.
    server.runs.clear()
    os.environ["WANDB_RUN_ID"] = "again"
    assert harness(*command, *quick).out.startswith("0 trained")
    assert set(server.runs) == {"again"} and metric in server.runs["again"].summary
