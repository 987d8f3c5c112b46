"""A calibrator of somebody else's, with scikit-learn's interface, beside our own.

>>> class Halves:
...     def fit(self, logits, labels):
...         self.rates_ = np.array([labels[logits < 0].mean(), labels[logits >= 0].mean()])
...
...     def predict(self, logits):
...         return self.rates_[(logits >= 0).astype(int)]
>>> calibrator = as_calibrator(Halves)
>>> fitted = calibrator.fitted(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0, 1, 1, 1]))
>>> calibrator.mapped(fitted, np.array([-3.0, 3.0])).round(3).tolist()
[0.0, 36.737]
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from harness.metrics.calibration import CALIBRATORS, LARGEST_LOGIT, Fitted
from harness.metrics.definitions import VERSIONS, Calibrator, Version
from harness.metrics.ranked_rows import Array, Ranking

_LOG = logging.getLogger("harness.metrics")


@dataclass(frozen=True)
class OwnCalibrator:
    """A calibrator that is not ours; called as those of `CALIBRATORS` are.

    Attributes:
        given: a class, made without arguments; see `as_calibrator`.
        reference: where it is defined.
    """

    name: str
    given: Any = field(compare=False)
    reference: str

    def __call__(self, validation: Ranking) -> Fitted:
        """Fitted to each run; NaN, with a word, for a run that it cannot be fitted to."""
        fits = [self._of_run(validation, run) for run in range(validation.num_runs)]

        def apply(logits: Array) -> Array:
            calibrated = np.full(logits.shape, np.nan)
            for run, fitted in enumerate(fits):
                if fitted is not None:
                    try:
                        calibrated[run] = self.mapped(fitted, logits[run])
                    except ValueError as error:
                        _LOG.warning("%s: its scores are stored as NaN", error)
            return calibrated

        return Fitted({}, apply)

    def _of_run(self, validation: Ranking, run: int) -> Any:
        positives, negatives = validation.num_positives[run], validation.num_negatives[run]
        if not (validation.usable[run] and positives and negatives):
            return None
        try:
            return self.fitted(*rows_of(validation, run))
        except ValueError as error:
            _LOG.warning("%s: its scores are stored as NaN", error)
            return None

    def fitted(self, logits: Array, labels: NDArray[np.int8]) -> Any:
        """An object of the class, fitted to rows (n,).

        Raises:
            ValueError: it fails.
        """
        try:
            made = self.given()
            made.fit(logits.copy(), labels.copy())
        except Exception as error:
            raise ValueError(self._failed(error)) from error
        return made

    def mapped(self, fitted: Any, logits: Array) -> Array:
        """Raw logits (n,), calibrated; NaN where one is not finite.

        Raises:
            ValueError: it fails, gives no probabilities, or gives a higher logit a lower one.
        """
        finite = np.isfinite(logits)
        # One probability for one logit, whatever rows stand beside it.
        values, place = np.unique(logits[finite], return_inverse=True)
        try:
            found = np.asarray(fitted.predict(values.copy()), np.float64) if len(values) else values
        except Exception as error:
            raise ValueError(self._failed(error)) from error
        if found.shape != values.shape or not ((found >= 0) & (found <= 1)).all():
            raise ValueError(
                f"calibrator {self.name} gave no probability a logit: let predict return numbers "
                "from 0 to 1, one for each"
            )
        if (np.diff(found) < -1e-9).any():
            raise ValueError(
                f"calibrator {self.name} gives a higher logit a lower probability: calibrators "
                "keep the order of rows"
            )
        with np.errstate(divide="ignore"):
            log_odds = np.log(found) - np.log1p(-found)
        calibrated = np.full(logits.shape, np.nan)
        bounded = np.clip(np.maximum.accumulate(log_odds), -LARGEST_LOGIT, LARGEST_LOGIT)
        calibrated[finite] = bounded[place]
        return calibrated

    def kept(self, fitted: Any) -> dict[str, Array]:
        """What a saved model needs of ``fitted``: its fitted numbers, by name.

        Raises:
            ValueError: it was fitted into something else than numbers and arrays of one axis.
        """
        found = {key: value for key, value in vars(fitted).items() if is_state(key)}
        arrays = {}
        for key, value in found.items():
            array = np.asarray(value)
            if array.dtype.kind not in "fiub" or array.ndim > 1 or not np.isfinite(array).all():
                raise ValueError(f"calibrator {self.name}: {key} is no number nor a list of some")
            arrays[key] = np.atleast_1d(array).astype(np.float64)
        if not arrays:
            raise ValueError(f"calibrator {self.name}: fit sets no attribute whose name ends in _")
        return arrays

    def restored(self, kept: Mapping[str, Array]) -> Any:
        """What was ``kept``, as it was fitted."""
        made = self.given()
        for key, value in kept.items():
            setattr(made, key, value)
        return made

    @cached_property
    def not_kept(self) -> str:
        """Why a saved model cannot hold it; empty where it can.

        Raises:
            ValueError: it fails on a few rows of both classes.
        """
        logits, labels = np.linspace(-3, 3, 32), (np.arange(32) % 3 != 0).astype(np.int8)
        fitted = self.fitted(logits, labels)
        wanted = self.mapped(fitted, logits)
        try:
            same = np.array_equal(self.mapped(self.restored(self.kept(fitted)), logits), wanted)
        except ValueError as error:
            return str(error)
        return "" if same else f"calibrator {self.name} is more than its attributes that end in _"

    def _failed(self, error: Exception) -> str:
        told = " ".join(str(error).split())
        return f"calibrator {self.name}: {type(error).__name__}: {told}"


OWN: dict[str, OwnCalibrator] = {}
"""The calibrators that are not ours, by name."""


def as_calibrator(given: Any, name: str | None = None) -> OwnCalibrator:
    """What calibrates by ``given``.

    Args:
        given: a class, made without arguments, whose ``fit(logits, labels)`` sees the validation
            part of a run, float64 and int8 in {0, 1}, (n,) each, and whose ``predict(logits)``
            then gives a probability of each logit, higher or equal for a higher one. What it was
            fitted to it keeps, as scikit-learn's, in attributes whose names end in ``_``; a saved
            model holds those that are numbers and arrays of one axis.
        name: what it is chosen by; its own name where there is none.

    Raises:
        ValueError: it is no such class, or has the name of one of ours.
    """
    called = name or str(getattr(given, "__name__", repr(given)))
    if not isinstance(given, type) or not hasattr(given, "fit") or not hasattr(given, "predict"):
        raise ValueError(
            f"calibrator {called}: give a class with def fit(self, logits, labels) and def "
            "predict(self, logits)"
        )
    if not _is_name(called):
        raise ValueError(f"calibrator {called[:60]!r}: use letters, digits and _")
    if is_ours(called):
        raise ValueError(f"calibrator {called} is one of ours: give yours another name")
    return OwnCalibrator(called, given, f"{given.__module__}.{given.__qualname__}")


def is_ours(name: str) -> bool:
    """Whether a version of the scores that is not somebody else's is called so."""
    return name in (*get_args(Calibrator), "corrected")


def add(calibrator: OwnCalibrator) -> None:
    """Sets a calibrator beside ours, for all that look one up by its name."""
    OWN[calibrator.name] = calibrator
    cast(dict[str, Any], CALIBRATORS)[calibrator.name] = calibrator
    add_logged([calibrator.name])


def add_logged(names: Iterable[str]) -> None:
    """Sets beside ours the versions of scores that logged runs name: what analysing them needs."""
    for name in names:
        if name not in VERSIONS and _is_name(name):
            version = Version(f"after {name.replace('_', ' ')}")
            cast(dict[str, Version], VERSIONS)[name] = version


def rows_of(ranking: Ranking, run: int) -> tuple[Array, NDArray[np.int8]]:
    """The logits and labels of a run, (n,) each, in the one order that ties cannot change.

    Raises:
        ValueError: rows weigh more or less than one.
    """
    if ranking.group_positives.dtype.kind != "i":
        raise ValueError("calibrators that are not ours know no weights of rows")
    ends = ranking.ends(run)[::-1]
    counts = np.stack([ranking.group_negatives[run, ends], ranking.group_positives[run, ends]], 1)
    logits = np.repeat(ranking.logits[0 if ranking.shares_logits else run, ends], counts.sum(1))
    labels = np.repeat(np.tile([0, 1], len(ends)), counts.ravel()).astype(np.int8)
    return logits, labels


def _is_name(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z_]\w{0,60}", text, re.ASCII))


def is_state(name: str) -> bool:
    """Whether an attribute of this name is of what was fitted, as scikit-learn's are."""
    return name.endswith("_") and not name.startswith("_")
