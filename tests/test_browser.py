"""The report in a real browser: every control, the explorer's numbers, the console, axe-core.

Run by `make browser`. Needs Chromium: `apt-get install chromium`, or CHROMIUM=/path/to/it.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from harness.analyze import Question, analyze, answer, load
from harness.analyze.curves import THRESHOLDS
from tests.fabricated import LEARNING_RATES, NASTY, Sweep, fabricate, quiet

pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("no Chromium: apt-get install chromium, or set CHROMIUM to its path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    effects = {"bce": 0.0, NASTY: 0.4, "brier": 0.0, "hinge": -0.4}
    sweep = Sweep(
        effects=effects,
        datasets=(NASTY, "b", "c"),
        rates=(0.1, None),
        seeds=range(4),
        learning_rates=LEARNING_RATES,
        num_rows=150,
    )
    folder = fabricate(tmp_path_factory.mktemp("sweeps") / "page", sweep)
    analyze(folder, console=quiet())
    return folder


class Open:
    """A report in a page of its own, and everything it complained of or asked the network for."""

    def __init__(self, browser: Any, path: Path, **context: Any):
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(bypass_csp=False, **context)
        self.page.on("console", lambda m: self.complaints.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda d: (self.complaints.append("dialog"), d.dismiss()))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.goto(path.as_uri())
        self.settle()

    def settle(self) -> None:
        self.page.wait_for_selector("html[data-drawn]", timeout=60_000)

    def after(self, act: Callable[[], Any]) -> None:
        """Act, and wait until the page has drawn what follows."""
        self.page.evaluate("() => { delete document.documentElement.dataset.drawn; }")
        act()
        self.settle()

    def number(self, name: str) -> int:
        return int(self.page.inner_text(f"#{name}").replace(",", ""))

    def confusion(self) -> dict[str, int]:
        return {name: self.number(name) for name in ("tp", "fp", "fn", "tn")}


@pytest.fixture
def opened(chromium: Any, folder: Path) -> Iterator[Open]:
    report = Open(chromium, folder / "analysis" / "report.html")
    yield report
    assert report.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in report.requests)
    report.page.close()


def stored(folder: Path, loss: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of the chosen runs of a loss in the first scenario, from the store."""
    analysis = answer(load(folder), Question())
    first = analysis.board.row(0, named=True)
    runs = analysis.chosen.filter(
        (pl.col("method") == loss)
        & (pl.col("dataset") == first["dataset"])
        & pl.col("positive_rate").eq_missing(pl.lit(first["positive_rate"]))
    )
    paths = sorted((folder / "shards").glob("*/predictions.parquet"))
    rows = pl.concat([pl.read_parquet(path) for path in paths])
    rows = rows.filter(pl.col("run_id").is_in(runs["run_id"].to_list()), split=split)
    assert rows.height == 4
    exploded = rows.select(pl.col("logits", "labels").explode())
    return exploded["logits"].to_numpy(), exploded["labels"].to_numpy()


def counted(logits: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, int]:
    said = logits.astype(float) >= threshold
    return {
        "tp": int((said & (labels == 1)).sum()),
        "fp": int((said & (labels == 0)).sum()),
        "fn": int((~said & (labels == 1)).sum()),
        "tn": int((~said & (labels == 0)).sum()),
    }


@pytest.mark.parametrize("loss", ["bce", NASTY])
def test_the_confusion_matrix_is_the_stores_wherever_the_threshold_moves(opened, folder, loss):
    page = opened.page
    names = page.eval_on_selector_all("#pick-method option", "all => all.map(o => o.value)")
    assert loss in names
    if page.input_value("#pick-method") != loss:
        page.select_option("#pick-method", index=names.index(loss))
    logits, labels = stored(folder, loss, "test")
    seen = []
    for at in (0, 37, 60, 80, 95, 160):
        page.eval_on_selector("#threshold", SET, at)
        assert opened.confusion() == counted(logits, labels, THRESHOLDS[at])
        seen.append(opened.confusion()["tp"])
    assert len(set(seen)) >= 4  # it moved through something


SET = "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }"


def test_the_cheapest_threshold_is_chosen_on_validation(opened, folder):
    page = opened.page
    page.fill("#cost-fp", "1")
    page.fill("#cost-fn", "7")
    page.click("#cheapest")
    loss = page.input_value("#pick-method")
    logits, labels = stored(folder, loss, "validation")
    costs = [
        counts["fp"] + 7 * counts["fn"]
        for counts in (counted(logits, labels, threshold) for threshold in THRESHOLDS)
    ]
    at = int(page.input_value("#threshold"))
    assert costs[at] == min(costs)
    test = counted(*stored(folder, loss, "test"), THRESHOLDS[at])
    assert opened.confusion() == test
    cost = 1000 * (test["fp"] + 7 * test["fn"]) / sum(test.values())
    assert float(page.inner_text("#rate-cost")) == pytest.approx(cost, abs=0.051)
    page.click("#best-f1")
    assert int(page.input_value("#threshold")) != at


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of eight losses with costs and gains, at a cut of probability .3."""
    costs = {"false_positive": 2.0, "false_negative": 20.0, "true_positive": -5.0}
    columns = {f"evaluation.costs.{name}": value for name, value in costs.items()}
    losses = ("bce", "focal", "brier", "hinge", "poly1", "dice", "pairwise_logistic", "soft_f1")
    sweep = Sweep(
        dict.fromkeys(losses, 0.0),
        seeds=range(3),
        columns=columns | {"evaluation.threshold": "cost"},
        num_rows=150,
    )
    folder = fabricate(tmp_path_factory.mktemp("sweeps") / "decided", sweep)
    analyze(folder, console=quiet())
    return folder


def test_the_explorer_opens_at_the_sweeps_costs_and_threshold(chromium, decided):
    report = Open(chromium, decided / "analysis" / "report.html")
    page = report.page

    def state() -> dict[str, str]:
        ids = ("cost-fp", "cost-fn", "cost-tp", "cost-tn", "threshold")
        return {name: page.input_value(f"#{name}") for name in ids}

    at = int(np.abs(THRESHOLDS - np.log(0.3 / 0.7)).argmin())
    opened_at = {
        "cost-fp": "2", "cost-fn": "20", "cost-tp": "-5", "cost-tn": "0", "threshold": str(at)
    }  # fmt: skip
    assert state() == opened_at and page.is_visible("#cost-tp")
    note = page.inner_text("#threshold-note")
    assert "The sweep chose 0.300 on validation for lowest cost." in note
    rows = report.confusion()
    total = rows["fp"] * 2 + rows["fn"] * 20 - 5 * rows["tp"]
    shown = float(page.inner_text("#rate-cost").replace("\N{MINUS SIGN}", "-"))
    assert shown == pytest.approx(1000 * total / sum(rows.values()), abs=0.051)
    page.fill("#cost-fn", "3")
    page.eval_on_selector("#threshold", SET, 60)
    page.select_option("#pick-method", index=1)
    assert state()["threshold"] == "60"  # the reader's own stays
    page.click("#as-chosen")
    assert state() == opened_at
    assert report.complaints == []
    page.close()


@pytest.mark.parametrize("width", [1280, 375])
def test_tables_scroll_and_show_scores_first(chromium, decided, width):
    report = Open(
        chromium,
        decided / "analysis" / "report.html",
        viewport={"width": width, "height": 800},
        is_mobile=width < 500,
    )
    page = report.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for table, cell in (("#board", ".score"), ("#differences", ".n"), (".overview", "td")):
        row = f"{table} tbody tr:not([hidden])"
        name, score = page.locator(f"{row} th").first, page.locator(f"{row} {cell}").first
        score.scroll_into_view_if_needed()
        page.locator(f".scroll:has({table})").evaluate("e => { e.scrollLeft = 0; }")
        box, before = score.bounding_box(), name.bounding_box()
        assert before["x"] + before["width"] <= box["x"] + 1
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        page.locator(f".scroll:has({table})").evaluate("e => { e.scrollLeft = 9999; }")
        assert name.bounding_box()["x"] >= 0  # whose scores these are stays in sight
    assert report.complaints == []
    page.close()


def test_a_long_override_is_broken_on_a_phone(chromium, decided):
    """Such as the learning rates that `harness choose` says to try next."""
    page = Open(
        chromium, decided / "analysis" / "report.html", viewport={"width": 375, "height": 800}
    ).page
    page.eval_on_selector_all(
        "p", "all => all.forEach(p => p.textContent = `(key=${Array(40).fill('0.001')})`)"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.close()


@pytest.mark.parametrize("width", [1280, 375])
def test_small_multiples_fit_their_place(chromium, decided, width):
    report = Open(
        chromium, decided / "analysis" / "report.html", viewport={"width": width, "height": 800}
    )
    for chart in ("reliability", "histogram"):
        place = report.page.locator(f"#chart-{chart}").bounding_box()
        picture = report.page.locator(f"#chart-{chart} svg").bounding_box()
        assert picture["x"] + picture["width"] <= place["x"] + place["width"] + 1
        texts = report.page.locator(f"#chart-{chart} svg text").all_text_contents()
        assert sum(text in ("bce", "focal", "brier", "hinge") for text in texts) >= 3
    before = report.page.locator("#chart-reliability svg text:text-is('bce')").count()
    report.after(lambda: report.page.uncheck("#methods label:has-text('bce') input"))
    after = report.page.locator("#chart-reliability svg text:text-is('bce')").count()
    assert (before, after) == (1, 0)
    report.page.close()


def test_a_cost_that_is_none_is_marked_and_changes_nothing(opened):
    page = opened.page
    page.fill("#cost-fn", "5")
    before = page.inner_text("#rate-cost")
    page.fill("#cost-fn", "-3")
    assert page.get_attribute("#cost-fn", "aria-invalid") == "true"
    assert page.inner_text("#rate-cost") == before


def test_the_keyboard_alone_moves_the_threshold(opened):
    page = opened.page
    page.focus("#pick-method")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "threshold"
    before = opened.confusion()
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    after = opened.confusion()
    assert after["tp"] >= before["tp"] and after["fp"] > before["fp"]
    assert "probability" in page.get_attribute("#threshold", "aria-valuetext")


def test_every_option_of_every_selector_draws(opened):
    page = opened.page
    for name in ("dataset", "rate", "metric", "key"):
        for value in page.eval_on_selector_all(
            f"#pick-{name} option", "all => all.map((o, i) => i)"
        ):
            if page.is_enabled(f"#pick-{name}"):
                opened.after(lambda n=name, v=value: page.select_option(f"#pick-{n}", index=v))
            drawn = page.query_selector_all("figure:not([hidden]) .vega-embed svg")
            assert len(drawn) >= 9
    title = page.eval_on_selector("#pick-metric", "e => e.selectedOptions[0].textContent")
    assert title in page.inner_text("#caption-differences")


def test_a_metric_outside_the_table_gets_a_column_and_ranks_the_rows(chromium, folder, tmp_path):
    question = Question(metrics=("auroc",))
    path = analyze(folder, output=tmp_path, console=quiet(), question=question)
    report = Open(chromium, path)
    page = report.page
    assert page.is_hidden("#board-extra")
    report.after(lambda: page.select_option("#pick-metric", value="brier"))
    assert page.inner_text("#board-extra") == "Brier score"
    cells = page.eval_on_selector_all(
        "#board tbody tr:not([hidden]) .extra", "all => all.map(c => c.textContent)"
    )
    scores = [[float(word) for word in re.findall(r"-?[\d.]+", cell)] for cell in cells]
    for cell, (mean, low, high) in zip(cells, scores, strict=True):
        assert cell == f"{mean:.4f} ({low:.4f} to {high:.4f})" and low < mean < high
    assert len(scores) == 4 and scores == sorted(scores)
    assert report.complaints == []


def test_an_unchecked_loss_leaves_charts_and_tables(opened):
    page = opened.page
    label = "#methods label:has-text('hinge') input"
    rows = "#differences tbody tr"
    before = len(page.query_selector_all(rows))
    opened.after(lambda: page.uncheck(label))
    assert len(page.query_selector_all(rows)) == before - 1
    assert "hinge" not in page.inner_text("#board")
    opened.after(lambda: page.check(label))
    assert len(page.query_selector_all(rows)) == before


def test_names_are_text(opened):
    assert opened.page.eval_on_selector("#pick-dataset", "e => e.options.length") == 3
    assert opened.page.query_selector("main b:has-text('</script>')") is not None
    assert opened.page.query_selector_all("main script") == []


@pytest.mark.parametrize(
    "context",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark"},
        {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True},
    ],
    ids=["light", "dark", "phone"],
)
def test_axe_finds_nothing_serious_and_nothing_overflows(chromium, folder, context):
    from axe_playwright_python.sync_playwright import Axe

    report = Open(chromium, folder / "analysis" / "report.html", **context)
    found = Axe().run(report.page).response["violations"]
    serious = [v for v in found if v["impact"] in {"serious", "critical"}]
    assert [(v["id"], v["nodes"][0]["html"]) for v in serious] == []
    width = report.page.evaluate("document.documentElement.scrollWidth")
    assert width <= report.page.viewport_size["width"]
    report.page.close()


def test_it_prints(opened):
    opened.page.emulate_media(media="print")
    assert opened.page.is_hidden("#selectors") and opened.page.is_visible("#board")
    assert len(opened.page.pdf()) > 50_000
