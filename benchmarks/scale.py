"""What each part of a large sweep costs, but for its training: seconds and memory.

python -m benchmarks.scale                     10^4 and 10^5 runs; some 15 minutes, 6 GB of disk
python -m benchmarks.scale --runs 1000 10000   fewer; the last column follows from these
python -m benchmarks.scale --keep F            and leaves the stores in folder F, for more tries

Nothing is trained: what is stored is fabricated, as `benchmarks.analysis` does, with 10 points a
curve and 200 validation and 200 test rows. CPU seconds stand beside those of the wall: on a machine
that others use the latter are theirs too. The last column is how the CPU seconds grew from the
smaller number to the larger, carried on to 10^6 runs.
"""

import argparse
import json
import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.processes import HARNESS, used

WORKERS = 100
LIMITS = {"tables": 20, "list": 20, "report": 60}  # seconds, at 100,000 runs, within 1,500 MB
GRID = ("loss=bce,focal,brier,hinge,poly1", "optimizer.learning_rate=1e-4,1e-3,3e-3,1e-2,3e-2")


class Cost(NamedTuple):
    """Wall and CPU seconds, and the MB that its process held at most by then."""

    seconds: float
    cpu: float
    memory: float


def launch(num_runs: int, folder: Path) -> Iterator[str]:
    """From overrides to work for a hundred workers, and what these answer; each step's name."""
    from harness.engines.units import Unit, answer, answered, units
    from harness.overrides.jobs import jobs_of, parsed
    from harness.sweep import plan
    from harness.sweep.claims import Claims
    from harness.sweep.engine import Result
    from harness.sweep.recorder import Recorder

    yield "start"
    places = (f"root={folder}/empty", "engine=processes", "wandb=disabled")
    sweep = ("dataset=breast_cancer", "model=logistic", *GRID, f"seed=range({num_runs // 25})")
    configs = jobs_of([*sweep, *places]).configs
    assert len(configs) == num_runs
    yield "compose"
    runs = plan.resolved(parsed(configs))
    yield "identify"
    with Claims() as one, Claims() as other:
        with one.deciding(runs):
            assert len(one.take(runs)) == num_runs
        with other.deciding(runs):
            assert not other.take(runs)
    yield "claim"
    recorder = Recorder([run.config for run in runs])
    for unit in units(runs, number=4 * WORKERS, most=1024):
        Unit.of(unit, devices=1, recorder=recorder, columns=[]).text()
        said = answer(Result(run.run_id, {"validation/log_loss": 0.1}) for run in unit)
        assert len(list(answered(unit, said))) == len(unit)
    yield "share out"


def store(num_runs: int, folder: Path) -> None:
    from benchmarks.analysis import fabricate

    assert fabricate(folder, num_runs // 500, num_rows=200, num_epochs=10) == num_runs


def merge(_: int, folder: Path) -> None:
    from harness.sweep.merging import merge as merged

    merged(folder)


def resume(num_runs: int, folder: Path) -> None:
    from harness.record.store import stored

    assert len(stored(folder, ["best_epoch", "validation/log_loss"])) == num_runs


def mirror(num_runs: int, folder: Path) -> None:
    from harness.record.replay import StoredLogs
    from harness.record.store import stored

    run_ids, logs = list(stored(folder)), StoredLogs(folder)
    for start in range(0, num_runs, 1024):
        unit = run_ids[start : start + 1024]
        assert sum(1 for _ in logs(unit)) == len(unit)


def tables(_: int, folder: Path) -> None:
    from benchmarks.analysis import tables_alone

    tables_alone(folder)


PARTS: dict[str, Callable[[int, Path], Any]] = {
    one.__name__: one for one in (launch, store, merge, resume, mirror, tables)
}
COMMANDS = {"list": ("runs", "list"), "report": ("analyze",)}
WHAT = {
    "start": "imports",
    "compose": "overrides to configurations",
    "identify": "these to runs and their ids",
    "claim": "all of them claimed, and asked for by a second sweep",
    "share out": f"units for {WORKERS} workers, and their answers",
    "store": "made up, and stored in shards of 64",
    "merge": "these merged",
    "resume": "which runs are stored",
    "mirror": "read for W&B, 1,024 at a time",
    "tables": "loaded, and the question answered",
    "list": "harness runs list",
    "report": "harness analyze",
}


def timed(steps: Iterator[str]) -> Iterator[tuple[str, Cost]]:
    """The cost of each step, as it is named when it is done."""
    wall, cpu = time.perf_counter(), 0.0
    for name in steps:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        yield name, Cost(time.perf_counter() - wall, time.process_time() - cpu, peak)
        wall, cpu = time.perf_counter(), time.process_time()


def measured(num_runs: int, folder: Path) -> dict[str, Cost]:
    """The costs of so many runs; parts after `store` read what it wrote into ``folder``."""
    found: dict[str, Cost] = {}
    for name in (*PARTS, *COMMANDS):
        if name == "store" and (folder / "shards").is_dir():
            continue
        command = [*HARNESS, *COMMANDS.get(name, ()), str(folder)]
        if name in PARTS:
            itself = [sys.executable, "-m", "benchmarks.scale", "--part", name]
            command = [*itself, "--runs", str(num_runs), "--keep", str(folder)]
        taken = used(command)
        if name == "launch":
            found |= {step: Cost(*cost) for step, cost in json.loads(taken.text).items()}
        else:
            found[name] = Cost(taken.seconds, taken.cpu, taken.memory * 1.024)
        files = sum(1 for _ in folder.glob("shards/*/*"))
        print(f"{num_runs:,} runs, {name}: {taken.seconds:.0f} s; {files:,} files", flush=True)
    return found


def carried_on(smaller: Cost, larger: Cost, numbers: tuple[int, int], to: int) -> float:
    """CPU seconds of ``to`` runs, as a power of their number."""
    power = math.log(larger.cpu / smaller.cpu) / math.log(numbers[1] / numbers[0])
    return larger.cpu * (to / numbers[1]) ** max(0.0, power)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("--runs", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--keep", type=Path, help="the folder of the stores; made if missing")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        done = PARTS[given.part](given.runs[0], given.keep)
        if done is not None:
            print(json.dumps(dict(timed(done))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        place = given.keep or Path(temporary)
        found = {number: measured(number, place / str(number)) for number in sorted(given.runs)}
    first, last = min(found), max(found)
    heads = (f"{number:,} runs: wall, CPU" for number in found)
    table = Table("part", "what", *heads, "MB at most", "1,000,000 runs: CPU", "limit")
    for name, cost in found[last].items():
        more = carried_on(found[first][name], cost, (first, last), 10**6) if first < last else 0
        table.add_row(
            name,
            WHAT[name],
            *(f"{of[name].seconds:.1f} s, {of[name].cpu:.1f} s" for of in found.values()),
            f"{cost.memory:,.0f}",
            f"{more:,.0f} s",
            f"{LIMITS[name]} s" if name in LIMITS else "",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
