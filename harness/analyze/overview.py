"""The answer first: each loss beside the baseline in what a user wants of it, and which to use.

All of it is read off the table of differences: nothing is tested here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from harness.analyze.comparisons import margin
from harness.analyze.groups import SCENARIO, leaves_level
from harness.analyze.headings import heading
from harness.analyze.question import Analysis
from harness.analyze.wanted import DECISIONS, PROBABILITIES, RANKING, costs_given
from harness.analyze.wording import by_validation, place, signed

MAX_TABLES = 3

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """Attributes:

    word: the verdict beside the baseline (better, worse, same, differs), or open.
    number: the difference, signed; empty where nothing was compared.
    """

    word: str
    number: str


@dataclass(frozen=True)
class Overview:
    """Attributes:

    title: where it holds.
    columns: (what a user wants, the metric that stands for it).
    rows: (method, a cell a column), the baseline left out.
    """

    title: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[tuple[str, Sequence[Cell]]]


def tables(analysis: Analysis) -> list[Overview]:
    """Over data sets where there are several, else of the first MAX_TABLES scenarios."""
    metrics = analysis.wanted
    columns = [(wanted, heading(metric)) for wanted, metric in metrics.items()]
    same = _same(analysis)
    return [
        Overview(
            f"Beside {analysis.baseline}: {where} ({same})",
            columns,
            list(_rows(found, metrics, analysis)),
        )
        for where, found in _tested(analysis)
        if found.height
    ]


def _same(analysis: Analysis) -> str:
    """What "same" means in the table."""
    rope = analysis.question.rope
    found = {metric: margin(metric, rope=rope, headline=analysis.headline)
             for metric in analysis.wanted.values()}  # fmt: skip
    given = {metric: limit for metric, limit in found.items() if limit == limit}
    if len(set(given.values())) == 1 and len(given) == len(found):
        return f"same: within \N{PLUS-MINUS SIGN}{rope:g}"
    each = ", ".join(f"\N{PLUS-MINUS SIGN}{by:g} {heading(metric)}" for metric, by in given.items())
    return f"same: within {each}"


def advice(analysis: Analysis, *, with_threshold: bool = True) -> str:
    """A sentence or two on what to use, and where to cut its raw scores; empty where nothing was
    compared."""
    found = _best(analysis)
    if found is None:
        return ""
    used, words, counted = found
    if words is None:
        asked = _joined("or", counted)
        said = f"Use {used}: no other is shown to be better at {asked}, and worse at none."
        return said + (_threshold(analysis, used) if with_threshold else "")
    good = _joined("and", [name for name in counted if words[name] == "better"])
    said = f"Use {used}: better than {analysis.baseline} at {good}."
    of_used = analysis.chosen.filter(pl.col("method") == used)
    noise = of_used.select(leaves_level(of_used).any()).item()
    if noise or words.get(PROBABILITIES) == "worse":
        said += " Calibrate its scores before they are read as probabilities."
    return said + (_threshold(analysis, used) if with_threshold else "")


def _joined(word: str, names: Sequence[str]) -> str:
    """In lower case.

    >>> _joined("or", ["Ranking", "Skill", "Decisions"])
    'ranking, skill or decisions'
    """
    *others, last = map(str.lower, names)
    return f"{', '.join(others)} {word} {last}" if others else last


def recommended(analysis: Analysis) -> str:
    """The method that `advice` says to use; empty where nothing was compared."""
    found = _best(analysis)
    return "" if found is None else found[0]


def _best(analysis: Analysis) -> tuple[str, Mapping[str, str] | None, Sequence[str]] | None:
    """The method to use, its verdict by what is wanted (None of the baseline), and what counts.

    It is the first, in the order of `by_validation`, of those shown to be better at ranking, at
    deciding or on the headline metric, and shown to be worse at none of these.
    """
    tested = _tested(analysis)
    if len(tested) != 1 or not tested[0][1].height:
        return None
    ((_, found),) = tested
    metrics = analysis.wanted
    words = {
        method: dict(zip(metrics, (cell.word for cell in cells), strict=True))
        for method, cells in _rows(found, metrics, analysis)
    }
    counted = [
        wanted
        for wanted, metric in metrics.items()
        if wanted in (RANKING, DECISIONS) or metric == analysis.headline
    ]
    if not counted:
        return None
    # First those compared on the headline: a loss whose level is noise may lack a score of it.
    for used in dict.fromkeys([*by_validation(found, analysis)["method"], *words]):
        seen = {words[used][wanted] for wanted in counted}
        if "better" in seen and "worse" not in seen:
            return used, words[used], counted
    return analysis.baseline, None, counted


def threshold_note(analysis: Analysis) -> str:
    """What the column of thresholds means; empty where it holds none."""
    ruled = analysis.board.drop_nulls("threshold")["rule"].unique().sort()
    if ruled.is_empty():
        return ""
    rules = dict.fromkeys(_rule(rule, analysis) for rule in ruled)
    return (
        "Threshold: call a row positive from this probability (of the raw score) on. Each run's "
        f"validation rows chose one for {', '.join(rules)}; this is the median over runs, and the "
        "tables' files hold the lowest and the highest."
    )


def _rule(rule: str, analysis: Analysis) -> str:
    """What chose a threshold, in words; by cost at which."""
    return rule_name(rule) + (costs_given(analysis.board) or " of errors" if rule == "cost" else "")


def rule_name(rule: str) -> str:
    """What a threshold is chosen for, in words.

    >>> rule_name("cost"), rule_name("recall_at_precision")
    ('lowest cost', 'recall at precision')
    """
    return "lowest cost" if rule == "cost" else rule.replace("_", " ")


def probability(value: float | None) -> str:
    """
    >>> probability(0.047619), probability(0.00012), probability(None)
    ('0.0476', '0.00012', '\N{EN DASH}')
    """
    return "\N{EN DASH}" if value is None else f"{value:.3g}"


def _threshold(analysis: Analysis, method: str) -> str:
    """From which probability on a row is called positive, where there is one answer."""
    of_method = analysis.board.filter(pl.col("method") == method)
    if of_method.height != 1 or of_method["threshold"].null_count():
        return ""
    row = of_method.row(0, named=True)
    return (
        f" Call a row positive from {probability(row['threshold'])} on (chosen on validation for "
        f"{_rule(row['rule'], analysis)})."
    )


def _tested(analysis: Analysis) -> list[tuple[str, pl.DataFrame]]:
    """Where, and the comparisons there."""
    if analysis.datasets.height:
        number = max(analysis.datasets["num_datasets"])
        return [(f"over {number} data sets", analysis.datasets)]
    scenarios = analysis.board.select(SCENARIO).unique(maintain_order=True)
    return [
        (
            place(row),
            analysis.differences.join(
                pl.DataFrame([row], schema=scenarios.schema),
                on=SCENARIO,
                nulls_equal=True,
                how="semi",
            ),
        )
        for row in scenarios.head(MAX_TABLES).iter_rows(named=True)
    ]


def _rows(
    found: pl.DataFrame, metrics: Mapping[str, str], analysis: Analysis
) -> Iterator[tuple[str, list[Cell]]]:
    by_cell = {(row["method"], row["metric"]): row for row in found.iter_rows(named=True)}
    for method in sorted(found["method"].unique()):
        yield (
            method,
            [_cell(by_cell.get((method, metric))) for metric in metrics.values()],
        )


def _cell(row: Row | None) -> Cell:
    if row is None:
        return Cell("open", "")
    word = row["verdict"] if row["verdict"] != "undecided" else "open"
    return Cell(word, signed(row["difference"]))
