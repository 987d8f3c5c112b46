"""The table of other libraries: what they compute of the same logits, and what we do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl
from scipy.special import expit
from sklearn.metrics import log_loss

from harness.config import AnyLoss, parse_as
from harness.losses import BCE, LossFn
from harness.reproduce.curves import COUNTS
from harness.reproduce.rows import Rows


def parity(folder: Path, runs: Rows, *, recorded: str) -> pl.DataFrame:
    """Ours against other libraries: recorded ones, and those installed (optax, scikit-learn).

    Rows (library, loss, kind: value or gradient, logit, label, ours, theirs, error: relative to
    the larger of 1 and theirs), in float64.
    """
    data = json.loads((folder / recorded).read_text(encoding="utf-8"))
    logits, labels = np.asarray(data["logits"]), np.asarray(data["labels"])
    tables: list[pl.DataFrame] = []
    with jax.enable_x64(True):
        for library, entries in data["libraries"].items():
            for entry in entries["losses"]:
                loss = parse_as(AnyLoss, entry["ours"], at="loss").fitted(**COUNTS)
                ours = _values_and_gradients(loss, logits, labels)
                shown = (f"{library} {entries['version']}", entry["name"])
                recorded_ones = (entry["values"], entry["gradients"])
                tables += _compared(*shown, logits, labels, ours, recorded_ones)
        ours = _values_and_gradients(BCE(), logits, labels)
        tables += _compared("optax", "bce", logits, labels, ours, _optax(logits, labels))
        tables += _scikit_learn(logits, labels)
    return pl.concat(tables)


def _scikit_learn(logits: np.ndarray, labels: np.ndarray) -> Iterator[pl.DataFrame]:
    """Scores probabilities: only those that a sigmoid tells from 0 and 1."""
    kept = np.abs(logits) < 30
    z, y = logits[kept], labels[kept]
    theirs = [log_loss([a], [p], labels=[0, 1]) for a, p in zip(y, expit(z), strict=True)]
    ours = _values_and_gradients(BCE(), z, y)
    return _compared("scikit-learn", "bce", z, y, ours[:1], (theirs,))


def _optax(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bce = optax.losses.sigmoid_binary_cross_entropy
    z, y = jnp.asarray(logits), jnp.asarray(labels)
    return np.asarray(bce(z, y)), np.asarray(jax.vmap(jax.grad(bce))(z, y))


def _values_and_gradients(
    loss: LossFn, logits: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    def value(z: Any, y: Any) -> Any:
        return loss.mean(logits=z[None], labels=y[None], weights=jnp.ones(1))

    both = jax.jit(jax.vmap(jax.value_and_grad(value)))
    values, gradients = both(logits, labels)
    return np.asarray(values), np.asarray(gradients)


def _compared(
    library: str, name: str, logits: np.ndarray, labels: np.ndarray, ours: Any, theirs: Any
) -> Iterator[pl.DataFrame]:
    for kind, a, b in zip(("value", "gradient"), ours, theirs, strict=False):
        a, b = np.asarray(a, float), np.asarray(b, float)
        yield pl.DataFrame(
            {
                "library": [library] * len(a),
                "loss": [name] * len(a),
                "kind": [kind] * len(a),
                "row": np.arange(len(a)),
                "logit": logits,
                "label": labels,
                "ours": a,
                "theirs": b,
                "error": np.abs(a - b) / np.maximum(1, np.abs(b)),
            }
        )
