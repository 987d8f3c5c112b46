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
from harness.sweep import lanes, plan
from harness.sweep.stored import stored_runs

# Measured with benchmarks/ on two CPU cores; a guide, not a promise.
SECONDS_TO_COMPILE = 5.0
SHARE_OF_PEAK = 0.45


def show_plan(configs: Sequence[Config], *, console: Console) -> None:
    """Prints the groups of ``configs``: their lanes, memory and estimated time."""
    jobs = plan.make_jobs(configs)
    done = stored_runs(jobs, [])
    missing = [job for job in jobs if job.key not in done]
    programs = plan.programs(plan.group(missing))
    peak = _matmul_rate()
    table = Table("program", "data", "runs", "lanes", "batches", "memory", "seconds")
    seconds = 0.0
    for groups in programs:
        first = groups[0]
        flops = sum(one.num_batches * one.width * one.signature.run_flops for one in groups)
        cost = SECONDS_TO_COMPILE + flops / (peak * SHARE_OF_PEAK)
        seconds += cost
        table.add_row(
            _describe(first),
            "\n".join(dict.fromkeys(map(_data, groups))),
            str(sum(len(one.jobs) for one in groups)),
            f"{first.signature.lanes_per_device} x {lanes.num_devices()}",
            str(sum(one.num_batches for one in groups)),
            f"{first.signature.program_bytes * lanes.num_devices() / 2**20:.0f} MiB",
            f"{cost:.0f}",
        )
    console.print(table)
    console.print(
        f"{len(jobs)} jobs: {len(jobs) - len(missing)} already stored, "
        f"{sum(len(one.jobs) for groups in programs for one in groups)} to train in "
        f"{len(programs)} compilation(s), "
        f"about {seconds:.0f} s at {peak / 1e9:.0f} GFLOP/s.",
        soft_wrap=True,
    )
    console.print(f"Devices: {devices.describe()}", soft_wrap=True)


def _data(group: plan.Group) -> str:
    dataset = group.dataset
    return f"{escape(dataset.name)} {dataset.num_rows} x {dataset.num_features}"


def _describe(group: plan.Group) -> str:
    program, config = group.signature.program, group.jobs[0].config
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
