"""What was claimed before there were runs, and how likely it is to be decided."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harness.reproduce import judging, registration
from harness.reproduce.judging import Pairs, judge
from tests.test_reproduce import claim, fabricated, of_losses


def test_what_is_claimed_after_training_began_is_not_judged_unless_it_says_so(tmp_path):
    first, second = claim("equal", 0.1, name="one"), claim(name="two")
    folder = tmp_path / "sweep"
    registration.register(folder, [first, second])
    assert registration.newer([folder], [replace(first, says="In other words."), second]) == {}
    (folder / "shards").mkdir()
    changed, added = replace(first, by=0.2), claim(name="three")
    registration.register(folder, [changed, second, added])  # too late
    found = registration.newer([folder], [changed, second, added])
    assert found.keys() == {"one", "three"}
    assert "changed after its runs were begun" in found["one"]
    assert "written after its runs were begun" in found["three"]
    assert "exploratory: true" in found["three"]
    explored = replace(added, exploratory=True)
    anchor = claim("equal", 1e-6, "exact", name="four")
    assert registration.newer([folder], [explored, anchor]) == {}


def test_what_was_exploratory_as_training_began_does_not_become_more_of_it(tmp_path):
    registration.register(tmp_path, [replace(claim(), exploratory=True)])
    assert registration.newer([tmp_path], [replace(claim(), exploratory=True)]) == {}
    assert "changed after" in registration.newer([tmp_path], [claim()])["one"]


@pytest.mark.parametrize("record", [None, "{", "[]", '{"claims": 3}'])
def test_runs_without_a_record_are_judged_and_said_to_be_unregistered(tmp_path, record):
    (tmp_path / "shards").mkdir()
    if record is not None:
        (tmp_path / registration.RECORD).write_text(record)
    registration.register(tmp_path, [claim()])
    assert registration.newer([tmp_path], [claim()]) == {}
    assert registration.registered([tmp_path]) == "unknown"


def test_a_reproduction_refuses_a_claim_made_to_fit_its_runs(tmp_path, monkeypatch):
    """Found after the first results, it is judged once it says that it is exploratory."""

    def reproduced(*more):
        claims = of_losses() | {"claims": [*of_losses()["claims"], *more]}
        shutil.rmtree(tmp_path / "experiments", ignore_errors=True)
        return fabricated(tmp_path, claims, {"bce": 0.0, "focal": 2.0}, monkeypatch)

    seen = {**of_losses()["claims"][0], "name": "seen-afterwards", "by": 0.01}
    (before,) = reproduced().verdicts
    assert before.word == "supported"
    kept, refused = reproduced(seen).verdicts
    assert kept.word == "supported" and refused.word == "not judged"
    assert "written after its runs were begun" in judging.finding(refused)
    _, explored = reproduced(seen | {"exploratory": True}).verdicts
    assert explored.word == "supported" and "exploratory" in judging.finding(explored)
    results = tmp_path / "results" / "made"
    assert "UTC" in json.loads((results / "provenance.json").read_text())["claims_registered"]


def test_exploratory_claims_are_a_family_by_themselves():
    d = np.random.default_rng(2).normal(0.0, 1.0, 20)
    d += 0.42 - d.mean()  # p is about .04
    seen = [Pairs(d)] * 3
    claims = [claim(name=name) for name in ("one", "two", "three")]
    assert {verdict.word for verdict in judge(claims, seen, alpha=0.05)} == {"undecided"}
    looked = [replace(one, exploratory=True) for one in claims]
    assert {verdict.word for verdict in judge(looked, seen, alpha=0.05)} == {"supported"}
    apart = [replace(one, family=one.name) for one in claims]
    assert {verdict.word for verdict in judge(apart, seen, alpha=0.05)} == {"supported"}


@pytest.mark.parametrize("others", [0, 3])
def test_power_is_that_of_the_t_test(others):
    """From an effect of .5 and a standard deviation of 1 in 20 draws."""
    half = stats.t.isf(0.025, 19) / np.sqrt(20)
    last = {"units": 20, "effect": 0.5, "low": 0.5 - half, "high": 0.5 + half}
    claims = [claim(name=f"c{i}") for i in range(1 + others)]
    found = registration.power(claims[0], claims, last, alpha=0.05)
    critical = stats.t.isf(0.05 / (1 + others), 19)
    exact = stats.nct.sf(critical, 19, 0.5 * np.sqrt(20))
    assert found is not None and found.share == pytest.approx(exact, abs=0.1)
    assert "as last seen" in found.assumed


@pytest.mark.parametrize("test", ["draws", "repeats", "datasets", "share"])
@pytest.mark.parametrize("expect", ["higher", "equal", "not_lower"])
def test_every_test_has_a_power_before_there_are_results(test, expect):
    one = claim(expect, 0.02, test, than=0.5)
    found = registration.power(one, [one], {}, alpha=0.05)
    assert found is not None and 0 <= found.share <= 1 and found.assumed.endswith("assumed")
    if test == "share":  # 20 trials of 0 and 1 tell little
        assert found.share < 0.5


def test_a_plan_trains_nothing(harness, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = harness("reproduce", "imbalance-trap", "--plan")
    assert "power" in said.out
    assert not (tmp_path / "runs").exists() and not (tmp_path / "results").exists()
