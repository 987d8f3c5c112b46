"""Metrics that are best at a value, or have no direction: tables, verdicts, ranks, answers."""

import shutil
from dataclasses import replace

import polars as pl
import pytest

from harness.analyze import Question, analyze, answer, curves, headings, load, wording
from harness.errors import UserError
from harness.record.schema import Record
from tests.altered import alter
from tests.fabricated import Sweep, fabricate, quiet

SLOPES = {"bce": 0.7, "focal": 1.1, "brier": 1.6}


def with_slopes(record: Record) -> Record:
    slope = SLOPES[record.config["loss"]["name"]] + record.metrics["test/brier"] / 100
    names = (
        "test/calibration_slope",
        "test/platt/calibration_slope",
        "validation/calibration_slope",
        "test/flagged@0.5",
        "validation/flagged@0.5",
        "test/platt/log_loss",
    )
    return replace(record, metrics={**record.metrics, **dict.fromkeys(names, slope)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """On six data sets focal's slope is nearer to 1 than BCE's, from the other side of it."""
    effects = {"bce": 0.0, "focal": 0.0, "brier": 0.0}
    sweep = Sweep(effects=effects, datasets=list("abcdef"), seeds=range(4), num_rows=60)
    return fabricate(tmp_path_factory.mktemp("sweeps") / "s", sweep, changed=with_slopes)


@pytest.mark.slow
def test_the_distance_from_the_target_is_compared(folder):
    analysis = answer(load(folder), Question(metrics=("calibration_slope",)))
    row = analysis.differences.filter(metric="calibration_slope", method="focal", dataset="a").row(
        0, named=True
    )
    scores = analysis.chosen.filter(dataset="a").sort("seed")
    bce, focal = (
        scores.filter(method=loss)["test/calibration_slope"].to_numpy() for loss in ("bce", "focal")
    )
    assert row["difference"] == pytest.approx((abs(focal - 1) - abs(bce - 1)).mean())
    verdicts = analysis.differences.filter(metric="calibration_slope")
    assert dict(verdicts.group_by("method").agg(pl.col("verdict").unique()).iter_rows()) == {
        "focal": ["better"],
        "brier": ["worse"],
    }
    assert analysis.board.filter(dataset="a")["method"].to_list() == ["focal", "bce", "brier"]
    assert analysis.ranks["method"].to_list() == ["focal", "bce", "brier"]
    across = analysis.datasets.filter(metric="calibration_slope")
    over = {row["method"]: row for row in across.iter_rows(named=True)}
    assert (over["focal"]["wins"], over["brier"]["losses"]) == (6, 6)


def test_a_metric_without_direction_differs_and_ranks_nobody(folder):
    analysis = answer(load(folder), Question(metrics=("flagged@0.5",)))
    verdicts = analysis.differences.filter(metric="flagged@0.5")["verdict"]
    assert set(verdicts) == {"differs"}
    across = analysis.datasets.filter(metric="flagged@0.5")
    assert set(across["verdict"]) <= {"differs", "undecided"}
    assert across["wins"].null_count() == across["p_better"].null_count() == across.height == 2
    assert analysis.ranks.is_empty() and not analysis.rank_test
    said = " ".join(row["sentence"] for row in wording.answers(analysis))
    assert "Different from bce" in said and "beats" not in said and "Worse" not in said


@pytest.mark.parametrize("metric", ["flagged@0.5", "calibration_slope", "platt/log_loss"])
def test_every_kind_of_metric_makes_a_report(folder, metric, tmp_path):
    question = Question(metrics=(metric,))
    formats = ("csv", "md", "tex", "parquet")
    page = analyze(
        folder, output=tmp_path / "o", console=quiet(), question=question, formats=formats
    ).read_text()
    title = {
        "flagged@0.5": "share flagged at threshold 0.5",
        "calibration_slope": "distance of calibration slope from 1",
        "platt/log_loss": "log loss after Platt scaling",
    }[metric]
    assert title in page
    assert title in (tmp_path / "o" / "differences.tex").read_text()


@pytest.mark.parametrize("asked", ["calibration_slope", "flagged@0.5"])
def test_nothing_is_chosen_by_a_metric_without_direction(folder, asked):
    with pytest.raises(UserError, match=f"validation/{asked}: neither"):
        answer(load(folder), Question(selection=f"validation/{asked}"))


def test_a_target_is_no_direction_for_a_leaderboard():
    rows = pl.DataFrame({"x": [0.2, 1.1, 3.0]})
    nearness = headings.compared("test/calibration_slope", pl.col("x"))
    assert rows.select(nearness)["x"].to_list() == pytest.approx([0.8, 0.1, 2.0])
    assert rows.select(headings.compared("auroc", pl.col("x")))["x"].to_list() == [0.2, 1.1, 3.0]


@pytest.mark.parametrize("column", ["validation/hinge_loss", "test/mean_error", "test/gain@0.5"])
def test_a_metric_that_nobody_knows_has_no_direction(column):
    assert headings.sign(column) == headings.compared_sign(column) == 0
    assert headings.target(column) is None
    assert "not known" in headings.direction(column)


@pytest.fixture(scope="module")
def theirs(folder, tmp_path_factory):
    """The same runs, whose logs hold a score that is none of ours."""
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("sweeps") / "theirs")
    ginis = [pl.field("test/auroc").alias(f"{split}/gini") for split in ("validation", "test")]
    theirs = pl.col("metrics").struct.with_fields(*ginis)
    for shard in (copy / "shards").iterdir():
        alter(shard, "runs", lambda table: table.with_columns(theirs))
    return copy


@pytest.mark.slow
def test_a_metric_of_others_is_shown_and_ranks_nobody(theirs, tmp_path):
    analysis = answer(load(theirs), Question(metrics=("auroc",)))
    assert "gini" in analysis.compared and "gini" in analysis.board.columns
    verdicts = analysis.differences.filter(metric="gini")["verdict"]
    assert verdicts.len() and set(verdicts) <= {"differs", "undecided"}
    alone = answer(load(theirs), Question(metrics=("gini",)))
    assert alone.ranks.is_empty() and not alone.rank_test
    assert analyze(theirs, output=tmp_path / "o", console=quiet()).is_file()


def test_a_metric_of_others_picks_nothing(theirs):
    with pytest.raises(UserError, match="cannot choose by validation/gini: no metric is called"):
        answer(load(theirs), Question(selection="validation/gini"))
    with pytest.raises(UserError, match=r"gini=0\.3: no metric is called"):
        curves.parse_target("gini=0.3")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("auroq", "no metric is called 'auroq'; did you mean auroc"),
        ("roc_auc", "did you mean auroc"),
        ("platt/ece", "no run has the column test/platt/ece"),
        ("plat/ece", "no version of the scores is called 'plat': one of corrected, temperature"),
        ("f1", "f1 needs a threshold: such as f1@0.5"),
        ("f1@tund", "no threshold rule is called 'tund'; did you mean tuned"),
        ("ginny", "no run has it; did you mean gini"),
        ("x" * 5000, "no metric is called 'xxx"),
    ],
)
def test_asking_for_no_metric_is_one_short_line(theirs, asked, said):
    with pytest.raises(UserError) as error:
        answer(load(theirs), Question(metrics=(asked,)))
    message = str(error.value)
    assert said in message and "\n" not in message and len(message) <= 400
