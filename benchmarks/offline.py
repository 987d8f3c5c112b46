"""Reading offline W&B folders: how long `harness analyze` takes to have so many runs in tables.

python -m benchmarks.offline [RUNS] [EPOCHS]     10,000 runs of 50 epochs unless told otherwise
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from harness.record.mirrored import as_wandb

from harness.analyze import load
from harness.record.mirror import Mirror, MirrorRun
from harness.record.tables import CURVES

NUM_METRICS = 60  # of each part; as many columns as a run of the default evaluation has


def example(num_epochs: int) -> MirrorRun:
    """A run as wide as ours are; of random numbers, whose digits do not compress."""
    rng = np.random.default_rng(0)
    names = [f"{part}/metric_{i}" for part in ("validation", "test") for i in range(NUM_METRICS)]
    config = {
        "seed": 0,
        "dataset": {"name": "synthetic", "kind": "gaussians", "num_rows": 10_000, "dim": 20},
        "loss": {"name": "focal", "gamma": 2.0, "alpha": 0.25},
        "imbalance": {"positive_rate": 0.01, "where": "train"},
        "model": {"name": "mlp", "widths": [64, 64], "dropout": 0.1},
        "optimizer": {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-4},
        "training": {"num_epochs": num_epochs, "batch_size": 256, "patience": 0},
    }
    facts = {"status": "finished", "seconds": 1.5, "best_epoch": 7, "threshold": 0.3}
    facts |= {f"num_{i}": i for i in range(10)}
    curves = {name: rng.random(num_epochs).astype(np.float32).tolist() for name in CURVES.values()}
    steps = {"epoch": list(range(1, num_epochs + 1)), "step": list(range(4, 4 * num_epochs + 4, 4))}
    return as_wandb(
        run_id="0" * 16,
        config=config,
        facts=facts,
        metrics=dict(zip(names, rng.random(len(names)).tolist(), strict=True)),
        history={**steps, **curves},
        tags=("bench",),
        created=datetime(2026, 1, 2, tzinfo=UTC),
        charts={},
    )


def main(num_runs: int, num_epochs: int) -> dict[str, float]:
    """Seconds to write so many runs and to read them again, and of all cores together."""
    one = example(num_epochs)
    with tempfile.TemporaryDirectory() as place:
        mirror = Mirror(mode="offline", project="p", group="bench", folder=Path(place))
        start = time.perf_counter()
        mirror.write([replace(one, run_id=f"{i:016x}") for i in range(num_runs)])
        written = time.perf_counter() - start
        start, used = time.perf_counter(), sum(os.times()[:4])
        runs = load(Path(place) / "wandb")
        seconds = time.perf_counter() - start
        cpu = sum(os.times()[:4]) - used
        assert runs.runs.height == num_runs
    return {
        "runs": num_runs,
        "seconds_to_write": written,
        "seconds_to_load": seconds,
        "cpu_seconds_to_load": cpu,
    }


if __name__ == "__main__":
    print(json.dumps(main(*map(int, (sys.argv[1:] + ["10000", "50"][len(sys.argv) - 1 :])[:2]))))
