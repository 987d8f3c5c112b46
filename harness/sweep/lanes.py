"""Lanes: many runs in one XLA program.

`train_run` is mapped over a fixed number of lanes, and the lanes are sharded over the devices. The
number of lanes a device holds is part of the arithmetic (another width rounds differently), so it
follows from the program alone: never from how many runs there are, nor from the machine. Batches
that are short repeat a run to fill the width.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from harness.data.dataset import Dataset
from harness.memory import shareable
from harness.models import cost
from harness.padding import lane_shapes, stack
from harness.run import Run
from harness.sweep.compiled import compiled
from harness.training import EVALUATION_CHUNK, Lane, Outcome, Program, Sizes, train_run

MAX_LANES = 8
# Bytes one device may use for its lanes.
LANE_BUDGET = 512 * 2**20
# Bytes of activations that a step of a device's lanes may write. Below it lanes share what a step
# costs besides arithmetic; above it they gain nothing, leave the cache, and a batch that is not
# full trains copies for as long as it would have taken to train the run.
STEP_BUDGET = 1.6e6


def lane_bytes(program: Program) -> int:
    """Estimated bytes one lane needs on its device.

    Parameters and what hangs on them (gradients, two moments, best epoch, temporaries), the order
    of its batches, the rows its sampler made, what its loss remembers, and the activations of a
    batch or of a chunk of evaluation.
    """
    each, sizes = cost(program.model, program.inputs), program.sizes
    held_out = max(sizes.validation, sizes.test)
    rows_at_once = max(3 * program.batch_size, min(EVALUATION_CHUNK, held_out))
    copies = 8 if program.start == "random" else 9
    floats = copies * each.num_params + 2 * rows_at_once * each.activations
    floats += 4 * (sizes.validation + sizes.test)
    floats += sizes.synthetic * (sizes.features + 1)
    floats += 2 * program.num_remembered
    return 4 * (floats + program.num_steps * program.batch_size)


def step_bytes(program: Program) -> int:
    """Bytes of activations that one lane's step writes on the way to its logits."""
    return 4 * program.batch_size * cost(program.model, program.inputs).activations


def pair_bytes(program: Program) -> int:
    """Estimated bytes a device needs for the pairs of a batch's rows, however many lanes it holds.

    Lanes take turns at their loss. A pair has some six numbers on the way to its gradient.
    """
    if not program.losses[0].of_a_batch:
        return 0
    rows = max(program.batch_size, min(EVALUATION_CHUNK, program.sizes.validation))
    return 4 * 6 * rows**2


def program_bytes(program: Program) -> int:
    """Estimated bytes of a compiled program on a device: its lanes, and what they share."""
    return lanes_per_device(program) * lane_bytes(program) + pair_bytes(program)


@lru_cache(maxsize=1024)
def lanes_per_device(program: Program) -> int:
    """The width: a power of two up to `MAX_LANES`, as many as the budgets hold, at least one.

    See docs/decisions/003.
    """
    held, written = lane_bytes(program), step_bytes(program)
    width = MAX_LANES
    while width > 1 and (width * held > LANE_BUDGET or width * written > STEP_BUDGET):
        width //= 2
    return width


def stacked(lanes: Sequence[Lane], program: Program) -> Lane:
    """A batch of ``program``: at most `width_of` lanes, all of one data set.

    A device that would hold copies alone takes no step: a lone run needs one device.
    """
    each = lanes_per_device(program)
    filled = stack(lanes, program, width=width_of(program))
    steps = filled.steps_per_epoch.copy()
    steps[-(-len(lanes) // each) * each :] = 0
    return filled._replace(steps_per_epoch=steps)


def width_of(program: Program) -> int:
    """Lanes of the compiled program over all devices."""
    return lanes_per_device(program) * num_devices()


@dataclass(frozen=True, eq=False)
class DeviceData:
    """A data set on every device, once; devices of the host share one copy of it."""

    features: Any
    labels: Any
    row_weights: Any = None  # where rows count differently

    @property
    def arrays(self) -> tuple[Any, ...]:
        """Those that there are, as a program takes them."""
        there = (self.features, self.labels, self.row_weights)
        return tuple(array for array in there if array is not None)


class Trainer:
    """A program compiled for its number of lanes, over all devices."""

    def __init__(self, program: Program):
        self.program = program
        self.width = width_of(program)
        self._sharding = NamedSharding(_mesh(), PartitionSpec("lanes"))
        self._compiled = compiled(program, self._lowered, width=self.width)

    def _lowered(self) -> Any:
        lanes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                (self.width, *leaf.shape), leaf.dtype, sharding=self._sharding
            ),
            lane_shapes(self.program),
        )
        rows, features = self.program.sizes.rows, self.program.sizes.features
        shared = [self._shaped(rows, features), self._shaped(rows)]
        shared += [self._shaped(rows)] if self.program.has_row_weights else []
        return jax.jit(sharded(self.program, _mesh())).lower(lanes, *shared)

    def _shaped(self, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(
            shape, np.float32, sharding=NamedSharding(_mesh(), PartitionSpec())
        )

    def memory(self) -> int:
        """Bytes a device needs for temporaries and arguments, by XLA's own account."""
        account: Any = self._compiled.memory_analysis()
        return account.temp_size_in_bytes + account.argument_size_in_bytes

    def __call__(self, stacked: Lane, data: DeviceData) -> Outcome:
        """Starts training `stack`ed lanes and returns at once; reading the result waits."""
        placed = jax.device_put(stacked, self._sharding)
        return self._compiled(placed, *data.arrays)


def sharded(program: Program, mesh: Mesh) -> Callable[..., Outcome]:
    """Training of `stack`ed lanes over the devices of ``mesh``, on `DeviceData.arrays`."""
    own, shared = PartitionSpec("lanes"), PartitionSpec()
    return jax.shard_map(
        partial(_train_lanes, program=program),
        mesh=mesh,
        in_specs=(own, *[shared] * (3 if program.has_row_weights else 2)),
        out_specs=own,
        check_vma=False,  # lanes never talk to each other
    )


def _train_lanes(
    stacked: Lane,
    features: jax.Array,
    labels: jax.Array,
    row_weights: jax.Array | None = None,
    *,
    program: Program,
) -> Outcome:
    """The lanes of one device, in step."""
    one = partial(
        train_run,
        program=program,
        steps_per_epoch=stacked.steps_per_epoch[0],
        row_weights=row_weights,
    )
    return jax.vmap(one, in_axes=(0, None, None))(stacked, features, labels)


def train_alone(run: Run, dataset: Dataset) -> Outcome:
    """The plain loop: the same run with no lanes, no room and no sharding, for comparison."""
    program = run.exact_program
    lane = jax.tree.map(lambda leaf: leaf[0], stack([run.lane(dataset)], program, width=1))
    labels = dataset.labels.astype(np.float32)
    weights = None if dataset.row_weights is None else dataset.row_weights.astype(np.float32)
    return _train_alone(lane, dataset.features, labels, program=program, row_weights=weights)


_train_alone = jax.jit(train_run, static_argnames="program")


def num_devices() -> int:
    return jax.device_count()


def free_memory() -> int | None:
    """Bytes that the devices have to give together; None where they share the host's memory."""
    accounts = [device.memory_stats() for device in jax.local_devices()]
    known = [one["bytes_limit"] - one["bytes_in_use"] for one in accounts if one]
    return sum(known) if known else None


class _OnDevices:
    """The data set that was put on the devices last: programs that follow each other often train
    on the same one."""

    def __init__(self) -> None:
        self._key: tuple[Any, int, int] | None = None
        self._data: DeviceData | None = None

    def __call__(self, dataset: Dataset, program: Program) -> DeviceData:
        """``dataset`` on all devices, with zeros up to the rows and features of ``program``."""
        sizes = program.sizes
        key = (weakref.ref(dataset), sizes.rows, sizes.features)
        if self._data is None or self._key != key:
            self._data = None  # let go before there are two
            self._key, self._data = key, _put(dataset, sizes)
        return self._data


put = _OnDevices()


def _put(dataset: Dataset, sizes: Sizes) -> DeviceData:
    features = shareable((sizes.rows, sizes.features), np.float32)
    own = features[: dataset.num_rows, : dataset.num_features]
    own[:] = dataset.features
    dataset.move_to(own)
    labels = _with_room(dataset.labels, sizes.rows)
    weights = None
    if dataset.row_weights is not None:
        weights = _with_room(dataset.row_weights, sizes.rows)
    everywhere = NamedSharding(_mesh(), PartitionSpec())
    return DeviceData(*jax.device_put((features, labels, weights), everywhere))


def _with_room(values: np.ndarray, num_rows: int) -> np.ndarray:
    """``values`` (n,) as float32 (num_rows,), 0 beyond them."""
    filled = shareable((num_rows,), np.float32)
    filled[: len(values)] = values
    return filled


def _mesh() -> Mesh:
    return Mesh(np.array(jax.devices()), ("lanes",))
