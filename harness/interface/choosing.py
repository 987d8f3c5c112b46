"""The whole question in one call: which loss, at which threshold, at what cost, and the model.

A search is an ordinary sweep: all losses with the same learning rates, on the same folds. Rounds of
folds are added while the budget lasts. The model of the loss to use is trained once more and judged
on rows that no run has seen.
"""

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from harness import checkpoints
from harness.analyze import overview
from harness.data.fetching import say
from harness.data.in_memory import Memory
from harness.data.table import Table
from harness.errors import UserError, shown
from harness.interface.session import ready
from harness.interface.sweeps import Sweep, train, with_data
from harness.metrics.settings import Costs, Evaluation
from harness.overrides.checking import read_value
from harness.overrides.jobs import job_of, parsed
from harness.overrides.plugging import with_plugins
from harness.record.live import session

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
ANSWER = "answer"  # the report's folder, so that `harness analyze` of the sweep replaces nothing
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
      loss: the one to use, and the learning_rate, of the ``rates`` tried, that was best for it on
        validation.
      sweep: the search's runs, with `answer` its comparison of the losses.
      model: trained with that loss, its folder ``model_folder``.
      test: its last test.
      report: the page.
    """

    loss: str
    learning_rate: float
    rates: Sequence[float]
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
            *self._rests_on(),
            f"Flag a row from probability {cut:.3g} on{self._rule}.",
            f"On {of} {positive!r}, that flags {test.flagged:,} rows, {found} among them.",
        ]
        if self.costs is not None:
            value, low, high = map(_amount, test.cost)
            said.append(
                f"It costs {value} per 1,000 rows (95% interval {low} to {high}; "
                f"{_amount(self.costs.false_positive)} a false alarm, "
                f"{_amount(self.costs.false_negative)} a missed positive), against "
                f"{_amount(test.none)} when none is flagged and {_amount(test.all)} when all are."
            )
            if (least := min(test.none, test.all)) <= test.cost[2]:
                cheaper = "none" if test.none == least else "all"
                verdict = "dearer than" if least < test.cost[1] else "not shown to be cheaper than"
                said.append(f"That is {verdict} flagging {cheaper}.")
        if test.positives < 100:
            interval = "" if self.costs is None else "the interval is of such rows alone, and "
            said.append(
                f"All of this rests on {test.positives} positives: {interval}other times may "
                "differ more."
            )
        return [line for line in said if line]

    def _rests_on(self) -> Iterator[str]:
        """What the comparison is of, and where it may be cut off."""
        splits = self.answer.analysis.labelled["replicate"].n_unique()
        yield f"That is of {splits} splits of the other rows; each loss had the same trials."
        if len(self.rates) > 1 and self.learning_rate in (ends := (self.rates[0], self.rates[-1])):
            way, factor = ("lower", 0.1) if self.learning_rate == ends[0] else ("higher", 10)
            wider = sorted({*self.rates, float(f"{self.learning_rate * factor:.1g}")})
            yield (
                f"Its learning rate, {self.learning_rate:g}, is at the end of those tried: a {way} "
                f"one may do better (optimizer.learning_rate={','.join(f'{r:g}' for r in wider)})."
            )


def _amount(value: float) -> str:
    """
    >>> _amount(656.4321), _amount(3333.3), _amount(20.0), _amount(0.46831), _amount(0.0)
    ('656', '3,333', '20', '0.468', '0')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def choose(
    data: Any,
    *,
    target: str,
    cost_fp: float | None = None,
    cost_fn: float | None = None,
    budget: float | str = "5m",
    losses: Sequence[str] | str = LOSSES,
    overrides: Sequence[str] = (),
    folder: Path | str | None = None,
    **described: Any,
) -> Choice:
    """Which loss should train a classifier of ``target``, and a model of it.

    Args:
      data: a table file's path, or what `harness.train` takes as data.
      target: its column of labels.
      cost_fp, cost_fn: what a false alarm and a missed positive cost; both or none.
      budget: seconds, or as "90s", "5m" or "1h"; the search stops adding folds when they are
        nearly spent. Ctrl-C does too.
      losses: what is compared, a list or as "bce,focal"; `bce` always is.
      overrides: more of the command line's, such as ``"model=logistic"``.
      folder: of the sweep; by default runs/choose-<name of the data>.
      described: what else there is to say of the data, by the keys of `conf/dataset/table.yaml`:
        ``positive="yes", time="month", group="customer"``.

    Raises:
      UserError: of a mistake, before anything is trained; or that nothing could be trained.
    """
    begun = time.monotonic()
    ready()
    costs = _costs(cost_fp, cost_fn)
    losses = losses.split(",") if isinstance(losses, str) else losses
    _check(losses, overrides)
    seconds = _seconds(budget)
    # Plug-ins are found once, and named in each sweep: the model's has its loss by name alone.
    swept, *more = with_plugins([f"loss={','.join(dict.fromkeys(['bce', *losses]))}", *overrides])
    described |= _of_data(more)
    if weight := described.get("weight"):
        raise UserError(
            f"weight={weight}: the last test of a choice counts rows: leave it out, or compare "
            "losses on weighted rows by `harness train` and `harness analyze`"
        )
    if described.setdefault("hold_out", HOLD_OUT) == 0:
        raise UserError("hold_out=0 keeps no row for the last test: give a share, such as 0.2")
    more = [text for text in more if not _is_of_data(text)]
    given = _Given(data, target, described, tuple(more), costs)
    place = Path(folder) if folder is not None else Path("runs") / f"choose-{given.name}"
    last, evaluation = _last_rows(given)  # first: a mistake is told before anything is trained
    with session():  # all rounds are one sweep to W&B
        sweep = _searched(given, swept, place, begun, seconds)
    answer = sweep.answer()
    loss = answer.recommended
    rate = _best_rate(answer, loss, evaluation.objective)
    say(f"training the model: {loss} at learning rate {rate:g}")
    model_folder, model = _final(given, loss, rate, place / checkpoints.OF_A_CHOICE)
    choice = Choice(
        loss=loss,
        learning_rate=rate,
        rates=sweep.table()["optimizer.learning_rate"].unique().sort().to_list(),
        sweep=sweep,
        answer=answer,
        model=model,
        model_folder=model_folder,
        test=_last_test(model, last, evaluation.costs),
        report=(place / ANSWER / "report.html").absolute(),
        costs=costs and evaluation.costs,
        when=f" (the latest by {described['time']!r})" if described.get("time") else "",
    )
    # It says the model's own threshold, not the mean over the folds.
    sweep.report(place / ANSWER, said=choice.lines())
    return choice


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
    def arguments(self) -> dict[str, Any]:
        return {"data": self.data, "target": self.target, **self.described}

    def evaluation(self) -> list[str]:
        if self.costs is None:
            return []
        asked = [
            f"evaluation.costs.false_positive={self.costs.false_positive}",
            f"evaluation.costs.false_negative={self.costs.false_negative}",
            "evaluation.threshold=cost",
            "evaluation.objective=expected_cost@tuned",
        ]
        return _without(asked, self.overrides)


def _costs(fp: float | None, fn: float | None) -> Costs | None:
    if fp is None and fn is None:
        return None
    if fp is None or fn is None:
        lacking = "a false alarm (cost_fp)" if fp is None else "a missed positive (cost_fn)"
        raise UserError(f"costs: say what {lacking} costs too")
    for name, cost in (("cost_fp", fp), ("cost_fn", fn)):
        if not 0 < cost < math.inf:
            raise UserError(
                f"{name}={cost:g} must be above 0: what that error costs beyond a right decision"
            )
    return Costs(false_positive=float(fp), false_negative=float(fn))


_OWN = ("loss", "seed", "training.save_model")
"""Keys that a search sets itself."""


def _check(losses: Sequence[str], overrides: Sequence[str]) -> None:
    if not all(losses):
        raise UserError(f"losses: {','.join(losses)!r} names none in a place: write bce,focal")
    for text in overrides:
        if (key := _key(text)) in _OWN:
            how = "; name what is compared by losses" if key == "loss" else ""
            raise UserError(f"{text}: a search sets {key} itself: leave it out{how}")


def _of_data(overrides: Sequence[str]) -> dict[str, Any]:
    """What ``overrides`` say of the data, which decides on splits and the last test too."""
    values = (read_value(text.lstrip("+")) for text in overrides if _is_of_data(text))
    return {key.removeprefix("dataset."): value for key, value in values}


def _is_of_data(override: str) -> bool:
    return override.lstrip("+").startswith("dataset.")


def _seconds(budget: float | str) -> float:
    """
    >>> _seconds("90s"), _seconds("5m"), _seconds("1.5h"), _seconds(0.5)
    (90.0, 300.0, 5400.0, 0.5)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?(?:e-?\d+)?)\s*(s|m|h|)", str(budget).strip())
    if found is None or not 0 < float(found[1]) < inf:
        raise UserError(f"budget {shown(budget)} is no time: write 90s, 5m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


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
    sweep: Sweep | None = None
    longest = 0.0
    for number in range(1, MOST_ROUNDS + 1):
        spent = time.monotonic() - begun
        if sweep is not None and spent + longest > SHARE_OF_BUDGET * budget:
            rounds = "a round" if number == 2 else f"{number - 1} rounds"
            more = f"a longer budget has up to {MOST_ROUNDS}"
            say(f"{rounds} of folds in {spent:.0f} s: {more}")
            break
        if sweep is not None:  # before that, a mistake would be a second line
            say(f"round {number} of up to {MOST_ROUNDS}; {spent:.0f} s of {budget:g} s are used")
        started = time.monotonic()
        try:
            # All seeds so far: what is stored is not trained again, and the record is whole.
            sweep = train(*swept, f"seed=range({number})", folder=place, **given.arguments)
        except KeyboardInterrupt:
            if sweep is None:
                raise
            rounds = "the first round" if number == 2 else f"{number - 1} rounds"
            say(f"stopped: the answer is that of {rounds}")
            break
        took = time.monotonic() - started
        longest = took if number > 1 else 0.0  # the first round compiles
    assert sweep is not None
    return sweep


def _without(overrides: Sequence[str], others: Sequence[str]) -> list[str]:
    """Those of ``overrides`` whose key ``others`` do not give."""
    keys = set(map(_key, others))
    return [text for text in overrides if _key(text) not in keys]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def _best_rate(answer: "Answer", loss: str, objective: str) -> float:
    """Of the loss's learning rates the one that is best on validation, in the mean over folds."""
    from harness.interface.best import on_average

    runs = on_average(answer.analysis, f"validation/{objective}")
    return float(runs.filter(pl.col("method") == loss)["optimizer.learning_rate"][0])


def _last_rows(given: _Given) -> tuple["Dataset", Evaluation]:
    """The rows that no run will see, and how all are evaluated.

    Raises UserError of what is wrong with the data or with the model's configuration.
    """
    overrides = _of_the_model(given, "bce", RATES[0])
    asked, frame = with_data(overrides, given.data, given.target, None, given.described)
    (config,) = parsed([job_of(asked)])
    assert isinstance(config.dataset, Table | Memory)
    rows = config.dataset.load_held_out()
    del frame  # held until here
    return rows, config.evaluation


def _of_the_model(given: _Given, loss: str, rate: float) -> list[str]:
    split = "group" if given.described.get("group") else "holdout"
    asked = [
        f"loss={loss}",
        f"optimizer.learning_rate={rate}",
        f"split={split}",
        "split.test=0.1",
        "training.save_model=true",
        *given.evaluation(),
    ]
    return asked + _without(given.overrides, [*asked, "split.fold=", "split.folds="])


def _final(given: _Given, loss: str, rate: float, place: Path) -> tuple[Path, "Model"]:
    """The model's folder, and the model."""
    from harness.predict import Model

    sweep = train(*_of_the_model(given, loss, rate), folder=place, **given.arguments)
    folder = place / "models" / next(iter(sweep.run_ids or ()))
    return folder, Model.load(folder)


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
        none=each * (costs.false_negative * positives + costs.true_negative * negatives),
        all=each * (costs.false_positive * negatives + costs.true_positive * positives),
        metrics=metrics,
    )
