"""Which metrics there are, what to call them, and which one makes the headline."""

from collections.abc import Sequence

import polars as pl

from harness.analyze.keys import suggestion
from harness.analyze.metrics import LEADERBOARD, sign, title
from harness.errors import UserError

VERSIONS = {
    "corrected": "after prior correction",
    "temperature": "after temperature scaling",
    "platt": "after Platt scaling",
    "isotonic": "after isotonic regression",
    "beta": "after beta calibration",
}
"""Scores other than the raw ones, as they stand in a column's name: `test/platt/log_loss`."""


def test_metrics(runs: pl.DataFrame) -> list[str]:
    """Every numeric test metric of these runs, those of LEADERBOARD first.

    >>> test_metrics(pl.DataFrame({"test/zeta": [1.0], "test/auroc": [0.5], "test/note": ["a"]}))
    ['auroc', 'zeta']
    """
    found = {c.removeprefix("test/"): t for c, t in runs.schema.items() if c.startswith("test/")}
    numeric = sorted(m for m, dtype in found.items() if dtype.is_numeric())
    return [m for m in LEADERBOARD if m in numeric] + [m for m in numeric if m not in LEADERBOARD]


def asked_metrics(asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """The metrics asked for, by their names with or without `test/`; by default the leaderboard's.

    Raises:
        UserError: no run has such a test score.
    """
    names = [name.removeprefix("test/") for name in asked]
    for name in names:
        if name not in known:
            hint = suggestion(name, known) or f"; there are {', '.join(known)}"
            raise UserError(f"--metric {name}: no run has the column test/{name}{hint}")
    return names or [m for m in LEADERBOARD if m in known] or list(known)


def heading(metric: str) -> str:
    """A metric in prose, with the version of the scores it was measured on.

    >>> heading("platt/log_loss"), heading("auroc")
    ('log loss after Platt scaling', 'AUROC')
    """
    version, _, name = metric.rpartition("/")
    return f"{title(name)} {VERSIONS.get(version, f'({version})')}" if version else title(metric)


def direction(metric: str) -> str:
    return "higher is better" if sign(metric) > 0 else "lower is better"
