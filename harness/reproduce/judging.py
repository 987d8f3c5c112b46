"""The judge: from paired differences to supported, refuted or undecided, and in a sentence why.

A claim says that a difference lies in a region (see `claims.Claim`). It is supported where the data
reject everything outside the region, refuted where they reject everything inside, and undecided
otherwise: one-sided tests, each at the full level, since a claim is either true or false and one of
the two verdicts alone can be wrong. Over the claims of a family that are tested at all, Holm's
correction keeps the chance of one wrong verdict at the level; over exploratory ones Benjamini and
Hochberg's keeps the share of wrong ones there.

Not judged, but for exact ones, are claims about runs whose hyperparameters lie at the ends of their
grids (`harness.analyze.trained`): they would be about where the grid was cut. Nor are claims that
are newer than their runs (`registration`), unless they say that they are exploratory.

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
    "rows": "rows",
    "draws": "data draws",
    "share": "trials",
    "datasets": "data sets",
}


@dataclass(frozen=True, eq=False)
class Pairs:
    """What was observed for a claim: a difference a unit, ``of`` minus ``than``.

    ``ratio`` is n_test / n_train of the splits (`comparisons.test_train_ratio`); ``threshold`` the
    number compared with, if any; ``withheld`` why it is not to be judged, if it is not.
    ``split_variance`` is that of a unit's mean over its ``num_splits``, on average; NaN unknown.
    """

    differences: Floats
    ratio: float = 0.0
    threshold: float = 0.0
    withheld: str = ""
    split_variance: float = float("nan")
    num_splits: float = 1.0

    @property
    def num_missing(self) -> int:
        return int((~np.isfinite(self.differences)).sum())


@dataclass(frozen=True)
class Verdict:
    """What is said of one claim. ``p`` is corrected; exact claims and those without data have none.

    ``more`` units, or ``more_splits`` of each data set, would decide it if the effect is as seen.
    """

    claim: Claim
    word: Word
    effect: float
    low: float
    high: float
    num_units: int
    p: float | None = None
    more: int | None = None
    more_splits: int | None = None
    why: str = ""
    look: int | None = None  # of a sequential reproduction
    equivalent: float | None = None  # over data sets: `signed_rank_posterior` of no difference

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
    """A verdict for each of ``claims``, corrected over their families."""
    verdicts = [_alone(claim, seen) for claim, seen in zip(claims, pairs, strict=True)]
    families = [_family(claim) for claim in claims]
    p = np.full(len(claims), np.nan)
    for family in {family for family in families if family is not None}:
        members = [i for i, one in enumerate(families) if one == family]
        # A claim that lacks a value stays in the family: dropping it would make the others easier.
        alone = [1.0 if (found := verdicts[i].p) is None else found for i in members]
        p[members] = (
            statistics.benjamini_hochberg(alone) if family is EXPLORED else statistics.holm(alone)
        )
    return [
        verdict
        if verdict.p is None
        else _decided(verdict, adjusted, seen, families.count(family), alpha)
        for verdict, adjusted, seen, family in zip(verdicts, p, pairs, families, strict=True)
    ]


EXPLORED = ("exploratory",)


def _family(claim: Claim) -> str | tuple[str, ...] | None:
    """What a claim is corrected with; None of exact ones, which know no chance."""
    if claim.test == "exact":
        return None
    return EXPLORED if claim.exploratory else claim.family


def _alone(claim: Claim, pairs: Pairs) -> Verdict:
    """The verdict of an exact claim; of others, effect and p, with the word the p would give."""
    d = pairs.differences
    if claim.test == "exact":
        inside = d.size > 0 and bool(np.all(_inside(claim, d)))
        word: Word = "supported" if inside else "refuted"
        ends = (float(d.mean()), float(d.min()), float(d.max())) if d.size else (np.nan,) * 3
        return Verdict(claim, word, *ends, d.size, why="" if d.size else "no rows to compare")
    if pairs.withheld:
        effect = float(d.mean()) if d.size else np.nan
        return Verdict(claim, "not judged", effect, np.nan, np.nan, d.size, why=pairs.withheld)
    if d.size < 2 or pairs.num_missing:
        why = f"{pairs.num_missing} of {d.size} units have no value" if d.size else "no units"
        why = why if pairs.num_missing or not d.size else "one unit alone"
        finite = d[np.isfinite(d)]
        effect = float(finite.mean()) if finite.size else np.nan
        return Verdict(claim, "undecided", effect, np.nan, np.nan, d.size, why=why)
    evidence = _evidence(claim, pairs)
    if evidence is _t and _is_constant(d):
        if claim.test in _SAYS_NOTHING:
            why = _SAYS_NOTHING[claim.test]
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
        p=min(supports, refutes),
        equivalent=equivalent,
    )


def decides(claim: Claim, pairs: Pairs, *, level: float) -> bool:
    """Whether differences that vary decide a claim, either way, that stands alone."""
    return min(_p_values(claim, _evidence(claim, pairs)(pairs))) <= level


def _is_constant(d: Floats) -> bool:
    """Whether the differences are one number but for rounding."""
    return bool(np.ptp(d) <= 1e-9 * np.abs(d).max())


# Of differences that are all the same, by test. Only draws are each evidence of their own.
_SAYS_NOTHING = {
    "repeats": "all differ by the same, which is no more than one split says",
    "rows": "all differ by the same, which does not say how far others would",
}


def _decided(verdict: Verdict, p: float, pairs: Pairs, family: int, alpha: float) -> Verdict:
    if p <= alpha:
        return replace(verdict, p=float(p))
    more = _more_needed(verdict, pairs, family, alpha)
    return replace(
        verdict, word="undecided", p=float(p), more=more.datasets, more_splits=more.splits
    )


def _inside(claim: Claim, d: Floats) -> NDArray[np.bool_]:
    low, high = claim.region
    with np.errstate(invalid="ignore"):
        if claim.expect in ("higher", "lower"):
            return (d > low) & (d < high)
        return (d >= low) & (d <= high)


def _edges(claim: Claim) -> list[float]:
    return [end for end in claim.region if np.isfinite(end)]


def _p_values(claim: Claim, seen: _Evidence) -> tuple[float, float]:
    """p values against "outside the region" and against "inside it".

    Outside lies to both sides of a region of two ends, of which the nearer one counts. Inside may
    be left to either side, each of which is looked at.
    """
    low, high = claim.region
    outside, inside = [], []
    if np.isfinite(low):
        outside.append(seen.above(low))
        inside.append(seen.below(low))
    if np.isfinite(high):
        outside.append(seen.below(high))
        inside.append(seen.above(high))
    return max(outside), min(1.0, len(inside) * min(inside))


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
    total = float((pairs.differences + pairs.threshold).sum())
    return _of_hits(total, pairs.differences.size, pairs.threshold)


def _of_hits(total: float, count: int, at: float) -> _Evidence:
    """Exact binomial tails and Clopper and Pearson's interval of the share of hits, minus ``at``.

    Where units hold shares of hits their ``total`` is no whole number: it is rounded against what
    is tested. Such units vary less than 0 and 1 with the same mean would, so this errs to caution.
    """
    total = round(total, 6)  # sums of thirds and of differences
    fewest, most = int(np.floor(total)), int(np.ceil(total))
    low = stats.binomtest(fewest, count).proportion_ci(0.95).low
    high = stats.binomtest(most, count).proportion_ci(0.95).high

    def above(m: float) -> float:
        share = round(at + m, 12)  # no share is below 0, or above 1
        return 0.0 if share < 0 else float(stats.binom.sf(fewest - 1, count, min(share, 1)))

    def below(m: float) -> float:
        share = round(at + m, 12)
        return 0.0 if share > 1 else float(stats.binom.cdf(most, count, max(share, 0)))

    return _Evidence(total / count - at, low - at, high - at, above, below)


_EVIDENCE: dict[str, Callable[[Pairs], _Evidence]] = {
    "repeats": _t,
    "rows": _t,
    "draws": _t,
    "share": _binomial,
    "datasets": _signed_rank,
}


def _evidence(claim: Claim, pairs: Pairs) -> Callable[[Pairs], _Evidence]:
    """The test of a claim; of rows that are right or wrong, against a number, as of a share.

    Near 0 and 1 the spread of so few errors is underestimated, by which t decides too often.
    """
    if claim.test == "rows" and claim.than.value is not None and _are_hits(pairs):
        return _binomial
    return _EVIDENCE[claim.test]


def _are_hits(pairs: Pairs) -> bool:
    """Whether units lie in 0 .. 1, most at the ends: right or wrong, or the mean of a few such."""
    values = np.round(pairs.differences + pairs.threshold, 9)
    at_ends = (values == 0) | (values == 1)
    return bool(np.all((values >= 0) & (values <= 1)) and at_ends.mean() >= 0.5)


def _more_needed(verdict: Verdict, pairs: Pairs, family: int, alpha: float) -> statistics.More:
    """What to add until the effect seen would decide; nothing where none would, or nobody knows."""
    claim, d, level = verdict.claim, pairs.differences, alpha / family
    if d.size < statistics.FORECAST_FROM:
        return statistics.More()
    if _evidence(claim, pairs) is _binomial:
        return statistics.More(_more_trials(claim, pairs, level))
    if claim.test == "datasets":
        return statistics.more_needed(
            values=d,
            split_variance=pairs.split_variance,
            num_splits=pairs.num_splits,
            z_now=float(stats.norm.isf(verdict.p)),
            z_needed=float(stats.norm.isf(level)),
            smallest=int(np.ceil(-np.log2(level))),  # all on one side have a chance of 2^-n
        )
    more = statistics.more_seeds_needed(
        mean=min(abs(verdict.effect - edge) for edge in _edges(claim)),
        sd=float(d.std(ddof=1)),
        num_seeds=d.size,
        test_train_ratio=pairs.ratio,
        family_size=family,
        tails=1,
        alpha=alpha,
    )[0]
    return statistics.More(None if np.isnan(more) else max(int(more), 1))


def _more_trials(claim: Claim, pairs: Pairs, level: float) -> int | None:
    """Of 0 and 1, as many more with the same share of 1 as decide it, at the level Holm leaves."""
    d, at = pairs.differences, pairs.threshold
    share = float((d + at).mean())
    for count in np.unique(np.geomspace(d.size + 1, 1000 * d.size, 400).astype(int)):
        if min(_p_values(claim, _of_hits(round(share * count), int(count), at))) <= level:
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
    low, high = claim.region
    if claim.expect == "equal":
        return f"within \N{PLUS-MINUS SIGN}{number(high)}"
    return f"above {number(low + 0.0)}" if np.isfinite(low) else f"below {number(high + 0.0)}"


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
        text += f"; posterior of practically none {verdict.equivalent:.2f}"
    if claim.exploratory:
        text += "; exploratory"
    return text + (f"; {_what_decides(verdict)}" if verdict.word == "undecided" else "")


def _what_decides(verdict: Verdict) -> str:
    units = _UNITS[verdict.claim.test]
    if verdict.num_units < statistics.FORECAST_FROM:
        return f"from fewer than {statistics.FORECAST_FROM} {units} nobody can tell how many decide"
    if verdict.more_splits is not None:
        return f"about {verdict.more_splits} more splits of each of the {units} would decide it"
    if verdict.more is None:
        return f"no feasible number of {units} would decide an effect of this size"
    return f"about {verdict.more} more {units} would decide an effect of this size"
