"""Generated data with a known posterior: Gaussians, cues, cells, two classes apart, fraud-like.

Each is pinned by its own `seed`, whatever the run's is, and gives P(y = 1 | x) with every row.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray
from scipy.special import expit, logit

from harness.data.dataset import Dataset, Overview, standardised
from harness.data.streams import Purpose, Seed, generator
from harness.data.target import Text
from harness.errors import UserError
from harness.memory import check_fits

# Numbers the streams within one seed: a number once given is never changed.
_FEATURES, _LABELS, _NOISE = 1, 2, 3

_SOURCE, _LICENCE, _APPLICATION = "generated", "none needed", "known answers"

Rows = Annotated[int, Ge(2), Le(2**31 - 1)]  # rows are numbered by 32 bits
MOST_FEATURES = 2**20
Rate = Annotated[float, Gt(0), Lt(1)]
Flip = Annotated[float, Ge(0), Lt(1)]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TwoGaussians:
    """Two Gaussians of unit covariance, means `distance` apart, and their true posterior.

    The known answers for distance d and rate pi: the posterior's log-odds are normal with mean
    logit(pi) +- d^2/2 and variance d^2 given the class; its AUROC is Phi(d / sqrt 2).
    """

    kind: Literal["two_gaussians"] = "two_gaussians"
    name: Text = "two_gaussians"
    rows: Rows
    num_features: Annotated[int, Ge(1), Le(MOST_FEATURES)]
    distance: Annotated[float, Ge(0)]
    positive_rate: Annotated[float, Gt(0), Lt(1)]
    seed: Seed

    def load(self) -> Dataset:
        """Draws it. Raises UserError where a class would be empty, or memory too small."""
        _check_fits(self)
        return _load_two_gaussians(self)

    def overview(self) -> Overview:
        """Before anything is drawn."""
        return _overview(self.rows, self.num_features, round(self.rows * self.positive_rate))


@dataclass(frozen=True, kw_only=True)
class Cue:
    """Normal features, and labels drawn with log-odds `strength * cue(x) + intercept`.

    cue: `linear`, the features' sum; `product`, the first times the second (no line separates
    it); `radial`, the squared distance from the centre; each scaled to mean 0 and variance 1.
    The intercept makes the true probabilities' mean over the rows `positive_rate`. Afterwards
    a positive label is flipped with probability `flip_positives`, a negative one with
    `flip_negatives` (label noise: symmetric where they are equal); the posterior is that of the
    labels as given, (1 - flip_positives) p + flip_negatives (1 - p).
    """

    kind: Literal["cue"] = "cue"
    name: Text = "cue"
    shape: Literal["linear", "product", "radial"]
    rows: Rows
    num_features: Annotated[int, Ge(2), Le(MOST_FEATURES)]
    strength: Annotated[float, Ge(0), Le(100)]
    positive_rate: Rate
    flip_positives: Flip = 0.0
    flip_negatives: Flip = 0.0
    seed: Seed

    def load(self) -> Dataset:
        """Draws it. Raises UserError where a class would be empty, or memory too small."""
        _check_fits(self)
        return _load_cue(self)

    def overview(self) -> Overview:
        """Before anything is drawn."""
        return _overview(self.rows, self.num_features, None)


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Rows of `num_cells` equally likely kinds, each a feature that is 1 where all others are 0.

    Their probabilities are evenly spaced from `lowest` to `highest`. A linear model holds any
    value for each cell, so it holds the minimiser of every loss.
    """

    kind: Literal["cells"] = "cells"
    name: Text = "cells"
    rows: Rows
    num_cells: Annotated[int, Ge(2), Le(MOST_FEATURES)]
    lowest: Rate
    highest: Rate
    seed: Seed

    def load(self) -> Dataset:
        """Draws it. Raises UserError where a class would be empty, or memory too small."""
        _check_fits(self)
        return _load_cells(self)

    def overview(self) -> Overview:
        """Before anything is drawn."""
        return _overview(self.rows, self.num_cells, None)


@dataclass(frozen=True, kw_only=True)
class Separable:
    """Two classes with a gap of `margin` between them along the diagonal; no error is needed.

    Exactly `round(rows * positive_rate)` rows are positive; the posterior is 0 or 1. BCE has no
    minimum on such data: its weights grow as long as one trains.
    """

    kind: Literal["separable"] = "separable"
    name: Text = "separable"
    rows: Rows
    num_features: Annotated[int, Ge(1), Le(MOST_FEATURES)]
    margin: Annotated[float, Gt(0)]
    positive_rate: Rate
    seed: Seed

    def load(self) -> Dataset:
        """Draws it. Raises UserError where a class would be empty, or memory too small."""
        _check_fits(self)
        return _load_separable(self)

    def overview(self) -> Overview:
        """Before anything is drawn."""
        return _overview(self.rows, self.num_features, round(self.rows * self.positive_rate))


@dataclass(frozen=True, kw_only=True)
class FraudLike:
    """The shape of card fraud: many rows, few positives, and positives unlike one another.

    Negatives are standard normal in all features but the last, an amount whose logarithm is
    normal and says nothing. Positives are shifted by `distance` along the diagonal of the first
    half of the features and `spread` times as wide in them: some look like any negative.
    """

    kind: Literal["fraud_like"] = "fraud_like"
    name: Text = "fraud_like"
    rows: Rows
    num_features: Annotated[int, Ge(4), Le(MOST_FEATURES)]
    num_positives: Annotated[int, Ge(1)]
    distance: Annotated[float, Ge(0)]
    spread: Annotated[float, Ge(1), Le(10)]
    seed: Seed

    def load(self) -> Dataset:
        """Draws it. Raises UserError where a class would be empty, or memory too small."""
        _check_fits(self)
        return _load_fraud_like(self)

    def overview(self) -> Overview:
        """Before anything is drawn."""
        return _overview(self.rows, self.num_features, self.num_positives)


Generated = TwoGaussians | Cue | Cells | Separable | FraudLike
SYNTHETIC = (TwoGaussians, Cue, Cells, Separable, FraudLike)


def _check_fits(config: Generated) -> None:
    """Two arrays of float64 there are at once, on the way to one of float32."""
    shape = config.overview()
    assert shape.rows and shape.features
    check_fits(
        shape.rows * shape.features * (8 + 8 + 4),
        what=f"dataset {config.name}: {shape.rows:,} rows of {shape.features:,} features",
        remedy="give fewer (dataset.rows)",
    )


def _load_two_gaussians(config: TwoGaussians) -> Dataset:
    # An exact count, not one Bernoulli draw a row: each row still is positive with the nominal
    # rate, so the known answers hold in expectation, without the prevalence's sampling noise
    # (BCE's standard error at distance 2, rate .05 and 10,000 rows: .0030 instead of .0042).
    num_positives = round(config.rows * config.positive_rate)
    _check_both(config, num_positives)
    rng = generator(config.seed, Purpose.SYNTHETIC)
    labels = rng.permutation(np.arange(config.rows) < num_positives).astype(np.int8)
    # Along the diagonal: every feature carries an equal part of the signal.
    direction = np.full(config.num_features, config.num_features**-0.5)
    side = (labels - 0.5)[:, None]
    raw = rng.standard_normal((config.rows, config.num_features))
    raw += side * config.distance * direction
    log_odds = logit(num_positives / config.rows) + config.distance * (raw @ direction)
    return _generated(config, raw, labels == 1, expit(log_odds))


def _load_cue(config: Cue) -> Dataset:
    rng = generator(config.seed, Purpose.SYNTHETIC, _FEATURES)
    raw = rng.standard_normal((config.rows, config.num_features))
    signal = config.strength * _CUES[config.shape](raw)
    clean = expit(signal + _intercept(signal, config.positive_rate))
    draws = generator(config.seed, Purpose.SYNTHETIC, _LABELS).random(config.rows)
    labels = draws < clean
    flips = generator(config.seed, Purpose.SYNTHETIC, _NOISE).random(config.rows)
    labels ^= flips < np.where(labels, config.flip_positives, config.flip_negatives)
    posterior = (1 - config.flip_positives) * clean + config.flip_negatives * (1 - clean)
    return _generated(config, raw, labels, posterior)


_CUES = {
    "linear": lambda raw: raw.sum(axis=1) / np.sqrt(raw.shape[1]),
    "product": lambda raw: raw[:, 0] * raw[:, 1],
    "radial": lambda raw: (np.square(raw).sum(axis=1) - raw.shape[1]) / np.sqrt(2 * raw.shape[1]),
}


def _intercept(signal: Floats, positive_rate: float) -> float:
    """Where the mean of expit(signal + intercept) is ``positive_rate``."""
    from scipy.optimize import brentq

    middle, reach = logit(positive_rate), float(np.abs(signal).max()) + 1.0
    return brentq(
        lambda intercept: float(expit(signal + intercept).mean()) - positive_rate,
        middle - reach,
        middle + reach,
        xtol=1e-12,
    )


def _load_cells(config: Cells) -> Dataset:
    rng = generator(config.seed, Purpose.SYNTHETIC, _FEATURES)
    cells = rng.integers(config.num_cells, size=config.rows)
    posterior = np.linspace(config.lowest, config.highest, config.num_cells)[cells]
    draws = generator(config.seed, Purpose.SYNTHETIC, _LABELS).random(config.rows)
    one_hot = (cells[:, None] == np.arange(config.num_cells)).astype(np.float64)
    return _generated(config, one_hot, draws < posterior, posterior)


def _load_separable(config: Separable) -> Dataset:
    labels = _exactly(config, round(config.rows * config.positive_rate))
    raw = generator(config.seed, Purpose.SYNTHETIC, _FEATURES).standard_normal(
        (config.rows, config.num_features)
    )
    direction = np.full(config.num_features, config.num_features**-0.5)
    along = raw @ direction
    # The same half-normal beyond the gap on either side; all other directions are left alone.
    moved = np.where(labels, 1.0, -1.0) * (np.abs(along) + config.margin / 2)
    raw += (moved - along)[:, None] * direction
    return _generated(config, raw, labels, labels.astype(np.float64))


def _load_fraud_like(config: FraudLike) -> Dataset:
    from scipy.stats import norm  # late: it takes half a second

    labels = _exactly(config, config.num_positives)
    raw = generator(config.seed, Purpose.SYNTHETIC, _FEATURES).standard_normal(
        (config.rows, config.num_features)
    )
    told = config.num_features // 2
    shift = config.distance / np.sqrt(told)
    raw[labels, :told] = shift + config.spread * raw[labels, :told]
    positive = norm.logpdf(raw[:, :told], shift, config.spread).sum(axis=1)
    log_ratio = positive - norm.logpdf(raw[:, :told]).sum(axis=1)
    raw[:, -1] = np.exp(3.0 + 1.5 * raw[:, -1])  # in some currency; the median is about 20
    posterior = expit(log_ratio + logit(config.num_positives / config.rows))
    return _generated(config, raw, labels, posterior)


def _exactly(config: Separable | FraudLike, num_positives: int) -> NDArray[np.bool_]:
    """Labels with an exact number of positives: no noise of the prevalence (see TwoGaussians)."""
    order = generator(config.seed, Purpose.SYNTHETIC, _LABELS).permutation(config.rows)
    return order < num_positives


def _overview(rows: int, features: int, positives: int | None) -> Overview:
    return Overview(
        rows=rows,
        features=features,
        positives=positives,
        source=_SOURCE,
        licence=_LICENCE,
        application=_APPLICATION,
    )


def _generated(
    config: Generated,
    raw: Floats,
    labels: NDArray[np.bool_],
    posterior: Floats,
) -> Dataset:
    _check_both(config, int(labels.sum()))
    features, summary = standardised(raw)
    return Dataset(
        name=config.name,
        features=features,
        labels=labels.astype(np.int8),
        feature_names=tuple(f"x{index}" for index in range(raw.shape[1])),
        positive_label="1",
        negative_label="0",
        posterior=posterior,
        raw=summary,
        source=_SOURCE,
        licence=_LICENCE,
        application=_APPLICATION,
    )


def _check_both(config: Generated, num_positives: int) -> None:
    if num_positives in (0, config.rows):
        raise UserError(
            f"dataset {config.name}: {num_positives} of dataset.rows {config.rows} would "
            "be positive: raise dataset.rows so that both classes have one"
        )
