"""What of a run's evaluation can be configured: the schema of conf/evaluation/."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import product
from typing import Annotated, Literal, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator

from harness.metrics.definitions import METRICS, RULES, VERSIONS, Calibrator, Criterion, Metric
from harness.metrics.names import End, MetricName, parse, stated_rule, threshold_fact
from harness.metrics.own_calibrator import OWN

# A rule is a stated probability, a criterion tried on validation, or one of two more: `bayes` is
# the cost-optimal probability, `oracle` the cut the test part itself would have liked best.
Rule = float | str
RULE_NAMES = tuple(rule for rule in RULES if rule != "tuned")


def _objective(text: str) -> str:
    """A metric that a search can be told, whatever else is configured.

    Raises:
        ValueError: there is no such metric, or it has no direction.
    """
    name = parse(text)
    if name.split or name.end:
        raise ValueError("write the metric alone: it is the validation part's")
    if not name.definition.sign:
        raise ValueError(f"neither high nor low {name.metric} is better: nothing to search for")
    if name.rule == "oracle":
        raise ValueError("the oracle's threshold is chosen on test, which no search may see")
    if name.version == "isotonic":
        raise ValueError("isotonic regression fits validation too closely to be judged by it")
    return str(name)


Objective = Annotated[str, AfterValidator(_objective)]


def _calibrator(text: str) -> str:
    """Raises ValueError where no calibrator, ours or plugged in, is called so."""
    known = [*get_args(Calibrator), *OWN]
    if near := get_close_matches(text, known, n=1) if text not in known else []:
        raise ValueError(f"is no calibrator: did you mean {near[0]}?")
    if text not in known:
        raise ValueError(
            f"is no calibrator: give some of {', '.join(known)}; the module of an own one is named "
            "by plugins=[my_module.py]"
        )
    return text


CalibratorName = Annotated[str, AfterValidator(_calibrator)]


@dataclass(frozen=True)
class Costs:
    """What each decision costs, in any unit; a gain is negative. The default counts errors."""

    false_positive: float = 1.0
    false_negative: float = 1.0
    true_positive: float = 0.0
    true_negative: float = 0.0

    def __post_init__(self) -> None:
        if self.of_alarm <= 0 or self.of_miss <= 0:
            raise ValueError(
                "an error must cost more than the right decision for the same label, got "
                f"false_positive {self.false_positive} and true_negative {self.true_negative}, "
                f"false_negative {self.false_negative} and true_positive {self.true_positive}"
            )

    @property
    def of_alarm(self) -> float:
        """What predicting a negative positive costs over getting it right."""
        return self.false_positive - self.true_negative

    @property
    def of_miss(self) -> float:
        """What predicting a positive negative costs over getting it right."""
        return self.false_negative - self.true_positive

    @property
    def threshold(self) -> float:
        """The probability from which on predicting positive is cheaper (Elkan 2001, equation 2).

        >>> Costs(false_positive=1, false_negative=9).threshold
        0.1
        """
        return self.of_alarm / (self.of_alarm + self.of_miss)


@dataclass(frozen=True)
class Evaluation:
    """What is measured of a trained run, and what is chosen on its validation part.

    ``select`` picks the epoch (lowest wins): each run's own loss by default, since log loss would
    cut short every run that is not meant to be calibrated. ``objective`` is what a hyperparameter
    search gets back: a metric of the validation part, such as `auroc` or `f1@tuned`.

    Decisions are scored at probability 0.5 and at the cut that ``threshold`` picks (``@tuned``).
    ``thresholds`` adds rules, each a column ``@<rule>``. Those that state a probability (a number,
    or ``bayes``) are applied to corrected and calibrated scores too: 0.5 if it is listed.

    ``beta`` is that of F-beta; ``min_precision``, ``min_recall`` and ``alerts`` (the share of rows
    flagged, or from 1 on their number) are those of the metrics and criteria named after them;
    ``max_fpr`` ends the partial AUROC.

    ``calibrators`` are fitted on validation; the scores of ``calibrator`` are stored row by row.
    ``bootstrap`` is the number of resamples behind each interval of a test metric; 0 for none.

    ``curve_points`` is how often training looks at validation, ``curve_rows`` at how many of its
    rows: see `harness.watching`. Empty is after each epoch, at all of them.
    """

    select: Literal["loss", "log_loss", "brier"] = "loss"
    threshold: Criterion = "f1"
    objective: Objective = "average_precision"
    thresholds: tuple[Rule, ...] = ()
    beta: Annotated[float, Gt(0)] = 2.0
    costs: Costs = field(default_factory=Costs)
    min_precision: Annotated[float, Gt(0), Le(1)] = 0.9
    min_recall: Annotated[float, Gt(0), Le(1)] = 0.9
    alerts: Annotated[float, Gt(0)] = 0.05
    max_fpr: Annotated[float, Gt(0), Le(1)] = 0.1
    ece_bins: Annotated[int, Ge(2), Le(1000)] = 15
    calibrators: tuple[CalibratorName, ...] = get_args(Calibrator)
    calibrator: CalibratorName | None = "platt"
    decompositions: bool = True
    bootstrap: Annotated[int, Ge(0), Le(100_000)] = 0
    bootstrap_level: Annotated[float, Gt(0), Lt(1)] = 0.95
    curve_points: Annotated[int, Ge(1)] | None = None
    curve_rows: Annotated[int, Ge(1)] | None = None

    def __post_init__(self) -> None:
        if self.calibrator is not None and self.calibrator not in self.calibrators:
            needed = f"calibrator needs {self.calibrator} among calibrators"
            raise ValueError(f"{needed}, got {self.calibrators}")
        for rule in self.thresholds:
            if not (rule in RULE_NAMES if isinstance(rule, str) else 0 < rule < 1):
                names = ", ".join(RULE_NAMES)
                raise ValueError(f"thresholds holds {rule!r}: give probabilities, or {names}")
        if self.alerts >= 1 and not float(self.alerts).is_integer():
            raise ValueError(f"alerts must be a share below 1 or whole rows, got {self.alerts}")
        if 0 < self.bootstrap < 100:
            raise ValueError(f"bootstrap must be 0 or at least 100, got {self.bootstrap}")
        if lacking := self._lacking(parse(_objective(self.objective))):
            raise ValueError(f"objective {self.objective} {lacking}")

    @property
    def minimises(self) -> bool:
        """Whether a search for the objective looks for its lowest value."""
        return parse(self.objective).definition.sign < 0

    @property
    def stated(self) -> dict[str, float]:
        """The rules that state a probability, which any version of the scores can be held to.

        >>> Evaluation(thresholds=(0.1, "mcc", "bayes")).stated
        {'0.1': 0.1, 'bayes': 0.5}
        """
        return {
            rule if isinstance(rule, str) else stated_rule(rule): (
                self.costs.threshold if isinstance(rule, str) else rule
            )
            for rule in self.thresholds
            if isinstance(rule, float) or rule == "bayes"
        }

    @property
    def criteria(self) -> dict[str, Criterion]:
        """The rules that validation decides, by what they maximise there."""
        asked: dict[str, Criterion] = {
            rule: rule for rule in get_args(Criterion) if rule in self.thresholds
        }
        return {"tuned": self.threshold, **asked}

    def measured(self, split: Literal["validation", "test"]) -> Iterator[MetricName]:
        """The names of all that is measured of a part of the data, in no order that matters."""
        ends: tuple[End | Literal[""], ...] = ("",)
        if split == "test" and self.bootstrap:
            ends = ("", "low", "high")
        for version, metric in product(("", "corrected", *self.calibrators), METRICS.values()):
            if split in metric.splits and metric.is_of(version) and self._asks_for(metric):
                for rule, end in product(self._rules(metric, version, split), ends):
                    yield MetricName(metric.name, split, version, rule, end)

    def decided(self) -> Iterator[str]:
        """The stored names of what validation decides: thresholds, and what calibrators fit."""
        yield from map(threshold_fact, self.criteria)
        for name in self.calibrators:
            yield from VERSIONS[name].parameters

    def _asks_for(self, metric: Metric) -> bool:
        is_part = "decompositions" in metric.settings
        return metric.needs != "training" and (self.decompositions or not is_part)

    def _rules(self, metric: Metric, version: str, split: str) -> tuple[str, ...]:
        """Of the thresholds that a metric is measured at."""
        if not metric.at_threshold:
            return ("",)
        if version:
            return tuple(self.stated)
        stated = tuple(dict.fromkeys(("0.5", *self.stated)))
        if metric.needs == "stated threshold":
            return stated
        oracle = ("oracle",) if split == "test" and "oracle" in self.thresholds else ()
        return (*stated, *self.criteria, *oracle)

    def _lacking(self, objective: MetricName) -> str:
        """Why these settings leave an objective unmeasured; empty where they do not."""
        version, rule, metric = objective.version, objective.rule, objective.definition
        if metric.needs == "training":
            return "is of each run's training: one such as log_loss is comparable"
        if "validation" not in metric.splits or not metric.is_of(version):
            return "is not measured on validation"
        if version not in ("", "corrected", *self.calibrators):
            return f"needs {version} among calibrators, got {self.calibrators}"
        if not self._asks_for(metric):
            return "needs decompositions=true"
        if rule not in self._rules(metric, version, "validation"):
            states = rule not in RULES or rule == "bayes"
            if not states and (version or metric.needs == "stated threshold"):
                return "needs a threshold that states a probability, such as @0.5"
            return f"needs {rule} among thresholds, got {self.thresholds}"
        return ""
