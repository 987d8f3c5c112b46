"""The data of one run: split, imbalance, resampling, batch order and scaling, as row numbers.

Equal for every loss, model and optimizer, hence shared by runs, for as long as their data set
lives. Nothing is copied: rows are numbers of the data set's, but for those that a sampler makes.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, TypeVar, TypeVarTuple, Unpack

import numpy as np

from harness.data.batches import Batches
from harness.data.dataset import Dataset
from harness.data.imbalance import Imbalance, induce_positive_rate
from harness.data.sampler import TrainingPart
from harness.data.scaling import Impute, Scaling, fitted_scaling
from harness.data.splits import Split
from harness.data.splitters import Splitter
from harness.errors import UserError

# Batch orders up to this many bytes are kept for the seeds of a sweep, a gigabyte in all.
SMALL = 16 * 2**20

_Ts = TypeVarTuple("_Ts")
_T = TypeVar("_T")


def shared_by_dataset(
    function: Callable[[Dataset, Unpack[_Ts]], _T], *, maxsize: int
) -> Callable[[Dataset, Unpack[_Ts]], _T]:
    """``function`` of a data set and what can be hashed, its last ``maxsize`` results kept.

    A kept result keeps no data set alive.
    """

    @lru_cache(maxsize)
    def kept(there: weakref.ref[Dataset], *args: Any) -> _T:
        dataset = there()
        assert dataset is not None, "the caller holds it"
        return function(dataset, *args)

    @wraps(function)
    def shared(dataset: Dataset, *args: *_Ts) -> _T:
        return kept(weakref.ref(dataset), *args)

    return shared


@dataclass(frozen=True, eq=False)
class RunData:
    """A data set as one run sees it."""

    split: Split
    batch_rows: np.ndarray  # (S, B) int32
    # (V,) float64: the weights under which validation has the prior trained under, so that a run on
    # another prior is not stopped where it leaves the natural one. 1 where both are the same.
    validation_weights: np.ndarray
    scaling: Scaling
    # Of the rows trained on, after imbalance, resampling and batching; of rows with weights as many
    # rows in all, in the ratio of the classes' weights.
    num_negatives: float
    num_positives: float
    train_prior: float  # the share of positives that the run's batches hold
    # Of the training part as validation and test have it: before resampling, and before an
    # imbalance that touches training alone.
    natural_positive_rate: float
    num_sampled: int  # rows trained on, repeats and synthetic ones included
    synthetic: np.ndarray  # (m, d) float32, rows that the sampler made
    synthetic_labels: np.ndarray  # (m,) float32


@dataclass(frozen=True)
class Draw:
    """How a run draws its data: all that decides it but the data set."""

    split: Splitter
    split_seed: int
    imbalance: Imbalance
    sampler: Any
    batching: Any
    seed: int
    impute: Impute
    num_steps: int
    batch_size: int


def run_data(dataset: Dataset, draw: Draw) -> RunData:
    """What a run of ``draw.num_steps`` steps trains and is judged on.

    Raises:
      UserError: the data cannot give what is asked, such as too few positives.
    """
    some = _shared if 4 * draw.num_steps * draw.batch_size <= SMALL else _shared_large
    return some(dataset, draw)


def held_out_sizes(dataset: Dataset, split: Splitter, *, seed: int) -> tuple[int, int]:
    """Room for the validation and test parts before imbalance.

    From the split and the data set alone, and for folds and most seeds of a split the same.
    """
    return _held_out_sizes(dataset, split, seed)


def _held_out(dataset: Dataset, splitter: Splitter, seed: int) -> tuple[int, int]:
    validation, test = splitter.sizes(dataset)
    if splitter.exact:
        return validation, test
    try:
        split = splitter.split(dataset, seed=seed)
    except UserError:  # reported when the run's data are made
        return validation, test
    return _room(validation, len(split.validation)), _room(test, len(split.test))


_held_out_sizes = shared_by_dataset(_held_out, maxsize=4096)


def _room(expected: int, num_rows: int) -> int:
    """A size for ``num_rows`` rows that other seeds, whose parts differ a little, share."""
    room = -(-expected * 5 // 4)
    while room < num_rows:
        room *= 2
    return room


def most_synthetic(dataset: Dataset, split: Splitter, sampler: Any) -> int:
    """Rows that a sampler can make at most, whichever it is: as many as the commoner class has, for
    which no data is drawn. One bound for all of them lets them share a program."""
    if not sampler.makes_rows:
        return 0
    commoner = max(dataset.num_positives, dataset.num_rows - dataset.num_positives)
    # Where groups are held out, training may be larger than its expected size.
    if split.exact:
        return min(dataset.num_rows - sum(split.sizes(dataset)), commoner)
    return commoner


def _run_data(dataset: Dataset, draw: Draw) -> RunData:
    labels, imbalance = dataset.labels, draw.imbalance
    natural = draw.split.split(dataset, seed=draw.split_seed)
    split = natural
    if imbalance.positive_rate is not None:
        split = induce_positive_rate(
            split=natural,
            labels=labels,
            positive_rate=imbalance.positive_rate,
            where=imbalance.where,
            seed=draw.split_seed,
        )
    scaling = fitted_scaling(dataset, rows=split.train, impute=draw.impute)
    features = dataset.features[split.train]
    if dataset.has_missing:
        scaling.impute(features)
    part = TrainingPart(
        rows=split.train,
        labels=labels[split.train],
        features=features,
        center=scaling.center,
        scale=scaling.scale,
        cardinalities=dataset.cardinalities,
        categories=dataset.categories,
    )
    resampled = draw.sampler.resample(part, seed=draw.seed)
    visited, visited_labels = resampled.visited()
    batches = draw.batching.batches(
        rows=visited,
        labels=visited_labels,
        batch_size=draw.batch_size,
        num_steps=draw.num_steps,
        seed=draw.seed,
    )
    if dataset.row_weights is not None:
        batches = _weighed(batches, visited_labels, dataset.row_weights[visited])
    natural_rate = float(
        labels[(natural if imbalance.where == "train" else split).train].mean(dtype=np.float64)
    )
    if dataset.row_weights is not None:
        of_rows = dataset.row_weights[split.train]
        natural_rate = float(np.average(labels[split.train], weights=of_rows))
    train_prior = batches.num_positives / (batches.num_positives + batches.num_negatives)
    return RunData(
        split=split,
        batch_rows=batches.rows,
        validation_weights=_prior_weights(labels[split.validation] == 1, train_prior, natural_rate),
        scaling=scaling,
        num_negatives=batches.num_negatives,
        num_positives=batches.num_positives,
        train_prior=train_prior,
        natural_positive_rate=natural_rate,
        num_sampled=len(visited),
        synthetic=resampled.synthetic,
        synthetic_labels=resampled.synthetic_labels.astype(np.float32),
    )


def _weighed(batches: Batches, labels: np.ndarray, row_weights: np.ndarray) -> Batches:
    """``batches`` with class counts in the ratio of the weights that batches hold.

    labels, row_weights: (m,) of the rows that are visited, each as often as others of its class.
    """
    of_positive, of_negative = (row_weights[labels == one].mean() for one in (1, 0))
    negatives = batches.num_negatives * of_negative
    positives = batches.num_positives * of_positive
    scale = (batches.num_negatives + batches.num_positives) / (negatives + positives)
    return batches._replace(num_negatives=negatives * scale, num_positives=positives * scale)


# Losses and learning rates share the data of a seed; a sweep goes through its seeds in turn.
_shared = shared_by_dataset(_run_data, maxsize=64)
_shared_large = shared_by_dataset(_run_data, maxsize=1)


def _prior_weights(is_positive: np.ndarray, wanted: float, natural: float) -> np.ndarray:
    """Weights by class under which rows of the natural prior have the wanted one."""
    return np.where(is_positive, wanted / natural, (1 - wanted) / (1 - natural))
