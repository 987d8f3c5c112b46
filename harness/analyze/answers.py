"""The answer in words: over all data sets, then a sentence a data set and positive rate."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from harness.analyze.groups import SCENARIO
from harness.analyze.headings import compared, compared_heading, compared_sign
from harness.analyze.question import Analysis
from harness.analyze.wording import p_value, place, plural, signed, what_would_decide

Row = Mapping[str, Any]


def answers(analysis: Analysis) -> list[Row]:
    """One row a scenario, in the leaderboard's order: SCENARIO, where, sentence, tone, num_methods.

    The method named first is the best on validation among those found better on test: naming the
    largest test difference would select on test.
    """
    shown = analysis.differences.filter(pl.col("metric") == analysis.headline)
    shown = shown.join(_ranks(analysis), on=[*SCENARIO, "method"], nulls_equal=True, how="left")
    verdicts = shown.partition_by(SCENARIO, as_dict=True)
    boards = analysis.board.partition_by(SCENARIO, as_dict=True, maintain_order=True)
    return [_answer(key, rows, verdicts.get(key), analysis) for key, rows in boards.items()]


def overall(analysis: Analysis) -> Row | None:
    """The sentence over all data sets; None where there is one data set alone."""
    rows = analysis.datasets.filter(pl.col("metric") == analysis.headline)
    if not rows.height:
        return None
    # The fewest doubts first: a rule about these comparisons, so it picks no configuration.
    ordered = rows.sort("p_holm", "method", nulls_last=True).to_dicts()
    better = [r for r in ordered if r["verdict"] == "better"]
    baseline, metric = analysis.baseline, compared_heading(analysis.headline)
    if better:
        named = "; ".join(f"{r['method']} {_across(r)}" for r in better)
        sentence = f"better than {baseline} on {metric}: {named}."
    else:
        sentence = f"nothing is shown to beat {baseline} on {metric}."
        undecided = [r for r in ordered if r["verdict"] == "undecided"]
        if undecided:
            nearest = undecided[0]
            sentence += f" Least undecided: {nearest['method']}, {_across(nearest)}"
            sentence += f"; {what_would_decide(nearest)}."
    tail = _tail(ordered, baseline)
    where = f"over {max(row['num_datasets'] for row in ordered)} data sets"
    return {"where": where, "sentence": sentence + tail, "tone": "better" if better else "none"}


def _ranks(analysis: Analysis) -> pl.DataFrame:
    validation = f"validation/{analysis.headline}"
    known = validation in analysis.chosen.columns
    score = compared(validation, pl.col(validation).fill_nan(None)).mean()
    mean = score * compared_sign(validation) if known else pl.lit(0.0)
    return analysis.chosen.group_by(*SCENARIO, "method").agg(mean.alias("rank"))


def _answer(key: Sequence[Any], board: pl.DataFrame, verdicts: Any, analysis: Analysis) -> Row:
    scenario = dict(zip(SCENARIO, key, strict=True))
    order = {"by": ["rank", "method"], "descending": [True, False], "nulls_last": True}
    rows = [] if verdicts is None else verdicts.sort(**order).to_dicts()
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
        "sentence": sentence + _tail(rows, baseline) + _diverged(board),
        "tone": tone,
        "num_methods": len(methods),
    }


def _tail(rows: Sequence[Row], baseline: str) -> str:
    """Those decided otherwise than better; a metric without direction knows no better."""
    worse = [str(r["method"]) for r in rows if r["verdict"] == "worse"]
    differs = [str(r["method"]) for r in rows if r["verdict"] == "differs"]
    said = f" Worse than {baseline}: {', '.join(worse)}." if worse else ""
    said += f" Different from {baseline}: {', '.join(differs)}." if differs else ""
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
    hint = what_would_decide(first)
    return f"{lead} Best on validation: {first['method']}, {_evidence(first)}; {hint}."


def _evidence(row: Row) -> str:
    pairs = plural(row["num_pairs"], "paired seed")
    difference = signed(row["difference"])
    if row["low"] is None:
        return f"{difference} ({pairs})"
    interval = f"95% interval {signed(row['low'])} to {signed(row['high'])}"
    return f"{difference} ({interval}, {pairs}, corrected t, Holm p {p_value(row['p_holm'])})"


def _across(row: Row) -> str:
    counts = f"better on {row['wins']}, worse on {row['losses']} of {row['num_datasets']}"
    counts = counts if row["wins"] is not None else f"{row['num_datasets']} data sets"
    interval = f"95% interval {signed(row['low'])} to {signed(row['high'])}, "
    interval = interval if row["low"] is not None else ""
    test = f"Wilcoxon, Holm p {p_value(row['p_holm'])}"
    return f"{signed(row['difference'])} ({interval}{counts}; {test})"


def _diverged(board: pl.DataFrame) -> str:
    lost = [
        f"{r['method']} {r['num_diverged']} of {r['num_seeds']}"
        for r in board.sort("method").iter_rows(named=True)
        if r["num_diverged"]
    ]
    return f" Diverged runs: {', '.join(lost)}." if lost else ""
