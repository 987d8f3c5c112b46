"""`harness plan`: what a sweep would compile, hold and cost. Trains nothing."""

import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from harness import devices
from harness.config import Config, folder_of
from harness.identity import numerics
from harness.record import store
from harness.sweep import lanes, plan

# Measured with benchmarks/ on two CPU cores; a guide, not a promise.
SECONDS_TO_COMPILE = 5.0
SHARE_OF_PEAK = 0.45


def show_plan(configs: Sequence[Config], *, console: Console) -> None:
    """Prints the groups of ``configs``: their lanes, memory and estimated time."""
    jobs = plan.make_jobs(configs, numerics=numerics())
    done: set[str] = set()
    for folder in {folder_of(config) for config in configs}:
        done |= set(store.stored(folder, []))
    missing = [job for job in jobs if job.config.rerun or job.run_id not in done]
    groups = plan.group(missing)
    peak = _matmul_rate()
    table = Table("program", "data", "runs", "lanes", "batches", "memory", "seconds")
    seconds = 0.0
    for group in groups:
        signature = group.signature
        trained = group.num_batches * group.width * signature.run_flops / (peak * SHARE_OF_PEAK)
        seconds += SECONDS_TO_COMPILE + trained
        table.add_row(
            _describe(group),
            f"{group.dataset.name} {group.dataset.num_rows} x {group.dataset.num_features}",
            str(len(group.jobs)),
            f"{signature.lanes_per_device} x {lanes.num_devices()}",
            str(group.num_batches),
            f"{signature.lane_bytes * group.width / 2**20:.0f} MiB",
            f"{SECONDS_TO_COMPILE + trained:.0f}",
        )
    console.print(table)
    console.print(
        f"{len(jobs)} jobs: {len(jobs) - len(missing)} already stored, "
        f"{sum(len(group.jobs) for group in groups)} to train in {len(groups)} compilation(s), "
        f"about {seconds:.0f} s at {peak / 1e9:.0f} GFLOP/s.",
        soft_wrap=True,
    )
    console.print(f"Devices: {devices.describe()}", soft_wrap=True)


def _describe(group: plan.Group) -> str:
    program, config = group.signature.program, group.jobs[0].config
    name = f"{config.model.name} {program.model.shape}".strip()
    return f"{name}, {config.optimizer.name}, {program.num_steps} x {program.batch_size}"


def _matmul_rate(size: int = 1024) -> float:
    """Floating-point operations per second of a large product on every device at once."""
    matrices = jnp.ones((lanes.num_devices(), size, size), dtype=jnp.float32)
    product = jax.pmap(lambda a: a @ a)
    product(matrices).block_until_ready()
    start = time.perf_counter()
    product(matrices).block_until_ready()
    return 2 * size**3 * lanes.num_devices() / (time.perf_counter() - start)
