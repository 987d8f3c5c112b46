"""The reference sweep, timed: fused, one at a time, and one process a job.

57 features, 4,601 rows, MLP 64-64, batch 256, Adam, 500 steps, 50 points a curve; 10 losses x 10
learning rates x 10 seeds, with all metrics, the store and one offline W&B run each.

`make bench` takes about 20 minutes on two idle cores, 4 of them without the sweep of 10,000
(BENCH=--no-large). BENCH=--quick takes a tenth of the runs, once.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.processes import HARNESS, used

# Host work that is neither training nor waiting for it.
AROUND = ("compose", "identify", "compile", "prepare", "evaluate", "store", "mirror")


def sweep(seeds: int) -> dict:
    """One fused sweep of 100 runs a seed, from process start to exit, into an empty store."""
    with tempfile.TemporaryDirectory() as root:
        profile = Path(root) / "profile.json"
        overrides = [
            "experiment=reference",
            "wandb=offline",
            f"root={root}",
            f"seed=range({seeds})",
        ]
        # An empty compilation cache: the first sweep on a machine is the one that is timed.
        spent = used(
            [*HARNESS, "train", "-m", *overrides],
            HARNESS_PROFILE=str(profile),
            JAX_COMPILATION_CACHE_DIR=str(Path(root) / "cache"),
        )
        phases = json.loads(profile.read_text())
    runs = 100 * seeds
    return {"runs": runs, "seconds": spent.seconds, "memory": spent.memory, "phases": phases}


def one_process_a_job() -> float:
    """Seconds of `harness train` for one reference run, warm compilation cache and all."""
    with tempfile.TemporaryDirectory() as root:
        overrides = ["experiment=reference", "wandb=offline", f"root={root}"]
        return used([*HARNESS, "train", *overrides]).seconds


def inside(what: str, **environment: str) -> dict:
    spent = used([sys.executable, "-m", "benchmarks.inside", what], **environment)
    return json.loads(spent.text.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs, one repeat")
    parser.add_argument("--no-large", action="store_true", help="leave out the 10,000 runs")
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    given = parser.parse_args()
    console = Console(width=110)
    seeds, repeats = (1, 1) if given.quick else (10, 3)
    figures: dict = {}

    with console.status("the plain loop, one process a job, and the kernel"):
        # The loop may use all cores inside one run.
        free = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=true"}
        loops = [inside("loop", **free)["seconds_per_run"] for _ in range(repeats)]
        figures["loop"] = statistics.median(loops)
        figures["process"] = statistics.median([one_process_a_job() for _ in range(repeats)])
        figures["kernel"] = inside("kernel")
    with console.status(f"the fused sweep of {100 * seeds} runs, {repeats} times"):
        sweeps = [sweep(seeds) for _ in range(repeats)]
        figures["sweep"] = sorted(sweeps, key=lambda one: one["seconds"])[repeats // 2]
    with console.status("start-up and planning"):
        figures["help"] = statistics.median(used([*HARNESS, "--help"]).seconds for _ in range(5))
        with tempfile.TemporaryDirectory() as root:
            plan = [*HARNESS, "plan", "-m", "experiment=reference", "seed=range(100)"]
            figures["plan"] = used([*plan, f"root={root}"]).seconds
    if not (given.quick or given.no_large):
        with console.status("the fused sweep of 10,000 runs"):
            figures["large"] = sweep(100)
    console.print(_summary(figures))
    console.print(_phases(figures["sweep"]))
    if given.output:
        given.output.write_text(json.dumps(figures, indent=2) + "\n")


def _summary(figures: dict) -> Table:
    fused, kernel = figures["sweep"], figures["kernel"]
    each = fused["seconds"] / fused["runs"]
    host = sum(fused["phases"].get(phase, 0.0) for phase in AROUND)
    idle = fused["seconds"] - fused["phases"]["train"]
    table = Table("what", "measured", "asked")
    rows = [
        (f"fused, {fused['runs']} runs", f"{1 / each:.1f} runs/s ({each * 1e3:.1f} ms)", ""),
        ("plain warm loop", f"{1 / figures['loop']:.1f} runs/s", ""),
        ("one process a job", f"{1 / figures['process']:.2f} runs/s", ""),
        ("fused / loop", f"{figures['loop'] / each:.1f} x", "3 x"),
        ("fused / process a job", f"{figures['process'] / each:.0f} x", "50 x"),
        ("training", f"{kernel['train_flops'] / 1e9:.0f} GFLOP/s", ""),
        ("matrix product, 2048", f"{kernel['matmul_flops'] / 1e9:.0f} GFLOP/s", ""),
        (
            "training / matrix product",
            f"{kernel['train_flops'] / kernel['matmul_flops']:.0%}",
            "60%",
        ),
        ("host work that is not training", f"{host / fused['seconds']:.0%} of wall", "25%"),
        ("wall time without training", f"{idle / fused['seconds']:.0%} of wall", "25%"),
        ("peak memory", f"{fused['memory']:.0f} MiB", ""),
        ("harness --help", f"{figures['help']:.2f} s", "0.5 s"),
        ("harness plan, 10,000 jobs", f"{figures['plan']:.1f} s", "30 s"),
    ]
    if "large" in figures:
        large = figures["large"]
        rows += [
            ("10,000 runs: memory", f"{large['memory'] / fused['memory']:.2f} x", "1.3 x"),
            ("10,000 runs: time", f"{large['seconds'] / fused['seconds']:.2f} x", "10.5 x"),
        ]
    for row in rows:
        table.add_row(*row)
    return table


def _phases(fused: dict) -> Table:
    table = Table("phase of the fused sweep", "seconds", "ms a run")
    for phase, seconds in fused["phases"].items():
        table.add_row(phase, f"{seconds:.2f}", f"{seconds / fused['runs'] * 1e3:.2f}")
    return table


if __name__ == "__main__":
    main()
