"""Configurations small enough to train in a test."""

from typing import Any, NamedTuple

import jax
import numpy as np

from harness.config import Config, parse
from harness.data.dataset import Dataset
from harness.data.library import datasets
from harness.data.run_data import RunData
from harness.padding import trimmed
from harness.run import Run, resolve
from harness.sweep import lanes, plan
from harness.training import Lane, Outcome, Program
from harness.watching import watched

SMALL: dict[str, Any] = {
    "dataset": {"kind": "sklearn", "name": "breast_cancer", "positive": "malignant"},
    "imbalance": {},
    "sampler": {"name": "none"},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "loss": {"name": "bce"},
    "optimizer": {"name": "adam", "learning_rate": 0.01},
    "schedule": {"name": "constant"},
    "training": {"num_epochs": 4, "batch_size": 64},
    "wandb": {"mode": "disabled"},
}


def config(**changes: Any) -> Config:
    """`SMALL` with whole groups replaced, or some of their keys changed by ``group__key``."""
    values = {
        group: dict(keys) if isinstance(keys, dict) else keys for group, keys in SMALL.items()
    }
    for name, value in changes.items():
        group, _, key = name.partition("__")
        if key:
            values.setdefault(group, {})[key] = value
        else:
            values[group] = value
    return parse(values)


class Prepared(NamedTuple):
    """A run with all that is made of its data."""

    run: Run
    data: RunData
    lane: Lane
    dataset: Dataset

    @property
    def program(self) -> Program:
        return self.run.program


def prepared(config: Config, dataset: Dataset | None = None) -> Prepared:
    """``config`` on ``dataset``, or on the one that it names."""
    dataset = datasets.get(config.dataset) if dataset is None else dataset
    run = watched(resolve(config, dataset))
    return Prepared(run, run.data(dataset), run.lane(dataset), dataset)


def runs_of(*configs: Config) -> list[Run]:
    return [prepared(config).run for config in configs]


def groups(*configs: Config) -> list[list[Run]]:
    """The runs of ``configs`` by what can share a batch."""
    return plan.groups(runs_of(*configs))


def train_alone(config: Config) -> tuple[Prepared, Outcome, Dataset]:
    """One run by the plain loop."""
    one = prepared(config)
    return one, jax.tree.map(np.asarray, lanes.train_alone(one.run, one.dataset)), one.dataset


def train_together(*configs: Config) -> list[Outcome]:
    """Runs of one program and data set, as lanes of one batch."""
    batch = [prepared(config) for config in configs]
    trainer = lanes.Trainer(batch[0].program)
    stacked = lanes.stacked([one.lane for one in batch], trainer.program)
    trained = trainer(stacked, lanes.put(batch[0].dataset, trainer.program))
    own = trimmed(jax.tree.map(np.asarray, trained), trainer.program, batch[0].run.sizes)
    return [jax.tree.map(lambda leaf, i=i: leaf[i], own) for i in range(len(batch))]
