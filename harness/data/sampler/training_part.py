"""What a sampler sees and gives back, and how imbalanced-learn is called.

Quietly, on one thread, and with errors that say what to do.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from threading import Lock
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from harness.data.fetching import say
from harness.data.splits import Rows
from harness.errors import UserError
from harness.exact import exact

Ratio = Annotated[float, Gt(0), Le(1)]  # of rarer to commoner rows, after resampling
Neighbors = Annotated[int, Ge(1), Le(1000)]

# Python's warning filters belong to the process, and the compiler's thread prepares lanes too.
_ONE_AT_A_TIME = Lock()


@dataclass(frozen=True, eq=False)
class TrainingPart:
    """The training part of one run: no sampler ever sees another row.

    rows: int32 (m,), their numbers in the data set.  labels: int8 (m,).
    features: float32 (m, d), in the data set's units and without missing values.
    center, scale: float32 (d,), the run's own standardisation, fitted on these rows.
    cardinalities: categories of the last columns, which hold codes 0..k-1; () where all columns
      are numeric.
    categories: (first, end) of the features that are one column of categories each, one-hot.
    """

    rows: Rows
    labels: NDArray[np.int8]
    features: NDArray[np.float32]
    center: NDArray[np.float32]
    scale: NDArray[np.float32]
    cardinalities: tuple[int, ...] = ()
    categories: tuple[tuple[int, int], ...] = ()

    @cached_property
    def standardised(self) -> NDArray[np.float64]:
        """(m, d): numeric columns as the model sees them, codes as they are. Neighbours are sought
        here: in other units the column with the largest numbers would choose them alone."""
        width = self.num_numeric
        features = self.features.astype(np.float64)
        features[:, :width] = (features[:, :width] - self.center[:width]) * self.scale[:width]
        return features

    def in_data_units(self, standardised: NDArray[np.float64]) -> NDArray[np.float32]:
        """The way back from `standardised`."""
        width = self.num_numeric
        features = standardised.astype(np.float64)
        features[:, :width] = features[:, :width] / self.scale[:width] + self.center[:width]
        return features.astype(np.float32)

    @cached_property
    def _levels(self) -> list[tuple[NDArray[np.float64], NDArray[np.intp]]]:
        """Of each of `categories` its levels, as `standardised` has them, and the rows' own."""
        return [
            np.unique(self.standardised[:, first:end], axis=0, return_inverse=True)
            for first, end in self.categories
        ]

    @cached_property
    def _one_hot(self) -> NDArray[np.bool_]:
        """Which features are of `categories`: (d,)."""
        found = np.zeros(self.features.shape[1], bool)
        for first, end in self.categories:
            found[first:end] = True
        return found

    @property
    def num_codes(self) -> int:
        """Columns of categories in `coded`, which are the last."""
        return len(self.categories) + len(self.cardinalities)

    @cached_property
    def coded(self) -> NDArray[np.float64]:
        """`standardised`, but a code for each of `categories` in place of its features."""
        numeric = self.standardised[:, : self.num_numeric][:, ~self._one_hot[: self.num_numeric]]
        codes = [own.reshape(-1, 1).astype(np.float64) for _, own in self._levels]
        return np.hstack([numeric, *codes, self.standardised[:, self.num_numeric :]])

    def decoded(self, coded: NDArray[np.float64]) -> NDArray[np.float64]:
        """The way back from `coded`."""
        if not self.categories:
            return coded
        found = np.empty((len(coded), self.features.shape[1]))
        plain = int((~self._one_hot[: self.num_numeric]).sum())
        found[:, np.flatnonzero(~self._one_hot[: self.num_numeric])] = coded[:, :plain]
        for at, ((first, end), (levels, _)) in enumerate(
            zip(self.categories, self._levels, strict=True), start=plain
        ):
            found[:, first:end] = levels[coded[:, at].astype(np.intp)]
        found[:, self.num_numeric :] = coded[:, plain + len(self.categories) :]
        return found

    def with_distances(self, standardised: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns in which Euclidean distance makes sense: codes become indicators, scaled so that
        two categories are as far apart as one standard deviation of a numeric column."""
        numeric, codes = np.split(standardised, [self.num_numeric], axis=1)
        indicators = [
            (column[:, None] == np.arange(k)) / np.sqrt(2)
            for column, k in zip(codes.T, self.cardinalities, strict=True)
        ]
        return np.hstack([numeric, *indicators])

    @property
    def num_numeric(self) -> int:
        return self.features.shape[1] - len(self.cardinalities)

    @cached_property
    def counts(self) -> tuple[int, int]:
        """Rows of the rarer and of the commoner class."""
        rarer, commoner = np.sort(np.bincount(self.labels, minlength=2)).tolist()
        return rarer, commoner

    def untouched(self) -> "Resampled":
        return self.chosen(np.arange(len(self.rows)))

    def chosen(self, at: NDArray[np.integer] | Sequence[int]) -> "Resampled":
        """The rows at these places of the part, repeats included, and no synthetic ones."""
        none = np.empty((0, self.features.shape[1]))
        return self.resampled(at, none, self.labels[:0])

    def resampled(
        self,
        at: NDArray[np.integer] | Sequence[int],
        synthetic: NDArray[np.float64],
        synthetic_labels: NDArray[np.int8],
    ) -> "Resampled":
        """The rows at these places, and synthetic ones, given as `standardised` has them."""
        return Resampled(
            rows=self.rows[at],
            labels=self.labels[at],
            synthetic=self.in_data_units(synthetic),
            synthetic_labels=synthetic_labels.astype(np.int8),
        )


@dataclass(frozen=True, eq=False)
class Resampled:
    """What a run trains on.

    rows: int32 (r,), numbers of data set rows, repeats included.  labels: int8 (r,).
    synthetic: float32 (s, d), rows in the data set's units.  synthetic_labels: int8 (s,).
    """

    rows: Rows
    labels: NDArray[np.int8]
    synthetic: NDArray[np.float32]
    synthetic_labels: NDArray[np.int8]

    def visited(self) -> tuple[Rows, NDArray[np.int8]]:
        """Row numbers and labels of all of them: synthetic rows are numbered -1, -2, ..."""
        numbers = -1 - np.arange(len(self.synthetic), dtype=np.int32)
        return np.concatenate([self.rows, numbers]), np.concatenate(
            [self.labels, self.synthetic_labels]
        )


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
        except Exception as error:
            words = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            if "float NaN" in words:  # a sparsity of 0 by 0, of clusters of equal rows
                words = "rows of the rarer class that share a cluster are all alike"
                remedy = f"{remedy}, or sampler=random_over"
            raise UserError(f"sampler {name}: {words}: {remedy}") from None


def check_classes(part: TrainingPart, name: str) -> None:
    """Raise UserError unless both classes are there."""
    if part.counts[0] == 0:
        raise UserError(f"sampler {name}: the training part holds one class: nothing to balance")


def check_ratio(part: TrainingPart, name: str, ratio: float) -> None:
    """Raise UserError where the rows are more even than `ratio` already."""
    check_classes(part, name)
    rarer, commoner = part.counts
    if rarer > exact(ratio) * commoner:
        raise UserError(
            f"sampler.ratio {ratio} is below the training part's {rarer / commoner:.4g} "
            f"({rarer} to {commoner} rows): raise it to at most 1, or use sampler=none"
        )


def added_rows(part: TrainingPart, ratio: float) -> int:
    """Rows of the rarer class that are to be added for ``ratio``."""
    rarer, commoner = part.counts
    return int(exact(ratio) * commoner) - rarer


def oversampled_to(part: TrainingPart, ratio: float) -> dict[int, int]:
    """``ratio`` as imbalanced-learn takes it exactly: the rarer label, and its rows afterwards."""
    rarer, _ = part.counts
    label = 1 - int(np.bincount(part.labels, minlength=2).argmax())
    return {label: rarer + added_rows(part, ratio)}


def undersampled_to(part: TrainingPart, ratio: float) -> dict[int, int]:
    """The same of the commoner label."""
    rarer, _ = part.counts
    label = 1 - int(np.bincount(part.labels, minlength=2).argmin())
    return {label: int(rarer / exact(ratio))}


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
    """Raise UserError where columns hold codes, between which nothing lies; say where they are
    one-hot, between which rows are made nevertheless."""
    remedy = "use sampler=smote, smote_tomek or smote_enn"
    if part.cardinalities:
        raise UserError(
            f"sampler {name} makes rows between others, and {len(part.cardinalities)} columns are "
            f"categorical: {remedy}, or one-hot columns"
        )
    if part.categories:
        _say_once(
            f"sampler {name} makes rows between the levels of {len(part.categories)} columns of "
            f"categories, too: {remedy} for rows of one level each"
        )


_say_once = cache(say)


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
