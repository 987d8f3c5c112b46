"""The plan: which jobs of a sweep share one compiled program.

Jobs share a program when JAX would trace them to the same one: equal `Program`, equal tree
structure of loss and optimizer, equal shapes, one data set. That follows from the types of the
configuration alone; nobody keeps a list.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from harness import checkpoints
from harness.config import Config, folder_of
from harness.data.dataset import Dataset
from harness.identity import run_id
from harness.models import cost
from harness.prepare import held_out_sizes, program_of
from harness.sweep import lanes
from harness.train import Program


@dataclass(frozen=True, eq=False, slots=True)
class Job:
    """One run of a sweep."""

    run_id: str
    config: Config


@dataclass(frozen=True)
class Signature:
    """What jobs of one program have in common. Equal signatures mean equal programs."""

    data_fingerprint: str
    program: Program
    num_validation: int
    num_test: int
    optimizer_structure: Any
    num_gradients: int = 1  # a step, which follows from the optimizer

    @property
    def lanes_per_device(self) -> int:
        return lanes.lanes_per_device(self.program, **self._held_out)

    @property
    def lane_bytes(self) -> int:
        return lanes.lane_bytes(self.program, **self._held_out)

    @property
    def _held_out(self) -> dict[str, int]:
        return {"num_validation": self.num_validation, "num_test": self.num_test}

    @property
    def run_flops(self) -> float:
        """Floating-point operations of one run's matrix products."""
        program = self.program
        each = cost(program.model, program.inputs, head_only=program.freeze_body)
        trained = program.num_steps * program.batch_size * self.num_gradients
        evaluated = program.num_epochs * self.num_validation + self.num_validation + self.num_test
        return trained * each.training_flops + evaluated * each.forward_flops


@dataclass(frozen=True, eq=False)
class Group:
    """Jobs of one signature on one data set."""

    signature: Signature
    dataset: Dataset
    jobs: Sequence[Job]

    @property
    def width(self) -> int:
        """Lanes of the compiled program over all devices."""
        return self.signature.lanes_per_device * lanes.num_devices()

    @property
    def num_batches(self) -> int:
        return -(-len(self.jobs) // self.width)

    def batches(self) -> Iterator[Sequence[Job]]:
        for start in range(0, len(self.jobs), self.width):
            yield self.jobs[start : start + self.width]


def load(source: Any) -> Dataset:
    """The data set of a `dataset` config; sources load once a process, or when a file changed."""
    return source.load()


def make_jobs(configs: Iterable[Config], *, numerics: str) -> list[Job]:
    """The jobs of ``configs``, in their order."""
    return [
        Job(
            run_id=run_id(
                config,
                data_fingerprint=load(config.dataset).fingerprint,
                numerics=numerics,
                params_fingerprint=_params_fingerprint(config),
            ),
            config=config,
        )
        for config in configs
    ]


def _params_fingerprint(config: Config) -> str | None:
    if config.init.params is None:
        return None
    return checkpoints.fingerprint(checkpoints.find(config.init.params, folder_of(config)))


def signature(config: Config, dataset: Dataset) -> Signature:
    """What ``config`` needs compiled."""
    num_validation, num_test = held_out_sizes(config, dataset)
    return Signature(
        data_fingerprint=dataset.fingerprint,
        program=program_of(config, dataset),
        num_validation=num_validation,
        num_test=num_test,
        optimizer_structure=jax.tree.structure(config.optimizer, is_leaf=lambda leaf: leaf is None),
        num_gradients=config.optimizer.num_gradients,
    )


def group(jobs: Iterable[Job]) -> list[Group]:
    """Groups of jobs, each one compilation; a job that appears twice trains once."""
    datasets: dict[Signature, Dataset] = {}
    members: dict[Signature, dict[str, Job]] = {}
    for job in jobs:
        dataset = load(job.config.dataset)
        key = signature(job.config, dataset)
        datasets[key] = dataset
        members.setdefault(key, {}).setdefault(job.run_id, job)
    # Neighbours share their split and batch order, which are cached.
    return [
        Group(key, datasets[key], sorted(unique.values(), key=_by_data))
        for key, unique in members.items()
    ]


def _by_data(job: Job) -> tuple:
    config = job.config
    return (str(config.imbalance), str(config.sampler), str(config.split), config.seed, job.run_id)
