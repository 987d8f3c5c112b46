"""Derived quantities and tables of `harness reproduce`, on rows whose answer is plain."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from harness.errors import UserError
from harness.reproduce.computed import rejections

GIVEN = {"by": "unit", "arm": "arm", "pair": "seed", "metric": "score", "sweep": "main"}


def sweeps(gap, *, units=6, seeds=8, arms=("a", "b")):
    """Rows of small sweeps in which each arm scores ``gap`` more than the one before."""
    rng = np.random.default_rng(0)
    keys = [(u, a, s) for u in range(units) for a in range(len(arms)) for s in range(seeds)]
    return pl.DataFrame(
        {
            "sweep": "main",
            "unit": [u for u, _, _ in keys],
            "arm": [arms[a] for _, a, _ in keys],
            "seed": [s for _, _, s in keys],
            "score": [gap * a + rng.normal() for _, a, _ in keys],
            "num_test": 20,
            "num_train": 60,
        }
    ).sample(fraction=1.0, shuffle=True, seed=1)


def differences(runs, unit):
    first, second = (
        runs.filter((pl.col("unit") == unit) & (pl.col("arm") == arm)).sort("seed")["score"]
        for arm in ("a", "b")
    )
    return (second - first).to_numpy()


def test_rejections_are_the_verdicts_of_each_sweep():
    runs = sweeps(0.0)
    found = rejections(Path(), runs, tests=["repeats", "draws"], **GIVEN).sort("test", "unit")
    d = differences(runs, 2)
    plain = stats.ttest_1samp(d, 0.0)
    draws, repeats = (found.filter(test=name, unit=2).row(0, named=True) for name in
                      ("draws", "repeats"))  # fmt: skip
    assert draws["p"] == pytest.approx(plain.pvalue)
    shrunk = plain.statistic * np.sqrt((1 / 8) / (1 / 8 + 20 / 60))
    assert repeats["p"] == pytest.approx(2 * stats.t.sf(abs(shrunk), 7))
    assert draws["difference"] == pytest.approx(d.mean())
    ranked = found.filter(test="draws").sort("p")
    assert ranked["share_below"].to_list() == pytest.approx(np.arange(1, 7) / 6)


@pytest.mark.parametrize(("gap", "favours"), [(5.0, 1.0), (-5.0, 0.0)])
def test_rejections_say_which_side_they_favour(gap, favours):
    found = rejections(Path(), sweeps(gap), tests=["repeats"], **GIVEN)
    assert set(found["rejects"]) == {1.0} and set(found["favours"]) == {favours}


def test_rejections_of_many_arms_are_one_family():
    """Of four comparisons the smallest p counts four times."""
    runs = sweeps(0.0, arms=("a", "b", "c", "d", "e"))
    family = rejections(Path(), runs, tests=["draws"], **GIVEN).sort("unit")
    pairs = [runs.filter(pl.col("arm").is_in(["a", other])) for other in "bcde"]
    alone = [rejections(Path(), pair, tests=["draws"], **GIVEN).sort("unit") for pair in pairs]
    smallest = np.min([one["p"] for one in alone], axis=0)
    np.testing.assert_allclose(family["p"], np.minimum(1, 4 * smallest))
    assert family["rejects"].to_list() == (4 * smallest <= 0.05).tolist()


def test_rejections_need_two_arms():
    with pytest.raises(UserError, match="arm needs two values"):
        rejections(Path(), sweeps(0.0, arms=("a",)), tests=["repeats"], **GIVEN)
