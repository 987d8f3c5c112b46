"""What the report says beside its charts: the answer first, thresholds and costs, the data."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from harness.analyze import (
    Question,
    analyze,
    answer,
    charts,
    drawing,
    headings,
    load,
    overview,
    wording,
)
from harness.record import store
from harness.record.schema import Record
from tests.fabricated import NASTY, Sweep, fabricate, quiet

COSTS = {"evaluation.costs.false_negative": 20.0, "evaluation.threshold": "cost"}
PLANTED = {"bce": 0.0, "focal": 0.4, "brier": 0.0, "hinge": -0.4}


def reported(folder: Path, **asked: Any) -> tuple[str, str]:
    """The page, and what the terminal shows."""
    console = quiet(240)
    page = analyze(folder, console=console, question=Question(**asked)).read_text()
    assert isinstance(console.file, io.StringIO)
    return page, console.file.getvalue()


def payload(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="payload">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def with_facts(**facts: Any) -> Callable[[Record], Record]:
    return lambda record: replace(record, facts={**record.facts, **facts})


# Thresholds and costs


def test_the_page_opens_at_what_the_sweep_decided_by(tmp_path):
    cuts = {0: -2.0, 1: -1.0, 2: 4.0}

    def cut(record: Record) -> Record:
        logit = cuts[record.config["seed"]]
        return with_facts(threshold_logit=logit, threshold=1 / (1 + np.exp(-logit)))(record)

    folder = fabricate(tmp_path / "s", Sweep(seeds=range(3), columns=COSTS), changed=cut)
    page, said = reported(folder)
    (scenario,) = payload(page)["scenarios"]
    assert scenario["costs"] == {"cost_fp": 1, "cost_fn": 20, "cost_tp": 0, "cost_tn": 0}
    assert scenario["rule"] == "lowest cost" and scenario["chosen"] == {"bce": -1.0, "focal": -1.0}
    assert page.count('<td class="n threshold">0.269</td>') == 2
    assert "chose one for lowest cost at costs of 1 a false alarm and 20 a missed positive" in page
    assert "threshold" in said and "0.269" in said
    board = pl.read_csv(folder / "analysis" / "leaderboard.csv")
    assert board["threshold"].to_list() == pytest.approx([0.26894] * 2, abs=1e-5)
    assert board["threshold_high"].to_list() == pytest.approx([0.98201] * 2, abs=1e-5)
    assert set(board["rule"]) == {"cost"} and set(board["cost_fn"]) == {20}


def test_a_run_without_a_model_has_no_threshold(tmp_path):
    nowhere = with_facts(threshold=float("nan"), threshold_logit=float("nan"))
    folder = fabricate(tmp_path / "s", Sweep(seeds=range(2)), changed=nowhere)
    page, _ = reported(folder)
    assert payload(page)["scenarios"][0]["chosen"] == {"bce": None, "focal": None}
    assert '<td class="n threshold">\N{EN DASH}</td>' in page


def test_figures_are_drawn_at_the_sweeps_costs_and_threshold(tmp_path, monkeypatch):
    specs: list[dict[str, Any]] = []
    monkeypatch.setattr(drawing, "draw", lambda spec, kind: specs.append(spec) or b"")
    analyze(
        fabricate(tmp_path / "s", Sweep(seeds=range(2), columns=COSTS)),
        console=quiet(),
        images="svg",
    )
    moved = [{one["name"]: one["value"] for one in spec.get("params", ())} for spec in specs]
    moved = [values for values in moved if "at" in values]
    assert len(moved) == 4  # costs, net benefit, and the thresholds of two losses
    assert [values["at"] for values in moved] == pytest.approx([np.log(0.3 / 0.7)] * 4)
    (costs,) = (values for values in moved if "cost_fp" in values)
    assert [costs[f"cost_{kind}"] for kind in ("fp", "fn", "tp", "tn")] == [1, 20, 0, 0]


@pytest.mark.slow
def test_figures_of_a_threshold_that_flags_nothing_open_elsewhere(tmp_path, monkeypatch):
    specs: list[dict[str, Any]] = []
    monkeypatch.setattr(drawing, "draw", lambda spec, kind: specs.append(spec) or b"")
    never = with_facts(threshold=1.0, threshold_logit=float("inf"))
    folder = fabricate(tmp_path / "s", Sweep(seeds=range(2)), changed=never)
    analyze(folder, console=quiet(), images="svg")
    opened = [one["value"] for spec in specs for one in spec.get("params", ()) if "value" in one]
    assert opened and np.isfinite(opened).all()


@pytest.mark.slow
def test_a_method_has_figures_where_it_was_trained(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep(datasets=("a",), seeds=range(2)))
    fabricate(folder, Sweep({"bce": 0}, datasets=("b",), seeds=range(2)))
    analyze(folder, console=quiet(), images="svg")
    drawn = (folder / "analysis" / "figures").glob("*/thresholds-*.svg")
    assert sorted(f"{path.parent.name[:4]} {path.stem}" for path in drawn) == [
        "00-a thresholds-0-bce", "00-a thresholds-1-focal", "01-b thresholds-0-bce",
    ]  # fmt: skip


# The data


def test_the_page_says_what_became_of_the_data(tmp_path):
    known = with_facts(
        positive_label=NASTY, positive_reason="the rarer label", data_positive_rate=0.123
    )
    folder = fabricate(tmp_path / "s", Sweep(seeds=range(2)), changed=known)
    fingerprint = load(folder).runs["data_fingerprint"][0]
    leak = f"column {NASTY!r} alone tells the classes"
    store.write_findings(folder, fingerprint, ["700 rows, 5 columns as 9 features", leak])
    page, _ = reported(folder)
    section = page[page.index('<section id="data"') : page.index('id="how-title"')]
    assert NASTY not in page and "&lt;/script&gt;" in section
    for said in ("(the rarer label)", "12.3%", "700 rows, 5 columns", "tells the classes"):
        assert said in section
    assert "<dd>1,200, 120 positive</dd>" in section and "<dd>400, 40 positive</dd>" in section


def test_findings_that_cannot_be_read_are_none(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep(seeds=range(2)))
    for name, text in enumerate(
        ("{", "[1]", '{"found": 3}', "{}", "[" * 200_000, '{"found": ["' + "a" * 2**20 + '"]}')
    ):
        path = folder / "data" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert store.findings(folder) == {} == load(folder).found


# How far, and on what rows


def test_a_half_finished_sweep_says_so(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep(seeds=range(4)))
    store.write_plan(folder, 540)
    for said in reported(folder):
        assert "s: 8 of 540 runs so far." in said


def same_rows(record: Record) -> Record:
    return with_facts(test_fingerprint="the last rows")(record)


def own_rows(record: Record) -> Record:
    return with_facts(test_fingerprint=f"rows of seed {record.config['seed']}")(record)


ONE_TEST_PART = "intervals show the spread of training alone; they say nothing about other rows"


@pytest.mark.parametrize(
    ("rows", "seeds", "is_said"),
    [(same_rows, 3, True), (own_rows, 3, False), (same_rows, 1, False), (with_facts(), 3, False)],
)
def test_one_test_part_is_told_by_its_rows(tmp_path, rows, seeds, is_said):
    """A split by time has one, and so has any whose seed is fixed: nobody asks its name."""
    folder = fabricate(tmp_path / "s", Sweep(seeds=range(seeds)), changed=rows)
    page, said = reported(folder)
    for text in (page, said):
        assert ("toy: one test part" in text and ONE_TEST_PART in text) == is_said
    assert ("since splits of one data set overlap" in page) != is_said


def test_one_test_part_of_one_data_set_is_named(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep(datasets=("a",), seeds=range(3)), changed=same_rows)
    fabricate(folder, Sweep(datasets=("b",), seeds=range(3)), changed=own_rows)
    page, _ = reported(folder)
    assert "a: one test part" in page and "b: one test part" not in page
    assert "since splits of one data set overlap" in page and "Of a: all runs are scored" in page


# Charts


def test_bands_stay_within_what_a_metric_can_be(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep({"bce": 3, "focal": 3}, seeds=range(2), noise=2.0))
    drawn = drawing.chart_rows(answer(load(folder), Question()))
    rates = drawn.by_chart["rates"]
    wide = pl.col("mean") * 2 - pl.col("low") > 1  # a t interval is even about its mean
    beyond = rates.filter(wide, metric="average_precision")
    assert beyond.height and set(beyond["high"]) == {1.0}
    bounded = rates.filter(pl.col("metric").is_in(["average_precision", "auroc", "f1@tuned"]))
    assert bounded["low"].min() >= 0 and bounded["high"].max() <= 1
    losses = rates.filter(metric="log_loss")
    even = (losses["mean"] * 2 - losses["high"]).to_list()
    assert losses["low"].to_list() == pytest.approx(even)


@pytest.mark.slow
@pytest.mark.parametrize("chart", ["reliability", "histogram"])
def test_charts_of_many_methods_have_a_panel_each(tmp_path, chart):
    names = [*PLANTED, "dice"]
    folder = fabricate(tmp_path / "s", Sweep(dict.fromkeys(names, 0.0), seeds=range(2)))
    drawn = drawing.chart_rows(answer(load(folder), Question()))
    rows = drawn.by_chart[chart]
    spec = drawing.with_data(
        charts.definitions("loss")[chart], rows.to_dicts(), drawn.palette, compared="loss"
    )
    svg = drawing.draw(spec, "svg").decode()
    assert all(svg.count(f">{name}</text>") == 1 for name in names)  # named once, and by no legend
    # No panel has another's: a point a bin, or one filled area.
    marks = {"reliability": 'aria-roledescription="point"', "histogram": 'opacity="0.35"'}
    expected = {"reliability": rows.height, "histogram": len(names)}
    assert svg.count(marks[chart]) == expected[chart]


# The answer first


def test_the_first_table_says_better_same_worse_or_open(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep(PLANTED, columns=COSTS))
    analysis = answer(load(folder), Question())
    (table,) = overview.tables(analysis)
    assert [wanted for wanted, _ in table.columns] == ["Ranking", "Probabilities as they come"]
    cells = {method: [cell.word for cell in row] for method, row in table.rows}
    assert cells["focal"] == ["better", "better"] and cells["hinge"][0] == "worse"
    assert cells["brier"][1] == "same"
    focal = analysis.differences.filter(method="focal", metric="skill")["difference"].item()
    assert dict(table.rows)["focal"][1].number == f"+{focal:.4f}"
    page, said = reported(folder)
    advice = "Use focal: better than bce at ranking. Call a row positive from 0.3 on (chosen on "
    for text in (page, said):
        assert advice in text
        assert text.index("Probabilities as they come") < text.index("Paired difference")


def test_without_a_better_one_the_baseline_is_to_be_used(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep({"bce": 0.0, "brier": 0.0, "hinge": -0.4}))
    assert overview.advice(answer(load(folder), Question())).startswith("Use bce: no other is")


def with_scores(**changes: Callable[[Record], float]) -> Callable[[Record], Record]:
    """Scores by metric, on test as on validation; seeds differ by the same for every loss."""

    def changed(record: Record) -> Record:
        metrics = dict(record.metrics)
        for name, score in changes.items():
            value = score(record) + record.config["seed"] / 1000
            metrics |= {f"{part}/{name}": value for part in ("test", "validation")}
        return replace(record, metrics=metrics)

    return changed


def of_loss(**scores: float) -> Callable[[Record], float]:
    """By loss, with some noise of each run's own."""

    def score(record: Record) -> float:
        noise = np.random.default_rng(int(record.run_id[:8], 16)).normal(0, 0.002)
        return float(scores[record.config["loss"]["name"]] + noise)

    return score


@pytest.mark.parametrize("metric", ["average_precision", "log_loss", "flagged@0.5"])
def test_the_first_table_has_the_verdicts_and_no_other(tmp_path, metric):
    flagged = of_loss(bce=0.1, focal=0.3, brier=0.1, hinge=0.1)
    changed = with_scores(**{"flagged@0.5": flagged})
    folder = fabricate(tmp_path / "s", Sweep(PLANTED, seeds=range(5)), changed=changed)
    analysis = answer(load(folder), Question(metrics=(metric,)))
    (table,) = overview.tables(analysis)
    verdicts = {
        (row["method"], headings.heading(row["metric"])): row["verdict"]
        for row in analysis.differences.iter_rows(named=True)
    }
    words = {
        (method, title): cell.word
        for method, cells in table.rows
        for (_, title), cell in zip(table.columns, cells, strict=True)
    }
    said = {"undecided": "open"}
    assert words == {key: said.get(verdicts[key], verdicts[key]) for key in words}
    if metric == "flagged@0.5":
        assert words["focal", headings.heading(metric)] == "differs"


def test_a_headline_of_probabilities_counts(tmp_path):
    same = of_loss(bce=0.5, focal=0.5)
    changed = with_scores(
        log_loss=of_loss(bce=0.4, focal=0.2), average_precision=same, **{"f1@tuned": same}
    )
    folder = fabricate(tmp_path / "s", Sweep(), changed=changed)
    said = overview.advice(answer(load(folder), Question(metrics=("log_loss",))))
    assert said.startswith("Use focal: better than bce at probabilities as they come. Call")
    assert overview.advice(answer(load(folder), Question())).startswith("Use bce: no other is")


@pytest.mark.parametrize("datasets", [["a"], list("abcdefgh")])
def test_the_loss_to_use_is_the_one_named_first(tmp_path, datasets):
    """Both are better; configurations are chosen by a metric that would name the other."""
    changed = with_scores(
        average_precision=of_loss(bce=0.5, brier=0.6, focal=0.7),
        auroc=of_loss(bce=0.5, brier=0.7, focal=0.6),
    )
    losses = {"bce": 0.0, "focal": 0.0, "brier": 0.0}
    sweep = Sweep(losses, datasets=datasets, seeds=range(4), num_rows=60)
    folder = fabricate(tmp_path / "s", sweep, changed=changed)
    analysis = answer(load(folder), Question(metrics=("auroc",)))
    assert overview.advice(analysis).startswith("Use brier: better than bce at ranking.")
    first = wording.overall(analysis) or wording.answers(analysis)[0]
    sentence = first["sentence"]
    assert 0 <= sentence.index("brier") < sentence.index("focal")
    page, _ = reported(folder, metrics=("auroc",))
    assert page.count("chosen on validation for ") == (len(datasets) == 1)


# Losses that leave the level alone


def shiftless(record: Record) -> Record:
    return with_facts(shift_invariant=record.config["loss"]["name"] != "bce")(record)


def test_nothing_is_shown_of_a_level_that_is_noise(tmp_path):
    sweep = Sweep({"bce": 0.0, "pairwise_hinge": 0.4})
    folder = fabricate(tmp_path / "s", sweep, changed=shiftless)
    analysis = answer(load(folder), Question())
    board = {row["method"]: row for row in analysis.board.iter_rows(named=True)}
    columns = ("threshold", "threshold_low", "threshold_high", "threshold_logit")
    assert [board["pairwise_hinge"][name] for name in columns] == [None] * 4
    assert None not in [board["bce"][name] for name in columns]
    drawn = drawing.chart_rows(analysis)
    shown = {name: set(table["method"]) for name, table in drawn.by_chart.items()}
    for chart in ("reliability", "histogram", "learning", "steps"):
        assert shown[chart] == {"bce"}
    for chart in ("precision_recall", "roc", "objective"):
        assert shown[chart] == {"bce", "pairwise_hinge"}
    assert set(drawn.counts["method"]) == {"bce"}
    said = overview.advice(analysis)
    assert said == (
        "Use pairwise_hinge: better than bce at ranking and decisions. Calibrate its scores before "
        "they are read as probabilities."
    )


@pytest.mark.slow
def test_where_nobody_has_a_threshold_none_is_explained(tmp_path):
    sweep = Sweep({"pairwise_hinge": 0.0, "smooth_ap": 0.0}, seeds=range(3))
    folder = fabricate(tmp_path / "s", sweep, changed=shiftless)
    page, _ = reported(folder, baseline="pairwise_hinge")
    assert "Threshold: call a row" not in page
    assert set(payload(page)["charts"]) >= {"roc"} and not payload(page)["counts"]


@pytest.mark.slow
def test_over_data_sets_the_first_table_is_over_them(tmp_path):
    folder = fabricate(tmp_path / "s", Sweep(PLANTED, datasets=list("abcdef"), seeds=range(2)))
    (table,) = overview.tables(answer(load(folder), Question()))
    assert table.title.startswith("Beside bce: over 6 data sets (same: within ")
