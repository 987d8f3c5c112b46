"""`harness plan`: what a sweep would compile, hold and cost. Trains nothing."""

import html
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

import jax
import jax.numpy as jnp
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness import devices
from harness.config import Config
from harness.run import Run
from harness.sweep import lanes, plan
from harness.training import Program

# Measured with benchmarks/ on two CPU cores; a guide, not a promise.
SECONDS_TO_COMPILE = 5.0
SHARE_OF_PEAK = 0.45


@dataclass(frozen=True)
class Group:
    """What shares a program: what it is, on which data, and what it holds and costs.

    Attributes:
      lanes: side by side on each device.
      memory: bytes on all devices together.
      seconds: to compile and to train.
    """

    program: str
    data: tuple[str, ...]
    runs: int
    lanes: int
    batches: int
    memory: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What training a sweep would compile, hold and cost; `str` is what `harness plan` prints.

    Attributes:
      jobs: runs asked for, of which ``stored`` there are already and ``runs`` are to be trained.
      memory: bytes of the largest program.
      flops: operations a second that this machine was measured to do.
      doubts: sentences on whether its runs would be trained, and whether beyond their limit.
    """

    jobs: int
    stored: int
    runs: int
    groups: tuple[Group, ...]
    flops: float
    devices: str
    doubts: tuple[tuple[str, bool], ...] = ()

    @property
    def compilations(self) -> int:
        return len(self.groups)

    @property
    def memory(self) -> int:
        return max((group.memory for group in self.groups), default=0)

    @property
    def seconds(self) -> float:
        return sum(group.seconds for group in self.groups)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table("program", "data", "runs", "lanes", "batches", "memory", "seconds")
        for one in self.groups:
            table.add_row(
                escape(one.program),
                escape("\n".join(one.data)),
                str(one.runs),
                f"{one.lanes} x {lanes.num_devices()}",
                str(one.batches),
                f"{one.memory / 2**20:.0f} MiB",
                f"{one.seconds:.0f}",
            )
        yield table
        yield (
            f"{self.jobs} jobs: {self.stored} already stored, "
            f"{self.runs} to train in {self.compilations} compilation(s), "
            f"about {self.seconds:.0f} s at {self.flops / 1e9:.0f} GFLOP/s."
        )
        yield f"Devices: {escape(self.devices)}"
        for sentence, is_beyond in self.doubts:
            yield Text(sentence, style="red" if is_beyond else "")

    def __str__(self) -> str:
        console = Console(width=160, file=StringIO(), record=True)
        console.print(self, soft_wrap=True)
        return console.export_text()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def planned(configs: Sequence[Config]) -> Plan:
    """The plan of ``configs``. Trains nothing.

    Raises:
      UserError: as `plan.resolved` does.
    """
    runs = plan.resolved(configs)
    done = plan.stored_runs(runs, [])
    missing = [run for run in runs if run.key not in done]
    peak = _matmul_rate()
    groups = tuple(_group(*one, peak=peak) for one in plan.batches(missing))
    return Plan(
        jobs=len(configs),
        stored=len(runs) - len(missing),
        runs=sum(group.runs for group in groups),
        groups=groups,
        flops=peak,
        devices=devices.describe(),
    )


def _group(program: Program, batches: Sequence[plan.Batch], *, peak: float) -> Group:
    flops = sum(lanes.width_of(program) * plan.run_flops(batch[0]) for batch in batches)
    return Group(
        program=_describe(batches[0][0]),
        data=tuple(dict.fromkeys(_data(batch[0]) for batch in batches)),
        runs=sum(map(len, batches)),
        lanes=lanes.lanes_per_device(program),
        batches=len(batches),
        memory=lanes.program_bytes(program) * lanes.num_devices(),
        seconds=SECONDS_TO_COMPILE + flops / (peak * SHARE_OF_PEAK),
    )


def _data(run: Run) -> str:
    return f"{run.config.dataset.name} {run.sizes.rows} x {run.sizes.features}"


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
