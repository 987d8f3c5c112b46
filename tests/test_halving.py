"""A batch that memory does not hold is trained in halves."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.padding import stack, trimmed
from harness.run import Run, resolve
from harness.sweep import engine, halving, lanes
from harness.sweep.halving import Halved
from tests.runs import config, prepared, runs_of
from tests.stored import assert_same_runs, stored_tables
from tests.test_resume import process, train, trained

EXHAUSTED = "RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes."


@pytest.fixture(scope="module")
def sweep() -> list[Any]:
    return [config(seed=seed, model={"name": "logistic"}) for seed in range(11)]


@pytest.fixture(scope="module")
def whole(sweep: list[Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return trained(sweep, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine that holds so many lanes; which numbers of lanes were tried for how many runs."""
    tried: list[tuple[int, int]] = []
    monkeypatch.setattr(engine, "_say_halved", engine._say_halved.__wrapped__)

    def holding(most: int, poor: str = "", half: Any = Halved.__call__) -> list[tuple[int, int]]:
        def refused(*_: Any) -> Any:
            raise RuntimeError(EXHAUSTED)

        def train_half(self: Halved, runs: list[Run], dataset: Any) -> Any:
            tried.append((self.num_lanes, len(runs)))
            if self.num_lanes > most or poor in [run.run_id for run in runs]:
                raise RuntimeError(EXHAUSTED)
            return half(self, runs, dataset)

        monkeypatch.setattr(engine, "_train", refused)
        monkeypatch.setattr(Halved, "__call__", train_half)
        return tried

    return holding


@pytest.fixture(scope="module")
def at_full_width(sweep: list[Any]) -> Any:
    """Trains halves as the whole program does: for what is not about their bits."""
    program = runs_of(sweep[0])[0].program
    trainer = lanes.Trainer(program)

    def trained_whole(_: Halved, runs: list[Run], dataset: Any) -> Any:
        stacked = stack([run.lane(dataset) for run in runs], program, width=trainer.width)
        outcome = trainer(stacked, lanes.put(dataset, program))
        arrays = lanes.jax.tree.map(np.asarray, outcome)
        return trimmed(arrays, program, runs[0].sizes)

    return trained_whole


@pytest.mark.slow
def test_narrower_batches_say_so_and_are_the_same_runs(sweep, whole, tmp_path, memory, capsys):
    assert lanes.num_devices() == 2 and lanes.lanes_per_device(runs_of(sweep[0])[0].program) == 8
    tried = memory(8)
    results = train(sweep, tmp_path)
    assert [one.error for one in results] == [None] * len(sweep)
    assert tried == [(8, 8), (8, 3)]
    runs, expected = stored_tables(tmp_path / "default")["runs"], whole["runs"]
    assert runs["run_id"].to_list() == expected["run_id"].to_list()
    assert runs["numerics"].to_list() == [f"{one};lanes=2x4" for one in expected["numerics"]]
    for metric in ("test/log_loss", "validation/auroc"):
        assert (runs[metric] - expected[metric]).abs().max() < 1e-4
    (said,) = [one for one in capsys.readouterr().err.splitlines() if "memory" in one]
    assert "trained 8 at a time, with other rounding, as numerics says (lanes=2x4)" in said
    assert all(one.was_stored for one in train(sweep, tmp_path))


def test_a_run_that_fits_nowhere_fails_alone(sweep, tmp_path, memory, at_full_width):
    poor = runs_of(sweep[3])[0].run_id
    tried = memory(8, poor, at_full_width)
    (failed,) = [one for one in train(sweep, tmp_path) if one.error]
    assert failed.run_id == poor
    assert "takes more memory than there is" in str(failed.error) and "\n" not in str(failed.error)
    assert stored_tables(tmp_path / "default")["runs"].height == len(sweep) - 1
    assert [number for number, _ in tried if number <= 2].count(1) == 2  # itself, and its neighbour


@pytest.mark.parametrize("place", ["stack", pytest.param("collect", marks=pytest.mark.slow)])
def test_the_hosts_memory_too(place, sweep, whole, tmp_path, monkeypatch, at_full_width):
    """Which lacks as arrays are made, or as outcomes are scored."""

    def little(do: Any) -> Any:
        def refusing(*given: Any, **options: Any) -> Any:
            if options.get("width", len(options.get("runs", ()))) > 8:
                raise MemoryError
            return do(*given, **options)

        return refusing

    monkeypatch.setattr(Halved, "__call__", at_full_width)
    if place == "stack":
        monkeypatch.setattr(lanes, "stack", little(stack))
    else:
        monkeypatch.setattr(engine, "collect", little(engine.collect))
    tables = trained(sweep, tmp_path)
    assert tables["runs"]["numerics"].str.ends_with(";lanes=2x4").all()
    assert_same_runs({**tables, "runs": tables["runs"].drop("numerics")},
                     {**whole, "runs": whole["runs"].drop("numerics")})  # fmt: skip


def test_what_else_fails_is_not_tried_again(sweep, tmp_path, memory):
    def broken(*_: Any) -> Any:
        raise RuntimeError("broken")

    tried = memory(8, half=broken)
    errors = [str(one.error) for one in train(sweep, tmp_path)]
    assert all("RuntimeError: broken" in one for one in errors) and len(tried) == 2


@pytest.mark.slow
def test_rows_that_count_differently_do_so_in_halves():
    run, _, _, dataset = prepared(config(model={"name": "logistic"}))
    counts = np.where(dataset.labels == 1, 4.0, 0.5)
    dataset = replace(dataset, row_weights=counts / counts.mean())
    run = resolve(run.config, dataset)
    narrow, plain = Halved(run.program, 1, 1)([run], dataset), lanes.train_alone(run, dataset)
    assert np.abs(narrow.test_logits[0] - plain.test_logits).max() < 1e-4


def test_shapes(monkeypatch):
    (run,) = runs_of(config())

    def shapes() -> list[Any]:
        return [halving.halved(run.program, number) for number in range(7)]

    assert shapes() == [(2, 8), (2, 4), (2, 2), (2, 1), (1, 1), None, None]
    monkeypatch.setattr(lanes, "num_devices", lambda: 5)
    assert shapes()[:4] == [(5, 8), (2, 8), (2, 4), (2, 2)]
    # Each device has a memory of its own: fewer of them hold no more.
    monkeypatch.setattr(lanes, "free_memory", lambda: 2**30)
    assert shapes()[:5] == [(5, 8), (5, 4), (5, 2), (5, 1), None]


# A sweep of whose batches four devices hold none.
POOR = """
import sys
from harness import cli
from harness.cli import application
from harness.sweep import engine
def refused(*_):
    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")
engine._train = refused
sys.argv[0] = "harness"
cli.main()
"""


@pytest.mark.slow
def test_half_the_devices_train_the_same_bits(harness, tmp_path: Path):
    sweep = ["train", "-m", "wandb=disabled", "training.num_epochs=5", "seed=range(9)"]
    assert harness(*sweep, "name=here").code == 0
    done = process(POOR, tmp_path, *sweep, "name=there", HARNESS_DEVICES="4")
    assert done.returncode == 0, done.stderr
    assert "trained 16 at a time, to the same bits" in done.stderr
    here, there = (stored_tables(tmp_path / "runs" / name) for name in ("here", "there"))
    assert_same_runs(there, here)
