"""Configurations small enough to train in a test."""

from typing import Any

from harness.config import Config, parse

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
