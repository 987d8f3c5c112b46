"""What is asked of logged runs, and the tables that answer it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any

import polars as pl

from harness.analyze import comparisons, groups, trained
from harness.analyze.decisions import decisions
from harness.analyze.headings import (
    COMPARED,
    SELECTION,
    asked_metrics,
    heading,
    needs_level,
    test_metrics,
)
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
from harness.analyze.wanted import wanted
from harness.errors import UserError, listed
from harness.metrics.settings import Costs, Evaluation

MAX_NAMED = 3  # groups in one note
_COST = "test/expected_cost@cost"


@dataclass(frozen=True)
class Question:
    """Everything a reader may choose.

    Attributes:
        metrics: test scores of the leaderboard, the first one its headline; empty: the usual, after
            what the sweep itself was asked about (`sweeps_metric`).
        by: config keys whose values are compared.
        baseline: the value the others are compared with; empty: bce.
        where: which runs; see `harness.analyze.keys`.
        selection: the validation metric that picks hyperparameters; empty: the sweep's own
            `evaluation.objective`.
        tuned: prefixes of the config columns that are hyperparameters to pick.
        rope: half the region of practical equivalence, in the headline metric's unit.
        target: `metric=value` that a validation curve is to reach; empty: near the baseline's best.
    """

    metrics: tuple[str, ...] = ()
    by: tuple[str, ...] = ("loss",)
    baseline: str = ""
    where: str = ""
    selection: str = ""
    tuned: tuple[str, ...] = groups.TUNED
    rope: float = comparisons.ROPE
    target: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.rope < inf:
            raise UserError(f"--rope must be a finite number above 0, got {self.rope}")


@dataclass(frozen=True)
class Analysis:
    """The answer in tables; `report` and `tables` only show it.

    Attributes:
        question: as it was asked, with the selection that was made.
        keys: the columns of `labelled` that hold the runs' configuration.
        labelled: all runs asked about, with the columns of `groups.label_runs`.
        chosen: those of the configurations chosen on validation.
        metrics: the leaderboard's, the headline first; `compared`: all test metrics there are.
        board, differences, datasets, iqm, ranks: see `comparisons`; the board has the columns of
            `decisions` too.
        wanted: the questions of the first table and their metrics, in its order.
        one_test_part: the scenarios whose runs are all scored on the same rows, SCENARIO a row.
        rank_test: what tests the ranks; empty where there are too few data sets or groups.
        trained: what is known of whether the chosen runs were trained to the end.
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
    wanted: Mapping[str, str]
    differences: pl.DataFrame
    datasets: pl.DataFrame
    iqm: pl.DataFrame
    ranks: pl.DataFrame
    rank_test: Mapping[str, Any]
    one_test_part: pl.DataFrame
    trained: Sequence[trained.Finding]
    notes: Sequence[str]


def answer(runs: Runs, question: Question) -> Analysis:
    """All tables of a question.

    Raises:
        UserError: an unknown key, metric or baseline, or a filter that leaves no run.
    """
    keys = keys_of(runs)
    asked = filtered(as_labels(runs.runs, keys), question.where)
    current = groups.newest_data(asked, keys)
    kept = without_level(groups.latest_runs(current, keys))
    said = [*_set_aside(asked, current), *_left_out(current.height, kept.height)]
    del asked, current  # of 100,000 runs each is a fifth of a gigabyte
    question = replace(question, selection=question.selection or _selection(kept))
    known = test_metrics(kept)
    metrics = asked_metrics(question.metrics, known, first=sweeps_metric(kept))
    if not metrics:
        raise UserError(f"{runs.name}: no run has a test score (a column test/...)")
    headline = metrics[0]
    labelled = groups.label_runs(kept, keys=keys, tuned=question.tuned, by=question.by)
    del kept
    baseline = groups.baseline_label(
        labelled, keys=keys, by=question.by, asked=question.baseline, otherwise=runs.baseline
    )
    chosen = groups.chosen_runs(labelled, metric=question.selection)
    usual = [m for m in COMPARED if m in known and m not in metrics]
    compared = metrics + usual + [m for m in known if m not in {*metrics, *usual}]
    board = comparisons.leaderboard(chosen, metrics=compared)
    board = board.join(
        decisions(chosen, metric=headline),
        on=groups.GROUP,
        nulls_equal=True,
        how="left",
        maintain_order="left",
    )
    asked_first = wanted(board, headline=headline, measured=compared)
    named = list(dict.fromkeys([headline, *asked_first.values()]))
    differences = comparisons.differences(
        chosen, metrics=compared, baseline=baseline, rope=question.rope, named=named
    )
    kin = groups.families(labelled)
    ranks, rank_test = comparisons.ranks(board, headline, families=kin)
    one_test_part = scored_on_the_same_rows(chosen)
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
        wanted=asked_first,
        differences=differences,
        datasets=comparisons.across_datasets(
            differences, families=kin, rope=question.rope, shown=metrics, named=named
        ),
        iqm=comparisons.interquartile_means(chosen, metrics),
        ranks=ranks,
        rank_test=rank_test,
        one_test_part=one_test_part,
        trained=trained.findings(
            chosen,
            trained.choices(labelled, chosen, keys=keys, tuned=question.tuned),
            [runs.history],
        ),
        notes=[
            *runs.notes,
            *said,
            *_chosen_on(chosen),
            *_noise(labelled, question.selection),
            *_on_one_test_part(one_test_part),
            *_kin(kin),
        ],
    )


def sweeps_metric(runs: pl.DataFrame) -> str:
    """The test metric that the sweep's own settings ask about; "" where they are the usual ones.

    Its `evaluation.objective` or, where costs are given, the cost at the threshold chosen for it.
    """
    objectives = _set(runs, "evaluation.objective", but=Evaluation.objective)
    if len(objectives) == 1:
        return str(objectives[0])
    usual = asdict(Costs())
    if not any(_set(runs, f"evaluation.costs.{name}", but=cost) for name, cost in usual.items()):
        return ""
    other = _set(runs, "evaluation.threshold", but="cost")
    return "expected_cost@cost" if other and _COST in runs.columns else "expected_cost@tuned"


def _selection(runs: pl.DataFrame) -> str:
    """What picks hyperparameters where the reader does not say: the sweep's own objective."""
    objectives = _set(runs, "evaluation.objective", but=Evaluation.objective)
    own = f"validation/{objectives[0]}" if len(objectives) == 1 else ""
    return own if own in runs.columns else SELECTION


def _set(runs: pl.DataFrame, key: str, *, but: Any) -> list[Any]:
    """The values of a key, if some are set otherwise than the usual one."""
    values = runs[key].drop_nulls().unique().sort().to_list() if key in runs.columns else []
    return values if values != [but] else []


def without_level(runs: pl.DataFrame) -> pl.DataFrame:
    """The runs, without the scores that hang on the logits' level where the loss leaves it alone.

    Such a loss compares rows with each other: it has no gradient in the bias, and what an optimizer
    that divides by the gradient's size makes of it is rounding noise (see `headings.needs_level`).
    """
    columns = [c for c in runs.columns if c.startswith(("validation/", "test/")) and needs_level(c)]
    trained = ~groups.leaves_level(runs)
    return runs.with_columns(pl.when(trained).then(pl.col(c)).alias(c) for c in columns)


def _noise(labelled: pl.DataFrame, selection: str) -> Iterator[str]:
    methods = sorted(labelled.filter(groups.leaves_level(labelled))["method"].unique())
    if not methods:
        return
    yield (
        f"{_named(methods)}: trained by the order of rows alone, which says nothing of how high "
        "the scores are. Log loss, Brier score, ECE, thresholds and decisions at a stated "
        "probability, and charts of these, are not shown for raw scores, where they are rounding "
        "noise; calibrated scores have them."
    )
    if needs_level(selection):
        yield (
            f"Nothing of {_named(methods)} could be chosen by {heading(selection)}: the first "
            f"configuration stands; choose by one such as {SELECTION}."
        )


def _named(names: Sequence[str]) -> str:
    return listed(names, MAX_NAMED)


def _chosen_on(chosen: pl.DataFrame) -> Iterator[str]:
    """On which seeds configurations were compared, where not all of them have the same."""
    once = chosen.unique(groups.GROUP).sort(groups.GROUP)
    for number, rows in once.filter(pl.col("num_set_aside") > 0).group_by(
        "num_shared", maintain_order=True
    ):
        seeds = "the 1 seed" if number[0] == 1 else f"the {number[0]} seeds"
        beyond = int(rows["num_set_aside"].sum())
        yield (
            f"{_named(rows['method'].unique().sort().to_list())}: chosen on {seeds} that all "
            f"configurations share; {beyond} {'run' if beyond == 1 else 'runs'} beyond them set "
            "aside, but for those of the configuration that is best on average, which count in "
            "test scores and differences."
        )
    none = once.filter((pl.col("num_shared") == 0) & (pl.col("num_configurations") > 1))
    if none.height:
        methods = none["method"].unique().sort().to_list()
        yield (
            f"{_named(methods)}: the configurations share no seed, so each was judged by its own "
            "runs; train all of them on the same seeds to compare like with like."
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


def scored_on_the_same_rows(chosen: pl.DataFrame) -> pl.DataFrame:
    """The scenarios whose replicates share their test rows, as of a split by time: SCENARIO a row.

    Seeds then vary the training alone. Told by the rows themselves, whatever the split is called;
    runs that were logged before their rows were known tell nothing.
    """
    rows = ("data_fingerprint", "test_fingerprint")
    if not set(rows) <= set(chosen.columns):
        return chosen.select(groups.SCENARIO).clear()
    same = pl.struct(rows).n_unique() == 1
    known = pl.col("test_fingerprint").null_count() == 0
    repeated = pl.col("replicate").n_unique() > 1
    found = chosen.group_by(groups.SCENARIO).agg((same & known & repeated).alias("same"))
    return found.filter("same").select(groups.SCENARIO).sort(groups.SCENARIO)


def _on_one_test_part(scenarios: pl.DataFrame) -> Iterator[str]:
    if scenarios.height:
        names = ", ".join(scenarios["dataset"].unique(maintain_order=True))
        yield (
            f"{names}: one test part. Every run is scored on the same rows, and seeds vary the "
            "training alone: intervals show the spread of training alone; they say nothing about "
            "other rows."
        )


def _kin(families: pl.DataFrame) -> Iterator[str]:
    """Which data sets count as one over data sets."""
    shared = families.group_by("family").agg(pl.col("dataset").sort()).sort("family")
    for names in shared.filter(pl.col("dataset").list.len() > 1)["dataset"]:
        yield (
            f"{_named(names)}: made from the same rows, so that over data sets they count as one, "
            "with their mean difference."
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
