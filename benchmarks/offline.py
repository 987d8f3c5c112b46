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

from benchmarks.analysis import base_config
from harness.analyze import load
from harness.record.mirror import Mirror, mirror_run
from harness.record.schema import CURVES, FACTS, Record
from harness.record.wandb_access import Labels
from harness.record.wandb_log import RunLog

NUM_METRICS = 60  # of each part; as many columns as a run of the default evaluation has


def example(num_epochs: int) -> RunLog:
    """A run as wide as ours are; of random numbers, whose digits do not compress."""
    rng = np.random.default_rng(0)
    names = [f"{part}/metric_{i}" for part in ("validation", "test") for i in range(NUM_METRICS)]
    facts = {name: 7 if kind.is_integer() else 0.3 for name, kind in FACTS.items()}
    texts = {"status": "finished", "numerics": "benchmark", "data_fingerprint": "0" * 64}
    record = Record(
        run_id="0" * 16,
        config=base_config(),
        facts={**facts, **texts},
        metrics=dict(zip(names, rng.random(len(names)).tolist(), strict=True)),
        curves={name: rng.random(num_epochs).astype(np.float32) for name in CURVES.values()},
        steps_per_epoch=4,
        predictions={},
        created=datetime(2026, 1, 2, tzinfo=UTC),
    )
    return mirror_run(record)


def main(num_runs: int, num_epochs: int) -> dict[str, float]:
    """Seconds to write so many runs and to read them again, and of all cores together."""
    one = example(num_epochs)
    with tempfile.TemporaryDirectory() as place:
        mirror = Mirror(
            mode="offline", labels=Labels("p", "", "bench", ("bench",)), folder=Path(place)
        )
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
