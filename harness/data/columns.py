"""A published table's columns as numbers: text becomes one-hot columns, labels become 0 and 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError
from sklearn.preprocessing import OneHotEncoder

from harness.data.spelling import spelled
from harness.errors import UserError

_MISSING = ("", "?", "<null>", "NA", "NaN", "nan")
_LEVEL_OF_MISSING = "missing"


@dataclass(frozen=True, eq=False)
class Columns:
    """A table as arrays, not yet standardised.

    features: float64 (n, d), NaN where a number is missing.  labels: int8 (n,).
    names: d names, `column=level` for the columns a text column became.
    num_columns: feature columns of the source, before text was encoded.
    """

    features: NDArray[np.float64]
    labels: NDArray[np.int8]
    names: tuple[str, ...]
    positive_label: str
    num_columns: int


def read_text(content: bytes, *, header: bool, place: str) -> pl.DataFrame:
    """Comma-separated ``content`` as columns of numbers (Float64) and of text, null for missing.

    Without a header the columns are called x1, x2, ... and the last one `class`.
    Raises UserError, naming ``place``, where it is no table.
    """
    try:
        frame = pl.read_csv(BytesIO(content), has_header=header, infer_schema=False)
    except PolarsError as error:
        raise UserError(f"{place} is no table: {str(error).splitlines()[0]}") from None
    names = [name.strip() for name in frame.columns]
    if not header:
        names = [f"x{index}" for index in range(1, frame.width)] + ["class"]
    frame.columns = names
    frame = frame.with_columns(pl.all().str.strip_chars())
    frame = frame.with_columns(pl.all().replace(_MISSING, [None] * len(_MISSING)))
    frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))  # blank lines
    return pl.DataFrame([_as_numbers(column) for column in frame.get_columns()])


def columns_of(
    frame: pl.DataFrame, *, target: str, positive: str | None, drop: Sequence[str], place: str
) -> Columns:
    """Every column of ``frame`` but ``target`` and those to ``drop``, as numbers.

    ``positive`` is a label, the others being negative; None takes the rarer of two by count.
    Raises UserError, naming ``place``, for a column or label that is not there.
    """
    for name in (target, *drop):
        if name not in frame.columns:
            raise UserError(f"{place} has no column {name!r}: one of {_listed(frame.columns)}")
    labels, positive_label = _labels(frame[target], positive, place)
    kept = frame.drop(target, *drop)
    if kept.width == 0:
        raise UserError(f"{place}: no column but {target!r} is left: give dataset.drop fewer")
    parts = [_encoded(column) for column in kept.get_columns()]
    return Columns(
        features=np.column_stack([matrix for matrix, _ in parts]),
        labels=labels,
        names=tuple(name for _, names in parts for name in names),
        positive_label=positive_label,
        num_columns=kept.width,
    )


def _as_numbers(column: pl.Series) -> pl.Series:
    numbers = column.cast(pl.Float64, strict=False)
    is_number = numbers.is_finite().fill_null(False)
    return numbers if bool((is_number | column.is_null()).all()) else column


def _encoded(column: pl.Series) -> tuple[NDArray[np.float64], list[str]]:
    """float64 (n, k) and k names; numbers are one column, as are texts of two levels."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).fill_null(np.nan).to_numpy()[:, None], [column.name]
    texts = column.fill_null(_LEVEL_OF_MISSING).to_numpy()[:, None].astype(object)
    # Levels are sorted by scikit-learn, so that the columns do not depend on the rows' order.
    encoder = OneHotEncoder(drop="if_binary", sparse_output=False, dtype=np.float64)
    matrix = encoder.fit_transform(texts)
    levels = encoder.categories_[0]
    shown = levels[1:] if len(levels) == 2 else levels
    return matrix, [f"{column.name}={level}" for level in shown]


def _labels(column: pl.Series, positive: str | None, place: str) -> tuple[NDArray[np.int8], str]:
    if column.null_count():
        raise UserError(f"{place}: target {column.name!r} has missing values: drop these rows")
    texts = np.array([spelled(value) for value in column.to_list()])
    levels, counts = np.unique(texts, return_counts=True)
    if positive is None and len(levels) != 2:
        raise UserError(
            f"{place}: target {column.name!r} has {len(levels)} labels ({_listed(levels)}): say "
            "with dataset.positive which one is positive, against the others"
        )
    # A name such as "positive" is no evidence: in two KEEL files it is that of the majority.
    chosen = positive or str(levels[0] if counts[0] < counts[-1] else levels[-1])
    if chosen not in levels:
        raise UserError(
            f"{place}: no row has the label {chosen!r}: set dataset.positive to one of "
            f"{_listed(levels)}"
        )
    return (texts == chosen).astype(np.int8), chosen


def _listed(names: Sequence[str] | NDArray[np.str_]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
