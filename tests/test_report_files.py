"""What is written: names as text in Markdown and LaTeX, pictures, notes, tables over data sets."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from markdown_it import MarkdownIt
from scipy import stats

from benchmarks.analysis import fabricate as fabricate_benchmark
from harness.analyze import (
    Question,
    analyze_runs,
    answer,
    comparisons,
    curves,
    drawing,
    export,
    load,
)
from tests.fabricated import NASTY, Sweep, fabricate, quiet

HOSTILE = NASTY + r" | `a` *b* [c](d) \input{x} $1 & 100% #_^~ \\ {"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven data sets, on one of which a loss was not trained."""
    folder = tmp_path_factory.mktemp("sweeps") / "across"
    effects = {"bce": 0.0, "focal": 0.4, "brier": 0.0}
    sweep = Sweep(effects, datasets=list("abcdef"), seeds=range(3), num_rows=80)
    fabricate(folder, sweep)
    fabricate(folder, replace(sweep, effects={"bce": 0, "focal": 0.4}, datasets="g"))
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    sweep = Sweep({"bce": 0, HOSTILE: 0.3}, datasets=(HOSTILE,), seeds=range(3), num_rows=60)
    return answer(load(fabricate(tmp_path_factory.mktemp("s") / "hostile", sweep)), Question())


def plain(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def test_a_markdown_reader_sees_the_cells_as_text(hostile):
    table = export.text_tables(hostile)["differences"]
    tokens = MarkdownIt("commonmark").enable("table").parse(export.markdown(table))
    inline = [token for token in tokens if token.type == "inline"]
    kinds = {child.type for token in inline for child in token.children}
    assert kinds <= {"text", "text_special"}  # an escaped character is special text
    seen = ["".join(child.content for child in token.children) for token in inline]
    cells = [cell for row in (table.headings, *table.rows) for cell in row]
    assert seen == [plain(table.title), *map(plain, cells)]
    assert plain(HOSTILE) in seen


def test_tex_sees_nothing_but_its_own_commands(hostile):
    table = export.text_tables(hostile)["differences"]
    text = export.latex(table)
    lines = text.splitlines()[3:]
    rows = [line for line in lines if line.endswith(r" \\")]
    assert len(rows) == 1 + len(table.rows)
    named = r"\\text(backslash|asciitilde|asciicircum|less|greater)\{\}|\$(\\pm|-)\$|\\[&%$#_{}]"
    for row in rows:
        bare = re.sub(named, "", row.removesuffix(r" \\"))
        assert bare.count("&") == len(table.headings) - 1
        assert not set(bare) & set("\\%$#_{}~^<>")
    assert r"\textbackslash{}input\{x\}" in text


def test_every_format_holds_the_same_rows(folder, tmp_path):
    analysis = answer(load(folder), Question())
    paths = export.write_tables(analysis, tmp_path, ("csv", "parquet", "md", "tex"))
    assert len(paths) == len(set(paths)) == 2 * 5 + 2 * 4
    one = pl.read_csv(tmp_path / "differences.csv")
    other = pl.read_parquet(tmp_path / "differences.parquet")
    assert one["difference"].to_list() == pytest.approx(other["difference"].to_list())
    shown = analysis.differences.filter(metric=analysis.headline).height
    for path, overhead in (("differences.md", 4), ("differences.tex", 7)):
        assert len((tmp_path / path).read_text().splitlines()) == shown + overhead


def test_a_papers_table_has_data_sets_by_losses(folder):
    """The best in bold; a tie is what the paired test does not show to be worse than it."""
    analysis = answer(load(folder), Question())
    table = export.paper_table(analysis)
    assert list(table.headings) == ["", "bce", "brier", "focal"]
    assert [row[0][0] for row in table.rows] == [*"abcdefg", "m", "a"]
    board = {(row["dataset"], row["method"]): row for row in analysis.board.to_dicts()}
    for at, row in enumerate(table.rows[:7]):
        means = [board.get((row[0][0], m), {}).get(analysis.headline) for m in table.headings[1:]]
        best = max(range(3), key=lambda i: means[i] or 0)
        assert {column for line, column in table.bold if line == at} == {1 + best}
        shown = [text.removesuffix(export.TIE) for text in row[1:]]
        assert shown == ["\N{EN DASH}" if mean is None else f"{mean:.3f}" for mean in means]
        assert not row[1 + best].endswith(export.TIE)
    assert table.rows[6][2] == "\N{EN DASH}"
    # The last rows are over the six that all have.
    complete = [board[name, "bce"][analysis.headline] for name in "abcdef"]
    assert table.rows[7][1] == f"{np.mean(complete):.3f}"
    ranks = dict(analysis.ranks.select("method", "rank").iter_rows())
    assert table.rows[8][1:] == [f"{ranks[m]:.2f}" for m in ("bce", "brier", "focal")]
    # Ties follow from the same test with the best in the baseline's place.
    ties = {row[0][0] for row in table.rows[:7] if row[1].endswith(export.TIE)}
    beside = comparisons.differences(
        analysis.chosen, metrics=[analysis.headline], baseline="focal"
    ).filter(method="bce")
    expected = set(beside.filter(pl.col("verdict") != "worse")["dataset"])
    won = {row[0][0] for at, row in enumerate(table.rows[:7]) if (at, 3) in table.bold}
    assert ties & won == expected & won
    text = export.latex(table)
    assert text.count(r"\textbf{") == 7 and r"\caption{Test average" in text
    assert export.markdown(table).count("**") == 14


@pytest.mark.slow
def test_notes_and_pictures_are_written(folder, tmp_path):
    runs = replace(load(folder), notes=("3 runs come <b>without</b> predictions.",))
    question = Question(where="dataset = a and loss in (bce, focal)")
    page = analyze_runs(
        runs, output=tmp_path, console=quiet(), question=question, images="png"
    ).read_text()
    assert "3 runs come &lt;b&gt;without&lt;/b&gt; predictions." in page
    pictures = sorted(tmp_path.glob("figures/**/*.png"))
    names = {path.stem.partition("-")[0] for path in pictures}
    assert {"differences", "precision_recall", "reliability", "net_benefit"} <= names
    for path in pictures:
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert int.from_bytes(data[16:20]) > drawing.WIDTH  # pixels across


def test_learning_curves_of_all_data_sets_are_one_figure(folder):
    analysis = answer(load(folder), Question(where="dataset in (a, b) and loss in (bce, focal)"))
    drawn = drawing.chart_rows(analysis)
    ((name, spec),) = drawing._specifications(analysis, drawn, only=("learning_curves",))
    panels = {row["where"] for row in spec["datasets"]["rows"]}
    assert name == "learning_curves" and {panel.partition(",")[0] for panel in panels} == {"a", "b"}
    picture = drawing.draw(spec, "svg").decode()
    assert all(f">{label}</text>" in picture for label in ("bce", "focal", *panels))


@pytest.mark.parametrize("chart", ["loss_shape", "gradient_shape"])
def test_a_chart_draws_rows_of_anyones(chart, tmp_path):
    logits = np.linspace(-4, 4, 9)
    rows = pl.concat(
        pl.DataFrame({"method": [loss] * 9, "logit": logits, "value": scale * np.exp(-logits)})
        for loss, scale in (("bce", 1.0), ("<exp> & co", 2.0))
    )
    path = tmp_path / "new" / f"{chart}.svg"
    drawing.write_chart(chart, rows, path)
    svg = path.read_text()
    assert "&lt;exp&gt; &amp; co" in svg and "logit given to a positive" in svg
    with pytest.raises(ValueError, match=r"\.svg or \.png"):
        drawing.write_chart(chart, rows, tmp_path / "a.pdf")
    many = pl.DataFrame({"method": list("abcdefgh"), "logit": 0.0, "value": 0.0})
    with pytest.raises(ValueError, match="8 methods"):
        drawing.write_chart(chart, many, tmp_path / "a.svg")


def test_over_data_sets_each_counts_once(folder):
    analysis = answer(load(folder), Question())
    focal = analysis.differences.filter(metric="average_precision", method="focal")
    row = analysis.datasets.filter(metric="average_precision", method="focal").row(0, named=True)
    values = focal["difference"].to_numpy()
    assert values.size == row["num_datasets"] == 7
    walsh = [(a + b) / 2 for i, a in enumerate(values) for b in values[i:]]
    assert row["difference"] == pytest.approx(np.median(walsh))
    assert row["p_value"] == pytest.approx(stats.wilcoxon(values).pvalue)
    assert (row["wins"], row["family_size"], row["verdict"]) == (7, 2, "better")
    assert sum(row[p] for p in ("p_worse", "p_equivalent", "p_better")) == pytest.approx(1)


def test_ranks_are_of_the_data_sets_that_have_every_group(folder):
    analysis = answer(load(folder), Question())
    means = analysis.board.filter(pl.col("dataset") != "g")
    wide = means.pivot("method", index="dataset", values="average_precision").drop("dataset")
    ranks = stats.rankdata(-wide.to_numpy().round(6), axis=1).mean(axis=0)
    expected = dict(zip(wide.columns, ranks, strict=True))
    assert dict(analysis.ranks.iter_rows()) == pytest.approx(expected)
    assert analysis.rank_test["num_datasets"] == 6


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end(folder):
    analysis = answer(load(folder), Question())
    scores = analysis.chosen.filter(method="focal")["test/average_precision"].to_numpy()
    row = analysis.iqm.filter(method="focal", metric="average_precision").row(0, named=True)
    assert row["iqm"] == pytest.approx(stats.trim_mean(scores, 0.25))
    assert row["num_strata"] == 7 and row["low"] < row["iqm"] < row["high"]


@pytest.mark.parametrize("hits", [0, 1, 7, 20])
def test_wilsons_interval_is_scipys(hits):
    reference = stats.binomtest(hits, 20).proportion_ci(method="wilson")
    low, high = curves.wilson(np.array([hits / 20]), np.array([20.0]))
    assert (low[0], high[0]) == pytest.approx(tuple(reference), abs=1e-12)


def test_recall_at_false_positive_rates_is_the_best_cut_that_keeps_them(monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.r_[np.zeros(20, np.int8), np.ones(30, np.int8)]
    logits = np.round(rng.normal(size=50) + labels, 1).astype(np.float32)  # with ties
    cuts = [logits >= t for t in (np.inf, *sorted(set(logits), reverse=True))]
    points = [(said[labels == 0].mean(), said[labels == 1].mean()) for said in cuts]
    rates = np.array(sorted({fpr for fpr, _ in points}))
    monkeypatch.setattr(curves, "FALSE_POSITIVE_RATES", rates)
    best = [max(tpr for fpr, tpr in points if fpr == rate) for rate in rates]
    np.testing.assert_allclose(curves.recall_at(logits, labels), best, atol=1e-12)
    assert np.isnan(curves.recall_at(logits, np.ones_like(labels))).all()


def test_the_benchmarks_sweep_is_one_of_the_store(tmp_path):
    assert fabricate_benchmark(tmp_path, seeds=1) == 500
    runs = load(tmp_path)
    assert runs.runs.height == 500 and runs.history.collect().height == 500 * 50
    assert answer(runs, Question()).board.height == 5 * 5 * 4


@pytest.mark.slow
@pytest.mark.parametrize("by", [("loss",), ("loss", "model.width")])
def test_headings_say_what_is_compared(folder, tmp_path, by):
    """A legend, an axis and a table: `method` is the column's name in the files alone."""
    compared = ", ".join(by)
    question = Question(by=by, where="dataset in (a, b)")
    page = analyze_runs(
        load(folder), output=tmp_path, console=quiet(), question=question, images="svg"
    ).read_text()
    assert f'<th scope="col">{compared.capitalize()}</th>' in page and ">Method<" not in page
    for chart in ("differences", "learning", "datasets"):
        picture = next(tmp_path.glob(f"figures/**/{chart}.svg")).read_text()
        assert f">{compared}</text>" in picture and ">method</text>" not in picture
    assert pl.read_csv(tmp_path / "differences.csv").columns[3] == "method"
