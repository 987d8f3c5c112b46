"""What is asked of logged runs, and the tables that answer it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from harness.analyze import comparisons, groups
from harness.analyze.headings import COMPARED, SELECTION, asked_metrics, test_metrics
from harness.analyze.keys import (
    as_labels,
    dataset_name,
    filtered,
    keys_of,
    replicates,
    resolve,
    varying,
)
from harness.analyze.load import Runs
from harness.errors import UserError


@dataclass(frozen=True)
class Question:
    """Everything a reader may choose.

    Attributes:
        metrics: test scores of the leaderboard, the first one its headline; empty: the usual.
        by: config keys whose values are compared.
        baseline: the value the others are compared with; empty: bce.
        where: which runs; see `harness.analyze.keys`.
        selection: the validation metric that picks hyperparameters.
        tuned: prefixes of the config columns that are hyperparameters to pick.
        rope: half the region of practical equivalence, in the headline metric's unit.
        target: `metric=value` that a validation curve is to reach; empty: near the baseline's best.
    """

    metrics: tuple[str, ...] = ()
    by: tuple[str, ...] = ("loss",)
    baseline: str = ""
    where: str = ""
    selection: str = SELECTION
    tuned: tuple[str, ...] = groups.TUNED
    rope: float = comparisons.ROPE
    target: str = ""

    def __post_init__(self) -> None:
        if not self.rope > 0:
            raise UserError(f"--rope must be above 0, got {self.rope}")


@dataclass(frozen=True)
class Analysis:
    """The answer in tables; `report` and `tables` only show it.

    Attributes:
        keys: the columns of `labelled` that hold the runs' configuration.
        labelled: all runs asked about, with the columns of `groups.label_runs`.
        chosen: those of the configurations chosen on validation.
        metrics: the leaderboard's, the headline first; `compared`: all test metrics there are.
        board, differences, datasets, iqm, ranks: see `comparisons`.
        rank_test: what tests the ranks; empty where there are too few data sets or groups.
        notes: sentences on what the sources lack, and on runs that do not count.
    """

    runs: Runs
    question: Question
    keys: Sequence[str]
    labelled: pl.DataFrame
    chosen: pl.DataFrame
    baseline: str
    headline: str
    metrics: list[str]
    compared: list[str]
    board: pl.DataFrame
    differences: pl.DataFrame
    datasets: pl.DataFrame
    iqm: pl.DataFrame
    ranks: pl.DataFrame
    rank_test: Mapping[str, Any]
    notes: Sequence[str]


def answer(runs: Runs, question: Question) -> Analysis:
    """All tables of a question.

    Raises:
        UserError: an unknown key, metric or baseline, or a filter that leaves no run.
    """
    keys = keys_of(runs)
    asked = filtered(as_labels(runs.runs, keys), question.where)
    current = groups.newest_data(asked, keys)
    kept = groups.latest_runs(current, keys)
    known = test_metrics(kept)
    metrics = asked_metrics(question.metrics, known)
    if not metrics:
        raise UserError(f"{runs.name}: no run has a test score (a column test/...)")
    headline = metrics[0]
    labelled = groups.label_runs(kept, keys=keys, tuned=question.tuned, by=question.by)
    baseline = groups.baseline_label(labelled, keys=keys, by=question.by, asked=question.baseline)
    chosen = groups.chosen_runs(labelled, metric=question.selection)
    usual = [m for m in COMPARED if m in known and m not in metrics]
    compared = metrics + usual + [m for m in known if m not in {*metrics, *usual}]
    board = comparisons.leaderboard(chosen, metrics=compared)
    differences = comparisons.differences(
        chosen, metrics=compared, baseline=baseline, rope=question.rope
    )
    ranks, rank_test = comparisons.ranks(board, headline)
    return Analysis(
        runs=runs,
        question=question,
        keys=keys,
        labelled=labelled,
        chosen=chosen,
        baseline=baseline,
        headline=headline,
        metrics=metrics,
        compared=compared,
        board=board,
        differences=differences,
        datasets=comparisons.across_datasets(differences, rope=question.rope, shown=metrics),
        iqm=comparisons.interquartile_means(chosen, metrics),
        ranks=ranks,
        rank_test=rank_test,
        notes=[
            *runs.notes,
            *_set_aside(asked, current),
            *_left_out(current.height, kept.height),
        ],
    )


def _set_aside(asked: pl.DataFrame, current: pl.DataFrame) -> Iterator[str]:
    older = asked.join(current, on="run_id", how="anti").sort("created", descending=True)
    if older.height:
        dataset, version = older.select(dataset_name(older), groups.FINGERPRINT).row(0)
        yield (
            f"{older.height} of {asked.height} runs are set aside: what they read has changed "
            f"since, such as {dataset}. The newest version counts alone; --where "
            f"\"{groups.FINGERPRINT} like '{version[:12]}%'\" asks about an older one."
        )


def _left_out(asked: int, counted: int) -> Iterator[str]:
    if older := asked - counted:
        yield (
            f"{older} of {asked} runs do not count: their configuration was trained on the same "
            "data again, by other versions, and the latest run stands for it."
        )


def compared_keys(question: Question) -> str:
    """The heading of what is compared: `loss, sampler`."""
    return ", ".join(question.by)


def averaged_over(labelled: pl.DataFrame, keys: Sequence[str], by: Sequence[str]) -> str:
    """What a mean is over: the replicate keys and how many values each has.

    >>> runs = pl.DataFrame({"seed": [0, 1, 2], "split.fold": [0, 1, 0]})
    >>> averaged_over(runs, runs.columns, by=())
    'seed (3 values), split.fold (2 values)'
    """
    compared = {resolve(key, keys) for key in by}
    repeated = [key for key in replicates(varying(labelled, keys)) if key not in compared]
    return ", ".join(f"{key} ({labelled[key].n_unique()} values)" for key in repeated)
