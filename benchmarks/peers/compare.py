"""The reference work by this harness and by its peers: same data, splits, batches, steps and rates.

make peers [PEERS="--runs 1,10,100,1000 --repeats 3"]

Each peer runs in a process of its own from start to exit; PyTorch in an environment of its own
(`torch.txt`), the others in the project's. All take turns, and ratios are of one round. A peer must
reach the harness's mean test log loss, or nothing is printed. The loop is what people write, so it
logs to Weights & Biases, as the harness does.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np

from benchmarks.peers.work import EPOCHS, STEPS
from benchmarks.processes import HARNESS, used

HERE = Path(__file__).parent
RATES = "1e-4,2e-4,5e-4,1e-3,2e-3,3e-3,5e-3,1e-2,2e-2,3e-2"
# By how many nats a peer's mean test log loss may differ: first weights are drawn otherwise.
AS_GOOD = 0.02
PEERS = {
    "PyTorch loop, 2 processes, W&B": ("torch", "torch_loop.py"),
    "PyTorch, stacked by torch.func": ("torch", "torch_stacked.py"),
    "scikit-learn, 2 joblib processes": ("project", "sklearn_joblib.py"),
    "this stack, run by run": ("project", "unfused.py"),
}


def overrides(runs: int) -> list[str]:
    """The harness's sweep of so many runs: one, or ten learning rates on a tenth as many seeds."""
    rates, seeds = ("1e-3", 1) if runs == 1 else (RATES, runs // 10)
    return [f"optimizer.learning_rate={rates}", f"seed=range({seeds})"]


def write_work(path: Path, runs: int) -> None:
    """The same runs for the peers: what `harness.run` would make of them."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from harness.config import parse
    from harness.data.library import datasets
    from harness.files import conf_dir
    from harness.run import resolve

    rates = [1e-3] if runs == 1 else [float(rate) for rate in RATES.split(",")]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        values = OmegaConf.to_container(
            compose("config", overrides=["experiment=reference"]), resolve=True
        )
    configs = [parse({**values, "seed": seed}) for seed in range(max(1, runs // 10))]
    dataset = datasets.get(configs[0].dataset)
    made = [resolve(config, dataset).data(dataset) for config in configs]
    assert all(one.batch_rows.shape[0] == EPOCHS * STEPS for one in made)
    np.savez(
        path,
        features=dataset.features,
        labels=dataset.labels,
        learning_rates=np.tile(rates, len(made)),
        splits=np.repeat(np.arange(len(made)), len(rates)),
        batches=np.stack([one.batch_rows for one in made]),
        validation=np.stack([one.split.validation for one in made]),
        test=np.stack([one.split.test for one in made]),
        center=np.stack([one.scaling.center for one in made]),
        scale=np.stack([one.scaling.scale for one in made]),
    )


def by_harness(runs: int, cache: str) -> tuple[float, float]:
    """Seconds of the sweep from process start to exit, and its mean test log loss."""
    from harness.record import store

    with tempfile.TemporaryDirectory() as root:
        arguments = ["experiment=reference", "loss=bce", *overrides(runs), f"root={root}"]
        command = [*HARNESS, "train", "-m", "wandb=offline", *arguments]
        seconds = timed(command, JAX_COMPILATION_CACHE_DIR=cache)
        stored = store.stored(Path(root) / "reference", ["test/log_loss"])
    assert len(stored) == runs
    return seconds, statistics.fmean(row["test/log_loss"] for row in stored.values())


def by_peer(script: str, python: str, work: Path) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "told.json"
        seconds = timed([python, str(HERE / script), str(work), str(output)])
        losses = json.loads(output.read_text())["test_log_loss"]
    return seconds, statistics.fmean(losses)


def timed(command: list[str], **environment: str) -> float:
    """Seconds of a process that finds this project's modules."""
    return used(command, PYTHONPATH=str(HERE.parents[1]), **environment).seconds


def compared(runs: int, repeats: int, torch: str) -> list[str]:
    """Rows of the table for so many runs."""
    pythons = {"torch": torch, "project": sys.executable}
    seconds: dict[str, list[float]] = {name: [] for name in ("harness, cold", "harness, warm")}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work.npz"
        write_work(work, runs)
        for round_ in range(repeats):
            cache = f"{folder}/cache-{round_}"  # empty: the first sweep, then one that is warm
            cold, ours = by_harness(runs, cache)
            seconds["harness, cold"].append(cold)
            seconds["harness, warm"].append(by_harness(runs, cache)[0])
            for name, (where, script) in PEERS.items():
                took, theirs = by_peer(script, pythons[where], work)
                if abs(theirs - ours) > AS_GOOD:
                    raise SystemExit(f"{name}: test log loss {theirs:.4f}, harness {ours:.4f}")
                seconds.setdefault(name, []).append(took)
    rows = []
    for name, took in seconds.items():
        ratios = [
            statistics.median(one / own for one, own in zip(took, seconds[ours], strict=True))
            for ours in ("harness, cold", "harness, warm")
        ]
        marks = ["" if name.startswith("harness") or r >= 1 else ", missed" for r in ratios]
        cells = [f"{r:.2f}{mark}" for r, mark in zip(ratios, marks, strict=True)]
        rows.append(f"| {runs:,} | {name} | {statistics.median(took):.1f} | {' | '.join(cells)} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", default="1,10,100,1000", help="1, or multiples of 10")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--torch", required=True, help="the Python of PyTorch's environment")
    parser.add_argument("--output", type=Path, help="write the table there")
    given = parser.parse_args()
    lines = [
        "| runs | by | s | over harness cold | over warm |",
        "|---|---|---|---|---|",
    ]
    before = os.getloadavg()[0]
    for runs in map(int, given.runs.split(",")):
        lines += compared(runs, given.repeats, given.torch)
        print("\n".join(lines[-6:]), flush=True)
    lines.append("")
    lines.append(
        f"{date.today()}, {os.cpu_count()} cores, load {before:.1f} before and "
        f"{os.getloadavg()[0]:.1f} at the end (of our own: about 2); median of {given.repeats}. A "
        "ratio below 1 is a peer that was faster: missed."
    )
    text = "\n".join(lines) + "\n"
    print(text)
    if given.output:
        given.output.write_text(text)


if __name__ == "__main__":
    main()
