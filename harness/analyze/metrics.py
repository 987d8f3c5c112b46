"""The metrics a report shows, with their direction and their place."""

from typing import TypeVar

LOWER_IS_BETTER = frozenset(
    {
        "log_loss",
        "brier",
        "ece",
        "ece_debiased",
        "log_loss_miscalibration",
        "brier_miscalibration",
        "expected_cost",
    }
)
_LOWER_ENDINGS = ("loss", "error", "cost")  # as scikit-learn names what is better low
TARGETS = {"calibration_intercept": 0.0, "calibration_slope": 1.0}
"""Metrics that are best at a value, neither high nor low."""

DESCRIPTIVE = frozenset(
    {"log_loss_uncertainty", "brier_uncertainty", "random_average_precision", "flagged"}
)
"""Metrics that say what the data or the cut are like, not how good the model is."""

LEADERBOARD = (
    "average_precision",
    "auroc",
    "log_loss",
    "skill",
    "brier",
    "ece",
    "f1@0.5",
    "f1@tuned",
    "mcc@tuned",
)
"""Columns of the leaderboard, scored on test."""

COMPARED = ("average_precision", "auroc", "log_loss", "brier", "f1@tuned", "mcc@tuned")
"""Metrics on which losses are compared with the baseline; the first one makes the headline."""

SELECTION = "validation/average_precision"
"""Picks hyperparameters. A ranking metric does not change under a monotone map of the logits, so
it favours neither BCE, which log loss would (it is its own objective), nor the losses whose shifted
posterior is mended after training; and F1 or MCC would pick by the noise of one threshold."""


def sign(metric: str) -> int:
    """1 where higher is better, -1 where lower is, 0 where neither is; unknown names go by ending.

    >>> sign("auroc"), sign("validation/platt/log_loss"), sign("calibration_slope")
    (1, -1, 0)
    """
    name = _name(metric)
    if name in TARGETS or name in DESCRIPTIVE:
        return 0
    return -1 if name in LOWER_IS_BETTER or name.endswith(_LOWER_ENDINGS) else 1


def target(metric: str) -> float | None:
    """The value at which a metric is best; None where none is named.

    >>> target("test/platt/calibration_slope"), target("auroc")
    (1.0, None)
    """
    return TARGETS.get(_name(metric))


def compared_sign(metric: str) -> int:
    """The direction of what is compared (`compared`): a distance from a target is better low.

    >>> compared_sign("auroc"), compared_sign("calibration_slope"), compared_sign("flagged@0.5")
    (1, -1, 0)
    """
    return sign(metric) if target(metric) is None else -1


Value = TypeVar("Value")  # a number, an array or a Polars expression


def compared(metric: str, value: Value) -> Value:
    """What of a metric is compared: its value or, of one with a target, the distance from that."""
    best = target(metric)
    return value if best is None else abs(value - best)  # type: ignore


def _name(metric: str) -> str:
    name = metric.rpartition("/")[2].removesuffix("_low").removesuffix("_high")
    return name.partition("@")[0]


def title(metric: str) -> str:
    """A metric's name in prose.

    >>> title("average_precision"), title("f1@tuned"), title("mcc@0.5")
    ('average precision', 'F1 at the tuned threshold', 'MCC at threshold 0.5')
    >>> title("platt/log_loss"), title("net_benefit@bayes"), title("auroc_low")
    ('log loss after Platt scaling', 'net benefit at the cost threshold', 'AUROC, lower end')
    """
    end = next((of for of in _ENDS if metric.endswith(of)), "")
    version, _, rest = metric.removesuffix(end).rpartition("/")
    name, _, threshold = rest.partition("@")
    prose = _WORDS.get(name, name.replace("_", " "))
    where = _RULES.get(threshold, f" at threshold {threshold}")
    return prose + where + _VERSIONS.get(version.rpartition("/")[2], "") + _ENDS.get(end, "")


_WORDS = {
    "f1": "F1",
    "f_beta": "F-beta",
    "mcc": "MCC",
    "g_mean": "G-mean",
    "p4": "P4",
    "auroc": "AUROC",
    "partial_auroc": "partial AUROC",
    "brier": "Brier score",
    "brier_skill": "Brier skill",
    "brier_miscalibration": "Brier miscalibration",
    "brier_discrimination": "Brier discrimination",
    "brier_uncertainty": "Brier uncertainty",
    "ece": "ECE",
    "ece_debiased": "debiased ECE",
    "flagged": "share flagged",
}
_RULES = {
    "": "",
    "tuned": " at the tuned threshold",
    "bayes": " at the cost threshold",
    "oracle": " at the best threshold of test",
    **{
        rule: f" at the threshold for {rule.replace('_', ' ')}"
        for rule in (
            "f_beta",
            "f1",
            "balanced_accuracy",
            "mcc",
            "youden",
            "accuracy",
            "cost",
            "recall_at_precision",
            "precision_at_recall",
            "alerts",
        )
    },
}
_VERSIONS = {
    "corrected": " after prior correction",
    "temperature": " after temperature scaling",
    "platt": " after Platt scaling",
    "isotonic": " after isotonic regression",
    "beta": " after beta calibration",
}
_ENDS = {"_low": ", lower end", "_high": ", upper end"}
