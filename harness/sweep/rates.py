"""What a kind of program costs on this machine: timed once on made rows, and kept.

A kind is a program whatever the number of its rows, epochs and steps. It is compiled for a few of
each and run; what a step and a held-out row take follows from runs of different lengths. Rates lie
in JAX's cache folder beside the compiled programs, by the same switches, and are timed anew where
the sources, versions, devices or processor are others, or after `LASTS` seconds.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import psutil
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from harness.data import library
from harness.devices import available_cores, processor
from harness.files import whole_file
from harness.models import cost
from harness.padding import lane_shapes
from harness.run import Run
from harness.sweep import compiled, lanes
from harness.training import Lane, Program

T = TypeVar("T")

LASTS = 30 * 24 * 3600.0
REPEATS = 3  # of which the fastest counts: what else the machine does only adds
EPOCHS = 8
FLOPS = 2e10  # of the steps timed, and of the rows: a fraction of a second

# Whether kinds may be timed: not in tests, which would compile for each plan.
timing = True


@dataclass(frozen=True)
class Rate:
    """Seconds and bytes of a kind of program, of a batch that fills all lanes of all devices.

    Attributes:
      compile_seconds, compile_bytes: to compile it, above what the process held before.
      step_seconds: of one step of training.
      row_seconds: of one held-out row.
    """

    compile_seconds: float
    compile_bytes: int
    step_seconds: float
    row_seconds: float


def kept(run: Run) -> Rate | None:
    """The rate of a run's kind of program, where it was timed before."""
    place = _place(run)
    if place is not None:
        with suppress(OSError, ValueError, TypeError):  # none, or damaged: timed anew
            if time.time() - place.stat().st_mtime < LASTS:
                return Rate(**json.loads(place.read_text()))
    return None


def timed(run: Run, *, held: int) -> Rate:
    """The same, timed now: seconds, most of which it compiles.

    Args:
      held: bytes of this process before it compiled anything.

    Raises:
      UserError: the data cannot give what the run asks.
    """
    program = _few(run.program)
    trainer, seconds, highest = watched(partial(lanes.Trainer, program))
    data = _made_data(program)
    most = program.sizes.steps_per_epoch
    few, many = (_fastest(trainer, _lanes(run, program, steps), data) for steps in (1, most))
    step = max(many - few, 0.0) / (EPOCHS * (most - 1))
    rows = (EPOCHS + 1) * program.sizes.validation + program.sizes.test
    rate = Rate(seconds, highest - held, step, max(few - EPOCHS * step, 0.0) / rows)
    if (place := _place(run)) is not None:
        # On a full disk nothing is lost.
        with suppress(OSError), whole_file(place, durable=False) as path:
            path.write_text(json.dumps(asdict(rate)))
    return rate


@dataclass(frozen=True)
class Clock:
    """Seconds that work takes on a machine of its own.

    Who waits for a core that another process has uses none: work on one takes its CPU seconds, work
    on several ``cores`` hardly longer than the CPU seconds of its threads over these.

    Attributes:
      wall, cpu: when the work began, as `time.time` and `time.process_time` tell it.
    """

    wall: float = field(default_factory=time.time)
    cpu: float = field(default_factory=time.process_time)

    def seconds(self, *, cores: int = 1) -> float:
        """Since then."""
        wall = time.time() - self.wall
        if jax.default_backend() != "cpu":
            return wall
        share = (time.process_time() - self.cpu) / cores
        return min(wall, share if cores == 1 else 1.1 * share)


def watched(work: Callable[[], T]) -> tuple[T, float, int]:
    """What ``work`` returns, its seconds, and the most bytes that the process held."""
    process, clock = psutil.Process(), Clock()
    highest = process.memory_info().rss
    with ThreadPoolExecutor(1) as pool:
        ended = threading.Event()
        future = pool.submit(work)
        future.add_done_callback(lambda _: ended.set())
        while not ended.wait(0.02):
            highest = max(highest, process.memory_info().rss)
        found = future.result()
    seconds = clock.seconds()
    return found, seconds, max(highest, process.memory_info().rss)


def _few(program: Program) -> Program:
    """``program`` with few rows and steps: enough to time."""
    width, sizes = lanes.width_of(program), program.sizes
    each = cost(program.model, program.inputs)
    row = width * EPOCHS * max(1, each.forward_flops)
    step = width * EPOCHS * program.batch_size * max(1, each.training_flops)
    held_out = int(np.clip(FLOPS / row, 256, 4096))
    return replace(
        program,
        num_epochs=EPOCHS,
        sizes=replace(
            sizes,
            rows=min(sizes.rows, 16_384),
            validation=min(sizes.validation, held_out),
            test=min(sizes.test, held_out),
            steps_per_epoch=int(np.clip(FLOPS / step, 3, 64)),
            synthetic=min(sizes.synthetic, 1024),
        ),
    )


def _lanes(run: Run, program: Program, steps_per_epoch: int) -> Lane:
    """A full batch of lanes of made rows, with the loss and the optimizer of ``run``."""
    rng, own = np.random.default_rng(0), run.lane(library.datasets.get(run.config.dataset))
    given = {
        "loss": own.loss,
        "optimizer": own.optimizer,
        "plateau": own.plateau,
        "steps_per_epoch": steps_per_epoch,
        "learning_rates": 1e-3,
        "validation_weights": 1.0,
        "scale": 1.0,
    }
    width, shapes = lanes.width_of(program), lane_shapes(program)

    def filled(shape: Any, value: Any = 0) -> np.ndarray:
        room = (width, *shape.shape)
        return np.broadcast_to(np.asarray(value, shape.dtype), room).copy()

    made: dict[str, Any] = {}
    for name, shape in shapes._asdict().items():
        if name.endswith("_rows"):
            rows = rng.integers(program.sizes.rows, size=(width, *shape.shape))
            made[name] = rows.astype(shape.dtype)
        elif name in given:
            made[name] = jax.tree.map(
                lambda s, v: np.broadcast_to(np.asarray(v, s.dtype), (width, *s.shape)).copy(),
                shape,
                given[name],
            )
        else:
            made[name] = jax.tree.map(filled, shape)
    return Lane(**made)


def _made_data(program: Program) -> lanes.DeviceData:
    rng, sizes = np.random.default_rng(0), program.sizes
    features = rng.standard_normal((sizes.rows, sizes.features), dtype=np.float32)
    if cardinalities := program.cardinalities:
        codes = rng.integers(cardinalities, size=(sizes.rows, len(cardinalities)))
        features[:, -len(cardinalities) :] = codes
    labels = rng.integers(2, size=sizes.rows).astype(np.float32)
    everywhere = NamedSharding(Mesh(np.array(jax.devices()), ("lanes",)), PartitionSpec())
    weights = np.ones_like(labels) if program.has_row_weights else None
    return lanes.DeviceData(*jax.device_put((features, labels, weights), everywhere))


def _fastest(trainer: lanes.Trainer, stacked: Lane, data: lanes.DeviceData) -> float:
    """Seconds of a batch, from arrays on the host to arrays on the host."""
    seconds = []
    for _ in range(REPEATS + 1):  # the first is a warm-up
        clock = Clock()
        jax.tree.map(np.asarray, trainer(stacked, data))
        seconds.append(clock.seconds(cores=min(lanes.num_devices(), available_cores())))
    return min(seconds[1:])


def _place(run: Run) -> Path | None:
    """The file of a run's kind of program; None where nothing is to be kept."""
    folder = compiled.folder()
    if folder is None:
        return None
    kind = (compiled.key(_few(run.program), lanes.width_of(run.program)), processor())
    return folder / "rates" / f"{hashlib.sha256(repr(kind).encode()).hexdigest()[:32]}.json"
