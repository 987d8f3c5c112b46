"""A run's curves for Weights & Biases' own custom charts: what each shows, as a small table.

Opt-in (`wandb.charts=true`): only W&B's client can log them, some fifty times dearer than a row.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from harness.record.schema import SCORES, Predictions

PREFIX = "charts/"  # of their keys in W&B; what reads runs passes such keys over
NUM_POINTS = 200  # of a curve at most
NUM_BINS = 10  # of equal size, as in the report
VERSIONS = dict(zip(SCORES, ("raw", "corrected", "calibrated"), strict=True))

Floats = NDArray[np.float64]
Parts = Mapping[str, Predictions]
Points = list[list[Any]]


@dataclass(frozen=True)
class Chart:
    """A table and how W&B is to draw it.

    Attributes:
      spec: the name of one of W&B's own Vega-Lite specifications.
      fields: the specification's fields, by what they are called there: columns of the table.
      texts: its texts, such as the title.
      rows: of the table; finite numbers and text.
    """

    spec: str
    fields: Mapping[str, str]
    columns: Sequence[str]
    rows: Points
    texts: Mapping[str, str] = field(default_factory=dict)


def charts(
    *,
    predictions: Parts,
    threshold_logit: float,
) -> dict[str, Chart]:
    """The charts of one run, by key; none of what it cannot show.

    Args:
      predictions: of `validation` and `test`.
      threshold_logit: the tuned cut; a row is positive from there on.
    """
    drawn = {
        "precision_recall": _precision_recall(predictions),
        "reliability": _reliability(predictions),
        "confusion": _confusion(predictions, threshold_logit),
    }
    return {PREFIX + name: chart for name, chart in drawn.items() if chart.rows}


def _precision_recall(predictions: Parts) -> Chart:
    rows: Points = []
    for part, of in predictions.items():
        logits, labels = of.logits, of.labels
        if labels.any() and np.isfinite(logits).all():
            rows += [[part, *point] for point in precision_recall(logits, labels)]
    return Chart(
        spec="wandb/area-under-curve/v0",
        fields={"x": "recall", "y": "precision", "class": "part"},
        columns=("part", "recall", "precision"),
        rows=rows,
        texts={
            "title": "Precision and recall",
            "x-axis-title": "Recall",
            "y-axis-title": "Precision",
        },
    )


def precision_recall(logits: NDArray, labels: NDArray) -> Points:
    """[recall, precision] from the highest cut down; every so manieth of a long curve."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(labels, logits, drop_intermediate=True)
    points = np.stack([recall, precision], axis=1)[::-1]
    # Of a curve of many cuts, those nearest to equal steps of recall; the ends stay.
    wanted = np.linspace(0, 1, NUM_POINTS)
    kept = np.unique(np.searchsorted(points[:, 0], wanted).clip(max=len(points) - 1))
    chosen = points if len(points) <= NUM_POINTS else points[kept]
    return chosen.tolist()


def _reliability(predictions: Parts) -> Chart:
    test = predictions["test"]
    rows: Points = [
        [VERSIONS[name], predicted, observed]
        for name, logits in test.versions.items()
        if len(logits) and np.isfinite(logits).all()
        for predicted, observed in reliability(logits, test.labels)
    ]
    if rows:
        rows += [["calibrated perfectly", 0.0, 0.0], ["calibrated perfectly", 1.0, 1.0]]
    return Chart(
        spec="wandb/line/v0",
        fields={"x": "predicted", "y": "observed", "stroke": "scores"},
        columns=("scores", "predicted", "observed"),
        rows=rows,
        texts={"title": "Reliability on test: share of positives against predicted probability"},
    )


def reliability(logits: NDArray, labels: NDArray) -> Iterator[tuple[float, float]]:
    """Mean predicted probability and share of positives of `NUM_BINS` bins of equal size."""
    order = np.argsort(logits, kind="stable")
    probs, sorted_labels = expit(logits[order].astype(float)), labels[order]
    for start, stop in pairwise(np.linspace(0, order.size, NUM_BINS + 1).astype(int)):
        if stop > start:
            yield float(probs[start:stop].mean()), float(sorted_labels[start:stop].mean())


def _confusion(predictions: Parts, threshold_logit: float) -> Chart:
    logits, labels = predictions["test"].logits, predictions["test"].labels
    positive = logits.astype(float) >= threshold_logit
    told = not math.isnan(threshold_logit) and bool(np.isfinite(logits).all())
    names = ("negative", "positive")
    rows = [
        [names[actual], names[said], int(np.sum((labels == actual) & (positive == said)))]
        for actual in (0, 1)
        for said in (0, 1)
    ]
    return Chart(
        spec="wandb/confusion_matrix/v1",
        fields={name: name for name in ("Actual", "Predicted", "nPredictions")},
        columns=("Actual", "Predicted", "nPredictions"),
        rows=rows if told else [],
        texts={"title": "Confusion on test at the tuned threshold"},
    )
