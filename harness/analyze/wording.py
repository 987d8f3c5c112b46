"""Numbers, names and the answer in words: the same in the terminal, the files and the page."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from harness.analyze.comparisons import validation_gains
from harness.analyze.groups import SCENARIO
from harness.analyze.headings import compared_heading
from harness.analyze.question import Analysis
from harness.analyze.statistics import FORECAST_FROM

Row = Mapping[str, Any]


def place(row: Row) -> str:
    """A scenario's name.

    >>> place({"dataset": "adult", "positive_rate": 0.01, "settings": ""})
    'adult, 1% positives'
    """
    rate = row["positive_rate"]
    rate_text = "natural positive rate" if rate is None else f"{percent(rate)} positives"
    return ", ".join(part for part in (row["dataset"], rate_text, row["settings"]) if part)


def percent(rate: float) -> str:
    return f"{100 * rate:.3g}%"


def number(value: float | None, digits: int = 4) -> str:
    """A fixed number of decimals, or a dash; never -0.

    >>> number(0.12345), number(None), number(-1e-9), number(-1)
    ('0.1235', '\N{EN DASH}', '0.0000', '\N{MINUS SIGN}1.0000')
    """
    if value is None:
        return "\N{EN DASH}"
    text = f"{value:.{digits}f}"
    text = text if float(text) else f"{0:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def signed(value: float | None) -> str:
    text = number(value)
    return f"+{text}" if value is not None and value > 0 and float(text) else text


def interval(row: Row) -> str:
    """`low to high`, or a dash where there is no interval."""
    return "\N{EN DASH}" if row["low"] is None else f"{signed(row['low'])} to {signed(row['high'])}"


def p_value(value: float | None) -> str:
    """
    >>> p_value(0.0000312), p_value(0.0312)
    ('< 0.0001', '0.0312')
    """
    return "< 0.0001" if value is not None and value < 1e-4 else number(value)


def plural(count: int, noun: str) -> str:
    """
    >>> plural(1, "seed"), plural(3, "data set")
    ('1 seed', '3 data sets')
    """
    return f"{count} {noun}{'s' if count != 1 else ''}"


def what_would_decide(row: Row) -> str:
    """What would settle an undecided comparison; empty for a decided one.

    >>> row = {"verdict": "undecided", "difference": 0.1, "p_adjusted": 0.2}
    >>> what_would_decide(row | {"num_pairs": 5, "more_seeds": 7})
    'about 7 more seeds would decide'
    >>> what_would_decide(row | {"num_pairs": 3, "more_seeds": None})
    'from 3 seeds nobody can tell how many would decide: run 5 or more'
    >>> what_would_decide(row | {"num_datasets": 8, "more_datasets": 1, "more_splits": None})
    'about 1 more data set would decide'
    >>> what_would_decide(row | {"num_datasets": 8, "more_datasets": None, "more_splits": 20})
    'about 20 more splits of each data set would decide: their noise is what is in the way'
    """
    if row["verdict"] != "undecided":
        return ""
    is_one = "num_pairs" in row  # data set; else the row is over data sets
    noun = "seed" if is_one else "data set"
    count = row["num_pairs" if is_one else "num_datasets"]
    more = row["more_seeds" if is_one else "more_datasets"]
    if count < 2:
        return f"at least 2 {noun}s are needed"
    if row["p_adjusted"] is None:
        return f"all {count} differences are the same, and without spread there is no test"
    if count < FORECAST_FROM:
        many = f"run {FORECAST_FROM} or more"
        return f"from {count} {noun}s nobody can tell how many would decide: {many}"
    if not is_one and row["more_splits"] is not None:
        splits = plural(row["more_splits"], "more split")
        return f"about {splits} of each data set would decide: their noise is what is in the way"
    if more is not None:
        return f"about {plural(more, f'more {noun}')} would decide"
    if row["difference"] == 0:
        return "no difference seen"
    if is_one:
        return "more seeds alone would not decide: a larger data set might"
    return "neither more splits nor more data sets would decide an effect of this size"


def wins(row: Row) -> str:
    """On how many data sets better, the same and worse; a dash for a metric without direction.

    >>> wins({"wins": 3, "ties": 0, "losses": 1}), wins({"wins": None, "ties": 0, "losses": None})
    ('3 / 0 / 1', '\N{EN DASH}')
    """
    if row["wins"] is None:
        return "\N{EN DASH}"
    return f"{row['wins']} / {row['ties']} / {row['losses']}"


def chances(row: Row) -> str:
    """P(worse), P(practically equal) and P(better), or a dash: over data sets the posterior shares
    in which each is the likeliest of the three."""
    if row["p_worse"] is None:
        return "\N{EN DASH}"
    return " / ".join(number(row[name], 2) for name in ("p_worse", "p_equivalent", "p_better"))


def verdict(row: Row) -> str:
    hint = what_would_decide(row)
    return f"{row['verdict']}: {hint}" if hint else str(row["verdict"])


def answers(analysis: Analysis) -> list[Row]:
    """One row a scenario, in the leaderboard's order: SCENARIO, where, sentence, tone, num_methods.

    The method named first is the best on validation among those found better on test.
    """
    shown = by_validation(analysis.differences, analysis)
    verdicts = shown.partition_by(SCENARIO, as_dict=True, maintain_order=True)
    boards = analysis.board.partition_by(SCENARIO, as_dict=True, maintain_order=True)
    return [_answer(key, rows, verdicts.get(key), analysis) for key, rows in boards.items()]


def by_validation(found: pl.DataFrame, analysis: Analysis) -> pl.DataFrame:
    """Comparisons on the headline metric in the order in which a report names them, with `gain`.

    The best on validation comes first: the largest test difference would be a choice by test. Where
    validation does not have the metric, those with the fewest doubts.

    Args:
        found: of `Analysis.differences`, or `Analysis.datasets`, whose gain is a mean over
            scenarios.
    """
    on = [name for name in (*SCENARIO, "method") if name in found.columns]
    gains = validation_gains(analysis.chosen, analysis.headline, baseline=analysis.baseline)
    gains = gains.group_by(on).agg(pl.col("gain").mean())
    headline = found.filter(pl.col("metric") == analysis.headline)
    shown = headline.join(gains, on=on, nulls_equal=True, how="left")
    order = ["gain", "p_adjusted", "method"]
    return shown.sort(order, descending=[True, False, False], nulls_last=True)


def overall(analysis: Analysis) -> Row | None:
    """The sentence over all data sets; None where there is one data set alone."""
    rows = by_validation(analysis.datasets, analysis)
    if not rows.height:
        return None
    ordered = rows.to_dicts()
    better = [r for r in ordered if r["verdict"] == "better"]
    baseline, metric = analysis.baseline, compared_heading(analysis.headline)
    if better:
        named = "; ".join(f"{r['method']} {_across(r)}" for r in better)
        sentence = f"better than {baseline} on {metric}: {named}."
    else:
        sentence = f"nothing is shown to beat {baseline} on {metric}."
        undecided = rows.filter(verdict="undecided").sort("p_adjusted", "method", nulls_last=True)
        if undecided.height:
            nearest = undecided.row(0, named=True)
            sentence += f" Least undecided: {nearest['method']}, {_across(nearest)}"
            sentence += f"; {what_would_decide(nearest)}."
    tail = _tail(ordered, analysis)
    where = f"over {max(row['num_datasets'] for row in ordered)} data sets"
    return {"where": where, "sentence": sentence + tail, "tone": "better" if better else "none"}


def _answer(key: Sequence[Any], board: pl.DataFrame, verdicts: Any, analysis: Analysis) -> Row:
    scenario = dict(zip(SCENARIO, key, strict=True))
    rows = [] if verdicts is None else verdicts.to_dicts()
    better = [r for r in rows if r["verdict"] == "better"]
    methods, baseline = board["method"].to_list(), analysis.baseline
    if baseline not in methods:
        sentence, tone = f"there is no {baseline} run to compare with.", "none"
    elif not rows:
        sentence, tone = _nothing_compared(methods, analysis), "none"
    elif better:
        sentence, tone = _found(better, analysis), "better"
    else:
        sentence, tone = _not_found(rows, analysis), "undecided"
    return {
        **scenario,
        "where": place(scenario),
        "sentence": sentence + _tail(rows, analysis) + _diverged(board),
        "tone": tone,
        "num_methods": len(methods),
    }


def _tail(rows: Sequence[Row], analysis: Analysis) -> str:
    """Those decided otherwise than better; a metric without direction knows no better."""
    baseline, rope = analysis.baseline, analysis.question.rope
    leads = {
        "same": f"The same as {baseline} within \N{PLUS-MINUS SIGN}{rope:g}",
        "worse": f"Worse than {baseline}",
        "differs": f"Different from {baseline}",
    }
    said = ""
    for word, lead in leads.items():
        if methods := [str(r["method"]) for r in rows if r["verdict"] == word]:
            said += f" {lead}: {', '.join(methods)}."
    return said


def _noun(analysis: Analysis) -> str:
    first, *others = analysis.question.by
    return "combination" if others else first.removesuffix(".name")


def _nothing_compared(methods: list[str], analysis: Analysis) -> str:
    if len(methods) == 1:
        return f"only {analysis.baseline} was trained: nothing to compare."
    shared = f"no {_noun(analysis)} shares a seed with {analysis.baseline}"
    return f"{shared} on which both have a test score."


def _found(better: list[Row], analysis: Analysis) -> str:
    first, others = better[0], [r["method"] for r in better[1:]]
    also = f" Also better: {', '.join(others)}." if others else ""
    metric = compared_heading(analysis.headline)
    return f"{first['method']} beats {analysis.baseline} on {metric} by {_evidence(first)}.{also}"


def _not_found(rows: list[Row], analysis: Analysis) -> str:
    undecided = [r for r in rows if r["verdict"] == "undecided"]
    metric = compared_heading(analysis.headline)
    lead = f"no {_noun(analysis)} is shown to beat {analysis.baseline} on {metric}."
    if not undecided:
        return lead
    first = undecided[0]
    nearest = f"{first['method']}, {_evidence(first)}; {what_would_decide(first)}."
    if first["gain"] is None:
        return f"{lead} Least undecided: {nearest}"
    # The rows are in the order of their gain over the baseline, whose own is 0.
    best = rows[0]["method"] if rows[0]["gain"] > 0 else analysis.baseline
    if best == first["method"]:
        return f"{lead} Best on validation: {nearest}"
    return f"{lead} Best on validation: {best}. The best of those undecided: {nearest}"


def _evidence(row: Row) -> str:
    pairs = plural(row["num_pairs"], "paired seed")
    difference = signed(row["difference"])
    if row["low"] is None:
        return f"{difference} ({pairs})"
    interval = f"95% interval {signed(row['low'])} to {signed(row['high'])}"
    return f"{difference} ({interval}, {pairs}, corrected t, Holm p {p_value(row['p_adjusted'])})"


def _across(row: Row) -> str:
    counts = f"better on {row['wins']}, worse on {row['losses']} of {row['num_datasets']}"
    counts = counts if row["wins"] is not None else f"{row['num_datasets']} data sets"
    interval = f"95% interval {signed(row['low'])} to {signed(row['high'])}, "
    interval = interval if row["low"] is not None else ""
    test = f"Wilcoxon, Holm p {p_value(row['p_adjusted'])}"
    return f"{signed(row['difference'])} ({interval}{counts}; {test})"


def _diverged(board: pl.DataFrame) -> str:
    lost = [
        f"{r['method']} {r['num_diverged']} of {r['num_seeds']}"
        for r in board.sort("method").iter_rows(named=True)
        if r["num_diverged"]
    ]
    return f" Diverged runs: {', '.join(lost)}." if lost else ""
