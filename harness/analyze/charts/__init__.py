"""The charts: one definition each for the interactive page and for the file of a paper."""

from collections.abc import Callable, Mapping
from typing import Any

from harness.analyze.charts import comparison, scores, training
from harness.analyze.charts.base import MAX_METHODS, Chart, colours, finished, titled

__all__ = ["DEFINED", "MAX_METHODS", "STANDALONE", "colours", "definitions"]

DEFINED: Mapping[str, Callable[[], Chart]] = {
    "differences": comparison.differences,
    "rates": comparison.rates,
    "datasets": comparison.datasets,
    "ranks": comparison.ranks,
    "precision_recall": scores.precision_recall,
    "roc": scores.roc,
    "reliability": scores.reliability,
    "histogram": scores.histogram,
    "thresholds": scores.thresholds,
    "costs": scores.costs,
    "net_benefit": scores.net_benefit,
    "learning": lambda: training.learning("log loss"),
    "objective": lambda: training.learning("own objective / its first value"),
    "steps": training.steps,
    "response": training.response,
    "budget": training.budget,
    "loss_shape": lambda: training.loss_shape("loss"),
    "gradient_shape": lambda: training.loss_shape("gradient"),
}

STANDALONE = frozenset({"loss_shape", "gradient_shape"})
"""Of no logged run: drawn from rows that others give, by `figures.write_chart`."""


def definitions(compared: str) -> Mapping[str, Mapping[str, Any]]:
    """Vega-Lite specifications by chart name; each reads the data set named "rows".

    Args:
        compared: heading of what is compared, such as `loss`; rows have it as `method`.
    """
    return {name: titled(finished(chart()), compared) for name, chart in DEFINED.items()}
