"""Tables of the losses themselves: their shapes in float64, and BCE in every precision."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from scipy.special import expit

from harness.config import AnyLoss, parse_as
from harness.losses import BCE, ClippedBCE, LossFn
from harness.reproduce.rows import Rows

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
