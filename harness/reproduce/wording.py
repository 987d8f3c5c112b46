"""Verdicts in a sentence."""

from harness.reproduce.judge import Verdict
from harness.reproduce.schema import Claim

_UNITS = {
    "exact": "rows",
    "repeats": "splits",
    "draws": "data draws",
    "share": "trials",
    "datasets": "data sets",
}


def number(value: float) -> str:
    """Four digits, as short as they get.

    >>> number(0.19851522), number(-12345.678), number(float("nan"))
    ('0.1985', '-1.235e+04', 'unknown')
    """
    return "unknown" if value != value else f"{value:.4g}"


def region(claim: Claim) -> str:
    """What the difference must be."""
    by = number(claim.by)
    if claim.expect == "equal":
        return f"within \N{PLUS-MINUS SIGN}{by}"
    return f"above {by}" if claim.expect == "higher" else f"below {number(-claim.by + 0.0)}"


def compared(claim: Claim) -> str:
    """What is subtracted from what."""
    first, second = claim.of, claim.than
    left = first.measure + (f" [{first.where}]" if first.where else "")
    if second.value is not None:
        return f"{left} minus {second.value:g}"
    measure = second.measure or first.measure
    return f"{left} minus {measure}" + (f" [{second.where}]" if second.where else "")


def finding(verdict: Verdict) -> str:
    """Effect, interval, number of units and p, and what would decide an undecided one."""
    claim = verdict.claim
    units = f"{verdict.num_units} {_UNITS[claim.test]}"
    ends = f"{number(verdict.low)} to {number(verdict.high)}"
    if claim.test == "exact":
        shown = f"{ends} over {units}" if verdict.num_units else verdict.why
        return f"{shown}; must be {region(claim)}"
    if verdict.p is None:
        return f"{verdict.why} ({units})"
    p = "< 0.0001" if verdict.p < 1e-4 else f"= {verdict.p:.2g}"
    text = f"{number(verdict.effect)} ({ends}) over {units}, p {p}; claimed {region(claim)}"
    if verdict.equivalent is not None:
        text += f"; practically none on a new data set with probability {verdict.equivalent:.2f}"
    return text + (f"; {_what_decides(verdict)}" if verdict.word == "undecided" else "")


def _what_decides(verdict: Verdict) -> str:
    units = _UNITS[verdict.claim.test]
    if verdict.more is None:
        return f"no feasible number of {units} would decide an effect of this size"
    return f"about {verdict.more} more {units} would decide an effect of this size"
