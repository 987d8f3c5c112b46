"""The answer in words: a sentence for each data set and positive rate."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from harness.analyze.groups import BASELINE, SCENARIO
from harness.analyze.metrics import COMPARED, sign, title

Row = Mapping[str, Any]


def answers(board: pl.DataFrame, differences: pl.DataFrame, chosen: pl.DataFrame) -> list[Row]:
    """One row a scenario, in the leaderboard's order: SCENARIO, where, sentence, tone, losses.

    The loss named first is the best on validation among those found better on test: naming the
    largest test difference would select on test.
    """
    metric = COMPARED[0]
    validation = f"validation/{metric}"
    ranks = chosen.group_by(*SCENARIO, "loss").agg(
        (pl.col(validation).fill_nan(None).mean() * sign(metric)).alias("rank")
        if validation in chosen.columns
        else pl.lit(0.0).alias("rank")
    )
    shown = differences.filter(pl.col("metric") == metric)
    shown = shown.join(ranks, on=[*SCENARIO, "loss"], nulls_equal=True, how="left")
    verdicts = shown.partition_by(SCENARIO, as_dict=True)
    boards = board.partition_by(SCENARIO, as_dict=True, maintain_order=True)
    return [_answer(key, rows, verdicts.get(key), metric) for key, rows in boards.items()]


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

    >>> number(0.12345), number(None), number(-1e-9)
    ('0.1235', '\N{EN DASH}', '0.0000')
    """
    if value is None:
        return "\N{EN DASH}"
    text = f"{value:.{digits}f}"
    return text if float(text) else f"{0:.{digits}f}"


def signed(value: float | None) -> str:
    text = number(value)
    return f"+{text}" if value is not None and float(text) > 0 else text


def p_value(value: float | None) -> str:
    """
    >>> p_value(0.0000312), p_value(0.0312)
    ('< 0.0001', '0.0312')
    """
    return "< 0.0001" if value is not None and value < 1e-4 else number(value)


def seeds_hint(row: Row) -> str:
    """What would settle an undecided comparison; empty for a decided one.

    >>> seeds_hint({"verdict": "undecided", "more_seeds": 7, "difference": 0.1, "num_pairs": 5})
    'about 7 more seeds would decide'
    """
    if row["verdict"] != "undecided":
        return ""
    if row["num_pairs"] < 2:
        return "at least 2 seeds are needed"
    if row["difference"] == 0:
        return "no difference seen"
    if row["more_seeds"] is None:
        return "more seeds alone would not decide"
    seeds = row["more_seeds"]
    return f"about {seeds} more seed{'s' if seeds != 1 else ''} would decide"


def _answer(key: Sequence[Any], board: pl.DataFrame, verdicts: Any, metric: str) -> Row:
    scenario = dict(zip(SCENARIO, key, strict=True))
    rows = [] if verdicts is None else verdicts.sort("rank", descending=True).to_dicts()
    better = [r for r in rows if r["verdict"] == "better"]
    worse = [r["loss"] for r in rows if r["verdict"] == "worse"]
    losses = board["loss"].to_list()
    if BASELINE not in losses:
        sentence, tone = f"there is no {BASELINE} run to compare with.", "none"
    elif not rows:
        sentence, tone = _nothing_compared(losses), "none"
    elif better:
        sentence, tone = _found(better, metric), "better"
    else:
        sentence, tone = _not_found(rows, metric), "undecided"
    tail = f" Worse than {BASELINE}: {', '.join(worse)}." if worse else ""
    return {
        **scenario,
        "where": place(scenario),
        "sentence": sentence + tail + _diverged(board),
        "tone": tone,
        "num_losses": len(losses),
    }


def _nothing_compared(losses: list[str]) -> str:
    if len(losses) == 1:
        return f"only {BASELINE} was trained: nothing to compare."
    return f"no loss shares a seed with {BASELINE} on which both have a test score."


def _found(better: list[Row], metric: str) -> str:
    first, others = better[0], [r["loss"] for r in better[1:]]
    also = f" Also better: {', '.join(others)}." if others else ""
    return f"{first['loss']} beats {BASELINE} on {title(metric)} by {_evidence(first)}.{also}"


def _not_found(rows: list[Row], metric: str) -> str:
    undecided = [r for r in rows if r["verdict"] == "undecided"]
    lead = f"no loss is shown to beat {BASELINE} on {title(metric)}."
    if not undecided:
        return lead
    first = undecided[0]
    hint = seeds_hint(first)
    return f"{lead} Best on validation: {first['loss']}, {_evidence(first)}; {hint}."


def _evidence(row: Row) -> str:
    pairs = f"{row['num_pairs']} paired seed{'s' if row['num_pairs'] != 1 else ''}"
    difference = signed(row["difference"])
    if row["low"] is None:
        return f"{difference} ({pairs})"
    interval = f"95% interval {signed(row['low'])} to {signed(row['high'])}"
    return f"{difference} ({interval}, {pairs}, Holm p {p_value(row['p_holm'])})"


def _diverged(board: pl.DataFrame) -> str:
    lost = [
        f"{r['loss']} {r['num_diverged']} of {r['num_seeds']}"
        for r in board.iter_rows(named=True)
        if r["num_diverged"]
    ]
    return f" Diverged runs: {', '.join(lost)}." if lost else ""
