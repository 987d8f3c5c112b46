"""Calling imbalanced-learn: quietly, on one thread, and with errors that say what to do."""

import warnings
from functools import cache
from threading import Lock
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from harness.data.sampler.part import TrainingPart
from harness.errors import UserError

Ratio = Annotated[float, Gt(0), Le(1)]  # of rarer to commoner rows, after resampling
Neighbors = Annotated[int, Ge(1), Le(1000)]

# Python's warning filters belong to the process, and the compiler's thread prepares lanes too.
_ONE_AT_A_TIME = Lock()


def fit_resample(
    method: Any,
    features: NDArray[Any],
    labels: NDArray[np.int8],
    *,
    name: str,
    remedy: str,
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """`method.fit_resample` of an imbalanced-learn sampler.

    One thread: with more, scikit-learn breaks ties between neighbours by how many there are, and
    the same seed would make other rows on another machine.

    Raises UserError where imbalanced-learn refuses, in its words and with `remedy`.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings(), _threads().limit(limits=1):
        warnings.simplefilter("ignore")
        try:
            return method.fit_resample(features, labels)
        except (ValueError, RuntimeError) as error:
            words = " ".join(str(error).split()).rstrip(".")
            raise UserError(f"sampler {name}: {words}: {remedy}") from None


def check_classes(part: TrainingPart, name: str) -> None:
    """Raise UserError unless both classes are there."""
    if part.counts[0] == 0:
        raise UserError(f"sampler {name}: the training part holds one class: nothing to balance")


def check_ratio(part: TrainingPart, name: str, ratio: float) -> None:
    """Raise UserError where the rows are more even than `ratio` already."""
    check_classes(part, name)
    rarer, commoner = part.counts
    if rarer > ratio * commoner:
        raise UserError(
            f"sampler.ratio {ratio} is below the training part's {rarer / commoner:.4g} "
            f"({rarer} to {commoner} rows): raise it to at most 1, or use sampler=none"
        )


def check_neighbors(part: TrainingPart, name: str, k_neighbors: int) -> None:
    """Raise UserError where a row of the rarer class lacks `k_neighbors` others of it."""
    rarer, _ = part.counts
    if rarer <= k_neighbors:
        lower = f"lower sampler.k_neighbors to at most {rarer - 1}, " if rarer > 1 else ""
        raise UserError(
            f"sampler {name}: sampler.k_neighbors {k_neighbors} needs {k_neighbors + 1} training "
            f"rows of the rarer class, which has {rarer}: {lower}raise imbalance.positive_rate, "
            "or use sampler=random_over"
        )


def check_numeric(part: TrainingPart, name: str) -> None:
    """Raise UserError where columns hold codes, between which nothing lies."""
    if part.cardinalities:
        raise UserError(
            f"sampler {name} makes rows between others, and {len(part.cardinalities)} columns are "
            "categorical: use sampler=smote, smote_tomek or smote_enn, or one-hot columns"
        )


def check_both_left(labels: NDArray[np.int8], name: str, remedy: str) -> None:
    """Raise UserError where cleaning took all rows of a class."""
    positives = int(labels.sum(dtype=np.int64))
    if positives in (0, len(labels)):
        kind = "positive" if positives == 0 else "negative"
        raise UserError(f"sampler {name} would leave no {kind} of the training part: {remedy}")


@cache
def _threads() -> ThreadpoolController:
    import sklearn.neighbors  # noqa: F401  its thread pools must be loaded to be found

    return ThreadpoolController()
