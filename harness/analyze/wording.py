"""Numbers and names in words: the same in the terminal, in every file and on the page."""

from collections.abc import Mapping
from typing import Any

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

    >>> what_would_decide(
    ...     {"verdict": "undecided", "more_seeds": 7, "difference": 0.1, "num_pairs": 5}
    ... )
    'about 7 more seeds would decide'
    >>> what_would_decide({"verdict": "undecided", "more_datasets": 1, "difference": 0.1})
    'about 1 more data set would decide'
    """
    if row["verdict"] != "undecided":
        return ""
    if row.get("num_pairs", 2) < 2:
        return "at least 2 seeds are needed"
    if row["difference"] == 0:
        return "no difference seen"
    noun = "seed" if "more_seeds" in row else "data set"
    more = row["more_seeds" if noun == "seed" else "more_datasets"]
    if more is None:
        return f"more {noun}s alone would not decide"
    return f"about {plural(more, f'more {noun}')} would decide"


def wins(row: Row) -> str:
    """On how many data sets better, the same and worse; a dash for a metric without direction.

    >>> wins({"wins": 3, "ties": 0, "losses": 1}), wins({"wins": None, "ties": 0, "losses": None})
    ('3 / 0 / 1', '\N{EN DASH}')
    """
    if row["wins"] is None:
        return "\N{EN DASH}"
    return f"{row['wins']} / {row['ties']} / {row['losses']}"


def chances(row: Row) -> str:
    """P(worse), P(practically equal) and P(better) of the next data set, or a dash."""
    if row["p_worse"] is None:
        return "\N{EN DASH}"
    return " / ".join(number(row[name], 2) for name in ("p_worse", "p_equivalent", "p_better"))


def verdict(row: Row) -> str:
    hint = what_would_decide(row)
    return f"{row['verdict']}: {hint}" if hint else str(row["verdict"])
