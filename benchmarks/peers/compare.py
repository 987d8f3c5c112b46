"""The same work by this harness and by its peers: same data, splits, batches, steps and rates.

make peers [PEERS="--kinds reference,digits --runs 1,10,100,1000 --repeats 3"]

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
from dataclasses import asdict, dataclass
from datetime import date
from math import prod
from pathlib import Path

import numpy as np

from benchmarks.processes import HARNESS, used

HERE = Path(__file__).parent
LOOP = "PyTorch loop, 2 processes, W&B"
PEERS = {
    LOOP: ("torch", "torch_loop.py"),
    "PyTorch, torch.compile, W&B": ("torch", "torch_loop.py", "compiled"),
    "PyTorch, stacked by torch.func": ("torch", "torch_stacked.py"),
    "scikit-learn, 2 joblib processes": ("project", "sklearn_joblib.py"),
    "this stack, run by run": ("project", "unfused.py"),
}
OF_MLPS = {"PyTorch, stacked by torch.func", "scikit-learn, 2 joblib processes"}


@dataclass(frozen=True)
class Kind:
    """Work of one kind: BCE at each of these learning rates, and as many seeds as make the runs.

    Attributes:
        as_good: by how many nats a peer's mean test log loss may differ: first weights are drawn
            otherwise.
    """

    overrides: tuple[str, ...]
    rates: tuple[float, ...]
    runs: tuple[int, ...]
    as_good: float


FOUR = (3e-4, 1e-3, 3e-3, 1e-2)
KINDS = {
    "reference": Kind(
        ("experiment=reference",),
        (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 2e-2, 3e-2),
        (1, 10, 100, 1000),
        0.02,
    ),
    "fraud_like": Kind(
        ("dataset=synthetic/fraud_like", "model.width=256", "model.depth=3",
         "training.batch_size=1024", "training.num_epochs=4"), FOUR, (8,), 0.002,
    ),
    "digits": Kind(("dataset=digits", "model=cnn"), FOUR, (16,), 0.02),
    "german": Kind(("dataset=german", "model=residual_mlp"), FOUR, (32,), 0.05),
}  # fmt: skip


def rates_and_seeds(kind: Kind, runs: int) -> tuple[list[float], int]:
    """Of one run, or of a multiple of the number of rates."""
    return ([1e-3], 1) if runs == 1 else ([*kind.rates], runs // len(kind.rates))


def write_work(path: Path, kind: Kind, runs: int) -> None:
    """The same runs for the peers: what `harness.run` would make of them."""
    from benchmarks.inside import composed
    from harness.data.library import datasets
    from harness.models import param_shapes
    from harness.run import resolve

    rates, seeds = rates_and_seeds(kind, runs)
    configs = composed(kind.overrides, seeds)
    dataset = datasets.get(configs[0].dataset)
    made = [resolve(config, dataset) for config in configs]
    data = [run.data(dataset) for run in made]
    model, program = configs[0].model, made[0].exact_program
    shapes = param_shapes(model, program.inputs)
    net = {**asdict(model), "cardinalities": program.inputs.cardinalities}
    net["parameters"] = sum(map(prod, shapes.values()))
    np.savez(
        path,
        told=json.dumps({"net": net, "overrides": kind.overrides}),
        features=dataset.features,
        labels=dataset.labels,
        learning_rates=np.tile(rates, seeds),
        splits=np.repeat(np.arange(seeds), len(rates)),
        batches=np.stack(
            [one.batch_rows.reshape(program.num_epochs, -1, program.batch_size) for one in data]
        ),
        train=np.stack([one.split.train for one in data]),
        validation=np.stack([one.split.validation for one in data]),
        test=np.stack([one.split.test for one in data]),
        center=np.stack([one.scaling.center for one in data]),
        scale=np.stack([one.scaling.scale for one in data]),
    )


def by_harness(kind: Kind, runs: int, cache: str) -> tuple[float, float]:
    """Seconds of the sweep from process start to exit, and its mean test log loss."""
    from harness.record import store

    rates, seeds = rates_and_seeds(kind, runs)
    with tempfile.TemporaryDirectory() as root:
        swept = f"optimizer.learning_rate={','.join(map(repr, rates))}", f"seed=range({seeds})"
        asked = [*kind.overrides, "loss=bce", *swept, "name=work", f"root={root}", "wandb=offline"]
        seconds = timed([*HARNESS, "train", "-m", *asked], JAX_COMPILATION_CACHE_DIR=cache)
        stored = store.stored(Path(root) / "work", ["test/log_loss"])
    assert len(stored) == runs
    return seconds, statistics.fmean(row["test/log_loss"] for row in stored.values())


def by_peer(script: str, *more: str, python: str, work: Path) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "told.json"
        seconds = timed([python, str(HERE / script), str(work), str(output), *more])
        losses = json.loads(output.read_text())["test_log_loss"]
    return seconds, statistics.fmean(losses)


def timed(command: list[str], **environment: str) -> float:
    """Seconds of a process that finds this project's modules."""
    return used(command, PYTHONPATH=str(HERE.parents[1]), **environment).seconds


def compared(name: str, runs: int, repeats: int, torch: str) -> list[str]:
    """Rows of the table for so many runs of a kind."""
    kind, pythons = KINDS[name], {"torch": torch, "project": sys.executable}
    seconds: dict[str, list[float]] = {name: [] for name in ("harness, cold", "harness, warm")}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work.npz"
        write_work(work, kind, runs)
        for round_ in range(repeats):
            cache = f"{folder}/cache-{round_}"  # empty: the first sweep, then one that is warm
            cold, ours = by_harness(kind, runs, cache)
            seconds["harness, cold"].append(cold)
            seconds["harness, warm"].append(by_harness(kind, runs, cache)[0])
            for peer, (where, script, *more) in PEERS.items():
                if name != "reference" and peer in OF_MLPS:
                    continue
                took, theirs = by_peer(script, *more, python=pythons[where], work=work)
                if abs(theirs - ours) > kind.as_good:
                    raise SystemExit(f"{peer}: test log loss {theirs:.4f}, harness {ours:.4f}")
                seconds.setdefault(peer, []).append(took)
    rows = []
    for peer, took in seconds.items():
        ratios = [
            statistics.median(one / own for one, own in zip(took, seconds[ours], strict=True))
            for ours in ("harness, cold", "harness, warm")
        ]
        marks = ["" if peer.startswith("harness") or r >= 1 else ", missed" for r in ratios]
        cells = [f"{r:.2f}{mark}" for r, mark in zip(ratios, marks, strict=True)]
        median = statistics.median(took)
        rows.append(f"| {name} | {runs:,} | {peer} | {median:.1f} | {' | '.join(cells)} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of network and data")
    parser.add_argument("--runs", help="of the reference kind: 1, or multiples of 10")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--torch", required=True, help="the Python of PyTorch's environment")
    parser.add_argument("--output", type=Path, help="write the table there")
    given = parser.parse_args()
    lines = [
        "| work | runs | by | s | over harness cold | over warm |",
        "|---|---|---|---|---|---|",
    ]
    before = os.getloadavg()[0]
    for name in given.kinds.split(","):
        asked = given.runs if given.runs and name == "reference" else None
        for runs in map(int, asked.split(",")) if asked else KINDS[name].runs:
            more = compared(name, runs, given.repeats, given.torch)
            print("\n".join(more), flush=True)
            lines += more
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
