"""`harness plan`: what a sweep would compile, hold and cost. Trains nothing.

Training is counted from the sweep's own past, where it has one, else from what its kind of program
takes on this machine (`harness.sweep.rates`); what the host does from a rehearsal; start-up and the
process's memory from the plan's own process, which does the same up to here. See
docs/decisions/041.
"""

import html
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import StringIO

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness import devices
from harness.config import Config
from harness.data.fetching import say
from harness.models import CNN, cost, param_shapes
from harness.run import Key, Run
from harness.sweep import compiled, lanes, plan, rates
from harness.sweep.rates import Clock, Rate
from harness.sweep.rehearsal import Host, rehearsed
from harness.training import Program

# For so long kinds of programs are timed, and runs rehearsed; what is left is taken from these.
SECONDS_OF_TIMING = 15.0
SECONDS_OF_REHEARSAL = 2.0
# What is guessed to train for less is not timed: that would take longer than being wrong costs.
SECONDS_WORTH_TIMING = 60.0

# Of two CPU cores, where nothing was timed.
SECONDS_TO_COMPILE, SECONDS_FOR_AN_ARRAY = 2.0, 0.2  # of parameters
BYTES_TO_COMPILE = 250 * 2**20
SHARE_OF_PEAK, SHARE_OF_PEAK_ON_IMAGES = 0.75, 0.3
SECONDS_OF_A_STEP = 1e-4  # of the least model
UNREHEARSED = Host(first_seconds=0.5, run_seconds=0.008, bytes=2**26)

SECONDS_TO_LOAD = 0.3  # a program that is kept
SECONDS_TO_EXIT = 0.1


@dataclass(frozen=True)
class Group:
    """What shares a program: what it is, on which data, and what it holds and costs.

    Attributes:
      lanes: side by side on each device.
      is_kept: whether the program was compiled before.
      memory: bytes on all devices together: of its data, its lanes and their results.
      compile_seconds: to compile it, or to load it where it is kept.
      train_seconds: of the devices, all at once.
      host_seconds: of one core: preparing, evaluating, storing, mirroring.
    """

    program: str
    data: tuple[str, ...]
    runs: int
    lanes: int
    batches: int
    is_kept: bool
    memory: int
    compile_bytes: int
    compile_seconds: float
    train_seconds: float
    host_seconds: float

    @property
    def seconds(self) -> float:
        """To compile and to train."""
        return self.compile_seconds + self.train_seconds


@dataclass(frozen=True)
class Plan:
    """What training a sweep would compile, hold and cost; `str` is what `harness plan` prints.

    Attributes:
      jobs: runs asked for, of which ``stored`` there are already and ``runs`` are to be trained.
      memory: bytes that the process holds at most.
      seconds: of wall time, from the process's start to its end.
      doubts: sentences on whether its runs would be trained, and whether beyond their limit.
    """

    jobs: int
    stored: int
    runs: int
    groups: tuple[Group, ...]
    memory: int
    seconds: float
    devices: str
    doubts: tuple[tuple[str, bool], ...] = ()

    @property
    def compilations(self) -> int:
        return len(self.groups)

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
            f"{sum(group.is_kept for group in self.groups)} of them kept from before: "
            f"about {self.seconds:.0f} s in all, and {self.memory / 2**20:,.0f} MiB at most."
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


def planned(configs: Sequence[Config], *, begun: Clock) -> Plan:
    """The plan of ``configs``. Trains nothing; of a long sweep, what it has never seen it times.

    Args:
      begun: when what is planned did: since then this process has done what training would too.

    Raises:
      UserError: as `plan.resolved` does.
    """
    runs = plan.resolved(configs)
    done = plan.stored_runs(runs, ["seconds"])
    missing = [run for run in runs if run.key not in done]
    programs = list(plan.batches(missing))
    start, held = begun.seconds(), psutil.Process().memory_info().rss
    hosts = _hosts([batches for _, batches in programs])
    past = _past(runs, done)
    timed = _rates([batches for _, batches in programs], past, held=held)
    groups = tuple(
        _group(*one, rate=timed[one[0]], host=host, past=past.get(one[0]))
        for one, host in zip(programs, hosts, strict=True)
    )
    return Plan(
        jobs=len(configs),
        stored=len(runs) - len(missing),
        runs=sum(group.runs for group in groups),
        groups=groups,
        memory=_memory(groups, held, hosts),
        seconds=start + _seconds(groups, hosts),
        devices=devices.describe(),
    )


def _seconds(groups: Sequence[Group], hosts: Sequence[Host]) -> float:
    """Wall seconds from the first compilation to the end of the process.

    The devices train while the host works and the next program compiles, and all share the cores.
    """
    if not groups:
        return SECONDS_TO_EXIT
    first, *later = (group.compile_seconds for group in groups)
    train = sum(group.train_seconds for group in groups)
    host = sum(group.host_seconds for group in groups)
    cores = devices.available_cores() if jax.default_backend() == "cpu" else 1
    beside = host + sum(later)
    together = (train * min(cores, lanes.num_devices()) + beside) / cores
    last = groups[-1].host_seconds / groups[-1].batches
    return hosts[0].first_seconds + first + max(train, host, together) + last + SECONDS_TO_EXIT


def _memory(groups: Sequence[Group], held: int, hosts: Sequence[Host]) -> int:
    """Bytes of the process at its highest, as it trains: what compiling took it keeps.

    ``held``: what it holds before.
    """
    if not groups:
        return held
    compiling = sorted(0 if one.is_kept else one.compile_bytes for one in groups)
    training = max(group.memory for group in groups) + max(host.bytes for host in hosts)
    return held + sum(compiling[-compiled.at_once() :]) + training


def _group(
    program: Program, batches: Sequence[plan.Batch], *, rate: Rate, host: Host, past: float | None
) -> Group:
    one = batches[0][0]
    is_kept = compiled.is_kept(program, width=lanes.width_of(program))
    each = [_batch_seconds(batch[0], rate) if past is None else past for batch in batches]
    runs = sum(map(len, batches))
    return Group(
        program=_describe(one),
        data=tuple(dict.fromkeys(_data(batch[0]) for batch in batches)),
        runs=runs,
        lanes=lanes.lanes_per_device(program),
        batches=len(batches),
        is_kept=is_kept,
        memory=_program_memory(program),
        compile_bytes=rate.compile_bytes,
        compile_seconds=SECONDS_TO_LOAD if is_kept else rate.compile_seconds,
        train_seconds=sum(each),
        host_seconds=runs * host.run_seconds,
    )


def _program_memory(program: Program) -> int:
    """The lanes in training, the next ones prepared, and their data set."""
    order = 4 * program.num_steps * program.batch_size * lanes.lanes_per_device(program)
    held = (lanes.program_bytes(program) + 2 * order) * lanes.num_devices()
    return held + lanes.data_bytes(program)


def _batch_seconds(run: Run, rate: Rate) -> float:
    """Of a batch with ``run``, full or not: its own steps, and the rows there is room for."""
    program, room = run.program, run.program.sizes
    steps = program.num_epochs * run.sizes.steps_per_epoch
    rows = (program.num_epochs + 1) * room.validation + room.test
    return steps * rate.step_seconds + rows * rate.row_seconds


def _past(runs: Sequence[Run], done: Mapping[Key, Mapping]) -> dict[Program, float]:
    """Seconds that a batch of each program took, where runs of it are stored.

    A run is stored with its share of its batch; those of batches that were not full have larger
    ones, so a low share counts.
    """
    shares: dict[Program, list[float]] = defaultdict(list)
    for run in runs:
        seconds = done.get(run.key, {}).get("seconds")
        if seconds:
            shares[run.program].append(seconds)
    return {
        program: float(np.quantile(of, 0.25)) * min(len(of), lanes.width_of(program))
        for program, of in shares.items()
    }


def _rates(
    programs: Sequence[Sequence[plan.Batch]], past: Iterable[Program], *, held: int
) -> dict[Program, Rate]:
    """The rate of each program, of which these are the batches: kept, timed now, or guessed."""
    runs = [batches[0][0] for batches in programs]
    found = {run.program: rate for run in runs if (rate := rates.kept(run)) is not None}
    unknown = {
        batches[0][0]: len(batches)
        for batches in programs
        if batches[0][0].program not in {*found, *past}
    }

    def guessed_seconds(run: Run) -> float:
        return unknown[run] * _batch_seconds(run, _guessed(run.program, found))

    worth = [run for run in unknown if rates.timing and guessed_seconds(run) > SECONDS_WORTH_TIMING]
    begun = time.monotonic()
    if worth:
        say("timing what has not been trained on this machine yet: some seconds, once")
    # The dearest first: what is left to guess is small.
    for run in sorted(worth, key=plan.run_flops, reverse=True):
        if time.monotonic() - begun > SECONDS_OF_TIMING:
            break
        # What fails here fails its job in training, and is said there.
        with suppress(Exception):
            found[run.program] = rates.kept(run) or rates.timed(run, held=held)
    return {run.program: found.get(run.program) or _guessed(run.program, found) for run in runs}


def _guessed(program: Program, known: Mapping[Program, Rate]) -> Rate:
    """From the program most like it, by the number of its operations; by these where none is."""
    step, row = _flops(program)
    alike = [other for other in known if type(other.model) is type(program.model)] or list(known)
    if not alike:
        model = program.model
        flops = _matmul_rate() * (
            SHARE_OF_PEAK_ON_IMAGES if isinstance(model, CNN) else SHARE_OF_PEAK
        )
        seconds = max(step / flops, SECONDS_OF_A_STEP)
        arrays = len(param_shapes(model, program.inputs))
        compiling = SECONDS_TO_COMPILE + SECONDS_FOR_AN_ARRAY * arrays
        return Rate(compiling, BYTES_TO_COMPILE, seconds, row / flops)
    other = min(alike, key=lambda one: abs(np.log(_flops(one)[0] / step)))
    rate, (its_step, its_row) = known[other], _flops(other)
    return Rate(
        rate.compile_seconds,
        rate.compile_bytes,
        rate.step_seconds * step / its_step,
        rate.row_seconds * row / its_row,
    )


def _flops(program: Program) -> tuple[int, int]:
    """Operations of a step, and of a held-out row, of all lanes."""
    each = cost(program.model, program.inputs, head_only=program.freeze_body)
    width = lanes.width_of(program)
    return width * program.batch_size * each.training_flops, width * each.forward_flops


def _hosts(programs: Sequence[Sequence[plan.Batch]]) -> list[Host]:
    """What the host takes for the runs of each program; those that time did not suffice for are
    taken to be as the last."""
    hosts, last, begun = [], UNREHEARSED, time.monotonic()
    for batches in programs:
        if rates.timing and time.monotonic() - begun < SECONDS_OF_REHEARSAL:
            with suppress(Exception):  # as above
                last = rehearsed(batches[0])
        hosts.append(last)
    return hosts


def _data(run: Run) -> str:
    return f"{run.config.dataset.name} {run.sizes.rows} x {run.sizes.features}"


def _describe(run: Run) -> str:
    program, config = run.program, run.config
    name = f"{config.model.name} {program.model.shape}".strip()
    steps = f"{config.training.num_epochs} epochs x {program.batch_size}"
    return f"{name}, {config.optimizer.name}, {steps}"


@cache
def _matmul_rate(size: int = 1024) -> float:
    """Floating-point operations per second of a large product on every device at once."""
    matrices = jnp.ones((lanes.num_devices(), size, size), dtype=jnp.float32)
    product = jax.pmap(lambda a: a @ a)
    product(matrices).block_until_ready()
    start = time.perf_counter()
    product(matrices).block_until_ready()
    return 2 * size**3 * lanes.num_devices() / (time.perf_counter() - start)
