"""What the host does for a run beside training, done once for a few runs to see what it takes.

They are prepared, evaluated, stored and mirrored as a sweep does it, with made scores, into a
folder that goes again.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from harness.config import Wandb
from harness.data import library
from harness.record.collect import collect
from harness.run import Run
from harness.sweep.rates import Clock, watched
from harness.sweep.recorder import Recorder
from harness.training import Curves, Outcome
from harness.watching import held_out


@dataclass(frozen=True)
class Host:
    """What the host takes.

    Attributes:
      first_seconds: once, of what is imported and looked at with the first runs.
      run_seconds: of each run.
      bytes: by which the process grows.
    """

    first_seconds: float
    run_seconds: float
    bytes: int


def rehearsed(batch: Sequence[Run], *, patient_seconds: float = 0.5) -> Host:
    """What the runs of ``batch`` take; of fewer of them where they are slow.

    Raises:
      UserError: their data cannot give what they ask.
    """
    with tempfile.TemporaryDirectory() as folder:

        def all_of(runs: Sequence[Run]) -> float:
            clock = Clock()
            _one_batch(runs, Path(folder))
            return clock.seconds()

        held = psutil.Process().memory_info().rss
        cold, _, highest = watched(lambda: all_of(batch[:1]))
        seconds = warm = all_of(batch[:1])
        if len(batch) > 1 and warm < patient_seconds:
            seconds, _, highest = watched(lambda: all_of(batch) / len(batch))
        return Host(max(cold - warm, 0.0), seconds, highest - held)


def _one_batch(runs: Sequence[Run], folder: Path) -> None:
    dataset = library.datasets.get(runs[0].config.dataset)
    for run in runs:
        run.lane(dataset)
    data = [run.data(dataset) for run in runs]
    rng, (one, *_), num_runs = np.random.default_rng(0), runs, len(runs)
    epochs, (num_validation, num_test) = one.program.num_epochs, held_out(one)
    arrays: dict[str, Any] = {
        "curves": Curves(*rng.random((len(Curves._fields), num_runs, epochs), np.float32)),
        "num_epochs": np.full(num_runs, epochs),
        "best_epoch": np.ones(num_runs, int),
        "diverged_step": np.zeros(num_runs, int),
        "validation_logits": rng.standard_normal((num_runs, num_validation), np.float32),
        "test_logits": rng.standard_normal((num_runs, num_test), np.float32),
        "params": {},
    }
    outcome = Outcome(**arrays)
    records = collect(runs=runs, data=data, outcome=outcome, dataset=dataset, seconds=0.0)
    configs = [replace(run.config, root=str(folder), wandb=_offline(run)) for run in runs]
    recorder = Recorder(configs)
    for record, config in zip(records, configs, strict=True):
        recorder.add(record, config)
    recorder.flush()


def _offline(run: Run) -> Wandb:
    wandb = run.config.wandb
    return wandb if wandb.mode == "disabled" else replace(wandb, mode="offline")
