"""A program on fewer lanes: for a batch that memory did not hold.

A program's width is part of its arithmetic; the number of devices is not, of two or more
(docs/decisions/003). Where devices share the host's memory, half of them train first, to the same
bits; only then is the width halved, and last of all the second device left out, which both round
differently.
"""

from collections.abc import Sequence
from functools import lru_cache

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from harness.data.dataset import Dataset
from harness.devices import FEWEST
from harness.padding import stack, trimmed
from harness.run import Run
from harness.sweep import lanes
from harness.training import Outcome, Program


def halved(program: Program, halvings: int) -> tuple[int, int] | None:
    """Devices, and lanes on each, after so many halvings; None where there are fewer lanes."""
    devices, width = lanes.num_devices(), lanes.lanes_per_device(program)
    share_memory = lanes.free_memory() is None
    for _ in range(halvings):
        if devices > FEWEST and share_memory:
            devices = max(FEWEST, devices // 2)
        elif width > 1:
            width //= 2
        elif devices > 1 and share_memory:
            devices = 1
        else:
            return None
    return devices, width


class Halved:
    """A program compiled for fewer lanes, or for fewer devices.

    Attributes:
      num_lanes: that train at once.
      numerics: what its arithmetic has of its own; empty where bits are those of the whole program.
    """

    def __init__(self, program: Program, devices: int, width: int):
        self.num_lanes = devices * width
        is_whole = width == lanes.lanes_per_device(program)
        is_whole &= devices == lanes.num_devices() or devices >= FEWEST
        self.numerics = "" if is_whole else f"lanes={devices}x{width}"
        self._program = program
        mesh = Mesh(np.array(jax.devices()[:devices]), ("lanes",))
        self._by_lane = NamedSharding(mesh, PartitionSpec("lanes"))
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self._train = jax.jit(lanes.sharded(program, mesh))

    def __call__(self, runs: Sequence[Run], dataset: Dataset) -> Outcome:
        """The outcome of at most `num_lanes` runs, in their own sizes, of numpy arrays."""
        stacked = stack([run.lane(dataset) for run in runs], self._program, width=self.num_lanes)
        data = lanes.put(dataset, self._program)
        rows = jax.device_put(data.arrays, self._everywhere)
        outcome = self._train(jax.device_put(stacked, self._by_lane), *rows)
        return trimmed(jax.tree.map(np.asarray, outcome), self._program, runs[0].sizes)


trainer = lru_cache(maxsize=4)(Halved)  # batch after batch will not fit
