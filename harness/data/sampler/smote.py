"""SMOTE and its kin: synthetic rows of the rarer class, between real ones and their neighbours.

SMOTETomek and SMOTEENN then clean what overlaps, real rows and synthetic ones of both classes.

Neighbours are sought and rows are made in the run's standardised features. None of these is an
exact change of the prior: rows between neighbours lie closer together than the class does, so
correcting for the prior alone does not give the probabilities back.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from harness.data.sampler.cleaning import edited_nearest_neighbours, kept_places, tomek_links
from harness.data.sampler.training_part import (
    Neighbors,
    Ratio,
    Resampled,
    TrainingPart,
    added_rows,
    check_neighbors,
    check_numeric,
    check_ratio,
    fit_resample,
    oversampled_to,
)
from harness.data.streams import Purpose, legacy_seed
from harness.errors import UserError

Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class SMOTE:
    """New rows at random places between a row and one of its `k_neighbors` nearest of its class.

    Chawla et al. 2002. Columns of categories, booleans among them, take the neighbours' commonest
    level however they are encoded (SMOTE-NC, or SMOTE-N where all columns are of categories).
    """

    name: Literal["smote"] = "smote"
    ratio: Ratio = 1.0
    k_neighbors: Neighbors = 5
    makes_rows: ClassVar[bool] = True

    def resample(self, part: TrainingPart, *, seed: int) -> Resampled:
        """Raises UserError for a `ratio` below the rows', or fewer rows than `k_neighbors` + 1."""
        check_neighbors(part, self.name, self.k_neighbors)
        method = _plain_smote(part, ratio=self.ratio, k_neighbors=self.k_neighbors, seed=seed)
        remedy = "use sampler=random_over"
        return _oversampled(method, self, part, remedy=remedy, keeps_levels=True)


@dataclass(frozen=True)
class BorderlineSMOTE:
    """SMOTE from the rows in danger alone: at least half of their `m_neighbors` are of the other
    class, but not all. `borderline-2` also goes some way towards neighbours of the other class.

    Han et al. 2005.
    """

    name: Literal["borderline_smote"] = "borderline_smote"
    ratio: Ratio = 1.0
    k_neighbors: Neighbors = 5
    m_neighbors: Neighbors = 10
    kind: Literal["borderline-1", "borderline-2"] = "borderline-1"
    makes_rows: ClassVar[bool] = True

    def resample(self, part: TrainingPart, *, seed: int) -> Resampled:
        """Raises UserError also where no row is in danger."""
        from imblearn.over_sampling import BorderlineSMOTE

        check_numeric(part, self.name)
        check_neighbors(part, self.name, self.k_neighbors)
        method = BorderlineSMOTE(
            **_common(part, self.ratio, self.k_neighbors, seed),
            m_neighbors=self.m_neighbors,
            kind=self.kind,
        )
        return _oversampled(method, self, part, remedy="change sampler.m_neighbors")


@dataclass(frozen=True)
class SVMSMOTE:
    """SMOTE from the support vectors of an RBF machine: towards neighbours where in danger, and
    `out_step` outwards where safe. The machine takes quadratic time in the rows.
    Where none is safe, or none in danger, their rows are not made and `ratio` is not met.

    Nguyen et al. 2011.
    """

    name: Literal["svm_smote"] = "svm_smote"
    ratio: Ratio = 1.0
    k_neighbors: Neighbors = 5
    m_neighbors: Neighbors = 10
    out_step: Share = 0.5
    makes_rows: ClassVar[bool] = True

    def resample(self, part: TrainingPart, *, seed: int) -> Resampled:
        """Raises UserError also where all support vectors are noise."""
        from imblearn.over_sampling import SVMSMOTE

        check_numeric(part, self.name)
        check_neighbors(part, self.name, self.k_neighbors)
        method = SVMSMOTE(
            **_common(part, self.ratio, self.k_neighbors, seed),
            m_neighbors=self.m_neighbors,
            out_step=self.out_step,
        )
        return _oversampled(method, self, part, remedy="change sampler.m_neighbors")


@dataclass(frozen=True)
class KMeansSMOTE:
    """SMOTE within clusters of all rows: those whose share of the rarer class is at least
    `min_share`, the sparser the more.

    Douzas et al. 2018. Empty asks for the share that the whole training part has; one half, their
    choice and imbalanced-learn's, finds no cluster in most imbalanced data.
    """

    name: Literal["kmeans_smote"] = "kmeans_smote"
    ratio: Ratio = 1.0
    k_neighbors: Neighbors = 2
    num_clusters: Annotated[int, Ge(1), Le(10_000)] = 8
    min_share: Share | None = None
    makes_rows: ClassVar[bool] = True

    def resample(self, part: TrainingPart, *, seed: int) -> Resampled:
        """Raises UserError also where no cluster has enough of the rarer class."""
        from imblearn.over_sampling import KMeansSMOTE

        check_numeric(part, self.name)
        check_neighbors(part, self.name, self.k_neighbors)
        own_share = part.counts[0] / len(part.rows)
        method = KMeansSMOTE(
            **_common(part, self.ratio, self.k_neighbors, seed),
            kmeans_estimator=self.num_clusters,
            cluster_balance_threshold=own_share if self.min_share is None else self.min_share,
        )
        remedy = "lower sampler.min_share, raise sampler.num_clusters, or use sampler=smote"
        return _oversampled(method, self, part, remedy=remedy)


@dataclass(frozen=True)
class ADASYN:
    """SMOTE with more rows where more of the `k_neighbors` are of the other class.

    He et al. 2008. `ratio` is met to within rounding a row.
    """

    name: Literal["adasyn"] = "adasyn"
    ratio: Ratio = 1.0
    k_neighbors: Neighbors = 5
    makes_rows: ClassVar[bool] = True

    def resample(self, part: TrainingPart, *, seed: int) -> Resampled:
        """Raises UserError also where the classes are so far apart that none has a neighbour."""
        from imblearn.over_sampling import ADASYN

        check_numeric(part, self.name)
        check_neighbors(part, self.name, self.k_neighbors)
        common = _common(part, self.ratio, self.k_neighbors, seed)
        common["n_neighbors"] = common.pop("k_neighbors")
        return _oversampled(ADASYN(**common), self, part, remedy="use sampler=smote")


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


def _plain_smote(part: TrainingPart, *, ratio: float, k_neighbors: int, seed: int) -> Any:
    """imbalanced-learn's SMOTE for the kinds of columns that `part` has."""
    from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC

    common = _common(part, ratio, k_neighbors, seed)
    width = part.coded.shape[1]
    if not part.num_codes:
        return SMOTE(**common)
    if part.num_codes == width:
        return SMOTEN(**common)
    return SMOTENC(list(range(width - part.num_codes, width)), **common)


def _with_synthetic(
    method: Any,
    part: TrainingPart,
    *,
    name: str,
    ratio: float,
    remedy: str,
    keeps_levels: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Standardised features and labels: those of `part` in their order, then the synthetic ones.

    `keeps_levels`: where `method` knows columns of categories, and gives each row one level.
    Raises UserError where `ratio` is below the rows', or `method` refuses.
    """
    check_ratio(part, name, ratio)
    if added_rows(part, ratio) == 0:  # which imbalanced-learn refuses
        return part.standardised, part.labels
    given = part.coded if keeps_levels else part.standardised
    features, labels = fit_resample(method, given, part.labels, name=name, remedy=remedy)
    if keeps_levels:
        features = part.decoded(features)
    if len(features) == len(part.rows):
        raise UserError(f"sampler {name} found no row to start from: {remedy} or use sampler=smote")
    return features, labels


def _oversampled(
    method: Any, sampler: Any, part: TrainingPart, *, remedy: str, keeps_levels: bool = False
) -> Resampled:
    features, labels = _with_synthetic(
        method,
        part,
        name=sampler.name,
        ratio=sampler.ratio,
        remedy=remedy,
        keeps_levels=keeps_levels,
    )
    size = len(part.rows)
    return part.resampled(np.arange(size), features[size:], labels[size:])


def _common(part: TrainingPart, ratio: float, k_neighbors: int, seed: int) -> dict[str, Any]:
    return {
        "sampling_strategy": oversampled_to(part, ratio),
        "k_neighbors": k_neighbors,
        "random_state": legacy_seed(seed, Purpose.SAMPLER),
    }


def _cleaned(
    cleaning: Any, sampler: SMOTETomek | SMOTEENN, part: TrainingPart, seed: int
) -> Resampled:
    """imbalanced-learn's classes of these names do the same, but keep no account of which rows
    remain."""
    check_neighbors(part, sampler.name, sampler.k_neighbors)
    features, labels = _with_synthetic(
        _plain_smote(part, ratio=sampler.ratio, k_neighbors=sampler.k_neighbors, seed=seed),
        part,
        name=sampler.name,
        ratio=sampler.ratio,
        remedy="use sampler=random_over",
        keeps_levels=True,
    )
    kept = kept_places(
        cleaning, part, features, labels, name=sampler.name, remedy="use sampler=smote"
    )
    is_real = kept < len(part.rows)
    synthetic = kept[~is_real]
    return part.resampled(kept[is_real], features[synthetic], labels[synthetic])
