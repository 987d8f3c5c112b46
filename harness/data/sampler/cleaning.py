"""Dropping chosen rows: those whose neighbours are of the other class, or near it."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from harness.data.sampler.training_part import (
    Neighbors,
    Ratio,
    Resampled,
    TrainingPart,
    check_both_left,
    check_classes,
    check_ratio,
    fit_resample,
    undersampled_to,
)

Dropped = Literal["commoner", "both"]  # the class whose rows may be dropped
_STRATEGY = {"commoner": "auto", "both": "all"}  # imbalanced-learn's names


@dataclass(frozen=True)
class TomekLinks:
    """Drops rows that are the nearest neighbour of a row of the other class, and it theirs.

    Tomek 1976. It cleans the border and balances little: the prior hardly moves.
    """

    name: Literal["tomek_links"] = "tomek_links"
    drop: Dropped = "commoner"
    makes_rows: ClassVar[bool] = False

    def resample(self, part: TrainingPart, *, seed: int) -> Resampled:
        """Raises UserError where a class would be left without a row."""
        check_classes(part, self.name)
        return _kept(tomek_links(self.drop), self.name, part, remedy="set sampler.drop=commoner")


@dataclass(frozen=True)
class EditedNearestNeighbours:
    """Drops rows of whose `k_neighbors` one (`all` must agree) or most (`mode`) are of the other
    class.

    Wilson 1972.
    """

    name: Literal["edited_nn"] = "edited_nn"
    drop: Dropped = "commoner"
    k_neighbors: Neighbors = 3
    agreement: Literal["all", "mode"] = "all"
    makes_rows: ClassVar[bool] = False

    def resample(self, part: TrainingPart, *, seed: int) -> Resampled:
        """Raises UserError where a class would be left without a row."""
        check_classes(part, self.name)
        method = edited_nearest_neighbours(self.drop, self.k_neighbors, self.agreement)
        return _kept(method, self.name, part, remedy="set sampler.agreement=mode")


@dataclass(frozen=True)
class NearMiss:
    """Keeps of the commoner class the rows that lie nearest to the rarer, until those are `ratio`
    times as many.

    Nearest on average to their `k_neighbors` nearest of the rarer class (version 1) or to their
    farthest (2); or, among the `num_candidates` nearest to each row of the rarer class, those that
    are farthest from it (3, which may keep fewer). Mani and Zhang 2003.
    """

    name: Literal["near_miss"] = "near_miss"
    ratio: Ratio = 1.0
    version: Literal[1, 2, 3] = 1
    k_neighbors: Neighbors = 3
    num_candidates: Neighbors = 3
    makes_rows: ClassVar[bool] = False

    def resample(self, part: TrainingPart, *, seed: int) -> Resampled:
        """Raises UserError for a `ratio` below the rows', or too few rows of the rarer class."""
        from imblearn.under_sampling import NearMiss

        check_ratio(part, self.name, self.ratio)
        method = NearMiss(
            sampling_strategy=undersampled_to(part, self.ratio),
            version=self.version,
            n_neighbors=self.k_neighbors,
            n_neighbors_ver3=self.num_candidates,
        )
        return _kept(method, self.name, part, remedy="lower sampler.k_neighbors")


def tomek_links(drop: Dropped) -> Any:
    from imblearn.under_sampling import TomekLinks

    return TomekLinks(sampling_strategy=_STRATEGY[drop])


def edited_nearest_neighbours(drop: Dropped, k_neighbors: int, agreement: str) -> Any:
    from imblearn.under_sampling import EditedNearestNeighbours

    return EditedNearestNeighbours(
        sampling_strategy=_STRATEGY[drop], n_neighbors=k_neighbors, kind_sel=agreement
    )


def kept_places(
    method: Any,
    part: TrainingPart,
    standardised: NDArray[np.float64],
    labels: NDArray[np.int8],
    *,
    name: str,
    remedy: str,
) -> NDArray[np.integer]:
    """Which of these rows `method` keeps.

    Raises UserError where `method` refuses, or leaves a class without a row.
    """
    fit_resample(method, part.with_distances(standardised), labels, name=name, remedy=remedy)
    check_both_left(labels[method.sample_indices_], name, remedy)
    return method.sample_indices_


def _kept(method: Any, name: str, part: TrainingPart, *, remedy: str) -> Resampled:
    places = kept_places(method, part, part.standardised, part.labels, name=name, remedy=remedy)
    return part.chosen(places)
