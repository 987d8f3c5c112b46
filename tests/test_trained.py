"""Whether what is compared was trained, on small cases and on folders that the recorder wrote."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from harness.analyze import Question, analyze, answer, groups, load, trained
from harness.analyze.question import Analysis
from harness.interface.answers import Answer
from harness.reproduce import judging
from tests.fabricated import Sweep, fabricate, quiet
from tests.test_analyze import candidates
from tests.test_reproduce import claim

RATE = "optimizer.learning_rate"


def tuned(values: dict[float, list[float]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Runs by learning rate with a validation score a seed, and those of them that are chosen."""
    table = candidates({str(rate): scores for rate, scores in values.items()})
    table = table.with_columns(
        pl.col("tuning").cast(pl.Float64).alias(RATE),
        run_id=pl.col("tuning") + pl.col("replicate"),
        shard=pl.lit("s"),
    )
    return table, groups.chosen_runs(table, metric="validation/auroc")


def test_each_split_chooses_by_its_own_validation_part():
    _, chosen = tuned({0.1: [0.9, 0.6, 0.7], 0.2: [0.8, 0.9, 0.7], 0.3: [0.1, 0.1, 0.1]})
    picked = dict(chosen.select("replicate", RATE).iter_rows())
    # On average .2 is best, which decides where a seed's scores are equal.
    assert picked == {"seed=0": 0.1, "seed=1": 0.2, "seed=2": 0.2}
    _, other = tuned({0.1: [0.9, 0.99, 0.99], 0.2: [0.8, 0.1, 0.1], 0.3: [0.1, 0.2, 0.2]})
    assert dict(other.select("replicate", RATE).iter_rows())["seed=0"] == 0.1


def test_a_diverged_run_is_not_chosen_and_added_seeds_take_the_groups_choice():
    _, chosen = tuned({0.1: [float("nan"), 0.9, 0.9], 0.2: [0.5, 0.5], 0.3: [float("nan"), 0.1]})
    picked = dict(chosen.select("replicate", RATE).iter_rows())
    assert picked == {"seed=0": 0.2, "seed=1": 0.1, "seed=2": 0.1}


@pytest.mark.parametrize(
    ("grid", "best", "ends"),
    [
        ((0.1, 0.2, 0.3), 0.2, 0),
        ((0.1, 0.2, 0.3), 0.3, 4),
        ((0.1, 0.2, 0.3), 0.1, 4),
        ((0.0, 0.2, 0.3), 0.0, 0),  # nothing lies below 0
        ((0.1, 0.2), 0.1, 4),
    ],
)
def test_choices_at_an_end_are_counted(grid, best, ends):
    table, chosen = tuned({rate: [0.9 if rate == best else 0.5] * 4 for rate in grid})
    found = trained.choices(table, chosen, keys=[RATE], tuned=("optimizer.",))
    (said,) = trained.at_ends(found)
    assert said.sentence == f"{ends} of 4 choices at an end of the grid of {RATE}"
    assert said.is_beyond == (ends > 0)


def test_a_fifth_of_the_choices_may_lie_at_an_end_and_one_value_is_no_choice():
    scores = {0.1: [0.9] + [0.5] * 4, 0.2: [0.6] * 5, 0.3: [0.1] * 5}
    table, chosen = tuned(scores)
    found = trained.choices(table, chosen, keys=[RATE], tuned=("optimizer.",))
    assert trained.at_ends(found) == [
        trained.Finding(f"1 of 5 choices at an end of the grid of {RATE}", False)
    ]
    table, chosen = tuned({0.1: [0.9, 0.9]})
    none = trained.choices(table, chosen, keys=[RATE], tuned=("optimizer.",))
    assert none.is_empty() and trained.at_ends(none) == []


@pytest.mark.parametrize(
    ("curve", "falls"),
    [
        ([1.0, 0.5, 0.4, 0.3, 0.289], True),
        ([1.0, 0.5, 0.4, 0.3, 0.291], False),
        ([1.0, 0.2, 0.4, 0.3, 0.21], False),  # overfits
        ([1.0, float("nan"), 0.5, 0.4, 0.3, 0.2], True),
        ([1.0, 0.5, 0.4, 0.1], None),  # too few epochs to tell
    ],
)
@pytest.mark.parametrize("stride", [1, 20])
def test_a_curve_that_still_falls(curve, falls, stride):
    epochs = np.arange(1, len(curve) + 1) * stride
    history = pl.DataFrame({"run_id": "a", "shard": "s", "epoch": epochs, "validation/loss": curve})
    runs = pl.DataFrame({"run_id": ["a"], "shard": ["s"]})
    found = trained.still_falling(history.lazy(), runs)
    assert found["falls"].to_list() == ([] if falls is None else [falls])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three learning rates, of which the lowest is best, and a posterior that one run misses."""
    excess = iter([0.5] + [0.01] * 100)

    def known(record):
        return dataclasses.replace(record, facts={**record.facts, "posterior_excess": next(excess)})

    sweep = Sweep(seeds=range(4), num_rows=200, learning_rates=(1e-3, 1e-2, 3e-2), num_epochs=30)
    return fabricate(tmp_path_factory.mktemp("trained") / "s", sweep, changed=known)


def test_a_report_and_the_terminal_say_what_is_not_trained(folder):
    found: Analysis = answer(load(folder), Question())
    ends, *others = found.trained
    assert ends.is_beyond and f"of 8 choices at an end of the grid of {RATE}" in ends.sentence
    assert any("of 8 runs end more than 2% above" in one.sentence for one in others)
    console = quiet()
    page = analyze(folder, console=console).read_text()
    assert f'untrained">Trained? {ends.sentence}.' in page
    assert ends.sentence in console.file.getvalue()
    in_python = Answer(found)
    assert ends.sentence in str(in_python) and ends.sentence in in_python._repr_html_()


def test_a_claim_about_untrained_runs_is_not_judged_and_stays_in_its_family():
    differences = np.linspace(0.4, 0.6, 12)
    pairs = judging.Pairs(differences, withheld="9 of 12 choices at an end of the grid of x")
    refused, judged = judging.judge(
        [claim(), claim()], [pairs, judging.Pairs(differences)], alpha=0.05
    )
    assert refused.word == "not judged" and refused.p is None
    assert judging.finding(refused).startswith("9 of 12 choices at an end")
    (alone,) = judging.judge([claim()], [judging.Pairs(differences)], alpha=0.05)
    assert judged.p == pytest.approx(2 * alone.p)


def test_a_plan_says_which_grids_cannot_tell_an_end_from_a_best_value(harness):
    swept = ["loss=bce,focal", "optimizer.learning_rate=1e-3,1e-2", "schedule=constant,step"]
    said = harness("plan", "-m", "model=logistic", *swept, "training.num_epochs=4,10,20").out
    assert f"{RATE} has two values" in said and said.count("two values") == 1
    assert "8 of 24 jobs look at validation fewer than 5 times" in said
    # One rate for each optimizer is no grid.
    jobs = [
        {
            "loss": {"name": "bce"},
            "optimizer": {"name": name, "learning_rate": rate},
            "schedule": {},
            "training": {"num_epochs": 10},
            "evaluation": {"curve_points": points},
        }
        for name, rate, points in (("adam", 1e-3, None), ("sgd", 0.1, 5))
    ]
    assert trained.beforehand(jobs) == []
    jobs[0]["evaluation"]["curve_points"] = 2
    (short,) = trained.beforehand(jobs)
    assert "1 of 2 jobs look at validation fewer than 5 times" in str(short)
