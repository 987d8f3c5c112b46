"""What of logged runs is believed: sources hold what anybody wrote.

A source gives tables of the right types. Here their content is checked, once, for all that comes
after: names without signs that move a terminal's cursor or end a chart's drawing, columns that are
not taken for the analysis' own, runs that have an id and a time, scores that belong to labels.
"""

import re
from dataclasses import replace

import polars as pl

from harness.analyze.runs import Runs

# Control characters but for tabs and new lines, and those that turn the direction of writing.
_HIDDEN = [*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F)]
_SHOWN = {chr(c): ascii(chr(c))[1:-1] for c in [*_HIDDEN, *range(0x2066, 0x206A)]}
_ODD = re.compile("[\n\t" + re.escape("".join(_SHOWN)) + "]")

OWN = frozenset(
    {
        "dataset", "positive_rate", "settings", "method", "tuning", "replicate", "scenario",
        "group", "num_configurations", "num_shared", "num_set_aside", "is_shared", "shard",
        "_incomplete", "_bare",
    }
)  # fmt: skip
"""The columns that an analysis adds."""

BESIDE_SCORES = frozenset(
    {
        "num_seeds", "num_diverged", "train_positive_rate", "test_positive_rate",
        "test_train_ratio", "rule", "cost_fp", "cost_fn", "cost_tp", "cost_tn", "threshold",
        "threshold_logit", "threshold_low", "threshold_high",
    }
)  # fmt: skip
"""Further columns of a leaderboard, where test scores stand by their bare names."""


def checked(runs: Runs) -> Runs:
    """The same runs, as far as they can be believed; notes say what was left out."""
    known = runs.columns
    names = {*known.config, *known.facts, *known.metrics}
    dropped = sorted(name for name in names if _is_taken(name) or _ODD.search(name))
    table = runs.runs.drop(dropped).with_columns(
        pl.col(pl.String).str.replace_many(_SHOWN),
        pl.col(pl.List(pl.String)).list.eval(pl.element().str.replace_many(_SHOWN)),
    )
    same = table["run_id"].eq_missing(runs.runs["run_id"])  # curves and scores are found by it
    table = table.filter(same & pl.col("run_id").is_not_null() & pl.col("created").is_not_null())
    notes = [*runs.notes]
    if dropped:
        notes.append(f"{runs.name}: columns whose names cannot be used: {dropped}.")
    if lost := runs.runs.height - table.height:
        notes.append(f"{runs.name}: {lost} runs without a proper id or time were left out.")
    return replace(
        runs,
        name=visible(runs.name),
        runs=table,
        columns=known.without(dropped),
        predictions=tuple(frame.filter(_belong) for frame in runs.predictions),
        notes=tuple(map(visible, notes)),
        found={visible(key): tuple(map(visible, lines)) for key, lines in runs.found.items()},
    )


def _is_taken(name: str) -> bool:
    score = name.removeprefix("test/")
    if score == name:
        return name in OWN
    parts = {f"{score}{end}" for end in ("", "_low", "_high", "_seeds")}  # of its mean
    return not parts.isdisjoint(OWN | BESIDE_SCORES)


def visible(text: str) -> str:
    """With the characters that are not to be seen written out.

    >>> print(visible("a\\x1b[2J"))
    a\\x1b[2J
    """
    return text.translate({ord(sign): told for sign, told in _SHOWN.items()})


_scores, _labels = pl.col("logits").list, pl.col("labels").list
_belong = (
    (_scores.len() == _labels.len())
    & (_labels.min() >= 0)
    & (_labels.max() <= 1)
    & (_labels.drop_nulls().list.len() == _labels.len())
)
