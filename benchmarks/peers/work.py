"""The work that all peers do: read from one file, which `compare` writes. NumPy alone.

A run trains an MLP 64-64 with BCE by Adam, at one of ten learning rates, on the split of its seed,
in given batches. Each epoch it looks at validation; it keeps the epoch with the lowest loss there.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WIDTH, EPOCHS, STEPS, BATCH = 64, 50, 10, 256


@dataclass(frozen=True)
class Job:
    """One run: standardised float32 features (n, d), labels, and the rows of each part."""

    features: np.ndarray
    labels: np.ndarray
    batches: np.ndarray  # (EPOCHS, STEPS, BATCH) rows
    validation: np.ndarray
    test: np.ndarray
    learning_rate: float
    seed: int


class Work:
    """The jobs of a file, made as they are asked for."""

    def __init__(self, path: str):
        self._arrays = dict(np.load(path))

    def __len__(self) -> int:
        return len(self._arrays["learning_rates"])

    def __getitem__(self, index: int) -> Job:
        one = self._arrays
        at = int(one["splits"][index])
        scaled = (one["features"] - one["center"][at]) * one["scale"][at]
        return Job(
            features=scaled.astype(np.float32),
            labels=one["labels"],
            batches=one["batches"][at].reshape(EPOCHS, STEPS, BATCH),
            validation=one["validation"][at],
            test=one["test"][at],
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
