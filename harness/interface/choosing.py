"""The whole question in one call: which loss, at which threshold, at what cost, and the model.

A search is an ordinary sweep: all losses with the same learning rates, on the same folds. Rounds of
folds are added while the budget lasts. The model of the loss to use is trained once more and judged
on rows that no run has seen.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from harness.analyze import overview
from harness.data.fetching import say
from harness.errors import UserError
from harness.interface.session import ready
from harness.interface.sweeps import Sweep, composed, train
from harness.metrics.settings import Costs
from harness.overrides.checking import read_value
from harness.overrides.jobs import parsed
from harness.overrides.plugging import with_plugins

if TYPE_CHECKING:
    from harness.data.dataset import Dataset
    from harness.interface.answers import Answer
    from harness.predict import Model

LOSSES = ("bce", "weighted_bce", "focal", "logit_adjustment", "brier")
"""What is tried by default: what guides advise for imbalance beside BCE, and Brier's score."""

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
"""Learning rates of Adam; each loss is given all of them."""

FOLDS, MOST_ROUNDS = 5, 6
HOLD_OUT = 0.2
SHARE_OF_BUDGET = 0.85  # for the search; the rest is for the model and the report
RESAMPLES, LEVEL = 2000, 0.95


@dataclass(frozen=True, eq=False)
class LastTest:
    """What the model does on the rows that no run has seen.

    Attributes:
      rows, positives: how many there are.
      flagged, found: rows called positive, and positives among these.
      cost: of the decisions, by 1,000 rows: its value and the ends of its 95% interval.
      none, all: what it would cost to flag none, and all, by 1,000 rows.
      metrics: of the scores, by name (`harness.metrics`).
    """

    rows: int
    positives: int
    flagged: int
    found: int
    cost: tuple[float, float, float]
    none: float
    all: float
    metrics: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Choice:
    """The answer to a table; `str` says it.

    Attributes:
      loss: the one to use, and the learning_rate that was best for it on validation.
      sweep: the search's runs, with `answer` its comparison of the losses.
      model: trained with that loss, its folder ``model_folder``.
      test: its last test.
      report: the page.
    """

    loss: str
    learning_rate: float
    sweep: Sweep
    answer: "Answer"
    model: "Model"
    model_folder: Path
    test: LastTest
    report: Path
    costs: Costs | None
    when: str

    def __str__(self) -> str:
        return "\n".join(self.lines())

    @property
    def _rule(self) -> str:
        rule = overview.rule_name(self.model.description.threshold.rule)
        return f" (chosen on validation for {rule})"

    def lines(self) -> list[str]:
        """The answer in a few sentences."""
        test, cut = self.test, self.model.threshold
        positive = self.model.labels[1]
        of = f"{test.rows:,} rows that no run has seen{self.when}, {test.positives:,} of them"
        found = f"{test.found:,} of the {test.positives:,}"
        said = [
            overview.advice(self.answer.analysis, with_threshold=False),
            f"Flag a row from probability {cut:.3g} on{self._rule}.",
            f"On {of} {positive!r}, that flags {test.flagged:,} rows, {found} among them.",
        ]
        if self.costs is not None:
            value, low, high = test.cost
            said.append(
                f"It costs {value:.3g} per 1,000 rows (95% interval {low:.3g} to {high:.3g}; "
                f"{self.costs.false_positive:g} a false alarm, {self.costs.false_negative:g} a "
                f"missed positive), against {test.none:.3g} when none is flagged and "
                f"{test.all:.3g} when all are."
            )
            if low <= min(test.none, test.all) <= high:
                cheaper = "none" if test.none <= test.all else "all"
                said.append(f"That is not shown to be cheaper than flagging {cheaper}.")
        if test.positives < 100:
            said.append(
                f"All of this rests on {test.positives} positives: the interval is of such rows "
                "alone, and other times may differ more."
            )
        return [line for line in said if line]


def choose(
    data: Any,
    *,
    target: str,
    cost_fp: float | None = None,
    cost_fn: float | None = None,
    budget: float = 300.0,
    losses: Sequence[str] = LOSSES,
    overrides: Sequence[str] = (),
    folder: Path | str | None = None,
    **described: Any,
) -> Choice:
    """Which loss should train a classifier of ``target``, and a model of it.

    Args:
      data: a table file's path, or what `harness.train` takes as data.
      target: its column of labels.
      cost_fp, cost_fn: what a false alarm and a missed positive cost; both or none.
      budget: seconds; the search stops adding folds when they are nearly spent. Ctrl-C does too.
      losses: what is compared; with the first beside `bce` where that is not among them.
      overrides: more of the command line's, such as ``"model=logistic"``.
      folder: of the sweep; by default runs/choose-<name of the data>.
      described: what else there is to say of the data, by the keys of `conf/dataset/table.yaml`:
        ``positive="yes", time="month", group="customer"``.

    Raises:
      UserError: of a mistake, before anything is trained; or that nothing could be trained.
    """
    begun = time.monotonic()
    costs = _costs(cost_fp, cost_fn)
    ready()
    # Plug-ins are found once, and named in each sweep: the model's has its loss by name alone.
    swept, *more = with_plugins([f"loss={','.join(dict.fromkeys(['bce', *losses]))}", *overrides])
    described |= _of_data(more)
    if described.setdefault("hold_out", HOLD_OUT) == 0:
        raise UserError("hold_out=0 keeps no row for the last test: give a share, such as 0.2")
    more = [text for text in more if not _is_of_data(text)]
    given = _Given(data, target, described, tuple(more), costs)
    place = Path(folder) if folder is not None else Path("runs") / f"choose-{given.name}"
    sweep = _searched(given, swept, place, begun, budget)
    answer = sweep.answer()
    loss = answer.recommended
    rate = _best_rate(answer, loss, given.objective)
    say(f"training the model: {loss} at learning rate {rate:g}")
    folder, model, last = _final(given, loss, rate, place / "model")
    report = sweep.report()
    return Choice(
        loss=loss,
        learning_rate=rate,
        sweep=sweep,
        answer=answer,
        model=model,
        model_folder=folder,
        test=_last_test(model, last, costs or Costs()),
        report=report,
        costs=costs,
        when=f" (the latest by {described['time']!r})" if described.get("time") else "",
    )


@dataclass(frozen=True, eq=False)
class _Given:
    """What was asked."""

    data: Any
    target: str
    described: Mapping[str, Any]
    overrides: tuple[str, ...]
    costs: Costs | None

    @property
    def name(self) -> str:
        if name := self.described.get("name"):
            return str(name)
        return Path(self.data).stem if isinstance(self.data, (str, Path)) else "data"

    @property
    def objective(self) -> str:
        return "average_precision" if self.costs is None else "expected_cost@tuned"

    @property
    def arguments(self) -> dict[str, Any]:
        return {"data": self.data, "target": self.target, **self.described}

    def evaluation(self) -> list[str]:
        if self.costs is None:
            return []
        return [
            f"evaluation.costs.false_positive={self.costs.false_positive}",
            f"evaluation.costs.false_negative={self.costs.false_negative}",
            "evaluation.threshold=cost",
            f"evaluation.objective={self.objective}",
        ]


def _costs(fp: float | None, fn: float | None) -> Costs | None:
    if fp is None and fn is None:
        return None
    if fp is None or fn is None:
        lacking = "a false alarm (cost_fp)" if fp is None else "a missed positive (cost_fn)"
        raise UserError(f"costs: say what {lacking} costs too")
    try:
        return Costs(false_positive=float(fp), false_negative=float(fn))
    except ValueError as error:
        raise UserError(f"costs: {error}") from None


def _of_data(overrides: Sequence[str]) -> dict[str, Any]:
    """What ``overrides`` say of the data, which decides on splits and the last test too."""
    values = (read_value(text.lstrip("+")) for text in overrides if _is_of_data(text))
    return {key.removeprefix("dataset."): value for key, value in values}


def _is_of_data(override: str) -> bool:
    return override.lstrip("+").startswith("dataset.")


def _searched(given: _Given, losses: str, place: Path, begun: float, budget: float) -> Sweep:
    """Rounds of folds of all ``losses``, an override, until the budget is nearly spent or somebody
    stops it."""
    split = "group_kfold" if given.described.get("group") else "kfold"
    swept = [
        losses,
        f"optimizer.learning_rate={','.join(map(str, RATES))}",
        f"split={split}",
        f"split.folds={FOLDS}",
        f"split.fold=range({FOLDS})",
        *given.evaluation(),
    ]
    swept = [*_without(swept, given.overrides), *given.overrides]
    jobs = (losses.count(",") + 1) * len(RATES) * FOLDS
    sweep: Sweep | None = None
    longest = 0.0
    for number in range(1, MOST_ROUNDS + 1):
        spent = time.monotonic() - begun
        if sweep is not None and spent + longest > SHARE_OF_BUDGET * budget:
            break
        say(
            f"round {number} of up to {MOST_ROUNDS}: {jobs} runs; "
            f"{spent:.0f} s of {budget:g} s are used"
        )
        started = time.monotonic()
        try:
            # All seeds so far: what is stored is not trained again, and the record is whole.
            sweep = train(*swept, f"seed=range({number})", folder=place, **given.arguments)
        except KeyboardInterrupt:
            if sweep is None:
                raise
            say(f"stopped: the answer is that of {number - 1} rounds")
            break
        took = time.monotonic() - started
        longest = took if number > 1 else 0.0  # the first round compiles
    assert sweep is not None
    return sweep


def _without(overrides: Sequence[str], others: Sequence[str]) -> list[str]:
    """Those of ``overrides`` whose key ``others`` do not give."""
    keys = {text.partition("=")[0].lstrip("+") for text in others}
    return [text for text in overrides if text.partition("=")[0].lstrip("+") not in keys]


def _best_rate(answer: "Answer", loss: str, objective: str) -> float:
    """Of the loss's learning rates the one that is best on validation, in the mean over folds."""
    from harness.interface.best import on_average

    runs = on_average(answer.analysis, f"validation/{objective}")
    return float(runs.filter(pl.col("method") == loss)["optimizer.learning_rate"][0])


def _final(given: _Given, loss: str, rate: float, place: Path) -> tuple[Path, "Model", "Dataset"]:
    """The model's folder, the model, and the rows that it is to be judged on: those that are
    kept from the run by its own configuration."""
    from harness.predict import Model

    split = "group" if given.described.get("group") else "holdout"
    asked = [
        f"loss={loss}",
        f"optimizer.learning_rate={rate}",
        f"split={split}",
        "split.test=0.1",
        "training.save_model=true",
        *given.evaluation(),
    ]
    asked += _without(given.overrides, [*asked, "split.fold=", "split.folds=", "seed="])
    jobs, frame = composed(asked, given.data, given.target, place, given.described)
    (config,) = parsed(jobs.configs)
    last = config.dataset.load_held_out()
    sweep = train(*asked, folder=place, **given.arguments)
    del frame  # which held the data until here
    folder = place / "models" / next(iter(sweep.run_ids or ()))
    return folder, Model.load(folder), last


def _last_test(model: "Model", rows: "Dataset", costs: Costs) -> LastTest:
    from harness.metrics.bootstrap import intervals
    from harness.metrics.decision_metrics import decide, decision_metrics
    from harness.metrics.ranked_rows import rank_rows
    from harness.metrics.ranking_metrics import auroc, average_precision

    logits = model.logits_of(rows.features).astype(np.float64)
    cut = model.description.threshold.logit
    ranking = rank_rows(
        logits=logits[None], labels=rows.labels[None], valid=np.ones((1, rows.num_rows), bool)
    )

    def decided(ranking: Any) -> Mapping[str, Any]:
        return decision_metrics(decide(ranking, cut), beta=2.0, costs=costs)

    found = intervals(
        logits={"": logits},
        labels=rows.labels,
        statistics={"": decided},
        num_resamples=RESAMPLES,
        level=LEVEL,
    )[""]
    confusion = decide(ranking, cut)
    metrics = {name: float(value[0]) for name, value in decided(ranking).items()}
    metrics |= {
        "auroc": float(auroc(ranking)[0]),
        "average_precision": float(average_precision(ranking)[0]),
    }
    low, high = found["expected_cost"]
    positives, negatives = rows.num_positives, rows.num_rows - rows.num_positives
    each = 1000 / rows.num_rows
    return LastTest(
        rows=rows.num_rows,
        positives=positives,
        flagged=int(confusion.tp[0] + confusion.fp[0]),
        found=int(confusion.tp[0]),
        cost=(1000 * metrics["expected_cost"], 1000 * low, 1000 * high),
        none=each * costs.false_negative * positives,
        all=each * costs.false_positive * negatives,
        metrics=metrics,
    )
