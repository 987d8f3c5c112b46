"""Scores of other tools: read, measured and compared as our own runs are."""

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from rich.console import Console
from sklearn.metrics import average_precision_score, log_loss

from harness.analyze import Question, answer, drawing, load
from harness.analyze.comparisons import HOLM
from harness.analyze.flat import flat_table, score_table, write_flat
from harness.errors import UserError
from harness.sweep.engine import run_sweep
from harness.sweep.progress import Progress
from tests.runs import config


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real sweep: two losses, three seeds, two learning rates to choose from."""
    root = tmp_path_factory.mktemp("scores")
    run_sweep(
        [
            config(
                loss={"name": loss},
                seed=seed,
                optimizer__learning_rate=rate,
                name="s",
                root=str(root),
            )
            for loss in ("bce", "focal")
            for seed in range(3)
            for rate in (0.001, 0.01)
        ],
        progress=Progress(Console(file=io.StringIO())),
    )
    return root / "s"


@pytest.fixture(scope="module", params=["scores.csv", "scores.parquet"])
def exported(sweep: Path, request: pytest.FixtureRequest, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("exported") / request.param
    write_flat(score_table(load(sweep)), path)
    return path


def test_the_same_statistics_from_our_runs_and_from_their_exported_scores(sweep, exported):
    ours, theirs = (answer(load(source), Question()) for source in (sweep, exported))
    assert ours.metrics == theirs.metrics and ours.baseline == theirs.baseline == "bce"
    metrics = [m for m in ours.compared if not m.startswith("corrected/")]
    assert set(metrics) == set(theirs.compared)
    board = ["dataset", "method", "tuning", "num_seeds", "threshold_logit"]
    board += [f"{m}{end}" for m in metrics for end in ("", "_low", "_high")]
    assert_frame_equal(ours.board.select(board), theirs.board.select(board), abs_tol=1e-12)
    own = ours.differences.filter(pl.col("metric").is_in(metrics)).sort("metric", "method")
    same = theirs.differences.sort("metric", "method")
    assert own["p_value"].null_count() < own.height and own["num_pairs"].unique().to_list() == [3]
    # The tests of a family are as many as there are losses: its size is that of ours. What is
    # explored is corrected over all metrics there are, of which a table of scores has fewer.
    of_all = pl.when(pl.col("correction") == HOLM)
    by_family = [of_all.then(pl.col(name)).alias(name) for name in ("p_adjusted", "family_size")]
    assert (own["correction"] == HOLM).any()
    assert_frame_equal(own.with_columns(by_family), same.with_columns(by_family), abs_tol=1e-9)


def test_beside_a_sweep_what_is_of_the_same_rows_is_paired(sweep, exported):
    both = load(sweep, exported)
    assert f"{exported.name}: the sweep has bce, focal too" in " ".join(both.notes)
    found = answer(both, Question())
    assert found.board["settings"].unique().to_list() == [""]
    pairs = found.differences.filter(metric="average_precision").sort("method")
    assert pairs["num_pairs"].to_list() == [3, 3, 3]
    twin = pairs.filter(method=f"bce ({exported.name})")
    assert twin["difference"].item() == 0


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_other_rows_are_not_paired_and_a_word_says_so(sweep, tmp_path):
    rows = "".join(f"breast_cancer,{seed},{i % 2},{i / 9}\n" for seed in (0, 7) for i in range(9))
    path = write(tmp_path / "vendor.csv", "data set,seed,label,score\n" + rows)
    both = load(sweep, path)
    assert any("2 of 2 runs on breast_cancer are not paired" in note for note in both.notes)
    found = answer(both, Question())
    assert "vendor" not in found.differences["method"].to_list()
    assert "vendor" in found.board["method"].to_list()


RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 60)
PROBABILITIES = np.clip(0.5 + (LABELS - 0.5) * 0.3 + RNG.normal(0, 0.15, 60), 0.01, 0.99)


def folds(path: Path, scores: np.ndarray, column: str = "score") -> Path:
    table = pl.DataFrame({"fold": np.arange(60) % 3, "label": LABELS, column: scores})
    write_flat(table, path)
    return path


def test_a_file_a_model(tmp_path):
    """Named by file, the first one the baseline; folds tell how many rows were trained on."""
    logits = np.log(PROBABILITIES / (1 - PROBABILITIES))
    one = folds(tmp_path / "vendor.csv", PROBABILITIES)
    runs = load(one, folds(tmp_path / "ours.csv", logits - 3))
    assert any("vendor: scores are taken as probabilities (all" in note for note in runs.notes)
    assert any("ours: scores are taken as log odds (some" in note for note in runs.notes)
    found = answer(runs, Question(metrics=("log_loss", "average_precision")))
    assert found.baseline == "vendor"
    assert runs.runs["num_train"].to_list() == [40] * 6
    fold = runs.runs.filter(pl.col("split.fold") == 1, pl.col("loss.name") == "vendor")
    own = np.arange(60) % 3 == 1
    expected = {
        "test/log_loss": log_loss(LABELS[own], PROBABILITIES[own]),
        "test/average_precision": average_precision_score(LABELS[own], PROBABILITIES[own]),
    }
    assert {m: fold[m].item() for m in expected} == pytest.approx(expected)
    worse = found.differences.filter(pl.col("metric").is_in(found.metrics)).sort("metric")
    assert worse["difference"][0] == 0 and worse["difference"][1] > 0.5
    assert 0 < worse["p_value"][1] < 0.2 and worse["num_pairs"].to_list() == [3, 3]


def test_without_validation_nothing_is_guessed(tmp_path):
    path = folds(tmp_path / "vendor.csv", PROBABILITIES)
    runs = load(path)
    assert any(
        "thresholds tuned on validation and calibrated scores are missing" in note
        for note in runs.notes
    )
    assert not [m for m in runs.columns.metrics if "tuned" in m or "platt" in m or "corrected" in m]
    assert runs.runs["threshold_logit"].null_count() == 3
    # Without curves of training, everything else is drawn.
    drawn = drawing.chart_rows(answer(runs, Question()))
    assert {"roc", "reliability"} <= drawn.by_chart.keys() and "learning" not in drawn.by_chart


def test_scores_that_order_rows_alone(tmp_path):
    path = folds(tmp_path / "vendor.csv", PROBABILITIES * 100)
    found = answer(load(path, scores="rank"), Question())
    board = found.board
    assert board["average_precision"].null_count() == 0 and board["log_loss"].null_count() == 1
    with pytest.raises(UserError, match=r"line 2: score .* is no probability: see --scores"):
        load(path, scores="probability")


def test_weights_repeat_rows_and_zero_and_one_keep_the_order(tmp_path):
    rows = [("no", 0.0, 3), ("yes", 1.0, 1), ("no", 0.25, 2), ("yes", 1e-300, 1), ("no", 0.5, 0)]
    text = "y_true,proba,sample_weight\n" + "".join(f"{y},{p!r},{w}\n" for y, p, w in rows)
    runs = load(write(tmp_path / "vendor.csv", text))
    row = runs.runs.row(0, named=True)
    assert (row["num_test"], row["num_test_positives"], row["positive_label"]) == (7, 2, "yes")
    assert row["test/auroc"] == pytest.approx(8 / 10)  # 3 of 5 below 1e-300, all below 1
    assert np.isfinite(row["test/log_loss"])
    assert any("1 probabilities" in n or "exactly 0 or 1" in n for n in runs.notes)


@pytest.mark.parametrize(("text", "said"), [
    ("label,score\n0,.1\n1,nan\n1,.5\n", "line 3: score an empty cell is no finite number"),
    ("label,score\n0,.1\n1,abc\n1,.5\n", "line 3: score 'abc' is no finite number"),
    ("label,logit\n0,.1\n1,inf\n", "line 3: logit inf is no finite number"),
    ("label,score\n0,.1\n0,.2\n", "line 2: '0' is the only label of 'data'"),
    ("label,score\n0,.1\n1,.2\n2,.3\n", "line 4: '2' is a third label of 'data'"),
    ("label,score\n0,.1\n,.2\n1,.3\n", "line 3: label an empty cell is no label"),
    ("label,score,id\n0,.1,a\n1,.2,b\n1,.3,a\n", "line 4: row 'a' .* stands at line 2 already"),
    ("label,score,weight\n0,.1,2\n1,.2,-1.5\n", "line 3: weight -1.5 is no number of at least 0"),
    ("label,score,part\n0,.1,test\n1,.2,dev2\n", "line 3: part 'dev2' is none of train, valid"),
    ("label,score,split\n0,.1,train\n1,.2,test\n", "line 2: split 'train' .*call it part"),
    ("label,proba\n0,.1\n1,1.2\n", "line 3: proba 1.2 is no probability"),
    ("label\n0\n1\n", "has no column 'score', 'probability' or 'logit'"),
    ("y_hat,score\n0,.1\n", "has no column 'label'"),
    ("label,score,logit\n0,.1,2\n", "'score' and 'logit' are both scores"),
    ("label,score,part\n0,.1,val\n1,.2,val\n", "has no row with part=test"),
    ("label,score,optimizer.learning_rate\n0,.1,1\n1,.2,1\n0,.1,2\n1,.2,2\n",
     "several values of optimizer.learning_rate and no rows with part=validation"),
])  # fmt: skip
def test_what_cannot_be_scored_is_one_line(tmp_path, text, said):
    with pytest.raises(UserError, match=said) as caught:
        load(write(tmp_path / "vendor.csv", text))
    assert "\n" not in str(caught.value)


def test_sources_that_do_not_go_together(tmp_path):
    (tmp_path / "other").mkdir()
    one = folds(tmp_path / "vendor.csv", PROBABILITIES)
    same = folds(tmp_path / "other" / "vendor.csv", PROBABILITIES)
    with pytest.raises(UserError, match=r"both have model vendor on data: rename"):
        load(one, same)
    less = write(tmp_path / "less.csv", "fold,label,score\n0,0,.1\n0,1,.2\n1,0,.1\n1,1,.2\n")
    assert any("other test rows where" in note for note in load(one, less).notes)
    with pytest.raises(UserError, match="no such file; give a sweep folder or a table"):
        load(tmp_path / "none.csv")


def test_a_flat_table_has_a_row_a_run(sweep, tmp_path):
    runs = load(sweep)
    table = flat_table(runs)
    assert table.height == 12 and {"loss.name", "test/auroc", "status"} <= set(table.columns)
    write_flat(table, tmp_path / "runs.csv")
    assert pl.read_csv(tmp_path / "runs.csv").height == 12
    with pytest.raises(UserError, match=r"ends in \.parquet or \.csv"):
        write_flat(table, tmp_path / "runs.xlsx")
