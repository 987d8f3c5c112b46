"""The judge: from paired differences to supported, refuted or undecided, and in a sentence why.

A claim says that a difference lies in a region (see `claims.Claim`). It is supported where the data
reject everything outside the region, refuted where they reject everything inside, and undecided
otherwise: two one-sided tests, each at half the level. Over the claims of an experiment that are
tested at all, Holm's correction keeps the chance of one wrong verdict at the level.

A claim about runs whose hyperparameters lie at the ends of their grids is not judged, but for exact
ones (`harness.analyze.trained`): it would be about where the grid was cut.

Seeds may be added until all is decided. Whoever looks after every batch and stops at the first p
below the level errs more often than the level says. So look k may spend only level / (k (k + 1)) of
it: the shares sum to the level however many looks follow (Bonferroni over looks). A claim keeps the
verdict of the look that decided it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.analyze import statistics
from harness.reproduce.claims import Claim

Floats = NDArray[np.float64]
Word = Literal["supported", "refuted", "undecided", "not judged"]

_UNITS = {
    "exact": "rows",
    "repeats": "splits",
    "draws": "data draws",
    "share": "trials",
    "datasets": "data sets",
}


@dataclass(frozen=True, eq=False)
class Pairs:
    """What was observed for a claim: a difference a unit, ``of`` minus ``than``.

    ``ratio`` is n_test / n_train of the splits; ``threshold`` the number compared with, if any;
    ``untrained`` why its runs are not to be judged, if they are not.
    """

    differences: Floats
    ratio: float = 0.0
    threshold: float = 0.0
    untrained: str = ""

    @property
    def num_missing(self) -> int:
        return int((~np.isfinite(self.differences)).sum())


@dataclass(frozen=True)
class Verdict:
    """What is said of one claim. ``p`` is Holm's; exact claims and those without data have none."""

    claim: Claim
    word: Word
    effect: float
    low: float
    high: float
    num_units: int
    p: float | None = None
    more: int | None = None  # units to add until the effect seen would decide it
    why: str = ""
    look: int | None = None  # of a sequential reproduction
    equivalent: float | None = None  # over data sets: probability of no practical difference

    @property
    def is_broken(self) -> bool:
        """Whether an exact anchor does not hold."""
        return self.claim.test == "exact" and self.word != "supported"


@dataclass(frozen=True)
class _Evidence:
    """An estimate, its 95% interval, and one-sided p values of what the truth may be."""

    effect: float
    low: float
    high: float
    above: Callable[[float], float]  # p of: the truth is at most m
    below: Callable[[float], float]  # p of: the truth is at least m


def judge(claims: Sequence[Claim], pairs: Sequence[Pairs], *, alpha: float) -> list[Verdict]:
    """A verdict for each of ``claims``, which are one family."""
    verdicts = [_alone(claim, seen) for claim, seen in zip(claims, pairs, strict=True)]
    # A claim that lacks a value stays in the family: dropping it would make the others easier.
    tested = [claim.test != "exact" for claim in claims]
    alone = [1.0 if v.p is None else v.p for v in verdicts]
    p = statistics.holm(
        [p if is_tested else np.nan for p, is_tested in zip(alone, tested, strict=True)]
    )
    family = sum(tested)
    return [
        verdict if verdict.p is None else _decided(verdict, adjusted, seen, family, alpha)
        for verdict, adjusted, seen in zip(verdicts, p, pairs, strict=True)
    ]


def _alone(claim: Claim, pairs: Pairs) -> Verdict:
    """The verdict of an exact claim; of others, effect and p, with the word the p would give."""
    d = pairs.differences
    if claim.test == "exact":
        inside = d.size > 0 and bool(np.all(_inside(claim, d)))
        word: Word = "supported" if inside else "refuted"
        ends = (float(d.mean()), float(d.min()), float(d.max())) if d.size else (np.nan,) * 3
        return Verdict(claim, word, *ends, d.size, why="" if d.size else "no rows to compare")
    if pairs.untrained:
        effect = float(d.mean()) if d.size else np.nan
        return Verdict(claim, "not judged", effect, np.nan, np.nan, d.size, why=pairs.untrained)
    if d.size < 2 or pairs.num_missing:
        why = f"{pairs.num_missing} of {d.size} units have no value" if d.size else "no units"
        why = why if pairs.num_missing or not d.size else "one unit alone"
        finite = d[np.isfinite(d)]
        effect = float(finite.mean()) if finite.size else np.nan
        return Verdict(claim, "undecided", effect, np.nan, np.nan, d.size, why=why)
    evidence = _EVIDENCE[claim.test]
    if evidence is _t and _is_constant(d):
        if claim.test == "repeats":
            why = "all differ by the same, which is no more than one split says"
            return Verdict(claim, "undecided", float(d.mean()), np.nan, np.nan, d.size, why=why)
        evidence = _signs
    seen = evidence(pairs)
    supports, refutes = _p_values(claim, seen)
    equivalent = None
    if claim.test == "datasets" and claim.by > 0:
        equivalent = float(statistics.signed_rank_posterior(d, rope=claim.by)[1])
    return Verdict(
        claim,
        "supported" if supports < refutes else "refuted",
        seen.effect,
        seen.low,
        seen.high,
        d.size,
        p=min(1.0, 2 * min(supports, refutes)),
        equivalent=equivalent,
    )


def _is_constant(d: Floats) -> bool:
    """Whether the differences are one number but for rounding."""
    return bool(np.ptp(d) <= 1e-9 * np.abs(d).max())


def _decided(verdict: Verdict, p: float, pairs: Pairs, family: int, alpha: float) -> Verdict:
    if p <= alpha:
        return replace(verdict, p=float(p))
    more = _more_needed(verdict, pairs, family, alpha)
    return replace(verdict, word="undecided", p=float(p), more=more)


def _inside(claim: Claim, d: Floats) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        if claim.expect == "equal":
            return np.abs(d) <= claim.by
        return d > claim.by if claim.expect == "higher" else d < -claim.by


def _p_values(claim: Claim, seen: _Evidence) -> tuple[float, float]:
    """One-sided p values against "outside the region" and against "inside it"."""
    by = claim.by
    if claim.expect == "higher":
        return seen.above(by), seen.below(by)
    if claim.expect == "lower":
        return seen.below(-by), seen.above(-by)
    return max(seen.above(-by), seen.below(by)), min(seen.above(by), seen.below(-by))


def _t(pairs: Pairs) -> _Evidence:
    d, count = pairs.differences, pairs.differences.size
    mean = float(d.mean())
    shape = {"sd": float(d.std(ddof=1)), "num_seeds": count, "test_train_ratio": pairs.ratio}
    error = float(statistics.standard_error(**shape))
    half = float(statistics.half_interval(**shape))

    def one_sided(m: float, tail: Callable[[float, int], float]) -> float:
        return float(tail((mean - m) / error, count - 1))

    return _Evidence(
        mean,
        mean - half,
        mean + half,
        lambda m: one_sided(m, stats.t.sf),
        lambda m: one_sided(m, stats.t.cdf),
    )


def _signs(pairs: Pairs) -> _Evidence:
    """Draws that all differ by the same: t has no spread to divide by, a sign test needs none.

    That all lie on one side of what is typical has a chance of 2^-n.
    """
    mean, chance = float(pairs.differences.mean()), 0.5**pairs.differences.size
    return _Evidence(
        mean,
        np.nan,
        np.nan,
        lambda m: chance if mean > m else 1.0,
        lambda m: chance if mean < m else 1.0,
    )


def _signed_rank(pairs: Pairs) -> _Evidence:
    d = pairs.differences
    shift = statistics.hodges_lehmann(d)

    def one_sided(m: float, alternative: Literal["greater", "less"]) -> float:
        if not np.any(d - m):
            return 0.5
        return float(stats.wilcoxon(d - m, zero_method="zsplit", alternative=alternative).pvalue)

    return _Evidence(
        shift.median,
        shift.low,
        shift.high,
        lambda m: one_sided(m, "greater"),
        lambda m: one_sided(m, "less"),
    )


def _binomial(pairs: Pairs) -> _Evidence:
    d, at = pairs.differences, pairs.threshold
    hits, count = int(np.rint((d + at).sum())), d.size
    interval = stats.binomtest(hits, count).proportion_ci(0.95)

    def above(m: float) -> float:
        return float(stats.binom.sf(hits - 1, count, np.clip(at + m, 0, 1)))

    def below(m: float) -> float:
        return float(stats.binom.cdf(hits, count, np.clip(at + m, 0, 1)))

    return _Evidence(hits / count - at, interval.low - at, interval.high - at, above, below)


_EVIDENCE: dict[str, Callable[[Pairs], _Evidence]] = {
    "repeats": _t,
    "draws": _t,
    "share": _binomial,
    "datasets": _signed_rank,
}


def _more_needed(verdict: Verdict, pairs: Pairs, family: int, alpha: float) -> int | None:
    """Units to add until the effect seen would decide; None where none would, or nobody knows."""
    claim, d = verdict.claim, pairs.differences
    if d.size < statistics.FORECAST_FROM:
        return None
    edges = {"higher": [claim.by], "lower": [-claim.by], "equal": [claim.by, -claim.by]}
    distance = min(abs(verdict.effect - edge) for edge in edges[claim.expect])
    if claim.test == "share":
        return _more_trials(claim, pairs, family, alpha)
    if claim.test == "datasets":
        p = min(1.0, 2 * stats.norm.sf(distance / max(d.std(ddof=1), 1e-300) * np.sqrt(d.size)))
        return statistics.more_datasets_needed(
            p_value=float(p), num_datasets=d.size, family_size=family, alpha=alpha
        )
    more = statistics.more_seeds_needed(
        mean=distance,
        sd=float(d.std(ddof=1)),
        num_seeds=d.size,
        test_train_ratio=pairs.ratio,
        family_size=family,
        alpha=alpha,
    )[0]
    return None if np.isnan(more) else max(int(more), 1)


def _more_trials(claim: Claim, pairs: Pairs, family: int, alpha: float) -> int | None:
    """Of 0 and 1, as many more with the same share of 1 as decide it, at the level Holm leaves."""
    d, at = pairs.differences, pairs.threshold
    share = float((d + at).mean())
    for count in np.unique(np.geomspace(d.size + 1, 1000 * d.size, 400).astype(int)):
        hits = np.repeat([1.0, 0.0], [round(share * count), count - round(share * count)])
        p = _p_values(claim, _binomial(Pairs(hits - at, threshold=at)))
        if 2 * family * min(p) <= alpha:
            return int(count) - d.size
    return None


Look = Callable[[int, float], list[Verdict]]
"""Verdicts on the first so many seeds of each sweep, at a level."""


def level(alpha: float, look: int) -> float:
    """What the ``look``-th look, from 1, may spend of ``alpha``.

    >>> sum(level(0.05, k) for k in range(1, 100_000)) <= 0.05
    True
    """
    return alpha / (look * (look + 1))


def until_decided(at: Look, *, batch: int, budget: int, alpha: float) -> tuple[list[Verdict], int]:
    """Looks after every ``batch`` seeds until all is decided or ``budget`` seeds are spent.

    Returns:
      The verdicts, each with the look that decided it, and the number of seeds used.
    """
    verdicts: list[Verdict] = []
    seeds = look = 0
    while seeds < budget:
        look, seeds = look + 1, min(seeds + batch, budget)
        fresh = [replace(verdict, look=look) for verdict in at(seeds, level(alpha, look))]
        kept = verdicts or fresh
        verdicts = [
            old if old.word != "undecided" else new for old, new in zip(kept, fresh, strict=True)
        ]
        if all(verdict.word != "undecided" for verdict in verdicts):
            break
    return verdicts, seeds


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
    if verdict.num_units < statistics.FORECAST_FROM:
        return f"from fewer than {statistics.FORECAST_FROM} {units} nobody can tell how many decide"
    if verdict.more is None:
        return f"no feasible number of {units} would decide an effect of this size"
    return f"about {verdict.more} more {units} would decide an effect of this size"
