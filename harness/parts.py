"""The data of one run: split, imbalance, resampling, batch order and scaling, as row numbers.

Equal for every loss, model and optimizer, hence cached. Nothing is copied: rows are numbers of the
data set's, but for those that a sampler makes.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from harness.config import Config
from harness.data.dataset import Dataset
from harness.data.imbalance import Imbalance, induce_positive_rate
from harness.data.sampler import Resampled, TrainingPart
from harness.data.scaling import Impute, Scaling, fitted_scaling
from harness.data.splits import Split
from harness.data.splitters import EXACT, Splitter
from harness.errors import UserError

# Batch orders up to this many bytes are kept for the seeds of a sweep, a gigabyte in all.
SMALL = 16 * 2**20


@dataclass(frozen=True, eq=False)
class Parts:
    """A data set cut up for one seed."""

    split: Split
    batch_rows: np.ndarray  # (S, B) int32
    validation_rows: np.ndarray  # (V,) int32, padded to its size before imbalance
    # (V,) float64: the weights under which that part has the prior trained under, so that a run on
    # another prior is not stopped where it leaves the natural one. 1 where both are the same, 0 for
    # padding.
    validation_weights: np.ndarray
    test_rows: np.ndarray  # (T,) int32, likewise
    scaling: Scaling
    num_negatives: int  # of the rows trained on, after imbalance, resampling and batching
    num_positives: int
    train_prior: float  # the share of positives that the run's batches hold
    # Of the training part as validation and test have it: before resampling, and before an
    # imbalance that touches training alone.
    natural_positive_rate: float
    num_sampled: int  # rows trained on, repeats and made rows included
    num_synthetic: int  # made rows of them
    synthetic: np.ndarray | None  # (M, d) float32, padded; None in programs without made rows
    synthetic_labels: np.ndarray | None  # (M,) float32


def parts_of(config: Config, dataset: Dataset, *, num_steps: int, num_synthetic: int) -> Parts:
    """The parts of ``dataset`` that a run of ``num_steps`` steps trains and is judged on.

    Args:
      num_synthetic: what made rows are padded to, at least as many as the sampler makes.

    Raises:
      UserError: the data cannot give what the config asks, such as too few positives.
    """
    order_bytes = 4 * num_steps * config.training.batch_size
    cut = _some_parts if order_bytes <= SMALL else _last_parts
    return cut(
        dataset,
        config.split,
        _split_seed(config),
        config.imbalance,
        config.sampler,
        config.batching,
        config.seed,
        config.impute,
        num_steps,
        config.training.batch_size,
        num_synthetic,
    )


def num_trained_on(config: Config, dataset: Dataset) -> int:
    """Rows of the training part before imbalance and resampling; of folds, as expected."""
    return dataset.num_rows - sum(config.split.sizes(dataset))


def held_out_sizes(config: Config, dataset: Dataset) -> tuple[int, int]:
    """Rows of the validation and test parts before imbalance: the shapes a lane is padded to.

    From ``config`` and ``dataset`` alone, and for folds and most seeds of a split the same.
    """
    return _held_out_sizes(config.split, dataset, _split_seed(config))


def _split_seed(config: Config) -> int:
    return config.seed if config.split.seed is None else config.split.seed


@lru_cache(maxsize=4096)
def _held_out_sizes(splitter: Splitter, dataset: Dataset, seed: int) -> tuple[int, int]:
    validation, test = splitter.sizes(dataset)
    if isinstance(splitter, EXACT):
        return validation, test
    try:
        split = splitter.cut(dataset, seed=seed)
    except UserError:  # reported when the run is prepared
        return validation, test
    return _room(validation, len(split.validation)), _room(test, len(split.test))


def _room(expected: int, num_rows: int) -> int:
    """A size for ``num_rows`` rows that other seeds, which cut a little differently, share."""
    room = -(-expected * 5 // 4)
    while room < num_rows:
        room *= 2
    return room


def most_synthetic(config: Config, dataset: Dataset) -> int:
    """Rows that a sampler can make at most, whichever it is: as many as the commoner class has, for
    which no data is drawn. One bound for all of them lets them share a program."""
    if not config.sampler.makes_rows:
        return 0
    commoner = max(dataset.num_positives, dataset.num_rows - dataset.num_positives)
    # Where groups are held out, training may be larger than its expected size.
    if isinstance(config.split, EXACT):
        return min(num_trained_on(config, dataset), commoner)
    return commoner


def _cut(
    dataset: Dataset,
    splitter: Splitter,
    split_seed: int,
    imbalance: Imbalance,
    sampler: Any,
    batching: Any,
    seed: int,
    impute: Impute,
    num_steps: int,
    batch_size: int,
    most_synthetic: int,
) -> Parts:
    labels = dataset.labels
    natural = splitter.cut(dataset, seed=split_seed)
    num_validation, num_test = _held_out_sizes(splitter, dataset, split_seed)
    split = natural
    if imbalance.positive_rate is not None:
        split = induce_positive_rate(
            split=natural,
            labels=labels,
            positive_rate=imbalance.positive_rate,
            where=imbalance.where,
            seed=split_seed,
        )
    scaling = fitted_scaling(dataset, rows=split.train, impute=impute)
    part = TrainingPart(
        rows=split.train,
        labels=labels[split.train],
        features=scaling.imputed(dataset.features[split.train]),
        center=scaling.center,
        scale=scaling.scale,
        cardinalities=dataset.cardinalities,
    )
    resampled = sampler.resample(part, seed=seed)
    visited, visited_labels = resampled.visited()
    batches = batching.batches(
        rows=visited,
        labels=visited_labels,
        batch_size=batch_size,
        num_steps=num_steps,
        seed=seed,
    )
    natural_rate = float(
        labels[(natural if imbalance.where == "train" else split).train].mean(dtype=np.float64)
    )
    validation_rows = _padded(split.validation, num_validation)
    train_prior = batches.num_positives / (batches.num_positives + batches.num_negatives)
    weights = _prior_weights(labels[validation_rows] == 1, train_prior, natural_rate)
    weights[len(split.validation) :] = 0
    return Parts(
        split=split,
        batch_rows=batches.rows,
        validation_rows=validation_rows,
        validation_weights=weights,
        test_rows=_padded(split.test, num_test),
        scaling=scaling,
        num_negatives=batches.num_negatives,
        num_positives=batches.num_positives,
        num_sampled=len(visited),
        num_synthetic=len(resampled.synthetic),
        **_own_rows(resampled, most_synthetic),
        train_prior=train_prior,
        natural_positive_rate=natural_rate,
    )


# Losses and learning rates share the parts of a seed; a sweep goes through its seeds in turn.
_some_parts = lru_cache(maxsize=64)(_cut)
_last_parts = lru_cache(maxsize=1)(_cut)


def _prior_weights(is_positive: np.ndarray, wanted: float, natural: float) -> np.ndarray:
    """Weights by class under which rows of the natural prior have the wanted one."""
    return np.where(is_positive, wanted / natural, (1 - wanted) / (1 - natural))


def _own_rows(resampled: Resampled, size: int) -> dict[str, np.ndarray | None]:
    """The made rows padded to ``size``; nothing where the program has none."""
    if size == 0:
        return {"synthetic": None, "synthetic_labels": None}
    padding = size - len(resampled.synthetic)  # negative would be a wrong bound, and raise
    return {
        "synthetic": np.pad(resampled.synthetic, ((0, padding), (0, 0))),
        "synthetic_labels": np.pad(resampled.synthetic_labels.astype(np.float32), (0, padding)),
    }


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([rows, np.full(size - len(rows), rows[0], dtype=rows.dtype)])
