"""`harness plan`: what a sweep would compile, hold and cost. Trains nothing."""

import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness import devices
from harness.config import Config
from harness.run import Run
from harness.sweep import lanes, plan

# Measured with benchmarks/ on two CPU cores; a guide, not a promise.
SECONDS_TO_COMPILE = 5.0
SHARE_OF_PEAK = 0.45


def show_plan(configs: Sequence[Config], *, console: Console) -> None:
    """Prints the programs of ``configs``: their lanes, memory and estimated time.

    Raises:
      UserError: as `plan.resolved` does.
    """
    runs = plan.resolved(configs)
    done = plan.stored_runs(runs, [])
    missing = [run for run in runs if run.key not in done]
    peak = _matmul_rate()
    table = Table("program", "data", "runs", "lanes", "batches", "memory", "seconds")
    seconds, num_programs, num_missing = 0.0, 0, 0
    for program, batches in plan.batches(missing):
        width = lanes.width_of(program)
        flops = sum(width * plan.run_flops(batch[0]) for batch in batches)
        cost = SECONDS_TO_COMPILE + flops / (peak * SHARE_OF_PEAK)
        members = sum(map(len, batches))
        seconds, num_programs, num_missing = seconds + cost, num_programs + 1, num_missing + members
        table.add_row(
            _describe(batches[0][0]),
            "\n".join(dict.fromkeys(_data(batch[0]) for batch in batches)),
            str(members),
            f"{lanes.lanes_per_device(program)} x {lanes.num_devices()}",
            str(len(batches)),
            f"{lanes.program_bytes(program) * lanes.num_devices() / 2**20:.0f} MiB",
            f"{cost:.0f}",
        )
    console.print(table)
    console.print(
        f"{len(configs)} jobs: {len(runs) - len(missing)} already stored, "
        f"{num_missing} to train in {num_programs} compilation(s), "
        f"about {seconds:.0f} s at {peak / 1e9:.0f} GFLOP/s.",
        soft_wrap=True,
    )
    console.print(f"Devices: {devices.describe()}", soft_wrap=True)


def _data(run: Run) -> str:
    return f"{escape(run.config.dataset.name)} {run.sizes.rows} x {run.sizes.features}"


def _describe(run: Run) -> str:
    program, config = run.program, run.config
    name = f"{config.model.name} {program.model.shape}".strip()
    steps = f"{program.num_epochs} epochs x {program.batch_size}"
    return f"{name}, {config.optimizer.name}, {steps}"


def _matmul_rate(size: int = 1024) -> float:
    """Floating-point operations per second of a large product on every device at once."""
    matrices = jnp.ones((lanes.num_devices(), size, size), dtype=jnp.float32)
    product = jax.pmap(lambda a: a @ a)
    product(matrices).block_until_ready()
    start = time.perf_counter()
    product(matrices).block_until_ready()
    return 2 * size**3 * lanes.num_devices() / (time.perf_counter() - start)
