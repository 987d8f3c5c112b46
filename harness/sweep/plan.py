"""The plan: which jobs of a sweep share one compiled program.

Jobs share a program when JAX would trace them to the same one: equal `Program`, equal tree
structure of loss and optimizer, equal shapes once they are rounded up (`harness.sweep.shapes`).
That follows from the types of the configuration alone; nobody keeps a list. A group is what shares
a batch of lanes: jobs of one program on one data set.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import checkpoints
from harness.config import Config, folder_of
from harness.data.dataset import Dataset
from harness.identity import run_id
from harness.models import cost
from harness.parts import held_out_sizes
from harness.prepare import program_of
from harness.sweep import lanes
from harness.sweep.shapes import Shapes, optimizer_structure, padded, shapes_of, trimmed
from harness.train import Lane, Outcome, Program

Key = tuple[Path, str]


@dataclass(frozen=True, eq=False, slots=True)
class Job:
    """One run of a sweep."""

    run_id: str
    config: Config

    @property
    def key(self) -> "Key":
        """What is trained and stored once: a run in its folder."""
        return folder_of(self.config), self.run_id


@dataclass(frozen=True)
class Signature:
    """What jobs of one group have in common. Equal ``shapes`` mean equal programs."""

    data_fingerprint: str
    program: Program
    num_validation: int
    num_test: int
    optimizer_structure: Any
    shapes: Shapes
    num_gradients: int = 1  # a step, which follows from the optimizer

    @property
    def lanes_per_device(self) -> int:
        return lanes.lanes_per_device(self.shapes.program, **self._held_out)

    @property
    def lane_bytes(self) -> int:
        return lanes.lane_bytes(self.shapes.program, **self._held_out)

    @property
    def program_bytes(self) -> int:
        """Estimated bytes of the compiled program on a device: its lanes, and what they share."""
        pairs = lanes.pair_bytes(self.shapes.program, num_validation=self.shapes.num_validation)
        return self.lanes_per_device * self.lane_bytes + pairs

    @property
    def _held_out(self) -> dict[str, int]:
        return {
            "num_validation": self.shapes.num_validation,
            "num_test": self.shapes.num_test,
        }

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
    """Jobs of one signature on one data set, which fill batches of lanes together."""

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

    def put(self) -> lanes.DeviceData:
        """The data set on all devices, with room for the program's shapes."""
        shapes = self.signature.shapes
        return lanes.put(
            self.dataset, num_rows=shapes.num_rows, num_features=shapes.program.num_features
        )

    def compile(self, runs: Sequence[Lane]) -> lanes.Trainer:
        """The program, for which ``runs`` of any group that shares it are an example."""
        shapes = self.signature.shapes
        data = lanes.shaped(shapes.num_rows, shapes.program.num_features)
        return lanes.Trainer(shapes.program, self.stack(runs), data)

    def stack(self, runs: Sequence[Lane]) -> Lane:
        """The batch of ``runs``, at most `width`, in the program's shapes."""
        stacked = lanes.stack(runs, self.width)
        return padded(stacked, self.signature.shapes, num_features=self.dataset.num_features)

    def trimmed(self, outcome: Outcome) -> Outcome:
        """A batch's outcome in the data set's own shapes."""
        own = self.signature
        return trimmed(
            outcome,
            own.shapes,
            num_validation=own.num_validation,
            num_test=own.num_test,
            num_features=self.dataset.num_features,
        )

    def batches(self) -> Iterator[Sequence[Job]]:
        for start in range(0, len(self.jobs), self.width):
            yield self.jobs[start : start + self.width]


def load(source: Any) -> Dataset:
    """The data set of a `dataset` config; sources load once a process, or when a file changed."""
    return source.load()


def make_jobs(configs: Iterable[Config]) -> list[Job]:
    """The jobs of ``configs``, in their order."""
    return [
        Job(
            run_id=run_id(
                config,
                data_fingerprint=load(config.dataset).fingerprint,
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
    """What ``config`` needs compiled, and of whom it can share a batch."""
    num_validation, num_test = held_out_sizes(config, dataset)
    return Signature(
        data_fingerprint=dataset.fingerprint,
        program=program_of(config, dataset),
        num_validation=num_validation,
        num_test=num_test,
        optimizer_structure=optimizer_structure(config.optimizer),
        shapes=shapes_of(config, dataset),
        num_gradients=config.optimizer.num_gradients,
    )


def group(jobs: Iterable[Job]) -> list[Group]:
    """Groups of jobs, those of one program in a row; a job that appears twice trains once."""
    datasets: dict[Signature, Dataset] = {}
    members: dict[Signature, dict[Key, Job]] = {}
    for job in jobs:
        dataset = load(job.config.dataset)
        key = signature(job.config, dataset)
        datasets[key] = dataset
        unique = members.setdefault(key, {})
        # Of one run asked for twice, the job that keeps its parameters serves both.
        if job.key not in unique or job.config.training.save_params:
            unique[job.key] = job
    # Neighbours share their split and batch order, which are cached.
    groups = [
        Group(key, datasets[key], sorted(unique.values(), key=_by_data))
        for key, unique in members.items()
    ]
    return [one for groups_of_one in programs(groups) for one in groups_of_one]


def programs(groups: Iterable[Group]) -> list[list[Group]]:
    """``groups`` by the program they share, each one compilation, in order of appearance."""
    sharing: dict[Shapes, list[Group]] = {}
    for one in groups:
        sharing.setdefault(one.signature.shapes, []).append(one)
    return list(sharing.values())


def _by_data(job: Job) -> tuple:
    config = job.config
    drawn = (str(config.imbalance), str(config.sampler), str(config.split), config.seed)
    return (*drawn, str(config.batching), job.run_id)
