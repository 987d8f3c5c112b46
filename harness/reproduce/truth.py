"""Runs scored against what their labels hide: the posterior, the labels before noise."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from scipy.special import logit

from harness.config import AnyDataset, parse_as
from harness.data import library
from harness.data.packages import Mislabelled
from harness.data.synthetic import SYNTHETIC, Cue
from harness.errors import UserError
from harness.metrics.decision_metrics import decide, decision_metrics
from harness.metrics.ranked_rows import Ranking, rank_rows
from harness.metrics.ranking_metrics import auroc, average_precision
from harness.metrics.settings import Costs
from harness.reproduce.rows import Rows, test_rows

_KNOWN = {kind.kind for kind in (*SYNTHETIC, Mislabelled)}


def floor(rows: Rows) -> pl.Series:
    """Log loss of the true posterior on a run's own test rows; null where nobody knows it."""
    found = {}
    configs = _configs(rows)
    for run, numbers, _, labels in test_rows(rows):
        source = configs[run]
        posterior = None if source is None else library.datasets.get(source).posterior
        if posterior is not None:
            given = np.where(labels == 1, posterior[numbers], 1 - posterior[numbers])
            found[run] = float(-np.log(np.maximum(given, np.finfo(np.float64).tiny)).mean())
    return _in_order(rows, found)


def clean(rows: Rows, *, score: str, at: float | str = 0.5) -> pl.Series:
    """A score of a run's test rows against their labels before noise (`flip_positives`, ...).

    ``score`` is `auroc`, `average_precision` or a metric of decisions (`decisions`) at the
    probability ``at``, a number or a column. Null where the data are no cue: those have no noise.
    """
    measure = _score(score)
    configs = _configs(rows)
    given = pl.col(at) if isinstance(at, str) else pl.lit(at)
    thresholds = dict(rows.table.select("run_id", given.alias("at")).iter_rows())
    found = {}
    for run, numbers, logits, _ in test_rows(rows):
        if isinstance(configs[run], Cue | Mislabelled):
            # Features and clean labels have streams of their own, which noise does not touch.
            without = replace(configs[run], flip_positives=0.0, flip_negatives=0.0)
            labels = library.datasets.get(without).labels[numbers]
            ranking = rank_rows(
                logits=logits[None], labels=labels[None], valid=np.ones((1, len(labels)), bool)
            )
            found[run] = float(measure(ranking, float(logit(thresholds[run])))[0])
    return _in_order(rows, found)


def _score(name: str) -> Callable[[Ranking, float], Any]:
    ranks = {"auroc": auroc, "average_precision": average_precision}
    if name in ranks:
        return lambda ranking, _: ranks[name](ranking)

    def of_decisions(ranking: Ranking, threshold: float) -> Any:
        values = decision_metrics(decide(ranking, threshold), beta=1.0, costs=Costs())
        if name not in values:
            raise UserError(f"clean: score must be one of {', '.join([*ranks, *values])}")
        return values[name]

    return of_decisions


def _configs(rows: Rows) -> dict[str, Any]:
    """By run, the config of its data set; None where its labels hide nothing that is known."""
    names = [c for c in rows.table.columns if c.startswith("dataset.")]
    known: dict[str, Any] = {}  # many runs share one, and reading it takes time
    configs = {}
    for run, *row in rows.table.select("run_id", *names).iter_rows():
        if (key := repr(row)) not in known:
            known[key] = _known(dict(zip(names, row, strict=True)))
        configs[run] = known[key]
    return configs


def _known(columns: Mapping[str, Any]) -> Any:
    # What only other kinds of data set have is null.
    given = {k.removeprefix("dataset."): v for k, v in columns.items() if v is not None}
    return parse_as(AnyDataset, given, at="dataset") if given["kind"] in _KNOWN else None


def _in_order(rows: Rows, found: Mapping[str, float]) -> pl.Series:
    return pl.Series([found.get(run) for run in rows.table["run_id"]], dtype=pl.Float64)
