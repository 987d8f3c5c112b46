"""What a user wants of a loss, and the metric that stands for it: the questions named in advance.

They are the columns of a report's first table, each a family of comparisons of its own. Whatever
else was measured is explored (`harness.analyze.comparisons`).
"""

from collections.abc import Collection, Sequence

import polars as pl

from harness.metrics.definitions import METRICS, VERSIONS
from harness.metrics.names import known

RANKING, PROBABILITIES = "Ranking", "Probabilities as they come"
CALIBRATED, DECISIONS = "Probabilities after calibration", "Decisions"


def wanted(decided: pl.DataFrame, *, headline: str, measured: Collection[str]) -> dict[str, str]:
    """The metric that stands for each thing wanted: the headline where it is of that kind.

    Probabilities are judged by skill, log loss as a share of what always saying the prevalence
    scores: a hundredth of it is as much at any prevalence.

    Args:
        decided: of `harness.analyze.decisions`.
        measured: test metrics that there are; what is measured by none is left out.
    """
    calibrators = [name for name in VERSIONS if name != "corrected" and f"{name}/skill" in measured]
    own = "platt" if "platt" in calibrators else next(iter(calibrators), "")
    rules = decided["rule"].unique().to_list()
    found = {
        RANKING: "average_precision",
        PROBABILITIES: "skill",
        CALIBRATED: f"{own}/skill",
        DECISIONS: _decided(rules, has_costs=bool(costs_given(decided))),
    }
    first = known(headline)
    needs = "" if first is None else first.definition.needs
    if first is not None and needs == "ranking":
        found[RANKING] = headline
    elif first is not None and needs == "probabilities":
        found[CALIBRATED if first.version else PROBABILITIES] = headline
    elif needs in ("threshold", "stated threshold"):
        found[DECISIONS] = headline
    return {name: metric for name, metric in found.items() if metric in measured}


def costs_given(decided: pl.DataFrame) -> str:
    """` at costs of 1 a false alarm and 20 a missed positive`; empty where errors are counted."""
    pairs = decided.select("cost_fp", "cost_fn", "cost_tp", "cost_tn").unique(maintain_order=True)
    if pairs.height != 1:
        return " at the costs of each setting"
    fp, fn, tp, tn = pairs.row(0)
    if (fp, fn, tp, tn) == (1, 1, 0, 0):
        return ""
    gains = f", {tp:g} a found positive and {tn:g} a passed negative" if tp or tn else ""
    return f" at costs of {fp:g} a false alarm and {fn:g} a missed positive{gains}"


def _decided(rules: Sequence[str], *, has_costs: bool) -> str:
    """What the chosen cut is judged by: costs where some were given, else what chose it."""
    if has_costs or len(rules) != 1 or rules == ["cost"]:
        return "expected_cost@tuned"
    metric = METRICS.get({"youden": "balanced_accuracy"}.get(rules[0], rules[0]))
    return f"{metric.name}@tuned" if metric and metric.needs == "threshold" else "f1@tuned"
