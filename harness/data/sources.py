"""Where data comes from: each source is a config, and `load()` gives its Dataset.

`load()` reads or draws anew each time; `harness.data.library` shares what is loaded.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt
from scipy.special import expit, logit
from sklearn.datasets import load_breast_cancer, load_digits

from harness.data.dataset import Dataset, standardised
from harness.data.mislabelled import Mislabelled
from harness.data.openml import OpenML
from harness.data.spelling import Text
from harness.data.streams import Purpose, Seed, generator
from harness.data.synthetic import SYNTHETIC, Cells, Cue, FraudLike, Separable
from harness.data.table import Table
from harness.data.wheel import Wheel
from harness.errors import UserError

_SKLEARN = {
    "breast_cancer": (
        load_breast_cancer,
        "UCI Breast Cancer Wisconsin (Diagnostic), doi:10.24432/C5DW2B, via scikit-learn",
        "medical diagnosis",
    ),
    "digits": (
        load_digits,
        "UCI Optical Recognition of Handwritten Digits (test part), doi:10.24432/C50P49, "
        "via scikit-learn",
        "image recognition",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Sklearn:
    """Data shipped inside scikit-learn. `positive`: `malignant` or `benign`; a digit 0 to 9,
    against the rest."""

    kind: Literal["sklearn"] = "sklearn"
    name: Literal["breast_cancer", "digits"]
    positive: Text

    def load(self) -> Dataset:
        """Reads it. Raises UserError for an unknown `positive`."""
        return _load_sklearn(self)


@dataclass(frozen=True, kw_only=True)
class TwoGaussians:
    """Two Gaussians of unit covariance, means `distance` apart, and their true posterior.

    The known answers for distance d and rate pi: the posterior's log-odds are normal with mean
    logit(pi) +- d^2/2 and variance d^2 given the class; its AUROC is Phi(d / sqrt 2).
    """

    kind: Literal["two_gaussians"] = "two_gaussians"
    name: Text = "two_gaussians"
    rows: Annotated[int, Ge(2)]
    num_features: Annotated[int, Ge(1)]
    distance: Annotated[float, Ge(0)]
    positive_rate: Annotated[float, Gt(0), Lt(1)]
    seed: Seed

    def load(self) -> Dataset:
        """Draws it. Raises UserError where a class would be empty."""
        return _load_two_gaussians(self)


# Told apart by `kind`.
Generated = TwoGaussians | Cue | Cells | Separable | FraudLike
DatasetConfig = Sklearn | Generated | Table | Wheel | Mislabelled | OpenML
DATASETS = (Sklearn, TwoGaussians, *SYNTHETIC, Table, Wheel, Mislabelled, OpenML)


def _load_sklearn(config: Sklearn) -> Dataset:
    loader, source, application = _SKLEARN[config.name]
    bunch = loader()
    classes = [str(label) for label in bunch.target_names]
    if config.positive not in classes:
        raise UserError(
            f"dataset.positive {config.positive!r} is no class of {config.name}: "
            f"choose one of {', '.join(classes)}"
        )
    features, raw = standardised(np.asarray(bunch.data, dtype=np.float64))
    return Dataset(
        name=config.name,
        features=features,
        labels=(bunch.target == classes.index(config.positive)).astype(np.int8),
        feature_names=tuple(str(name) for name in bunch.feature_names),
        positive_label=config.positive,
        source=source,
        licence="CC BY 4.0",
        application=application,
        raw=raw,
    )


def _load_two_gaussians(config: TwoGaussians) -> Dataset:
    # An exact count, not one Bernoulli draw a row: each row still is positive with the nominal
    # rate, so the known answers hold in expectation, without the prevalence's sampling noise
    # (BCE's standard error at distance 2, rate .05 and 10,000 rows: .0030 instead of .0042).
    num_positives = round(config.rows * config.positive_rate)
    if num_positives in (0, config.rows):
        raise UserError(
            f"dataset.positive_rate {config.positive_rate} of dataset.rows {config.rows} leaves "
            f"{num_positives} positives: raise dataset.rows so that both classes have one"
        )
    rng = generator(config.seed, Purpose.SYNTHETIC)
    labels = rng.permutation(np.arange(config.rows) < num_positives).astype(np.int8)
    # Along the diagonal: every feature carries an equal part of the signal.
    direction = np.full(config.num_features, config.num_features**-0.5)
    side = (labels - 0.5)[:, None]
    raw = rng.standard_normal((config.rows, config.num_features))
    raw += side * config.distance * direction
    log_odds = logit(num_positives / config.rows) + config.distance * (raw @ direction)
    features, summary = standardised(raw)
    return Dataset(
        name=config.name,
        features=features,
        labels=labels,
        feature_names=tuple(f"x{index}" for index in range(config.num_features)),
        positive_label="1",
        source="generated",
        licence="none needed",
        posterior=expit(log_odds),
        application="known answers",
        raw=summary,
    )
