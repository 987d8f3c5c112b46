"""The work that all peers do: read from one file, which `compare` writes. NumPy alone.

A run trains a network with BCE by Adam on the split of its seed, in given batches. Each epoch it
looks at validation; it keeps the epoch with the lowest loss there.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Job:
    """One run: standardised float32 features (n, d), labels, and the rows of each part."""

    features: np.ndarray
    labels: np.ndarray
    batches: np.ndarray  # (epochs, steps, batch size) rows
    validation: np.ndarray
    test: np.ndarray
    log_odds: float  # of the training part
    learning_rate: float
    seed: int


class Work:
    """The jobs of a file, made as they are asked for.

    Attributes:
        net: the network, as `harness.config` dumps it, with `cardinalities` and `parameters`: how
            many it has.
        overrides: what the harness is asked for.
    """

    def __init__(self, path: str):
        self._arrays = dict(np.load(path))
        told = json.loads(str(self._arrays["told"]))
        self.net: dict[str, Any] = told["net"]
        self.overrides: list[str] = told["overrides"]

    def __len__(self) -> int:
        return len(self._arrays["learning_rates"])

    def __getitem__(self, index: int) -> Job:
        one = self._arrays
        at = int(one["splits"][index])
        scaled = (one["features"] - one["center"][at]) * one["scale"][at]
        rate = one["labels"][one["train"][at]].mean()
        return Job(
            features=scaled.astype(np.float32),
            labels=one["labels"],
            batches=one["batches"][at],
            validation=one["validation"][at],
            test=one["test"][at],
            log_odds=float(np.log(rate / (1 - rate))),
            learning_rate=float(one["learning_rates"][index]),
            seed=at,
        )


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean of softplus(z) - y z, in nats."""
    return float(np.mean(np.logaddexp(0, logits) - labels * logits))


def finish(losses: list[float], begun: float) -> None:
    """Writes what `compare` reads: the test log loss of each run."""
    told = {"seconds": time.perf_counter() - begun, "test_log_loss": losses}
    Path(sys.argv[2]).write_text(json.dumps(told))
