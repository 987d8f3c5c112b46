"""Tables of the losses themselves: their shapes in float64, BCE in every precision, and what other
libraries compute of the same logits.
"""

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
from harness.losses import BCE, ClippedBCE, LossFn
from harness.reproduce.quantities import Rows

COUNTS = {"num_negatives": 95, "num_positives": 5}
"""Of the classes, for losses that depend on them."""


def loss_curves(
    folder: Path, runs: Rows, *, losses: list[dict[str, Any]], logits: list[float]
) -> pl.DataFrame:
    """Value, gradient in the logit and curvature of each loss, in float64.

    Rows (loss, label, logit, p, p_true, value, gradient, curvature); ``logits`` are the points, or
    three numbers [first, last, step].
    """
    points = np.asarray(logits, float)
    if len(points) == 3 and points[2] < points[1] - points[0]:
        first, last, step = points
        points = first + step * np.arange(round((last - first) / step) + 1)
    tables = []
    with jax.enable_x64(True):
        for given in losses:
            loss = parse_as(AnyLoss, given, at="loss").fitted(**COUNTS)
            tables += [part.with_columns(loss=pl.lit(loss.name)) for part in _curve(loss, points)]
    return pl.concat(tables)


def _curve(loss: LossFn, points: np.ndarray) -> Iterator[pl.DataFrame]:
    """For either label."""

    def value(z: Any, y: Any) -> Any:
        return loss.mean(logits=z[None], labels=y[None], weights=jnp.ones(1))

    functions = (value, jax.grad(value), jax.grad(jax.grad(value)))
    all_of = jax.jit(jax.vmap(lambda z, y: tuple(function(z, y) for function in functions)))
    p = expit(points)
    for label in (0.0, 1.0):
        values, gradients, curvatures = all_of(points, np.full(len(points), label))
        yield pl.DataFrame(
            {
                "label": np.full(len(points), label),
                "logit": points,
                "p": p,
                "p_true": p if label else 1 - p,
                "value": np.asarray(values),
                "gradient": np.asarray(gradients),
                "curvature": np.asarray(curvatures),
            }
        )


def precision(
    folder: Path,
    runs: Rows,
    *,
    dtypes: list[str],
    epsilons: list[float],
    logits: list[float],
) -> pl.DataFrame:
    """BCE from logits, and of clipped probabilities, in each precision, against float64.

    Rows (form, dtype, epsilon, logit, label, value, gradient, exact_value, exact_gradient,
    finite: 1 where value and gradient are, stalled: 1 where the example is confidently wrong and
    yet has no gradient, unit_roundoff).
    """
    rows: list[dict[str, Any]] = []
    with jax.enable_x64(True):
        for dtype in dtypes:
            forms: list[tuple[str, float, LossFn]] = [("logits", 0.0, BCE())]
            forms += [("clipped", epsilon, ClippedBCE(epsilon=epsilon)) for epsilon in epsilons]
            for form, epsilon, loss in forms:
                at = {"form": form, "epsilon": epsilon, "dtype": dtype}
                rows += [at | row for row in _in_precision(loss, dtype, logits)]
    return pl.DataFrame(rows)


def _in_precision(loss: LossFn, dtype: str, logits: list[float]) -> Iterator[dict[str, float]]:
    grid = [(z, y) for z in logits for y in (0.0, 1.0)]
    z, y = (jnp.asarray(column, dtype) for column in zip(*grid, strict=True))
    one = jnp.ones(1, dtype)

    def value(z: Any, y: Any) -> Any:
        return loss.mean(logits=z[None], labels=y[None], weights=one)

    # Not compiled as a whole: XLA may keep more digits between operations than the precision has.
    values = np.asarray(jax.vmap(value)(z, y).astype(jnp.float64))
    gradients = np.asarray(jax.vmap(jax.grad(value))(z, y).astype(jnp.float64))
    roundoff = float(jnp.finfo(dtype).eps) / 2
    for i, (logit, label) in enumerate(grid):
        given = float(z[i])  # as the precision holds it
        side = 2 * label - 1
        wrong = (given > 0) != (label == 1) and abs(given) > 2
        yield {
            "logit": logit,
            "label": label,
            "value": float(values[i]),
            "gradient": float(gradients[i]),
            "exact_value": float(np.logaddexp(0, -side * given)),
            "exact_gradient": float(-side * expit(-side * given)),
            "finite": float(np.isfinite(values[i]) and np.isfinite(gradients[i])),
            "stalled": float(wrong and gradients[i] == 0),
            "unit_roundoff": roundoff,
        }


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
