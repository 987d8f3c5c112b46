"""Quantities derived from runs, on runs made by hand whose answers are known."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.special import expit, logit
from sklearn import metrics as sklearn_metrics

from harness.analyze.runs import Runs
from harness.data.packages import Mislabelled, Wheel
from harness.data.synthetic import Cue, TwoGaussians
from harness.errors import UserError
from harness.record.schema import Columns
from harness.reproduce import gaussians
from harness.reproduce.computed import correlations, row_scores, scored
from harness.reproduce.quantities import MEASURES, Rows

NOISY = Cue(
    shape="linear", rows=400, num_features=3, strength=4.0, positive_rate=0.3,
    flip_positives=0.4, flip_negatives=0.1, seed=5,
)  # fmt: skip


def derive(name, rows, **given):
    return MEASURES[name](rows, **given).to_list()


def history(curves, best):
    """Rows of runs whose validation log loss is as in ``curves``, kept at the epochs ``best``."""
    table = pl.DataFrame({"run_id": list(curves), "shard": "s", "best_epoch": best})
    lines = [
        {"run_id": run, "shard": "s", "epoch": epoch, "validation/log_loss": value}
        for run, curve in curves.items()
        for epoch, value in enumerate(curve, start=1)
    ]
    return Rows(table, (Runs("made", table, pl.LazyFrame(lines), (), Columns()),))


def predicted(config, numbers, logits, split="test"):
    """Two runs on ``config`` that say ``logits`` of the rows ``numbers``, cut at .2."""
    keys = {f"dataset.{key}": value for key, value in vars(config).items()}
    table = pl.DataFrame([{"run_id": run, "shard": "s", "threshold": 0.2, **keys} for run in "ab"])
    labels = config.load().labels[numbers]
    lines = {"run_id": ["a", "b"], "shard": ["s"] * 2, "split": [split] * 2}
    lines |= {"rows": [numbers.tolist()] * 2, "logits": [logits.tolist()] * 2}
    lines |= {"labels": [labels.tolist()] * 2}
    scores = (pl.LazyFrame(lines),)
    return Rows(table, (Runs("made", table, pl.LazyFrame({}), scores, Columns()),))


def test_a_curve_at_the_epoch_kept_and_at_the_last():
    rows = history({"a": [3.0, 1.0, 2.0], "b": [5.0, 4.0]}, best=[2, 2])
    assert derive("at_epoch", rows, column="validation/log_loss", epoch="best") == [1.0, 4.0]
    assert derive("at_epoch", rows, column="validation/log_loss", epoch="last") == [2.0, 4.0]
    twice = Rows(pl.concat([rows.table, rows.table]), rows.runs * 2)
    found = derive("at_epoch", twice, column="validation/log_loss", epoch="best")
    assert found == [1.0, 4.0, 1.0, 4.0]
    nothing = history({"a": [float("nan")]}, best=[0])
    assert derive("at_epoch", nothing, column="validation/log_loss", epoch="best") == [None]
    with pytest.raises(UserError, match="best or last"):
        derive("at_epoch", rows, column="validation/log_loss", epoch="first")


def test_places_are_within_groups_and_ties_share():
    table = pl.DataFrame({"g": ["a"] * 4 + ["b", "c", "c"], "m": [7.0, 1, 7, 9, 3, 2, np.nan]})
    places = derive("place", Rows(table), of="m", within=["g"])
    assert places == [0.5, 0.0, 0.5, 1.0, None, None, None]


def test_a_certain_label_has_no_entropy():
    rows = Rows(pl.DataFrame({"rate": [0.0, 0.2, 1.0]}))
    assert derive("entropy", rows, of="rate") == pytest.approx([0.0, 0.500402, 0.0], abs=1e-6)


@pytest.mark.parametrize(("pi", "best"), [(0.5, 0.8443), (0.05, 0.5184), (0.01, 0.3211)])
def test_best_f1_is_the_best_of_all_cuts(pi, best):
    found = gaussians.SCORES["best_f1"](2.0, pi, 0.5)
    cuts = np.linspace(0.001, 0.999, 999)
    assert found == pytest.approx(best, abs=1e-4)
    assert found >= max(gaussians.SCORES["f1"](2.0, pi, cut) for cut in cuts)


def test_the_floor_is_what_the_posterior_scores():
    numbers = np.arange(100, 300)
    labels, posterior = NOISY.load().labels[numbers], NOISY.load().posterior[numbers]
    found, _ = derive("floor", predicted(NOISY, numbers, np.zeros(200)))
    assert found == pytest.approx(sklearn_metrics.log_loss(labels, posterior))
    gaussian = TwoGaussians(rows=100_000, num_features=2, distance=2.0, positive_rate=0.2, seed=0)
    found, _ = derive("floor", predicted(gaussian, np.arange(100_000), np.zeros(100_000)))
    assert found == pytest.approx(gaussians.SCORES["log_loss"](2.0, 0.2, 0.5), abs=0.005)


def test_clean_scores_are_against_the_labels_before_noise():
    numbers = np.arange(100, 300)
    clean = Cue(**{**vars(NOISY), "flip_positives": 0.0, "flip_negatives": 0.0}).load()
    labels = clean.labels[numbers]
    assert np.mean(labels != NOISY.load().labels[numbers]) > 0.1
    logits = logit(clean.posterior[numbers]).astype(np.float32)
    rows = predicted(NOISY, numbers, logits)
    expected = sklearn_metrics.roc_auc_score(labels, logits)
    assert derive("clean", rows, score="auroc") == pytest.approx([expected, expected])
    for at, cut in ((0.5, 0.5), ("threshold", 0.2)):
        expected = sklearn_metrics.f1_score(labels, logits >= logit(cut))
        assert derive("clean", rows, score="f1", at=at) == pytest.approx([expected, expected])
    with pytest.raises(UserError, match="score must be one of auroc"):
        derive("clean", rows, score="luck")


def test_neither_truth_nor_noise_where_nobody_knows_them():
    gaussian = TwoGaussians(rows=100, num_features=2, distance=2.0, positive_rate=0.2, seed=0)
    rows = predicted(gaussian, np.arange(100), np.zeros(100))
    assert derive("clean", rows, score="auroc") == [None, None]
    table = rows.table.with_columns(pl.lit("wheel").alias("dataset.kind"))
    assert derive("floor", Rows(table, rows.runs)) == [None, None]
    unscored = predicted(gaussian, np.arange(9), np.zeros(9), "validation")
    assert derive("floor", unscored) == [None, None]


def test_mislabelled_data_are_scored_against_their_own_labels(monkeypatch):
    dataset = replace(NOISY.load(), posterior=None)  # nobody knows that of measured data
    monkeypatch.setattr(Wheel, "load", lambda config: dataset)
    config = Mislabelled(
        name="made", target="class", package="made", version="1", sha256="0" * 64, member="m",
        flip_positives=0.4, flip_negatives=0.4, flip_seed=3,
    )  # fmt: skip
    numbers = np.arange(400)
    flipped = config.load().labels
    assert 0.3 < np.mean(flipped != dataset.labels) < 0.5
    logits = np.linspace(-3, 3, 400).astype(np.float32)
    expected = sklearn_metrics.roc_auc_score(dataset.labels, logits)
    assert expected != sklearn_metrics.roc_auc_score(flipped, logits)
    rows = predicted(config, numbers, logits)
    empty = [
        pl.lit([], pl.List(pl.String)).alias(f"dataset.{key}") for key in ("drop", "categorical")
    ]
    table = rows.table.with_columns(empty)
    found = derive("clean", Rows(table, rows.runs), score="auroc")
    assert found == pytest.approx([expected, expected])
    assert derive("floor", Rows(table, rows.runs)) == [None, None]


def test_where_the_border_lies():
    numbers, labels = np.arange(400), NOISY.load().labels
    logits = np.where(labels == 1, 3.0, -1.0).astype(np.float32)
    rows = predicted(NOISY, numbers, logits)
    assert derive("off_centre", rows) == [0.5, 0.5]
    assert derive("off_centre", rows, in_logits=True) == [2.0, 2.0]
    assert derive("off_centre", predicted(NOISY, numbers, -logits)) == [None, None]


def test_what_is_reported_is_within():
    numbers = np.arange(400)
    logits = np.linspace(-5, 5, 400).astype(np.float32)
    rows = predicted(NOISY, numbers, logits)
    p = np.clip(expit(logits.astype(float)), 0.2, 0.8)
    expected = sklearn_metrics.log_loss(NOISY.load().labels, p)
    found, _ = derive("reported_log_loss", rows, within=0.2)
    assert found == pytest.approx(expected)


def test_scores_by_bin(tmp_path):
    numbers, labels = np.arange(400), NOISY.load().labels
    logits = np.linspace(-4, 4, 400).astype(np.float32)
    rows = predicted(NOISY, numbers, logits)
    rows = Rows(rows.table.with_columns(arm=pl.lit("x")), rows.runs)
    given = {"by": ["arm"], "edges": [0, 1, 0.25]}
    found = scored(tmp_path, rows, scores={"raw": "logits"}, **given)
    p = expit(logits.astype(float))
    at = np.minimum(p // 0.25, 3)
    assert found["bin"].to_list() == [0.125, 0.375, 0.625, 0.875]
    for name, column in (("mean", p), ("rate", labels)):
        expected = [column[at == i].mean() for i in range(4)]
        np.testing.assert_allclose(found[name], expected)
    np.testing.assert_allclose(found["share"], [np.mean(at == i) for i in range(4)])
    margins = scored(tmp_path, rows, by=["arm"], edges=[-1, 1, 1], scores={"margin": "logits"})
    wrong = np.mean((logits < 0) == (labels == 1))
    np.testing.assert_allclose(margins["share"], [wrong, 1 - wrong])  # what is outside, too


def test_correlations_by_group(tmp_path):
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"g": ["a"] * 9 + ["b"] * 9, "loss": ["bce", "focal", "bce"] * 6})
    table = table.with_columns(x=rng.normal(size=18), y=rng.normal(size=18))
    found = correlations(
        tmp_path, Rows(table), by=["g"], pairs={"xy": ["x", "y"], "xx": ["x", "x"]}
    )
    assert found.columns == ["g", "rho", "num_runs", "pair"]
    group = table.filter(pl.col("g") == "b")
    expected = stats.spearmanr(group["x"], group["y"]).statistic
    rho = dict(zip(found["g"] + found["pair"], found["rho"], strict=True))
    assert rho["bxy"] == pytest.approx(expected) and rho["axx"] == pytest.approx(1.0)
    still = correlations(
        tmp_path, Rows(table.with_columns(y=1.0)), by=["g"], pairs={"xy": ["x", "y"]}
    )
    assert still["rho"].to_list() == [0.0, 0.0]
    first = pl.int_range(pl.len()) == 0
    diverged = table.with_columns(y=pl.when(first).then(np.nan).otherwise("y"))
    unknown = correlations(tmp_path, Rows(diverged), by=["g"], pairs={"xy": ["x", "y"]})
    assert unknown["rho"].to_list() == [None, pytest.approx(expected)]
    given = {"by": ["g"], "pairs": {"xy": ["x", "y"]}, "where": "loss = focal"}
    few = correlations(tmp_path, Rows(table), **given)
    assert few["num_runs"].to_list() == [3, 3]


def test_row_scores_are_means_over_the_runs_that_tested_a_row(tmp_path):
    numbers = np.arange(400)
    labels, logits = NOISY.load().labels, np.linspace(-4, 4, 400).astype(np.float32)
    rows = predicted(NOISY, numbers, logits)  # two runs that score alike
    rows = Rows(rows.table.with_columns(arm=pl.lit("x")), rows.runs)
    found = row_scores(tmp_path, rows, by=["arm"], score="accuracy")
    assert found["row"].to_list() == numbers.tolist() and set(found["num_runs"]) == {2}
    np.testing.assert_array_equal(found["value"], (logits >= 0) == (labels == 1))
    p = expit(logits.astype(float))
    references = {"log_loss": sklearn_metrics.log_loss, "brier": sklearn_metrics.brier_score_loss}
    for score, mean in references.items():
        found = row_scores(tmp_path, rows, by=["arm"], score=score)
        assert found["value"].mean() == pytest.approx(mean(labels, p))
    with pytest.raises(UserError, match="accuracy, log_loss, brier, got 'auroc'"):
        row_scores(tmp_path, rows, by=["arm"], score="auroc")
    unscored = predicted(NOISY, numbers, logits, split="validation")
    with pytest.raises(UserError, match=r"row_scores\.where: none of .* got 'run_id = a'"):
        row_scores(tmp_path, unscored, by=["shard"], score="accuracy", where="run_id = a")
    with pytest.raises(UserError, match=r"scored\.where: none of .* got 'run_id = a'"):
        scored(
            tmp_path, unscored, by=["shard"], edges=[0, 1, 0.5], scores={"raw": "logits"},
            where="run_id = a",
        )  # fmt: skip
