"""What makes arrays a binary data set that can be learned from."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError

# Values looked at together: 8 MB of float32, whatever the size of the set.
_BLOCK = 2**21


def blocks(array: NDArray) -> Iterator[tuple[int, NDArray]]:
    """(first row, rows) of consecutive pieces, small enough to copy without a thought."""
    step = max(1, _BLOCK // max(1, array.size // max(1, len(array))))
    for start in range(0, len(array), step):
        yield start, array[start : start + step]


def check(
    *,
    name: str,
    features: NDArray[np.float32],
    labels: NDArray[np.int8],
    feature_names: Sequence[str],
    posterior: NDArray[np.float64] | None = None,
    cardinalities: tuple[int, ...] = (),
    groups: NDArray[np.int32] | None = None,
    times: NDArray[np.float64] | None = None,
) -> None:
    """Raise UserError unless the arrays make a binary data set that can be learned from.

    >>> check(name="x", features=np.ones((2, 1), "f4"), labels=np.array([0, 1], "i1"),
    ...       feature_names=["a"])
    Traceback (most recent call last):
    ...
    harness.errors.UserError: dataset 'x': all 1 features are constant: nothing can be learned ...
    """
    place = f"dataset {name!r}"
    _check_shapes(place, features, labels, feature_names)
    for array, what, dtype in (
        (posterior, "posterior", None),
        (groups, "groups", np.int32),
        (times, "times", np.float64),
    ):
        _check_beside(place, array, what, dtype, labels)
    _check_labels(place, labels)
    _check_values(place, features, feature_names)
    _check_codes(place, features, feature_names, cardinalities)


def _check_shapes(
    place: str,
    features: NDArray[np.float32],
    labels: NDArray[np.int8],
    feature_names: Sequence[str],
) -> None:
    if features.ndim != 2 or features.dtype != np.float32:
        raise UserError(
            f"{place}: features are {features.dtype} {features.shape}: give float32 (rows, columns)"
        )
    num_rows, num_features = features.shape
    if num_rows == 0 or num_features == 0:
        raise UserError(
            f"{place}: {num_rows} rows and {num_features} features: give at least one of each"
        )
    if labels.shape != (num_rows,) or labels.dtype != np.int8:
        raise UserError(
            f"{place}: labels are {labels.dtype} {labels.shape}: give int8 ({num_rows},)"
        )
    if len(feature_names) != num_features:
        raise UserError(
            f"{place}: {len(feature_names)} feature names for {num_features} features: name each"
        )


def _check_beside(
    place: str, array: NDArray | None, what: str, dtype: type | None, labels: NDArray[np.int8]
) -> None:
    """An array beside the features: one value a row."""
    if array is None:
        return
    if array.shape != labels.shape:
        raise UserError(f"{place}: {what} has shape {array.shape}: give {labels.shape}")
    if dtype is not None and array.dtype != dtype:
        raise UserError(f"{place}: {what} is {array.dtype}: give {np.dtype(dtype)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array)))
        raise UserError(f"{place}: {what}, row {row + 1} is {array[row]}: give a number")


def _check_labels(place: str, labels: NDArray[np.int8]) -> None:
    others = np.setdiff1d(labels, [0, 1])
    if others.size:
        raise UserError(f"{place}: labels hold {int(others[0])}: code negatives 0, positives 1")
    positives = int(labels.sum(dtype=np.int64))
    if positives in (0, labels.size):
        raise UserError(
            f"{place}: {positives} of {labels.size} rows are positive: both classes are needed"
        )


def _check_values(place: str, features: NDArray[np.float32], feature_names: Sequence[str]) -> None:
    varies = False
    for start, block in blocks(features):
        infinite = np.isinf(block)
        if infinite.any():
            row, column = np.argwhere(infinite)[0]
            raise UserError(
                f"{place}: feature {feature_names[column]!r}, row {start + row + 1} is "
                f"{block[row, column]}: correct it or drop the row"
            )
        both_missing = np.isnan(block) & np.isnan(features[0])
        varies = varies or not ((block == features[0]) | both_missing).all()
    if not varies:
        raise UserError(
            f"{place}: all {features.shape[1]} features are constant: nothing can be learned "
            "from them; give a column that varies"
        )


def _check_codes(
    place: str,
    features: NDArray[np.float32],
    feature_names: Sequence[str],
    cardinalities: tuple[int, ...],
) -> None:
    if len(cardinalities) > features.shape[1]:
        raise UserError(
            f"{place}: {len(cardinalities)} cardinalities for {features.shape[1]} features: "
            "give one for each coded column"
        )
    for index, levels in enumerate(cardinalities, start=features.shape[1] - len(cardinalities)):
        codes = features[:, index]
        bad = ~((codes >= 0) & (codes < levels) & (codes == np.floor(codes)))
        if bad.any():
            row = int(bad.argmax())
            raise UserError(
                f"{place}: feature {feature_names[index]!r}, row {row + 1} is {codes[row]}: "
                f"code its levels 0 to {levels - 1}"
            )
