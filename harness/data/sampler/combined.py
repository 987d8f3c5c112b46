"""SMOTE, and then cleaning of what overlaps: real rows and made ones alike, of both classes."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from harness.data.sampler.cleaning import edited_nearest_neighbours, kept_places, tomek_links
from harness.data.sampler.fitting import Neighbors, Ratio, check_neighbors
from harness.data.sampler.part import Resampled, TrainingPart
from harness.data.sampler.synthetic import plain_smote, with_made_rows


@dataclass(frozen=True)
class SMOTETomek:
    """SMOTE, then both rows of every Tomek link are dropped.

    Batista et al. 2003.
    """

    name: Literal["smote_tomek"] = "smote_tomek"
    ratio: Ratio = 1.0
    k_neighbors: Neighbors = 5
    makes_rows: ClassVar[bool] = True

    def resample(self, part: TrainingPart, *, seed: int) -> Resampled:
        """Raises UserError for a `ratio` below the rows', or fewer rows than `k_neighbors` + 1."""
        return _cleaned(tomek_links("both"), self, part, seed)


@dataclass(frozen=True)
class SMOTEENN:
    """SMOTE, then every row is dropped that has one of the other class among its
    `cleaning_neighbors`.

    Batista et al. 2004. Where the classes overlap it drops much of the commoner one, and `ratio` is
    not what remains.
    """

    name: Literal["smote_enn"] = "smote_enn"
    ratio: Ratio = 1.0
    k_neighbors: Neighbors = 5
    cleaning_neighbors: Neighbors = 3
    makes_rows: ClassVar[bool] = True

    def resample(self, part: TrainingPart, *, seed: int) -> Resampled:
        """Raises UserError also where cleaning leaves a class without a row."""
        method = edited_nearest_neighbours("both", self.cleaning_neighbors, "all")
        return _cleaned(method, self, part, seed)


def _cleaned(
    cleaning: Any, sampler: SMOTETomek | SMOTEENN, part: TrainingPart, seed: int
) -> Resampled:
    """imbalanced-learn's classes of these names do the same, but keep no account of which rows
    remain."""
    check_neighbors(part, sampler.name, sampler.k_neighbors)
    features, labels = with_made_rows(
        plain_smote(part, ratio=sampler.ratio, k_neighbors=sampler.k_neighbors, seed=seed),
        part,
        name=sampler.name,
        ratio=sampler.ratio,
        remedy="use sampler=random_over",
    )
    kept = kept_places(
        cleaning, part, features, labels, name=sampler.name, remedy="use sampler=smote"
    )
    real, made = kept[kept < len(part.rows)], kept[kept >= len(part.rows)]
    return part.resampled(real, features[made], labels[made])
