"""The answer in words: what is named best, what is the same, what is noise, and what cost asks."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analyze import Question, analyze, answer, export, load, wording
from harness.analyze.question import Analysis
from harness.record.schema import Record
from tests.fabricated import Sweep, fabricate, quiet


def with_values(
    values: Callable[[Record], Mapping[str, float]], **facts: Any
) -> Callable[[Record], Record]:
    """A change of records: other metrics, and facts."""

    def changed(record: Record) -> Record:
        metrics = {**record.metrics, **values(record)}
        return replace(record, metrics=metrics, facts={**record.facts, **facts})

    return changed


def by_loss(metric: str, **scores: float) -> Callable[[Record], Record]:
    """Validation scores by loss, and test scores of which nothing is shown."""

    def values(record: Record) -> Mapping[str, float]:
        noise = np.random.default_rng(int(record.run_id[:8], 16)).normal(0, 0.1)
        score = scores[record.config["loss"]["name"]]
        return {f"validation/{metric}": score, f"test/{metric}": 0.5 + noise}

    return with_values(values)


def asked(folder: Path, **question: Any) -> Analysis:
    return answer(load(folder), Question(**question))


def sentence(folder: Path, **question: Any) -> str:
    (row,) = wording.answers(asked(folder, **question))
    return str(row["sentence"])


LOSSES = {"bce": 0.0, "brier": 0.0, "focal": 0.0}


@pytest.mark.parametrize(
    ("metric", "scores", "said"),
    [
        ("auroc", {"bce": 0.9, "brier": 0.7, "focal": 0.8}, "Best on validation: bce. The best"),
        ("auroc", {"bce": 0.7, "brier": 0.9, "focal": 0.8}, "Best on validation: brier, "),
        ("log_loss", {"bce": 0.2, "brier": 0.4, "focal": 0.3}, "Best on validation: bce. The best"),
        ("log_loss", {"bce": 0.4, "brier": 0.3, "focal": 0.2}, "Best on validation: focal, "),
    ],
)
def test_the_best_on_validation_is(tmp_path, metric, scores, said):
    folder = fabricate(
        tmp_path / "s", Sweep(LOSSES, seeds=range(5)), changed=by_loss(metric, **scores)
    )
    found = sentence(folder, metrics=(metric,))
    assert said in found and "is shown to beat bce" in found
    if "The best" in said:
        assert "The best of those undecided: focal, " in found


def test_nothing_is_called_best_by_a_metric_that_validation_lacks(tmp_path):
    def values(record: Record) -> Mapping[str, float]:
        slope = 1 + np.random.default_rng(int(record.run_id[:8], 16)).normal(0, 0.1)
        return {"test/calibration_slope": slope}

    folder = fabricate(tmp_path / "s", Sweep(LOSSES), changed=with_values(values))
    found = sentence(folder, metrics=("calibration_slope",))
    assert "Best on validation" not in found and "Least undecided: " in found


def test_two_equal_differences_decide_nothing(tmp_path):
    """.91 and .92 less .90 and .91 are .01 each but for rounding: t would be some 10^14."""

    def values(record: Record) -> Mapping[str, float]:
        gain = 0.01 if record.config["loss"]["name"] == "focal" else 0.0
        return {"test/auroc": 0.9 + gain + record.config["seed"] / 100}

    folder = fabricate(tmp_path / "s", Sweep(seeds=(0, 1)), changed=with_values(values))
    analysis = asked(folder, metrics=("auroc",))
    row = analysis.differences.filter(metric="auroc").row(0, named=True)
    assert row["difference"] == pytest.approx(0.01) and row["verdict"] == "undecided"
    empty = ("low", "high", "p_value", "p_adjusted", "p_same", "p_better", "p_equivalent")
    assert [row[name] for name in empty] == [None] * len(empty)
    assert "all 2 differences are the same" in wording.verdict(row)


def test_two_data_sets_foretell_nothing(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep(datasets=("a", "b"), seeds=range(3), num_rows=60))
    analysis = asked(folder)
    assert analysis.datasets["more_datasets"].null_count() == analysis.datasets.height
    assert analysis.differences["more_seeds"].null_count() == analysis.differences.height
    (row,) = analysis.datasets.filter(metric="average_precision").to_dicts()
    assert "from 2 data sets nobody can tell" in wording.verdict(row)


def test_a_loss_shown_to_differ_by_less_than_the_margin_is_the_same(tmp_path):
    """On each data set and over them; a wider margin makes no other difference."""
    names = list("abcdef")
    sweep = Sweep({"bce": 0.0, "focal": 0.0}, datasets=names, num_rows=200, noise=0.01)
    folder = fabricate(tmp_path / "s", sweep)
    narrow, wide = (asked(folder, rope=rope) for rope in (1e-9, 0.3))
    for table in (narrow.differences, narrow.datasets):
        assert "same" not in set(table.filter(metric="average_precision")["verdict"])
    headline = wide.differences.filter(metric="average_precision")
    assert set(headline["verdict"]) == {"same"}
    assert headline["p_same"].max() <= 0.05
    # The rope is in the headline's unit: F1 has a margin of its own, a nat has none.
    for metric, has_margin in {"f1@tuned": True, "log_loss": False}.items():
        others = [run.differences.filter(metric=metric)["p_same"] for run in (narrow, wide)]
        assert others[0].equals(others[1]) and others[0].null_count() == 6 * (not has_margin)
    assert wide.datasets.filter(metric="average_precision")["verdict"].to_list() == ["same"]
    overall = wording.overall(wide)
    assert overall and "The same as bce within ±0.3: focal" in overall["sentence"]
    assert "The same as bce within ±0.3: focal" in wording.answers(wide)[0]["sentence"]


def test_intervals_end_where_the_metric_does(tmp_path):
    def values(record: Record) -> Mapping[str, float]:
        ends = {"bce": (0.99, 0.2), "focal": (0.01, 0.9)}[record.config["loss"]["name"]]
        return {"test/f1@0.5": ends[record.config["seed"]], "test/log_loss": ends[0]}

    folder = fabricate(tmp_path / "s", Sweep(seeds=(0, 1)), changed=with_values(values))
    analysis = asked(folder, metrics=("f1@0.5", "log_loss", "auroc"))
    assert analysis.board["f1@0.5_low"].to_list() == [0, 0]
    assert analysis.board["f1@0.5_high"].to_list() == [1, 1]
    assert analysis.board["log_loss_high"].to_list() == [None, None]  # without any spread
    row = analysis.differences.filter(metric="f1@0.5").row(0, named=True)
    assert (row["low"], row["high"]) == (-1, 1)
    cells = export.leaderboard_table(analysis, ["f1@0.5", "log_loss"]).rows[0][-2:]
    assert cells[0].endswith("(0.000 to 1.000)") and "(" not in cells[1]


PAIRWISE = {"bce": 0.0, "pairwise_hinge": 0.0}


def pairwise(record: Record) -> Record:
    is_pairwise = record.config["loss"]["name"] == "pairwise_hinge"
    of_test = {"platt/log_loss": 0.3, "log_loss_low": 0.2, "corrected/brier": 0.2}
    metrics = {**record.metrics, **{f"test/{name}": value for name, value in of_test.items()}}
    facts = {**record.facts, "shift_invariant": is_pairwise}
    return replace(record, metrics=metrics, facts=facts)


def test_the_level_that_a_loss_leaves_alone_is_not_tabulated(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep(PAIRWISE), changed=pairwise)
    console = quiet()
    page = analyze(folder, console=console).read_text()
    analysis = asked(folder)
    board = {row["method"]: row for row in analysis.board.iter_rows(named=True)}
    noise = ("log_loss", "skill", "brier", "ece", "f1@0.5", "mcc@0.5")
    kept = ("average_precision", "auroc", "f1@tuned", "platt/log_loss")
    assert all(board["bce"][m] is not None for m in (*noise, *kept))
    assert all(board["pairwise_hinge"][m] is None for m in noise)
    assert all(board["pairwise_hinge"][m] is not None for m in kept)
    assert not set(analysis.differences["metric"]) & set(noise)
    said = "pairwise_hinge: trained by the order of rows alone"
    assert said in page and said in console.file.getvalue()
    assert "could be chosen" not in " ".join(analysis.notes)
    chosen = asked(folder, selection="validation/log_loss")
    assert "Nothing of pairwise_hinge could be chosen by log loss" in " ".join(chosen.notes)


def test_a_sweep_whose_losses_all_have_a_level_says_nothing_of_it(tmp_path):
    analysis = asked(fabricate(tmp_path / "s", Sweep()))
    assert not analysis.notes and analysis.board["log_loss"].null_count() == 0


def test_a_metric_named_twice_is_one_and_a_margin_may_be_as_wide_as_floats_are(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep(seeds=range(3)))
    analysis = asked(folder, metrics=("test/auroc", "auroc"), rope=1e308)
    assert analysis.metrics == ["auroc"]
    assert set(analysis.differences.filter(metric="auroc")["verdict"]) == {"same"}


def costed(record: Record) -> Record:
    costs = {f"test/expected_cost@{rule}": 0.2 for rule in ("0.5", "tuned", "cost")}
    of_validation = {name.replace("test", "validation"): cost for name, cost in costs.items()}
    threshold = {"threshold": 0.25, "threshold_logit": -math.log(3)}
    return replace(
        record,
        metrics={**record.metrics, **costs, **of_validation},
        facts={**record.facts, **threshold},
        chosen={"threshold_logit@cost": -math.log(9)},
    )


@pytest.mark.parametrize(
    ("columns", "headline", "rule", "threshold"),
    [
        ({}, "average_precision", "f1", 0.25),
        ({"evaluation.objective": "auroc"}, "auroc", "f1", 0.25),
        (
            {"evaluation.objective": "expected_cost@tuned", "evaluation.threshold": "cost"},
            "expected_cost@tuned",
            "cost",
            0.25,
        ),
        (
            {"evaluation.costs.false_negative": 9.0, "evaluation.threshold": "cost"},
            "expected_cost@tuned",
            "cost",
            0.25,
        ),
        ({"evaluation.costs.false_negative": 9.0}, "expected_cost@cost", "cost", 0.1),
        ({"evaluation.objective": "f1@tuned"}, "f1@tuned", "f1", 0.25),
    ],
)
def test_what_a_sweep_was_asked_about_comes_first(tmp_path, columns, headline, rule, threshold):
    folder = fabricate(tmp_path / "s", Sweep(columns=columns), changed=costed)
    analysis = asked(folder)
    assert (analysis.headline, analysis.metrics[0]) == (headline, headline)
    assert "average_precision" in analysis.metrics
    assert analysis.board["threshold"].to_list() == pytest.approx([threshold] * 2)
    assert set(analysis.board["rule"]) == {rule}
    assert "hreshold of bce" not in wording.answers(analysis)[0]["sentence"]  # `advice` says it
    assert asked(folder, metrics=("auroc",)).headline == "auroc"


def cheapest_at_low_rates(record: Record) -> Record:
    cost = record.config["optimizer"]["learning_rate"]
    costs = {f"{part}/expected_cost@tuned": cost for part in ("validation", "test")}
    return replace(record, metrics={**record.metrics, **costs})


@pytest.mark.parametrize("selection", ["", "validation/average_precision"])
def test_a_sweep_s_objective_chooses_its_hyperparameters(tmp_path, selection):
    """Where the reader says nothing: rates of a sweep that counts costs are the cheapest ones."""
    cheap, precise = 1e-4, 1e-3
    columns = {"evaluation.objective": "expected_cost@tuned"}
    sweep = Sweep(columns=columns, learning_rates=(cheap, precise))
    folder = fabricate(tmp_path / "s", sweep, changed=cheapest_at_low_rates)
    analysis = asked(folder, selection=selection)
    chosen = analysis.chosen["optimizer.learning_rate"]
    assert (chosen == cheap).mean() > 0.9 if not selection else (chosen == precise).mean() > 0.5
    assert analysis.question.selection == (selection or "validation/expected_cost@tuned")
