"""The metrics a report shows, with their direction and their place."""

LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece"})

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
    """1 where higher is better, else -1.

    >>> sign("auroc"), sign("validation/log_loss")
    (1, -1)
    """
    name = metric.rpartition("/")[2]
    return -1 if name in LOWER_IS_BETTER else 1


def title(metric: str) -> str:
    """A metric's name in prose.

    >>> title("average_precision"), title("f1@tuned"), title("mcc@0.5")
    ('average precision', 'F1 at the tuned threshold', 'MCC at threshold 0.5')
    """
    name, _, threshold = metric.partition("@")
    words = {"f1": "F1", "mcc": "MCC", "auroc": "AUROC", "brier": "Brier score", "ece": "ECE"}
    prose = words.get(name, name.replace("_", " "))
    where = {"": "", "tuned": " at the tuned threshold"}
    return prose + where.get(threshold, f" at threshold {threshold}")
