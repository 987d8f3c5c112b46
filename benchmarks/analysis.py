"""10,000 fabricated runs, analyzed: seconds of the tables and the report, memory, size, opening.

python -m benchmarks.analysis            fabricates the sweep, analyzes it, opens it in Chromium
python -m benchmarks.analysis --keep F   and leaves the sweep in folder F, for more tries

5 losses x 5 data sets x 4 positive rates x 5 learning rates x 20 seeds, 50 points a curve, 900
validation and 900 test rows, every metric there is by default. Nothing is trained: scores are
drawn, and the metrics of a few runs are jittered, which costs the reader what real ones would.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import HARNESS, used

RUNS_PER_SHARD = 64  # as the recorder writes them
NUM_ROWS, NUM_EPOCHS = 900, 50
LOSSES = ("bce", "weighted_bce", "brier", "focal", "hinge")
DATASETS = ("adult", "bank", "credit", "mammography", "spambase")
RATES = (0.02, 0.05, 0.1, 0.2)
LEARNING_RATES = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2)
LIMITS = {
    "tables, seconds": 5,
    "report, seconds": 30,
    "peak memory, MB": 1000,
    "report, MB": 10,
    "opened, seconds": 2,
}


def fabricate(
    folder: Path, seeds: int, *, num_rows: int = NUM_ROWS, num_epochs: int = NUM_EPOCHS
) -> int:
    """Writes the sweep through the store's own writer; returns the number of runs."""
    from harness.record import store
    from harness.record.tables import tables

    runs = list(product(LOSSES, DATASETS, RATES, LEARNING_RATES, range(seeds)))
    rng = np.random.default_rng(0)
    plain = base_config()
    metrics = {rate: _metrics(rng, rate) for rate in RATES}
    for batch in _batches(runs):
        sizes = {"num_rows": num_rows, "num_epochs": num_epochs}
        records = [_record(rng, plain, metrics[run[2]], *run, **sizes) for run in batch]
        store.write_shard(folder, tables(records))
    return len(runs)


def _batches(runs: list[Any]) -> Iterator[list[Any]]:
    # Neighbours in a shard share little, as those of several compiled programs do.
    order = np.random.default_rng(1).permutation(len(runs))
    for start in range(0, len(runs), RUNS_PER_SHARD):
        yield [runs[i] for i in order[start : start + RUNS_PER_SHARD]]


def base_config() -> dict[str, Any]:
    """A configuration as a run has it, with every key."""
    from harness.config import dump, parse

    groups = {"sampler": "none", "model": "mlp", "loss": "bce", "optimizer": "adam"}
    named: dict[str, Any] = {group: {"name": name} for group, name in groups.items()}
    named["optimizer"]["learning_rate"] = 1e-3
    dataset = {"kind": "sklearn", "name": "breast_cancer", "positive": "malignant"}
    return dump(
        parse({**named, "dataset": dataset, "imbalance": {}, "schedule": {"name": "constant"}})
    )


def _scores(
    rng: np.random.Generator, rate: float, num_rows: int = NUM_ROWS
) -> tuple[np.ndarray, np.ndarray]:
    labels = (rng.uniform(size=num_rows) < rate).astype(np.int8)
    labels[:2] = 0, 1
    logits = rng.normal(size=num_rows) + 2 * labels - 2 - 1 / (10 * rate)
    return logits.astype(np.float32), labels


def _metrics(rng: np.random.Generator, rate: float) -> dict[str, float]:
    """All metrics of one run: the names, and values of the right size to jitter."""
    from harness.metrics.evaluate import Scored, evaluate
    from harness.metrics.settings import Evaluation

    parts = {}
    for part in ("validation", "test"):
        logits, labels = (one[None] for one in _scores(rng, rate))
        parts[part] = Scored(logits, labels, np.ones_like(labels, bool), logits.astype(float))
    measured = evaluate(**parts, evaluation=Evaluation()).metrics
    return {name: float(values[0]) for name, values in measured.items()}


def _record(
    rng: np.random.Generator,
    plain: dict,
    metrics: dict,
    *run: Any,
    num_rows: int,
    num_epochs: int,
) -> Any:
    from harness.record.schema import CURVES, Predictions, Record

    loss, dataset, rate, learning_rate, seed = run
    config = {
        **plain,
        "seed": seed,
        "dataset": {**plain["dataset"], "name": dataset},
        "imbalance": {**plain["imbalance"], "positive_rate": rate},
        "loss": {"name": loss},
        "optimizer": {**plain["optimizer"], "learning_rate": learning_rate},
    }
    epochs = np.arange(num_epochs)
    parts = {part: _scores(rng, rate, num_rows) for part in ("validation", "test")}
    positives = {f"num_{part}_positives": int(labels.sum()) for part, (_, labels) in parts.items()}
    return Record(
        run_id=hashlib.sha256(json.dumps(run).encode()).hexdigest()[:16],
        config=config,
        facts={
            "status": "finished",
            "diverged_step": None,
            "num_steps": 500,
            "best_epoch": int(rng.integers(1, num_epochs)),
            "seconds": 0.05,
            "numerics": "benchmark",
            "data_fingerprint": hashlib.sha256(dataset.encode()).hexdigest(),
            "num_train": 2800,
            "num_train_positives": round(2800 * rate),
            "num_validation": num_rows,
            "num_test": num_rows,
            **positives,
        },
        metrics={name: value + 0.02 * rng.normal() for name, value in metrics.items()},
        curves={
            name: (0.2 + np.exp(-epochs / 9) + 0.01 * rng.normal(size=num_epochs)).astype("f4")
            for name in CURVES.values()
        },
        steps_per_epoch=10,
        predictions={
            part: Predictions(
                np.arange(num_rows),
                logits,
                labels,
                corrected_logits=logits,
                calibrated_logits=logits,
            )
            for part, (logits, labels) in parts.items()
        },
        created=datetime.now(UTC),
    )


def tables_alone(folder: Path) -> None:
    """What a notebook does first: read the runs, answer the usual question."""
    from harness.analyze import Question, answer, load

    answer(load(folder), Question())


def opened(report: Path) -> float | None:
    """Seconds from asking for the page until its charts are drawn; None without Chromium."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        start = time.perf_counter()
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("html[data-drawn]")
        seconds = time.perf_counter() - start
        browser.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analysis")
    parser.add_argument("--keep", type=Path, help="the sweep's folder; fabricated if missing")
    parser.add_argument("--seeds", type=int, default=20, help="500 runs each (default: 20)")
    parser.add_argument("--tables", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.tables:
        return tables_alone(given.tables)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary) / "sweep"
        if not (folder / "shards").is_dir():
            print(f"{fabricate(folder, given.seeds)} runs fabricated", flush=True)
        itself = [sys.executable, "-m", "benchmarks.analysis", "--tables", str(folder)]
        tables = used(itself)
        report = used([*HARNESS, "analyze", str(folder)])
        page = folder / "analysis" / "report.html"
        found = {
            "tables, seconds": tables.seconds,
            "tables, MB of memory": tables.memory * 1.024,
            "report, seconds": report.seconds,
            "peak memory, MB": report.memory * 1.024,
            "report, MB": page.stat().st_size / 1e6,
            "opened, seconds": opened(page),
        }
    for name, value in found.items():
        shown = "no Chromium" if value is None else f"{value:.2f}"
        print(f"{name:22} {shown:>11}   {f'limit {LIMITS[name]}' if name in LIMITS else ''}")


if __name__ == "__main__":
    main()
