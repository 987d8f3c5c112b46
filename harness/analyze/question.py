"""What is asked of logged runs, and the tables that answer it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from harness.analyze import across, groups, summaries
from harness.analyze.headings import COMPARED, SELECTION, asked_metrics, test_metrics
from harness.analyze.keys import config_columns, replicate_columns
from harness.analyze.load import Runs
from harness.analyze.where import filtered
from harness.errors import UserError


@dataclass(frozen=True)
class Question:
    """Everything a reader may choose.

    Attributes:
        metrics: test scores of the leaderboard, the first one its headline; empty: the usual.
        by: config keys whose values are compared.
        baseline: the value the others are compared with; empty: bce.
        where: which runs; see `harness.analyze.where`.
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
    rope: float = summaries.ROPE
    target: str = ""

    def __post_init__(self) -> None:
        if not self.rope > 0:
            raise UserError(f"--rope must be above 0, got {self.rope}")


@dataclass(frozen=True)
class Analysis:
    """The answer in tables; `report` and `tables` only show it.

    Attributes:
        labelled: all runs asked about, with the columns of `groups.label_runs`.
        chosen: those of the configurations chosen on validation.
        metrics: the leaderboard's, the headline first; `compared`: all test metrics there are.
        board, differences: see `summaries`; datasets, iqm, ranks: see `across`.
        rank_test: what tests the ranks; empty where there are too few data sets or groups.
    """

    runs: Runs
    question: Question
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


def answer(runs: Runs, question: Question) -> Analysis:
    """All tables of a question.

    Raises:
        UserError: an unknown key, metric or baseline, or a filter that leaves no run.
    """
    kept = filtered(runs.runs, question.where)
    known = test_metrics(kept)
    metrics = asked_metrics(question.metrics, known)
    if not metrics:
        raise UserError(f"{runs.name}: no run has a test score (a column test/...)")
    headline = metrics[0]
    labelled = groups.label_runs(kept, tuned=question.tuned, by=question.by)
    baseline = groups.baseline_label(labelled, by=question.by, asked=question.baseline)
    chosen = groups.chosen_runs(labelled, metric=question.selection)
    usual = [m for m in COMPARED if m in known and m not in metrics]
    compared = metrics + usual + [m for m in known if m not in {*metrics, *usual}]
    board = summaries.leaderboard(chosen, metrics=compared)
    differences = summaries.differences(
        chosen, metrics=compared, baseline=baseline, rope=question.rope
    )
    ranks, rank_test = across.ranks(board, headline)
    return Analysis(
        runs=runs,
        question=question,
        labelled=labelled,
        chosen=chosen,
        baseline=baseline,
        headline=headline,
        metrics=metrics,
        compared=compared,
        board=board,
        differences=differences,
        datasets=across.across_datasets(differences, rope=question.rope, shown=metrics),
        iqm=across.interquartile_means(chosen, metrics),
        ranks=ranks,
        rank_test=rank_test,
    )


def compared_keys(question: Question) -> str:
    """The heading of what is compared: `loss, sampler`."""
    return ", ".join(question.by)


def averaged_over(labelled: pl.DataFrame, by: tuple[str, ...] = ("loss",)) -> str:
    """What a mean is over: the replicate keys and how many values each has.

    >>> averaged_over(pl.DataFrame({"seed": [0, 1, 2], "split.fold": [0, 1, 0]}))
    'seed (3 values), split.fold (2 values)'
    """
    columns = [c for c in config_columns(labelled) if labelled[c].n_unique() > 1]
    repeated = [c for c in replicate_columns(columns) if c not in by]
    return ", ".join(f"{c} ({labelled[c].n_unique()} values)" for c in sorted(repeated))
