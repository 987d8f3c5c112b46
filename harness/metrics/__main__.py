"""`python -m harness.metrics`: the table of metrics as Markdown, kept as docs/metrics.md."""

from collections.abc import Iterator
from math import log

from harness.metrics.definitions import METRICS, RULES, VERSIONS, Metric
from harness.metrics.formulas import FORMULAS


def markdown() -> str:
    """The page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Metrics"
    yield ""
    yield "Written by `python -m harness.metrics` from the table that all else takes facts from."
    yield ""
    yield "A stored metric is named `<split>/[<version>/]<metric>[@<rule>][_low|_high]`, such as"
    yield "`test/platt/log_loss` or `validation/f1@tuned`; an end is of its bootstrap interval:"
    yield "expanded percentiles of resampled test rows, positives and negatives apart. Of 95%"
    yield "intervals of AUROC and average precision .94 held the truth with 18 positives among 180"
    yield "rows; with 6 positives .89 and .96, so that fewer than some 15 are a rough guide."
    yield ""
    yield "z is a logit, p = sigmoid(z), y a label in {0, 1}, pi the share of positives, n rows,"
    yield "TP, FP, FN and TN those of each decision."
    yield ""
    yield "| metric | | formula | best | range | unit | needs | settings | reference |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for metric in METRICS.values():
        cells = [f"`{metric.name}`", metric.title, FORMULAS[metric.name], _best(metric)]
        cells += [
            _range(metric),
            metric.unit,
            metric.needs,
            ", ".join(metric.settings),
            metric.reference,
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "Versions of the scores, other than the raw ones:"
    yield ""
    for name, version in VERSIONS.items():
        fitted = f"; stores {', '.join(version.parameters)}" if version.parameters else ""
        yield f"- `{name}`: {version.title}{fitted}"
    yield ""
    yield "Rules that choose a threshold, other than a probability such as `@0.5`:"
    yield ""
    for name, title in RULES.items():
        yield f"- `@{name}`: {title}"


def _best(metric: Metric) -> str:
    if metric.target is not None:
        return f"at {metric.target:g}"
    return {"higher": "high", "lower": "low", "neither": "neither"}[metric.direction]


def _range(metric: Metric) -> str:
    return f"{_number(metric.low)} to {_number(metric.high)}"


def _number(value: float) -> str:
    """
    >>> _number(-1.0), _number(log(2)), _number(0.25)
    ('-1', 'ln 2', '0.25')
    """
    return "ln 2" if value == log(2) else f"{value:g}"


if __name__ == "__main__":
    print(markdown(), end="")
