"""`harness analyze` on fabricated sweep folders: a planted difference, a null, and bad input."""

import io
import json
import math
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from harness.analyze import (
    Question,
    analyze,
    answer,
    comparisons,
    curves,
    drawing,
    groups,
    headings,
    load,
    wording,
)
from harness.errors import UserError
from harness.record import store
from harness.record.schema import Record
from harness.record.tables import tables as record_tables
from tests.fabricated import LEARNING_RATES, NASTY, Sweep, fabricate, quiet


def tables(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Chosen runs, leaderboard and differences of a folder."""
    analysis = answer(load(folder), Question())
    return analysis.chosen, analysis.board, analysis.differences


def labelled(folder: Path, **asked: Any) -> pl.DataFrame:
    return answer(load(folder), Question(**asked)).labelled


def rerun(folder: Path, sweep: Sweep, *, run_id: str = "", **facts: Any) -> str:
    """Adds a shard that repeats the first run of ``sweep``, a day later, with changes; its name."""
    record = sweep.records()[0]
    again = replace(
        record,
        run_id=run_id or record.run_id,
        created=record.created + timedelta(days=1),
        facts={**record.facts, **facts},
    )
    return store.write_shard(folder, record_tables([again])).name


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A gain for focal, a loss for hinge, nothing for brier; natural and 10% positives."""
    effects = {"bce": 0.0, "focal": 0.3, "brier": 0.0, "hinge": -0.3}
    sweep = Sweep(effects=effects, rates=(0.1, None), learning_rates=LEARNING_RATES)
    return fabricate(tmp_path_factory.mktemp("sweeps") / "planted", sweep)


# Reading


def test_load_takes_the_union_of_shards_and_the_latest_row_of_a_run(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep(seeds=(0, 1)))
    shard = rerun(folder, Sweep(seeds=(0, 1)), seconds=99.0)
    runs = load(folder).runs
    assert runs.height == 4 and runs["run_id"].is_sorted()
    assert runs.filter(pl.col("seconds") == 99)["shard"].to_list() == [shard]


def test_shards_with_different_columns_are_joined(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep(seeds=(0, 1)))
    more = Sweep({"poly1": 0}, seeds=(0, 1), columns={"loss.epsilon": 2.0, "note.tag": "b"})
    fabricate(folder, more, num_shards=1)
    runs = load(folder).runs
    assert runs.height == 6
    assert runs["loss.epsilon"].null_count() == 4
    assert {"bce", "focal", "poly1"} == set(labelled(folder)["method"])


@pytest.mark.parametrize("made", [None, "", "shards/a"])
def test_a_folder_without_runs_is_a_user_error(tmp_path, made):
    if made is not None:
        (tmp_path / "sweep" / made).mkdir(parents=True)
    with pytest.raises(UserError, match="sweep"):
        load(tmp_path / "sweep")


def test_a_broken_shard_is_a_user_error_that_names_it(tmp_path):
    path = tmp_path / "shards" / "a" / "runs.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not parquet")
    with pytest.raises(UserError, match=re.escape(f"{path.parent} is damaged")):
        load(tmp_path)


def test_tables_do_not_depend_on_the_order_of_training(tmp_path):
    sweep = Sweep(rates=(0.1, None), seeds=range(4), learning_rates=LEARNING_RATES)
    one = tables(fabricate(tmp_path / "one", sweep, num_shards=1))
    many = tables(fabricate(tmp_path / "many", sweep, num_shards=7))
    for a, b in zip(one[1:], many[1:], strict=True):
        assert a.equals(b)


# Grouping and choice


def test_labels_name_only_what_varies(tmp_path):
    columns = {"dataset.path": "here", "model.width": 64}
    folder = fabricate(tmp_path / "s", Sweep(datasets=("a", "b"), columns=columns))
    wide = Sweep(datasets=("a",), columns=columns | {"model.width": 128, "loss.gamma": 3.0})
    fabricate(folder, wide)
    runs = labelled(folder)
    assert set(runs["settings"]) == {"width=64", "width=128"}
    assert set(runs["method"]) == {"bce", "focal"}  # gamma goes with the width: no new name


def test_a_loss_hyperparameter_that_varies_makes_rows_of_its_own(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep())
    fabricate(folder, Sweep({"focal": 0}, columns={"loss.gamma": 5.0}))
    assert set(labelled(folder)["method"]) == {
        "bce",
        "focal (gamma=2.0)",
        "focal (gamma=5.0)",
    }
    tuned = labelled(folder, tuned=(*groups.TUNED, "loss."))
    assert set(tuned["method"]) == {"bce", "focal"}


def test_the_better_learning_rate_is_chosen_on_validation(planted):
    chosen, board, _ = tables(planted)
    assert set(chosen["optimizer.learning_rate"]) == {1e-3}
    assert board["num_configurations"].to_list() == [2] * board.height
    assert board["num_seeds"].to_list() == [10] * board.height


def test_test_scores_cannot_change_the_choice(planted):
    runs = labelled(planted)
    shuffled = runs.with_columns(pl.col("^test/.*$").shuffle(seed=0))
    picks = [groups.chosen_runs(x, metric=headings.SELECTION)["run_id"] for x in (runs, shuffled)]
    assert picks[0].equals(picks[1])
    with pytest.raises(ValueError, match="validation"):
        groups.choose_configurations(runs, metric=headings.SELECTION)


@pytest.mark.parametrize("metric", ["test/auroc", "validation/nonsense"])
def test_choosing_by_anything_but_a_validation_metric_is_refused(planted, metric):
    with pytest.raises(UserError, match=metric):
        labelled(planted, selection=metric)


def candidates(scores: dict[str, list[float | None]]) -> pl.DataFrame:
    """Runs by tuning, one a seed from 0 on; None where a seed was not trained."""
    rows = [
        (tuning, f"seed={seed}", value)
        for tuning, values in scores.items()
        for seed, value in enumerate(values)
        if value is not None
    ]
    frame = pl.DataFrame(rows, schema=["tuning", "replicate", "validation/auroc"], orient="row")
    fixed = {"dataset": "d", "positive_rate": 0.1, "settings": "", "method": "bce"}
    return frame.with_columns(**{k: pl.lit(v) for k, v in fixed.items()})


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ({"low": [0.8, 0.8], "high": [0.9, 0.9]}, "high"),
        ({"steady": [0.85, 0.85], "diverges": [0.9, float("nan")], "bad": [0.5, 0.5]}, "steady"),
        ({"easy seeds": [0.7, 0.99, 0.99], "shared seed": [0.8]}, "shared seed"),
        ({"more": [0.8, 0.8, 0.99, 0.99], "better": [0.9, 0.9]}, "better"),
        ({"none shared": [0.8, None], "so": [None, 0.9]}, "so"),
        ({"b": [0.8], "a": [0.8]}, "a"),
        ({"a": [float("nan")], "b": [float("nan")]}, "a"),
    ],
)
def test_choice_of_a_configuration(scores, best):
    chosen = groups.choose_configurations(candidates(scores), metric="validation/auroc")
    assert chosen["tuning"].to_list() == [best]


def test_the_choice_counts_its_seeds():
    chosen = groups.choose_configurations(
        candidates({"a": [0.8, 0.8, 0.9, None], "b": [0.7, 0.7, None, 0.9], "c": [0.6, 0.5]}),
        metric="validation/auroc",
    )
    counted = chosen.select("tuning", "num_configurations", "num_shared", "num_set_aside")
    assert counted.row(0) == ("a", 3, 2, 2)


def test_more_seeds_for_one_configuration_are_for_its_score_and_not_for_its_choice(tmp_path):
    """The rate .3 does worse; seeds that it alone has, however many and lucky, change nothing."""
    rates = {"learning_rates": (1e-3, 0.3)}
    folder = fabricate(tmp_path / "s", Sweep(seeds=range(4), **rates))
    before = answer(load(folder), Question())
    fabricate(folder, Sweep({"focal": 40.0}, seeds=range(4, 7), learning_rates=(0.3,)))
    after = answer(load(folder), Question())
    assert after.board.equals(before.board) and after.differences.equals(before.differences)
    said = "focal: chosen on the 4 seeds that all configurations share; 3 runs beyond them set"
    assert said in " ".join(after.notes) and "chosen on" not in " ".join(before.notes)

    # Seeds that the chosen one and the baseline have count in the scores, as reports advise.
    fabricate(folder, Sweep(seeds=range(7, 13)))
    more = answer(load(folder), Question())
    assert set(more.chosen["optimizer.learning_rate"]) == {1e-3}
    assert more.board["num_shared"].to_list() == [4, 4]
    assert more.board["num_seeds"].to_list() == [10, 10]
    assert set(more.differences["num_pairs"]) == {10}


def test_configurations_that_share_no_seed_are_said_to(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep(seeds=range(3)))
    fabricate(folder, Sweep({"focal": 0.0}, seeds=range(3, 6), learning_rates=(1e-2,)))
    notes = " ".join(answer(load(folder), Question()).notes)
    assert "focal: the configurations share no seed" in notes and "bce" not in notes


def test_a_loss_where_lower_is_better_is_chosen_low():
    scores = candidates({"low": [0.2], "high": [0.9]}).rename(
        {"validation/auroc": "validation/brier"}
    )
    chosen = groups.choose_configurations(scores, metric="validation/brier")
    assert chosen["tuning"].to_list() == ["low"]


# Tables and verdicts


def test_planted_differences_are_found_and_the_null_is_not(planted):
    _, _, differences = tables(planted)
    headline = differences.filter(pl.col("metric") == "average_precision")
    verdicts = dict(headline.group_by("method").agg(pl.col("verdict").unique()).iter_rows())
    assert verdicts.pop("focal") == ["better"] and verdicts.pop("hinge") == ["worse"]
    assert set(verdicts.pop("brier")) <= {"same", "undecided"} and not verdicts
    losing = differences.filter((pl.col("metric") == "log_loss") & (pl.col("method") == "focal"))
    assert (losing["difference"] < 0).all() and set(losing["verdict"]) == {"better"}


def test_a_difference_equals_the_mean_over_pairs_by_hand(planted):
    chosen, board, differences = tables(planted)
    natural = chosen.filter(pl.col("positive_rate").is_null()).sort("seed")
    bce, focal = (
        natural.filter(pl.col("method") == loss)["test/brier"] for loss in ("bce", "focal")
    )
    is_row = pl.col("positive_rate").is_null() & (pl.col("method") == "focal")
    row = differences.filter(is_row & (pl.col("metric") == "brier")).row(0, named=True)
    assert row["difference"] == pytest.approx((focal - bce).mean(), rel=1e-12)
    assert board.filter(is_row)["brier"].item() == pytest.approx(focal.mean(), rel=1e-12)
    error = np.sqrt(1 / 10 + 400 / (1200 + 400)) * (focal - bce).std()  # train and validation
    assert row["high"] - row["difference"] == pytest.approx(2.262157 * error, rel=1e-6)


def test_twenty_null_sweeps_have_about_one_false_verdict(tmp_path):
    """Eight comparisons each of losses that do not differ; at most 4 of 20 at 5% (p < .003)."""
    wrong = 0
    for number in range(20):
        chosen = null_runs(number)
        wrong += (comparisons.differences(chosen)["verdict"] != "undecided").any()
    assert wrong <= 4


def null_runs(number: int, num_losses: int = 9) -> pl.DataFrame:
    rng = np.random.default_rng(number)
    losses = ["bce", *(f"loss{i}" for i in range(1, num_losses))]
    rows = [
        {
            "dataset": "d",
            "positive_rate": 0.1,
            "settings": "",
            "method": loss,
            "replicate": str(seed),
        }
        | {"num_test": 1, "num_train": 1000, "test/auroc": rng.normal()}
        for loss in losses
        for seed in range(10)
    ]
    return pl.DataFrame(rows)


def test_differences_below_the_resolution_of_float32_are_none(tmp_path):
    runs = null_runs(0).with_columns(pl.lit(0.9).alias("test/auroc"))
    nearly = pl.when(pl.col("method") == "bce").then(0.9).otherwise(0.9 + 1e-8)
    table = comparisons.differences(runs.with_columns(nearly.alias("test/auroc")))
    assert set(table["difference"]) == {0.0} and set(table["verdict"]) == {"undecided"}


def test_diverged_runs_are_counted_and_leave_their_pair(tmp_path):
    def diverged(record: Record) -> Record:
        if (record.config["loss"]["name"], record.config["seed"]) != ("focal", 0):
            return record
        lost = {name: math.nan for name in record.metrics if name.startswith("test/")}
        facts = {**record.facts, "status": "diverged", "diverged_step": 7}
        return replace(record, facts=facts, metrics={**record.metrics, **lost})

    folder = fabricate(tmp_path / "s", Sweep(seeds=range(5)), changed=diverged)
    _, board, differences = tables(folder)
    focal = board.filter(pl.col("method") == "focal").row(0, named=True)
    assert (focal["num_diverged"], focal["num_seeds"], focal["auroc_seeds"]) == (1, 5, 4)
    assert set(differences["num_pairs"]) == {4}
    said = wording.answers(answer(load(folder), Question()))[0]["sentence"]
    assert "Diverged runs: focal 1 of 5" in said


@pytest.mark.slow
def test_older_numerics_of_the_same_config_do_not_count_twice(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep(seeds=range(3)))
    rerun(folder, Sweep(seeds=range(3)), numerics="2", run_id="f" * 16)
    assert tables(folder)[1]["num_seeds"].to_list() == [3, 3]
    console = quiet()
    page = analyze(folder, console=console).read_text()
    assert isinstance(console.file, io.StringIO)
    for said in (page, console.file.getvalue()):
        assert "1 of 7 runs do not count" in said


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        (Sweep({"focal": 0}), "no bce run"),
        (Sweep({"bce": 0}), "only bce"),
        (Sweep(seeds=(0,)), "at least 2 seeds"),
        (Sweep({"bce": 0, "focal": 0.4}), "focal beats bce on average precision by"),
        (Sweep(), "no loss is shown to beat bce"),
    ],
)
def test_every_sweep_gets_an_answer_and_a_report(tmp_path, sweep, said):
    report = analyze(fabricate(tmp_path / "s", sweep), console=quiet())
    assert said in report.read_text()


# Curves and charts


def test_precision_at_recall_against_a_slow_reference():
    rng = np.random.default_rng(0)
    labels = (rng.uniform(size=80) < 0.3).astype(np.int8)
    logits = np.round(rng.normal(size=80) + labels, 1).astype(np.float32)  # with ties
    for recall, precision in zip(curves.RECALLS, curves.precision_at(logits, labels), strict=True):
        cuts = [logits >= t for t in sorted(set(logits), reverse=True)]
        first = next(c for c in cuts if (labels[c].sum() / labels.sum()) >= recall - 1e-12)
        assert precision == pytest.approx(labels[first].mean())


def test_reliability_bins_are_equal_and_average_to_the_prevalence():
    labels = (np.arange(120) % 4 == 0).astype(np.int8)
    predicted, observed, size = curves.reliability(
        np.linspace(-3, 3, 120, dtype=np.float32), labels
    )
    assert predicted.size == curves.NUM_BINS and (np.diff(predicted) > 0).all()
    assert set(size) == {12}
    assert observed.mean() == pytest.approx(0.25)


def test_learning_curves_are_thinned_and_keep_both_ends(tmp_path):
    runs = load(fabricate(tmp_path / "s", Sweep(seeds=range(2), num_epochs=500)))
    table = curves.learning_curves(runs, answer(runs, Question()).chosen)
    epochs = table.filter((pl.col("method") == "bce") & (pl.col("curve") == "train/loss"))["epoch"]
    assert (epochs.min(), epochs.max(), epochs.len()) == (1, 500, curves.MAX_POINTS)


def test_a_learning_curve_of_few_points_keeps_them_however_many_epochs_apart(tmp_path):
    def looked(record):
        return replace(record, epochs_per_point=100)

    folder = fabricate(tmp_path / "s", Sweep(seeds=range(2), num_epochs=10), changed=looked)
    runs = load(folder)
    table = curves.learning_curves(runs, answer(runs, Question()).chosen)
    epochs = table.filter((pl.col("method") == "bce") & (pl.col("curve") == "train/loss"))["epoch"]
    assert epochs.to_list() == [100 * point for point in range(1, 11)]


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="payload">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def test_every_chart_draws_its_rows(planted, tmp_path):
    page = analyze(planted, output=tmp_path, console=quiet()).read_text()
    payload = embedded(page)
    drawn = drawing.chart_rows(answer(load(planted), Question()))
    assert set(payload["charts"]) == set(drawn.by_chart)
    for name, table in drawn.by_chart.items():
        spec = drawing.with_data(
            payload["definitions"][name], table.to_dicts(), drawn.palette, compared="loss"
        )
        svg = drawing.draw(spec, "svg").decode()
        assert "NaN" not in svg and svg.count("<path") > 5, name


def test_a_natural_rate_has_every_chart(planted):
    """A rate that no run induced is null, and null equals nothing unless one says so."""
    drawn = drawing.chart_rows(answer(load(planted), Question()))
    for name, table in drawn.by_chart.items():
        assert set(table["positive_rate"]) == {0.1, None}, name
    assert {"response", "budget", "steps", "learning", "rates"} <= set(drawn.by_chart)
    assert set(drawn.counts["positive_rate"]) == {0.1, None}


# The page


def test_names_are_text_in_page_data_and_tables(tmp_path):
    sweep = Sweep({"bce": 0, NASTY: 0.3}, datasets=(NASTY,), columns={"model.name": NASTY})
    console = quiet()
    page = analyze(fabricate(tmp_path / "s", sweep), console=console).read_text()
    assert NASTY not in page and page.count("</script>") == 3
    assert "&lt;script&gt;alert" in page
    assert embedded(page)["scenarios"][0]["dataset"] == NASTY


def test_the_page_forbids_the_network_and_names_its_scripts(planted, tmp_path):
    page = analyze(planted, output=tmp_path, console=quiet()).read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy and "default-src 'none'" in policy[1] and policy[1].count("sha256-") == 2
    assert "unsafe-eval" not in policy[1] and "script-src 'unsafe-inline'" not in policy[1]
    without_scripts = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", without_scripts)


def test_files_are_whole_and_a_long_table_is_cut_in_the_terminal(tmp_path):
    sweep = Sweep(datasets=[f"d{i:02}" for i in range(25)], seeds=(0, 1), num_rows=40)
    console = quiet(80)
    report = analyze(fabricate(tmp_path / "s", sweep), console=console)
    assert sorted(p.name for p in report.parent.iterdir()) == [
        "datasets.csv",
        "differences.csv",
        "interquartile_means.csv",
        "leaderboard.csv",
        "ranks.csv",
        "report.html",
    ]
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert "10 more rows in the report and leaderboard files" in printed
    sentences = [line for line in printed.split("\n") if line.startswith("Trained?")]
    tables = [line for line in printed.split("\n") if line not in sentences]
    assert sentences and max(map(len, tables)) <= 80  # a terminal breaks sentences itself
    assert pl.read_csv(report.parent / "leaderboard.csv").height == 50
