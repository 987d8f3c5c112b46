"""Which metrics there are, what to call them, and which one makes the headline."""

from collections.abc import Sequence

import polars as pl

from harness.analyze.keys import suggestion
from harness.analyze.metrics import LEADERBOARD, compared_sign, target, title
from harness.errors import UserError


def test_metrics(runs: pl.DataFrame) -> list[str]:
    """Every numeric test metric of these runs: LEADERBOARD's, of raw scores, of mended scores.

    A metric's own interval (`auroc_low`) is none.

    >>> names = ["zeta", "platt/brier", "auroc", "auroc_low"]
    >>> test_metrics(pl.DataFrame({f"test/{name}": [0.5] for name in names}))
    ['auroc', 'zeta', 'platt/brier']
    """
    found = {c.removeprefix("test/"): t for c, t in runs.schema.items() if c.startswith("test/")}
    numeric = {m for m, dtype in found.items() if dtype.is_numeric()}
    ends = {f"{m}{end}" for m in numeric for end in ("_low", "_high")}
    others = sorted(numeric - ends - set(LEADERBOARD), key=lambda m: ("/" in m, m))
    return [m for m in LEADERBOARD if m in numeric] + others


def asked_metrics(asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """The metrics asked for, by their names with or without `test/`; by default the leaderboard's.

    Raises:
        UserError: no run has such a test score.
    """
    names = [name.removeprefix("test/") for name in asked]
    for name in names:
        if name not in known:
            hint = suggestion(name, known) or f"; runs.csv has all, such as {', '.join(known[:7])}"
            raise UserError(f"--metric {name}: no run has the column test/{name}{hint}")
    return names or [m for m in LEADERBOARD if m in known] or list(known)


def heading(metric: str) -> str:
    """A metric in prose, with the version of the scores it was measured on.

    >>> heading("platt/log_loss"), heading("auroc")
    ('log loss after Platt scaling', 'AUROC')
    """
    return title(metric)


def compared_heading(metric: str) -> str:
    """What of a metric is compared, in prose.

    >>> compared_heading("auroc"), compared_heading("platt/calibration_slope")
    ('AUROC', 'distance of calibration slope after Platt scaling from 1')
    """
    best = target(metric)
    return heading(metric) if best is None else f"distance of {heading(metric)} from {best:g}"


def direction(metric: str) -> str:
    """
    >>> direction("auroc"), direction("calibration_slope"), direction("flagged@0.5")
    ('higher is better', 'nearest to 1 is best', 'neither high nor low is better')
    """
    if (best := target(metric)) is not None:
        return f"nearest to {best:g} is best"
    words = {1: "higher is better", -1: "lower is better", 0: "neither high nor low is better"}
    return words[compared_sign(metric)]
