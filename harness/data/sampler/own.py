"""A sampler of somebody else's, with imbalanced-learn's interface.

>>> class Half:
...     def fit_resample(self, X, y):
...         return X[::2], y[::2]
>>> as_sampler(Half)()
Half(name='Half')
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.sampler.training_part import (
    Resampled,
    TrainingPart,
    check_both_left,
    check_classes,
    fit_resample,
)
from harness.data.streams import Purpose, legacy_seed
from harness.errors import UserError
from harness.signatures import chosen_as, name_of, settings_of, takes, values_of


def as_sampler(given: Any, name: str | None = None) -> Any:
    """The class of samplers that ``given`` makes.

    Args:
      given: a class, made by ``given(setting=default, ...)``, whose ``fit_resample(X, y)`` gives
        the rows to train on, and their labels. ``X`` is (rows, features) float64, standardised,
        codes of categories last; rows that are none of them are new. A ``random_state`` follows
        the run's seed. ``makes_rows = False`` says that none is ever new.
      name: what it is chosen by; its own name where there is none.

    Raises:
      UserError: it is no such class, or a setting has no default.
    """
    called = name_of(given, name)
    choice = f"sampler={called}"
    if not isinstance(given, type) or not hasattr(given, "fit_resample"):
        raise UserError(f"{choice} is no sampler: give a class with def fit_resample(self, X, y)")
    settings = settings_of(given, given=["random_state"], choice=choice)
    is_random = takes(given, "random_state")
    makes_rows = bool(getattr(given, "makes_rows", True))

    def method(self: Any, seed: int) -> Any:
        drawn = {"random_state": legacy_seed(seed, Purpose.SAMPLER)} if is_random else {}
        return given(**values_of(self, settings), **drawn)

    def resample(self: Any, part: TrainingPart, *, seed: int) -> Resampled:
        check_classes(part, called)
        features, labels = fit_resample(
            self.method(seed),
            part.standardised.copy(),
            part.labels.copy(),
            name=called,
            remedy="change its settings, or use sampler=none",
        )
        return _resampled(part, *_checked(features, labels, part, called), called, makes_rows)

    namespace = {
        "resample": resample,
        "makes_rows": makes_rows,
        "method": method,
        "draws": is_random,
    }
    return chosen_as(given, called, settings, namespace=namespace, choice=choice)


def _checked(
    features: Any, labels: Any, part: TrainingPart, name: str
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    features, labels = np.asarray(features), np.asarray(labels)
    width = part.features.shape[1]
    if features.ndim != 2 or features.shape[1] != width or labels.shape != features.shape[:1]:
        raise UserError(
            f"sampler {name} returned rows of shape {features.shape} and labels of shape "
            f"{labels.shape}: return X, (any number, {width}), and a label for each row"
        )
    if not np.isfinite(features.astype(np.float64)).all() or not np.isin(labels, (0, 1)).all():
        raise UserError(
            f"sampler {name} returned values that are not finite, or labels but 0 and 1"
        )
    codes = features[:, part.num_numeric :]
    if not ((codes >= 0) & (codes < np.array(part.cardinalities)) & (codes % 1 == 0)).all():
        raise UserError(
            f"sampler {name} made rows between the codes of categories: use it on one-hot columns, "
            "or take levels of real rows"
        )
    check_both_left(labels.astype(np.int8), name, "change its settings")
    return features.astype(np.float64), labels.astype(np.int8)


def _resampled(
    part: TrainingPart,
    features: NDArray[np.float64],
    labels: NDArray[np.int8],
    name: str,
    makes_rows: bool,
) -> Resampled:
    """Which of the rows are real, by their values and label, and which were made."""
    places: dict[tuple[bytes, int], int] = {}
    for place, (row, label) in enumerate(zip(part.standardised, part.labels, strict=True)):
        places.setdefault((row.tobytes(), int(label)), place)
    found = np.array(
        [
            places.get((row.tobytes(), int(label)), -1)
            for row, label in zip(features, labels, strict=True)
        ]
    )
    made = found < 0
    _, most = part.counts
    if made.any() and not makes_rows:
        raise UserError(f"sampler {name} made rows: leave out makes_rows = False")
    if made.sum() > most:
        raise UserError(
            f"sampler {name} made {made.sum()} rows, and a run has room for as many as its "
            f"commoner class has, {most}: make fewer"
        )
    return part.resampled(found[~made], features[made], labels[made])
