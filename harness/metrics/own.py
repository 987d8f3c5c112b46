"""A metric of somebody else's: a function of a part's scores and labels, beside our own.

>>> def lift(probabilities, labels):
...     return labels[probabilities >= 0.5].mean() / labels.mean()
>>> metric = as_metric(lift, title="lift at one half")
>>> metric.direction, metric.measure(np.array([2.0, -1.0]), np.array([1, 0]))
('higher', 2.0)
"""

import inspect
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from types import FunctionType
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from harness.metrics.definitions import METRICS, Direction, Metric
from harness.metrics.names import ENDS

Of = Literal["probabilities", "scores"]

# What is written down of one, beside the hash of its source: all that readers need of it.
_WRITTEN = ("name", "title", "direction", "target", "low", "high", "unit", "needs")
_LONGEST = 200


@dataclass(frozen=True, kw_only=True)
class OwnMetric(Metric):
    """A metric that is not ours. It is measured on raw and corrected scores.

    Attributes:
        function: of scores and labels; None of one that a logged run tells of.
    """

    function: Callable[..., Any] | None = field(default=None, compare=False)

    def is_of(self, version: str) -> bool:
        return not version or (version == "corrected" and self.needs == "probabilities")

    def measure(self, logits: NDArray[Any], labels: NDArray[Any]) -> float:
        """Of one run's rows, (n,) each, without padding; NaN where a logit is not finite.

        Raises:
            ValueError: its function fails, or gives no number.
        """
        assert self.function is not None
        if not len(logits) or not np.isfinite(logits).all():
            return float("nan")
        wide = logits.astype(np.float64)
        given = expit(wide) if self.needs == "probabilities" else wide.copy()
        try:
            return float(self.function(given, labels.astype(np.int8)))
        except Exception as error:
            told = " ".join(str(error).split())
            raise ValueError(f"metric {self.name}: {type(error).__name__}: {told}") from error

    def described(self, source: str) -> str:
        """What a stored run tells of it: all but the function, of which there is a hash."""
        known = {key: getattr(self, key) for key in _WRITTEN}
        ends = {key: known[key] if isfinite(known[key]) else None for key in ("low", "high")}
        return json.dumps({**known, **ends, "source": source}, sort_keys=True)


def as_metric(
    given: Any,
    name: str | None = None,
    *,
    title: str = "",
    direction: Direction = "higher",
    best: float | None = None,
    low: float = -inf,
    high: float = inf,
    unit: str = "",
    of: Of = "probabilities",
) -> OwnMetric:
    """What is known of a metric.

    Args:
        given: ``(probabilities, labels) -> value`` of one part of one run, NumPy arrays (n,):
            float64, and int8 in {0, 1}.
        name: as it is stored and asked for; its own name where there is none.
        title: in prose.
        direction: which values are better; "neither" with ``best``, the value that is.
        low, high: its range.
        of: whether the function takes probabilities or "scores", raw logits; of scores it is a
            metric that no increasing map of them changes.

    Raises:
        ValueError: it is no such function, or its name or direction is none.
    """
    called = name or str(getattr(given, "__name__", repr(given)))
    if not isinstance(given, FunctionType) or len(inspect.signature(given).parameters) != 2:
        raise ValueError(f"metric {called}: write def {called}({of}, labels)")
    if of not in get_args(Of):
        raise ValueError(f"metric {called}: of={of!r} is neither probabilities nor scores")
    made = OwnMetric(
        name=called,
        title=title or called.replace("_", " "),
        direction="neither" if best is not None else direction,
        target=best,
        low=low,
        high=high,
        needs="probabilities" if of == "probabilities" else "ranking",
        unit=unit,
        reference=f"{given.__module__}.{given.__qualname__}",
        function=given,
    )
    _check(made)
    return made


def is_ours(name: str) -> bool:
    """Whether a metric that is not somebody else's is called so."""
    return name in METRICS and not isinstance(METRICS[name], OwnMetric)


def add(metric: OwnMetric) -> None:
    """Sets a metric beside ours, for all that look one up by its name."""
    cast(dict[str, Metric], METRICS)[metric.name] = metric


def add_logged(texts: Sequence[str]) -> None:
    """Sets beside ours what logged runs say of their own metrics (`OwnMetric.described`).

    Nothing is run, none of ours is replaced, nor one that is plugged in; what is no such text is
    passed over: its column is shown by its name.
    """
    for text in texts:
        try:
            said = json.loads(text)
            known = {key: said[key] for key in _WRITTEN}
            ends = {"low": -inf, "high": inf}
            known |= {key: end if known[key] is None else known[key] for key, end in ends.items()}
            made = OwnMetric(**known, reference="as logged")
            _check(made)
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if made.name not in METRICS:
            add(made)


def name_in(text: str) -> str:
    """The name that a text is, or that a described metric has.

    >>> name_in("lift"), name_in('{"name": "lift"}')
    ('lift', 'lift')
    """
    try:
        return str(json.loads(text)["name"])
    except (ValueError, TypeError, KeyError):
        return text


def _check(metric: OwnMetric) -> None:
    ends = tuple(f"_{end}" for end in ENDS)
    if not re.fullmatch(r"[A-Za-z_]\w{0,60}", str(metric.name), re.ASCII):
        raise ValueError(f"metric {str(metric.name)[:60]!r}: use letters, digits and _")
    if metric.name.endswith(ends):
        raise ValueError(f"metric {metric.name}: {' and '.join(ends)} are ends of intervals")
    if is_ours(metric.name):
        raise ValueError(f"metric {metric.name} is one of ours: give yours another name")
    if metric.direction not in get_args(Direction) or metric.needs not in (
        "probabilities",
        "ranking",
    ):
        raise ValueError(f"metric {metric.name}: direction is one of {get_args(Direction)}")
    numbers = [metric.low, metric.high, *([] if metric.target is None else [metric.target])]
    texts = (metric.title, metric.unit)
    if not all(type(one) in (int, float) for one in numbers) or not metric.low < metric.high:
        raise ValueError(f"metric {metric.name}: low, high and best are to be numbers, in order")
    if not all(
        isinstance(one, str) and len(one) <= _LONGEST and one.isprintable() for one in texts
    ):
        raise ValueError(f"metric {metric.name}: title and unit are to be one short line")
