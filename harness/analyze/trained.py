"""Whether what is compared was trained: ends of grids, curves that still fall, known optima.

A loss that chose the last learning rate of its grid might do better beyond it: a difference from it
then says where the grid was cut. The limits are conventions, and stated with each finding.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from harness.analyze.groups import GROUP, TUNED
from harness.analyze.keys import replicates, varying

MOST_AT_AN_END = 0.2
"""Of the choices from a grid. By chance 2 of k values are its ends: a fifth of a grid of ten."""

LEAST_FALL = 0.01
"""Of the first epoch's validation loss: falling by more over the last fifth, a run is not done."""

FEWEST_POINTS = 5
"""Of a curve with a last fifth."""

MOST_NOT_LEVEL = 0.2
"""Of the runs."""

MOST_EXCESS = 0.02
"""Of the log loss of a known posterior."""


@dataclass(frozen=True)
class Finding:
    """A sentence, and whether it is beyond its limit. `str` is what is shown of it."""

    sentence: str
    is_beyond: bool

    def __str__(self) -> str:
        return f"Trained? {self.sentence}."


def choices(
    labelled: pl.DataFrame, chosen: pl.DataFrame, *, keys: Sequence[str], tuned: Sequence[str]
) -> pl.DataFrame:
    """What each chosen run has of each numeric hyperparameter that its group could choose.

    0 is no end of a grid from 0 up: nothing lies below. Of two values both are ends.

    Args:
        labelled: all runs, as of `groups.label_runs`; keys, tuned: as given there.
        chosen: `groups.chosen_runs`.

    Returns:
        Rows (GROUP, run_id, key, value, at_end).
    """
    varied = varying(labelled, keys)
    repeated = replicates(varied)
    grids = [
        key
        for key in varied
        if key.startswith(tuple(tuned))
        and key not in repeated
        and labelled.schema[key].is_numeric()
    ]
    tables = [_of_key(labelled, chosen, key) for key in grids]
    none = chosen.head(0).select(*GROUP, "run_id", key=pl.lit(""), value=0.0, at_end=True)
    return pl.concat([none, *tables])


def _of_key(labelled: pl.DataFrame, chosen: pl.DataFrame, key: str) -> pl.DataFrame:
    value = pl.col(key).cast(pl.Float64)
    grid = labelled.group_by(GROUP).agg(
        lowest=value.min(), highest=value.max(), size=value.n_unique()
    )
    joined = chosen.join(grid.filter(pl.col("size") > 1), on=GROUP, nulls_equal=True)
    is_lowest = (value == pl.col("lowest")) & (value != 0)
    at_end = is_lowest | (value == pl.col("highest"))
    return joined.filter(value.is_not_null()).select(
        *GROUP, "run_id", key=pl.lit(key), value=value, at_end=at_end
    )


def at_ends(chosen: pl.DataFrame) -> list[Finding]:
    """A finding for each hyperparameter of which there was a choice (`choices`)."""
    found = []
    for key, rows in chosen.sort("key").group_by("key", maintain_order=True):
        ends, total = int(rows["at_end"].sum()), rows.height
        said = f"{ends} of {total} choices at an end of the grid of {key[0]}"
        found.append(Finding(said, ends > MOST_AT_AN_END * total))
    return found


def still_falling(history: pl.LazyFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    """Whether the best validation loss fell by more than LEAST_FALL over its curve's last fifth.

    Returns:
        Rows (run_id, falls), of runs whose curve is stored and has FEWEST_POINTS or more.
    """
    loss = pl.col("validation/loss").cast(pl.Float64)
    if "validation/loss" not in history.collect_schema():
        return pl.DataFrame(schema={"run_id": pl.String, "falls": pl.Boolean})
    members = chosen.select("run_id", "shard").lazy()
    in_order = loss.sort_by("epoch")  # a point may be several epochs after the one before
    gain = in_order.head(pl.len() - pl.len() // 5).min() - loss.min()
    return (
        history.join(members, on=["run_id", "shard"])
        .filter(loss.is_finite())
        .group_by("run_id")
        .agg(
            falls=gain > LEAST_FALL * in_order.first().abs(),
            points=pl.len(),
        )
        .filter(pl.col("points") >= FEWEST_POINTS)
        .select("run_id", "falls")
        .sort("run_id")
        .collect()
    )


def beforehand(configs: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """What can be said of a sweep before it is trained.

    Args:
        configs: its jobs, nested plain values.
    """
    grids = defaultdict[tuple[str, str, str], set[float]](set)
    for config in configs:
        for prefix in TUNED:
            group = prefix.removesuffix(".")
            for name, value in config[group].items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    at = (config["loss"]["name"], config["optimizer"]["name"], prefix + name)
                    grids[at].add(value)
    pairs = sorted({key for (*_, key), values in grids.items() if len(values) == 2})
    points = [
        config["evaluation"]["curve_points"] or config["training"]["num_epochs"]
        for config in configs
    ]
    short = sum(number < FEWEST_POINTS for number in points)
    found = [
        Finding(f"{key} has two values, so that every choice lies at an end: give three", True)
        for key in pairs
    ]
    if short:
        said = f"{short} of {len(configs)} jobs look at validation fewer than {FEWEST_POINTS} times"
        found.append(Finding(f"{said}: nobody can tell whether they level off", False))
    return found


def findings(
    runs: pl.DataFrame, choices: pl.DataFrame, histories: Iterable[pl.LazyFrame]
) -> list[Finding]:
    """All that can be said of the chosen ``runs``, what is beyond its limit first.

    Args:
        runs: with run_id, shard and, where they say, posterior_excess.
        choices: `choices`, theirs.
        histories: curves of theirs, and of others.
    """
    falling = pl.concat(still_falling(history, runs) for history in histories)
    found = [*at_ends(choices), *_levelled(falling), *_excess(runs)]
    return sorted(found, key=lambda one: not one.is_beyond)


def _levelled(runs: pl.DataFrame) -> Iterator[Finding]:
    if falling := int(runs["falls"].sum()):
        said = f"{falling} of {runs.height} runs had not levelled off: validation loss fell by more"
        said += f" than {LEAST_FALL:.0%} of its first value in the last fifth of the epochs"
        yield Finding(said, falling > MOST_NOT_LEVEL * runs.height)


def _excess(runs: pl.DataFrame) -> Iterator[Finding]:
    if "posterior_excess" not in runs.columns:
        return
    known = runs["posterior_excess"].fill_nan(None).drop_nulls()
    if len(known):
        above = int((known > MOST_EXCESS).sum())
        said = f"{above} of {len(known)} runs end more than {MOST_EXCESS:.0%} above the log loss of"
        yield Finding(f"{said} the known posterior, at most {max(known.to_list()):.1%}", above > 0)
