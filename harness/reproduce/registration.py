"""Which claims stood when training began, and how likely they are to be decided.

A claim that is written once its runs are known can be made to fit them. So a sweep's folder keeps
what was claimed when the first of its runs was trained; what is claimed later is not judged on
these runs, unless it says that it is exploratory. A folder from before there were such records has
none: its claims are judged, and whether they came first is for the repository's history to say.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from harness.files import write_whole
from harness.reproduce.claims import Claim, Experiment, plain_values
from harness.reproduce.judging import Pairs, decides, region
from harness.reproduce.results import VERDICTS, read_json

RECORD = "claims.json"

SPREAD = 0.02
"""The standard deviation of paired differences that is assumed where no results are there yet:
typical of average precision and F1 between losses, on data sets as on splits of one."""

UNITS = 20
DRAWS = 200  # a power is then off by .035 at most, one standard error
_RATIOS = {"repeats": 0.25}  # of five folds; no other test has splits that share rows


def register(folder: Path, claims: Iterable[Claim]) -> None:
    """Keeps what is claimed in a sweep's folder, where it holds neither runs nor such a record."""
    path = folder / RECORD
    if path.exists() or (folder / "shards").exists():
        return
    meanings = {claim.name: _meaning(claim) for claim in claims}
    kept = {"registered": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "claims": meanings}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(kept, indent=1) + "\n").encode())


def newer(folders: Iterable[Path], claims: Iterable[Claim]) -> dict[str, str]:
    """The claims that are not to be judged on the runs of ``folders``, with the reason.

    Exact claims always are: no run can be chosen to suit them. So are those marked exploratory.
    """
    records = [record for folder in folders if (record := _record(folder)) is not None]
    found = {}
    for claim in claims:
        if claim.test == "exact" or claim.exploratory:
            continue
        for record in records:
            if record["claims"].get(claim.name) != _meaning(claim):
                is_known = claim.name in record["claims"]
                found[claim.name] = (
                    f"{'changed' if is_known else 'written'} after its runs were begun "
                    f"({record['registered']}): mark it exploratory: true, or train anew"
                )
    return found


def registered(folders: Iterable[Path]) -> str:
    """When an experiment's claims were registered, by its folders: dates, `unknown`, or none."""
    dates = {record["registered"] if (record := _record(one)) else "unknown" for one in folders}
    return "; ".join(sorted(dates)) or "nothing was trained"


def _record(folder: Path) -> Mapping[str, Any] | None:
    """What was kept in a folder; None where nothing was, or what is there says nothing."""
    try:
        kept = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(kept, dict) and isinstance(kept.get("claims"), dict)
    return kept if whole and isinstance(kept.get("registered"), str) else None


def _meaning(claim: Claim) -> str:
    """A hash of all that a claim's verdict follows from; its words and source may be mended."""
    asked = plain_values(replace(claim, says="", source=""))
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Power:
    """How often a claim would be decided, and from what that follows."""

    share: float
    assumed: str


def power(
    claim: Claim, claims: Sequence[Claim], last: Mapping[str, Any], *, alpha: float
) -> Power | None:
    """By simulation; None of exact claims, which know no chance.

    Drawn are differences of as many units, with the effect and the spread, as the ``last`` results
    have (a claim of `verdicts.json`; empty where there are none), and judged at the strictest step
    of Holm's correction over the claim's family. Of an equality it is that of showing it where
    there is no difference at all. Without results the units are UNITS, their spread is SPREAD, and
    what is claimed is true by another SPREAD.
    """
    if claim.test == "exact":
        return None
    same = [one for one in claims if one.test != "exact" and one.family == claim.family]
    size = len([one for one in same if one.exploratory == claim.exploratory])
    count = int(last.get("units") or UNITS)
    error = _standard_error(claim, last, count)
    effect = 0.0 if claim.expect == "equal" else last.get("effect")
    if error is None or effect is None:
        inside = SPREAD if np.isfinite(claim.region[0]) else -SPREAD
        edge = next(end for end in claim.region if np.isfinite(end))
        effect = 0.0 if claim.expect == "equal" else edge + inside
        error, assumed = SPREAD * np.sqrt(1 / count + _RATIOS.get(claim.test, 0.0)), "assumed"
    else:
        assumed = "as last seen"
    drawn = _drawn(claim, count, float(effect), error)
    share = float(np.mean([decides(claim, one, level=alpha / size) for one in drawn]))
    return Power(
        share, f"effect {effect:.2g} \N{PLUS-MINUS SIGN}{error:.2g}, {count} units, {assumed}"
    )


def _standard_error(claim: Claim, last: Mapping[str, Any], count: int) -> float | None:
    """Of the effect, from its 95% interval; None where there is none."""
    low, high = last.get("low"), last.get("high")
    if count < 2 or low is None or high is None:
        return None
    quantile = stats.norm if claim.test in ("datasets", "share") else stats.t(count - 1)
    return float((high - low) / 2 / quantile.isf(0.025)) or None


def _drawn(claim: Claim, count: int, effect: float, error: float) -> Iterator[Pairs]:
    """What might be observed."""
    rng = np.random.default_rng(0)
    at, ratio = claim.than.value or 0.0, _RATIOS.get(claim.test, 0.0)
    spread = error / np.sqrt(1 / count + ratio)
    for _ in range(DRAWS):
        if claim.test == "share":
            hits = rng.binomial(1, np.clip(at + effect, 0, 1), count)
            yield Pairs(np.asarray(hits - at, np.float64), threshold=at)
        else:  # splits of one data set share a part of their noise
            noise = rng.standard_normal(count) + np.sqrt(ratio) * rng.standard_normal()
            yield Pairs(effect + spread * noise, ratio)


def plan(experiment: Experiment, results: Path) -> list[str]:
    """What is claimed and how likely it is to be decided, a line a claim, before it is trained.

    Args:
        results: the folder of this experiment's last results, if there are any.
    """
    last = {one["name"]: one for one in read_json(results / VERDICTS).get("claims", [])}
    lines = []
    for claim in experiment.claims:
        found = power(claim, experiment.claims, last.get(claim.name, {}), alpha=experiment.alpha)
        family = "exploratory" if claim.exploratory else claim.family
        where = f"{claim.test}{f', {family}' if family else ''}: {region(claim)}"
        told = "" if found is None else f"; power {found.share:.2f} ({found.assumed})"
        lines.append(f"{claim.name} ({where}){told}")
    return lines
