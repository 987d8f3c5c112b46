"""Data sets of deep-learning libraries as arrays: pairs of a row and its label, by protocol alone.

A map-style data set of PyTorch has a length and gives ``(row, label)`` by number; one of `tf.data`
gives them from ``as_numpy_iterator()``, in batches or one by one. Neither library is imported.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from narwhals.stable import v2 as nw
from numpy.typing import NDArray

from harness.errors import UserError


def unpaired(data: Any) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """The rows and the labels of such a data set, in its order; None where ``data`` is none.

    Raises:
      UserError: it is endless, empty, or gives no pairs of arrays of one shape.
    """
    if hasattr(data, "as_numpy_iterator"):
        cardinality = getattr(data, "cardinality", None)
        if cardinality is not None and int(cardinality()) == -1:
            raise UserError("data repeats without end: give it before repeat()")
        pairs = list(data.as_numpy_iterator())
    elif _is_map_style(data):
        pairs = [data[at] for at in range(len(data))]
    else:
        return None
    if not pairs:
        raise UserError("data is empty: give a data set of some rows")
    rows, labels = zip(*map(_pair, pairs), strict=True)
    try:
        if labels[0].ndim:  # batches
            return np.concatenate(rows), np.concatenate(labels)
        return np.stack(rows), np.stack(labels)
    except ValueError:
        raise UserError("data gives rows of several shapes: have it give one of all rows") from None


def _is_map_style(data: Any) -> bool:
    known = isinstance(data, np.ndarray | Mapping | str | Sequence)
    gives = hasattr(type(data), "__getitem__") and hasattr(type(data), "__len__")
    return gives and not known and nw.from_native(data, pass_through=True) is data


def _pair(item: Any) -> Iterator[NDArray[Any]]:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise UserError(
            f"data gives a {type(item).__name__}, and is to give pairs of a row and its label: "
            "map it to such (weights, too, go by harness.train(weight=...) of a frame)"
        )
    return map(np.asarray, item)
