"""Which metrics are shown, what they are called, and in which direction they are better.

What is known of a metric stands in `harness.metrics.definitions`. The columns of logged runs may
be anybody's: one that holds no metric of ours is shown by its name, has no direction, and picks and
ranks nobody.
"""

from collections.abc import Sequence
from math import inf
from typing import TypeVar, get_args

import polars as pl

from harness.analyze.keys import suggestion
from harness.errors import UserError, cut
from harness.metrics.definitions import Criterion, Metric
from harness.metrics.names import ENDS, known, parse

LEADERBOARD = (
    "average_precision",
    "auroc",
    "log_loss",
    "skill",
    "brier",
    "ece",
    "f1@0.5",
    "f1@tuned",
    "mcc@tuned",
)
"""Columns of the leaderboard, scored on test."""

COMPARED = ("average_precision", "auroc", "log_loss", "brier", "f1@tuned", "mcc@tuned")
"""Metrics on which losses are compared with the baseline; the first one makes the headline."""

SELECTION = "validation/average_precision"
"""Picks hyperparameters. A ranking metric does not change under a monotone map of the logits, so
it favours neither BCE, which log loss would (it is its own objective), nor the losses whose shifted
posterior is adjusted after training; and F1 or MCC would pick by the noise of one threshold."""


def sign(column: str) -> int:
    """1 where higher is better, -1 where lower is; 0 where neither is, or nobody knows.

    >>> sign("auroc"), sign("validation/platt/log_loss"), sign("calibration_slope")
    (1, -1, 0)
    >>> sign("test/an_error_of_my_own")
    0
    """
    metric = _metric(column)
    return 0 if metric is None else metric.sign


def picking_sign(column: str, *, asked: str) -> int:
    """`sign` of a metric by which something is to be picked; ``asked`` begins the errors.

    Raises:
        UserError: an unknown metric, or one that has no direction.
    """
    try:
        metric = parse(column).definition
    except ValueError as error:
        raise UserError(f"{asked}: {error}") from None
    if not metric.sign:
        raise UserError(f"{asked}: neither high nor low {metric.title} is better")
    return metric.sign


def target(column: str) -> float | None:
    """The value at which a metric is best; None where none is named.

    >>> target("test/platt/calibration_slope"), target("auroc")
    (1.0, None)
    """
    metric = _metric(column)
    return None if metric is None else metric.target


def compared_sign(column: str) -> int:
    """The direction of what is compared (`compared`): a distance from a target is better low.

    >>> compared_sign("auroc"), compared_sign("calibration_slope"), compared_sign("flagged@0.5")
    (1, -1, 0)
    """
    metric = _metric(column)
    return 0 if metric is None else metric.compared_sign


Value = TypeVar("Value")  # a number, an array or a Polars expression


def compared(column: str, value: Value) -> Value:
    """What of a metric is compared: its value or, of one with a target, the distance from that."""
    best = target(column)
    return value if best is None else abs(value - best)  # type: ignore


def heading(column: str) -> str:
    """A metric in prose, with the version of the scores it was measured on.

    >>> heading("platt/log_loss"), heading("test/auroc"), heading("their_score")
    ('log loss after Platt scaling', 'AUROC', 'their_score')
    """
    name = known(column)
    return column if name is None else name.title


def bounds(column: str) -> tuple[float, float]:
    """The ends of a metric's range; infinite of a column that is no metric of ours.

    >>> bounds("auroc"), bounds("platt/log_loss"), bounds("their_score")
    ((0.0, 1.0), (0.0, inf), (-inf, inf))
    """
    metric = _metric(column)
    return (-inf, inf) if metric is None else (metric.low, metric.high)


def compared_bounds(column: str) -> tuple[float, float]:
    """Between what a difference of two compared values (`compared`) lies.

    >>> compared_bounds("mcc@0.5"), compared_bounds("log_loss")
    ((-2.0, 2.0), (-inf, inf))
    """
    low, high = bounds(column)
    return low - high, high - low


def chosen_rule(column: str) -> str:
    """The rule by which validation chose the threshold that a metric is measured at; "" of others.

    >>> chosen_rule("expected_cost@cost"), chosen_rule("f1@tuned"), chosen_rule("f1@0.5")
    ('cost', 'tuned', '')
    """
    name = known(column)
    rules = ("tuned", *get_args(Criterion))
    return name.rule if name is not None and name.rule in rules else ""


def needs_level(column: str) -> bool:
    """Whether adding one number to all raw logits of a run would change a metric of it.

    Those of probabilities and of decisions at a stated one do; what ranks, what is measured at a
    threshold chosen among the logits and what a calibrator put in place do not.

    >>> needs_level("test/log_loss"), needs_level("f1@0.5"), needs_level("f1@bayes")
    (True, True, True)
    >>> needs_level("auroc"), needs_level("f1@tuned"), needs_level("platt/log_loss")
    (False, False, False)
    """
    name = known(column)
    if name is None or name.version:
        return False
    states = bool(name.rule) and name.rule != "oracle" and not chosen_rule(column)
    return states or name.definition.needs == "probabilities"


def compared_heading(column: str) -> str:
    """What of a metric is compared, in prose.

    >>> compared_heading("auroc"), compared_heading("platt/calibration_slope")
    ('AUROC', 'distance of calibration slope after Platt scaling from 1')
    """
    best = target(column)
    return heading(column) if best is None else f"distance of {heading(column)} from {best:g}"


def direction(column: str) -> str:
    """
    >>> direction("auroc"), direction("calibration_slope"), direction("flagged@0.5")
    ('higher is better', 'nearest to 1 is best', 'neither high nor low is better')
    >>> direction("their_score")
    'whether high or low is better is not known'
    """
    metric = _metric(column)
    if metric is None:
        return "whether high or low is better is not known"
    if metric.target is not None:
        return f"nearest to {metric.target:g} is best"
    neither = "neither high nor low"
    return f"{neither if metric.direction == 'neither' else metric.direction} is better"


def test_metrics(runs: pl.DataFrame) -> list[str]:
    """Every numeric test metric of these runs: LEADERBOARD's, of raw scores, of adjusted scores.

    A metric's own interval (`auroc_low`) is none.

    >>> names = ["zeta", "platt/brier", "auroc", "auroc_low"]
    >>> test_metrics(pl.DataFrame({f"test/{name}": [0.5] for name in names}))
    ['auroc', 'zeta', 'platt/brier']
    """
    found = {c.removeprefix("test/"): t for c, t in runs.schema.items() if c.startswith("test/")}
    numeric = {m for m, dtype in found.items() if dtype.is_numeric()}
    ends = {f"{m}_{end}" for m in numeric for end in ENDS}
    others = sorted(numeric - ends - set(LEADERBOARD), key=lambda m: ("/" in m, m))
    return [m for m in LEADERBOARD if m in numeric] + others


def asked_metrics(asked: Sequence[str], measured: Sequence[str], *, first: str = "") -> list[str]:
    """The metrics asked for, by their names with or without `test/`; by default the leaderboard's.

    By default ``first`` comes before those, if it is measured.

    Raises:
        UserError: an unknown metric, or one that no run has.
    """
    names = list(dict.fromkeys(name.removeprefix("test/") for name in asked))
    for name in names:
        if name not in measured:
            raise UserError(f"--metric {cut(name)}: {_unmeasured(name, measured)}")
    usual = list(dict.fromkeys(m for m in (first, *LEADERBOARD) if m in measured))
    return names or usual or list(measured)


def _unmeasured(name: str, measured: Sequence[str]) -> str:
    try:
        parse(name)
    except ValueError as error:
        near = suggestion(name, [m for m in measured if known(m) is None])
        return f"no run has it{near}" if near else str(error)
    others = ", ".join(map(cut, measured[:4]))
    near = suggestion(name, measured) or f"; runs.csv has all, such as {others}"
    return f"no run has the column test/{cut(name)}{near}"


def _metric(column: str) -> Metric | None:
    name = known(column)
    return None if name is None else name.definition
