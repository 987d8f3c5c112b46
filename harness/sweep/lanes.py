"""Lanes: many runs in one XLA program.

`train_run` is mapped over a fixed number of lanes, and the lanes are sharded over the devices. The
number of lanes a device holds is part of the arithmetic (another width rounds differently), so it
follows from the program alone: never from how many runs there are, nor from the machine. Batches
that are short repeat a run to fill the width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from harness.data.dataset import Dataset
from harness.models import cost
from harness.train import EVALUATION_CHUNK, Lane, Outcome, Program, train_run

MAX_LANES = 8
# Bytes one device may use for its lanes.
LANE_BUDGET = 512 * 2**20


def lane_bytes(program: Program, *, num_validation: int, num_test: int) -> int:
    """Estimated bytes one lane needs on its device.

    Parameters and what hangs on them (gradients, two moments, best epoch, temporaries), the order
    of its batches, the rows its sampler made, and the activations of a batch or of a chunk of
    evaluation.
    """
    each = cost(program.model, program.inputs)
    rows_at_once = max(3 * program.batch_size, min(EVALUATION_CHUNK, max(num_validation, num_test)))
    copies = 8 if program.start == "random" else 9
    floats = copies * each.num_params + 2 * rows_at_once * each.activations
    floats += 4 * (num_validation + num_test)
    floats += program.num_synthetic * (program.num_features + 1)
    return 4 * (floats + program.num_steps * program.batch_size)


def pair_bytes(program: Program, *, num_validation: int) -> int:
    """Estimated bytes a device needs for the pairs of a batch's rows, however many lanes it holds.

    Lanes take turns at their loss. A pair has some six numbers on the way to its gradient.
    """
    if not program.loss_of_a_batch:
        return 0
    rows = max(program.batch_size, min(EVALUATION_CHUNK, num_validation))
    return 4 * 6 * rows**2


def lanes_per_device(program: Program, *, num_validation: int, num_test: int) -> int:
    """The width: a power of two up to `MAX_LANES`, as many as the budget holds, at least one."""
    each = lane_bytes(program, num_validation=num_validation, num_test=num_test)
    width = MAX_LANES
    while width > 1 and width * each > LANE_BUDGET:
        width //= 2
    return width


def stack(lanes: Sequence[Lane], width: int) -> Lane:
    """One lane tree with a leading axis of ``width``, the last run repeated to fill it.

    All take the same number of steps: the program's loop has one end.
    """
    assert len({int(lane.steps_per_epoch) for lane in lanes}) == 1
    filled = [*lanes, *[lanes[-1]] * (width - len(lanes))]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *filled)


@dataclass(frozen=True, eq=False)
class DeviceData:
    """A data set on every device, once."""

    features: Any
    labels: Any


class Trainer:
    """A program compiled for a number of lanes, over all devices."""

    def __init__(self, program: Program, lanes: Lane, data: DeviceData):
        """Compiles for stacked ``lanes`` (any values: only shapes and structure count)."""
        self._sharding = NamedSharding(_mesh(), PartitionSpec("lanes"))
        sharded = jax.shard_map(
            partial(_train_lanes, program=program),
            mesh=_mesh(),
            in_specs=(PartitionSpec("lanes"), PartitionSpec(), PartitionSpec()),
            out_specs=PartitionSpec("lanes"),
            check_vma=False,  # lanes never talk to each other
        )
        placed = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self._sharding),
            lanes,
        )
        lowered = jax.jit(sharded).lower(placed, data.features, data.labels)
        self._compiled = lowered.compile()

    def memory(self) -> int:
        """Bytes a device needs for temporaries and arguments, by XLA's own account."""
        account: Any = self._compiled.memory_analysis()
        return account.temp_size_in_bytes + account.argument_size_in_bytes

    def __call__(self, lanes: Lane, data: DeviceData) -> Outcome:
        """Starts training stacked ``lanes`` and returns at once; reading the result waits."""
        placed = jax.device_put(lanes, self._sharding)
        return self._compiled(placed, data.features, data.labels)


def _train_lanes(
    stacked: Lane, features: jax.Array, labels: jax.Array, *, program: Program
) -> Outcome:
    """The lanes of one device, in step."""
    one = partial(train_run, program=program, steps_per_epoch=stacked.steps_per_epoch[0])
    return jax.vmap(one, in_axes=(0, None, None))(stacked, features, labels)


def train_alone(program: Program, lane: Lane, dataset: Dataset) -> Outcome:
    """The plain loop: the same run with no lanes and no sharding, for comparison."""
    labels = dataset.labels.astype(np.float32)
    return _train_alone(lane, dataset.features, labels, program=program)


_train_alone = jax.jit(train_run, static_argnames="program")


def num_devices() -> int:
    return jax.device_count()


def shaped(num_rows: int, num_features: int) -> DeviceData:
    """What a program compiles against: the shapes of data that is not there yet."""
    everywhere = NamedSharding(_mesh(), PartitionSpec())
    return DeviceData(
        features=jax.ShapeDtypeStruct((num_rows, num_features), np.float32, sharding=everywhere),
        labels=jax.ShapeDtypeStruct((num_rows,), np.float32, sharding=everywhere),
    )


@lru_cache(maxsize=1)  # programs that follow each other often train on the same data
def put(
    dataset: Dataset, *, num_rows: int | None = None, num_features: int | None = None
) -> DeviceData:
    """``dataset`` on all devices, with zeros up to ``num_rows`` and ``num_features``."""
    rows = (num_rows or dataset.num_rows) - dataset.num_rows
    columns = (num_features or dataset.num_features) - dataset.num_features
    features, labels = dataset.features, dataset.labels.astype(np.float32)
    if rows or columns:
        features, labels = np.pad(features, ((0, rows), (0, columns))), np.pad(labels, (0, rows))
    everywhere = NamedSharding(_mesh(), PartitionSpec())
    features, labels = jax.device_put((features, labels), everywhere)
    return DeviceData(features=features, labels=labels)


def _mesh() -> Mesh:
    return Mesh(np.array(jax.devices()), ("lanes",))
