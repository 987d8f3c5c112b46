"""What of a run's evaluation can be configured: the schema of conf/evaluation/."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from annotated_types import Ge, Gt, Le, Lt

Criterion = Literal[
    "f1",
    "f_beta",
    "balanced_accuracy",
    "mcc",
    "youden",
    "accuracy",
    "cost",
    "recall_at_precision",
    "precision_at_recall",
    "alerts",
]
Calibrator = Literal["temperature", "platt", "isotonic", "beta"]
# A rule is a stated probability, a criterion tried on validation, or one of two more: `bayes` is
# the cost-optimal probability, `oracle` the cut the test part itself would have liked best.
Rule = float | str
RULE_NAMES = (*get_args(Criterion), "bayes", "oracle")

# What a search may be told, always of the validation part. The oracle is not among them.
LowerIsBetter = Literal[
    "log_loss",
    "brier",
    "ece",
    "ece_debiased",
    "expected_cost@tuned",
    "corrected/log_loss",
    "corrected/brier",
    "temperature/log_loss",
    "temperature/brier",
    "platt/log_loss",
    "platt/brier",
    "beta/log_loss",
    "beta/brier",
]
HigherIsBetter = Literal[
    "skill",
    "brier_skill",
    "auroc",
    "partial_auroc",
    "average_precision",
    "precision_at_k",
    "recall_at_k",
    "lift_at_k",
    "recall_at_precision",
    "precision_at_recall",
    "corrected/skill",
    "platt/skill",
    "accuracy@tuned",
    "balanced_accuracy@tuned",
    "precision@tuned",
    "recall@tuned",
    "specificity@tuned",
    "f1@tuned",
    "f_beta@tuned",
    "mcc@tuned",
    "g_mean@tuned",
    "p4@tuned",
]
Objective = Literal[HigherIsBetter, LowerIsBetter]


def lowest_is_best(objective: str) -> bool:
    """Whether a search for this objective minimises."""
    return objective in get_args(LowerIsBetter)


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
    search gets back (a metric of the validation part).

    Decisions are scored at probability 0.5 and at the cut that ``threshold`` picks (``@tuned``).
    ``thresholds`` adds rules, each a column ``@<rule>``. Those that state a probability (a number,
    or ``bayes``) are applied to corrected and calibrated scores too: 0.5 if it is listed.

    ``beta`` is that of F-beta; ``min_precision``, ``min_recall`` and ``alerts`` (the share of rows
    flagged, or from 1 on their number) are those of the metrics and criteria named after them;
    ``max_fpr`` ends the partial AUROC.

    ``calibrators`` are fitted on validation; the scores of ``calibrator`` are stored row by row.
    ``bootstrap`` is the number of resamples behind each interval of a test metric; 0 for none.
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
    calibrators: tuple[Calibrator, ...] = get_args(Calibrator)
    calibrator: Calibrator | None = "platt"
    decompositions: bool = True
    bootstrap: Annotated[int, Ge(0), Le(100_000)] = 0
    bootstrap_level: Annotated[float, Gt(0), Lt(1)] = 0.95

    def __post_init__(self) -> None:
        version, _, metric = self.objective.partition("/")
        wanted = version if metric and version != "corrected" else None
        for key, name in (("calibrator", self.calibrator), ("objective", wanted)):
            if name is not None and name not in self.calibrators:
                raise ValueError(f"{key} needs {name} among calibrators, got {self.calibrators}")
        for rule in self.thresholds:
            if not (rule in RULE_NAMES if isinstance(rule, str) else 0 < rule < 1):
                names = ", ".join(RULE_NAMES)
                raise ValueError(f"thresholds holds {rule!r}: give probabilities, or {names}")
        if self.alerts >= 1 and not float(self.alerts).is_integer():
            raise ValueError(f"alerts must be a share below 1 or whole rows, got {self.alerts}")
        if 0 < self.bootstrap < 100:
            raise ValueError(f"bootstrap must be 0 or at least 100, got {self.bootstrap}")
