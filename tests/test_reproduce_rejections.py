"""Derived quantities and tables of `harness reproduce`, on rows whose answer is plain."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from harness.analyze import load
from harness.analyze.runs import Runs
from harness.errors import UserError
from harness.record.schema import Columns
from harness.reproduce.computed import rejections
from harness.reproduce.quantities import Rows, error_beyond, share_within, steps_to
from tests.fabricated import Sweep, fabricate

GIVEN = {"by": "unit", "arm": "arm", "pair": "seed", "metric": "score", "where": "sweep = main"}


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
    found = rejections(Path(), Rows(runs), tests=["repeats", "draws"], **GIVEN).sort("test", "unit")
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
    found = rejections(Path(), Rows(sweeps(gap)), tests=["repeats"], **GIVEN)
    assert set(found["rejects"]) == {1.0} and set(found["favours"]) == {favours}


def test_rejections_of_many_arms_are_one_family():
    """Of four comparisons the smallest p counts four times."""
    runs = sweeps(0.0, arms=("a", "b", "c", "d", "e"))
    family = rejections(Path(), Rows(runs), tests=["draws"], **GIVEN).sort("unit")
    pairs = [runs.filter(pl.col("arm").is_in(["a", other])) for other in "bcde"]
    alone = [
        rejections(Path(), Rows(pair), tests=["draws"], **GIVEN).sort("unit") for pair in pairs
    ]
    smallest = np.min([one["p"] for one in alone], axis=0)
    np.testing.assert_allclose(family["p"], np.minimum(1, 4 * smallest))
    assert family["rejects"].to_list() == (4 * smallest <= 0.05).tolist()


def test_rejections_of_each_arm_at_a_rate_of_its_own():
    runs = sweeps(0.0)
    rates = pl.concat([runs.with_columns(rate=pl.lit(rate)) for rate in (1, 2)])
    given = GIVEN | {"where": "arm = a and rate = 1 or arm = b and rate = 2"}
    found, alone = (
        rejections(Path(), Rows(rows), tests=["repeats"], **which)
        for rows, which in ((rates, given), (runs, GIVEN))
    )
    assert found.equals(alone)


def test_rejections_need_two_arms():
    with pytest.raises(UserError, match="arm needs two values"):
        rejections(Path(), Rows(sweeps(0.0, arms=("a",))), tests=["repeats"], **GIVEN)


def test_steps_to_of_a_run_that_two_sweeps_hold(tmp_path):
    stores = [load(fabricate(tmp_path / name, Sweep(seeds=(0, 1)))) for name in ("one", "two")]
    twice = pl.concat([store.runs for store in stores])
    curve = stores[0].history.filter(run_id=twice["run_id"][0]).collect().sort("epoch")
    target = curve["validation/log_loss"][2]
    found = steps_to(Rows(twice, tuple(stores)), column="validation/log_loss", target=target)
    first = curve.filter(pl.col("validation/log_loss") <= target)["step"][0]
    assert found.len() == twice.height and found[0] == first
    never = steps_to(Rows(twice, tuple(stores)), column="validation/log_loss", target=0.0)
    assert set(never) == {100.0}


@pytest.fixture
def two_runs():
    """Probabilities .1, .45, .52, .9 of run a and .5, .5, .5, .5 of b; calibrated ones are a's."""
    p = {"a": [0.1, 0.45, 0.52, 0.9], "b": [0.5] * 4}
    predictions = pl.DataFrame(
        {
            "run_id": ["a", "b"],
            "shard": "s",
            "split": "test",
            "rows": [[0, 1, 2, 3]] * 2,
            "logits": [np.log(q) - np.log1p(-np.array(q)) for q in p.values()],
            "calibrated_logits": [np.log(p["a"]) - np.log1p(-np.array(p["a"]))] * 2,
            "labels": [[0, 1, 1, 0]] * 2,
        }
    )
    table = pl.DataFrame({"run_id": ["b", "a"], "shard": "s", "threshold": [0.9, 0.2]})
    runs = Runs("toy", table, pl.LazyFrame(), (predictions.lazy(),), Columns())
    return Rows(table, (runs,))


def test_shares_near_a_number_or_a_column(two_runs):
    assert share_within(two_runs, distance=0.06, of=0.5).to_list() == [1.0, 0.5]
    assert share_within(two_runs, distance=0.11).to_list() == [0.0, 0.25]
    calibrated = share_within(two_runs, distance=0.06, of=0.5, scores="calibrated_logits")
    assert calibrated.to_list() == [0.5, 0.5]


def test_errors_of_rows_clear_of_the_cut(two_runs):
    """Of a, .1 is right and .9 wrong beyond .06, .45 is wrong beyond .04; b is never clear."""
    assert error_beyond(two_runs, distance=0.06, of=0.5).to_list() == [None, 0.5]
    assert error_beyond(two_runs, distance=0.04, of=0.5).to_list() == [None, pytest.approx(2 / 3)]
    cut_at_threshold = error_beyond(two_runs, distance=0.05).to_list()
    assert cut_at_threshold == [0.5, 0.25]
