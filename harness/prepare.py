"""From a configuration to a lane: the one place where a config value becomes an array.

Everything here runs on the host. Data work (split, imbalance, resampling, batch order) is cached,
since runs that differ in loss or learning rate share it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import log
from typing import Any, Literal

import jax
import numpy as np

from harness import checkpoints
from harness.config import Config, Init, folder_of
from harness.data.dataset import Dataset
from harness.data.imbalance import Imbalance, induce_positive_rate
from harness.data.sampler import Resampled, TrainingPart
from harness.data.scaling import Impute, Scaling, fitted_scaling
from harness.data.splits import Split
from harness.data.splitters import EXACT, Splitter
from harness.errors import UserError
from harness.losses import BatchLoss, pack
from harness.models import param_shapes
from harness.optimizers import learning_rates, plateau_rule
from harness.train import SELECT_BY, Lane, Program

# Rows of a batch for a loss of pairs: each pair takes a few numbers, a gigabyte in all.
MOST_ROWS_PAIRED = 8192

# One purpose of randomness each, derived from the run's seed; the data's own are in harness/data.
_INIT, _DROPOUT = 101, 102


@dataclass(frozen=True, eq=False)
class Parts:
    """A data set cut up for one seed; equal for every loss, model and optimizer."""

    split: Split
    batch_rows: np.ndarray  # (S, B) int32
    validation_rows: np.ndarray  # (V,) int32, padded to its size before imbalance
    test_rows: np.ndarray  # (T,) int32, likewise
    scaling: Scaling
    num_negatives: int  # of the rows trained on, after imbalance, resampling and batching
    num_positives: int
    # Of the training part as validation and test have it: before resampling, and before an
    # imbalance that touches training alone.
    natural_positive_rate: float
    num_sampled: int  # rows trained on, repeats and made rows included
    num_synthetic: int  # made rows of them
    synthetic: np.ndarray | None  # (M, d) float32, padded; None in programs without made rows
    synthetic_labels: np.ndarray | None  # (M,) float32

    @property
    def train_prior(self) -> float:
        """The share of positives that the run's batches hold: its training prior."""
        return self.num_positives / (self.num_positives + self.num_negatives)


@dataclass(frozen=True, eq=False)
class Prepared:
    """One run, ready to train."""

    program: Program
    lane: Lane
    parts: Parts


def prepare(config: Config, dataset: Dataset) -> Prepared:
    """The program and lane of ``config`` on ``dataset``.

    Raises:
      UserError: the data cannot give what the config asks, such as too few positives.
    """
    training = config.training
    program = program_of(config, dataset)
    _check_batch(config)
    shapes = param_shapes(program.model, program.inputs)  # raises where the data do not fit
    parts = _parts(
        dataset,
        config.split,
        _split_seed(config),
        config.imbalance,
        config.sampler,
        config.batching,
        config.seed,
        config.impute,
        program.num_steps,
        training.batch_size,
        program.num_synthetic,
    )
    counts = {"num_negatives": parts.num_negatives, "num_positives": parts.num_positives}
    optimizer = config.optimizer
    prior_logit = log(parts.num_positives / parts.num_negatives)
    lane = Lane(
        loss=pack(config.loss.fitted(**counts)),
        optimizer=optimizer.bounded(),
        learning_rates=learning_rates(
            peak=optimizer.learning_rate, schedule=config.schedule, num_steps=program.num_steps
        ),
        batch_rows=parts.batch_rows,
        validation_rows=parts.validation_rows,
        validation_weights=_validation_weights(parts, dataset),
        test_rows=parts.test_rows,
        center=parts.scaling.center,
        scale=parts.scaling.scale,
        fill=parts.scaling.fill if program.has_missing else None,
        init_key=_key_data(config.seed, _INIT),
        dropout_key=_key_data(config.seed, _DROPOUT),
        head_bias=config.model.initial_logit + (prior_logit if config.model.prior_bias else 0.0),
        head_scale=config.model.scale,
        start=_starting_params(config, shapes),
        plateau=plateau_rule(config.schedule),
        select_by=SELECT_BY.index(config.evaluation.select),
        patience=training.patience,
        synthetic=parts.synthetic,
        synthetic_labels=parts.synthetic_labels,
        steps_per_epoch=program.steps_per_epoch,
    )
    return Prepared(program=program, lane=jax.tree.map(_as_array, lane), parts=parts)


def _check_batch(config: Config) -> None:
    """Losses of a batch hold a value for every pair of its rows."""
    if isinstance(config.loss, BatchLoss) and config.training.batch_size > MOST_ROWS_PAIRED:
        raise UserError(
            f"training.batch_size={config.training.batch_size}: loss={config.loss.name} looks at "
            f"pairs of rows: at most {MOST_ROWS_PAIRED} rows a batch"
        )


def program_of(config: Config, dataset: Dataset) -> Program:
    """What of ``config`` is fixed at compile time."""
    training = config.training
    num_train = dataset.num_rows - sum(config.split.sizes(dataset))
    one_pass = max(1, -(-num_train // training.batch_size))
    return Program(
        model=config.model.static(),
        num_features=dataset.num_features,
        cardinalities=dataset.cardinalities,
        start=_start(config.init),
        freeze_body=config.init.freeze_body,
        loss_of_a_batch=isinstance(config.loss, BatchLoss),
        num_epochs=training.num_epochs,
        steps_per_epoch=training.steps_per_epoch or one_pass,
        batch_size=training.batch_size,
        num_synthetic=_most_synthetic(config, dataset, num_train),
        has_missing=dataset.has_missing,
    )


def _start(init: Init) -> Literal["random", "body", "all"]:
    if init.params is None:
        return "random"
    return "body" if init.fresh_head else "all"


def _starting_params(
    config: Config, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """The parameters that a run takes from another, by name; none where it takes none.

    ``shapes`` are those of the run's own model.

    Raises:
      UserError: they are not those of the run's own model.
    """
    if config.init.params is None:
        return {}
    source = f"init.params={config.init.params}"
    there = checkpoints.load(checkpoints.find(config.init.params, folder_of(config)))
    fresh = "head." if config.init.fresh_head else ()
    here = {name: shape for name, shape in shapes.items() if not name.startswith(fresh)}
    other_head = ", or init.fresh_head=true for another head"
    for name, shape in here.items():
        if name not in there:
            raise UserError(f"{source}: no {name} there: give that run's model")
        if there[name].shape != shape:
            raise UserError(
                f"{source}: {name} has shape {there[name].shape} there, {shape} here: give that "
                f"run's model and columns{other_head if name.startswith('head.') else ''}"
            )
    return {name: there[name] for name in here}


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


@lru_cache(maxsize=64)
def _parts(
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
    return Parts(
        split=split,
        batch_rows=batches.rows,
        validation_rows=_padded(split.validation, num_validation),
        test_rows=_padded(split.test, num_test),
        scaling=scaling,
        num_negatives=batches.num_negatives,
        num_positives=batches.num_positives,
        num_sampled=len(visited),
        num_synthetic=len(resampled.synthetic),
        **_own_rows(resampled, most_synthetic),
        natural_positive_rate=float(
            labels[(natural if imbalance.where == "train" else split).train].mean(dtype=np.float64)
        ),
    )


def _most_synthetic(config: Config, dataset: Dataset, num_train: int) -> int:
    """Rows that a sampler can make at most, whichever it is: as many as the commoner class has, for
    which no data is drawn. One bound for all of them lets them share a program."""
    if not config.sampler.makes_rows:
        return 0
    commoner = max(dataset.num_positives, dataset.num_rows - dataset.num_positives)
    # Where groups are held out, training may be larger than its expected size.
    return min(num_train, commoner) if isinstance(config.split, EXACT) else commoner


def _validation_weights(parts: Parts, dataset: Dataset) -> np.ndarray:
    """(V,) weights under which the validation part has the prior that is trained under.

    So a run that trains on another prior is not stopped where it leaves the natural one. Exactly 1
    where the two are the same, 0 for padding.
    """
    trained, natural = parts.train_prior, parts.natural_positive_rate
    is_positive = dataset.labels[parts.validation_rows] == 1
    weights = np.where(is_positive, trained / natural, (1 - trained) / (1 - natural))
    weights[len(parts.split.validation) :] = 0
    return weights


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


def _key_data(seed: int, purpose: int) -> np.ndarray:
    """Raw threefry key data, made without JAX: a lane costs no device call."""
    return np.random.SeedSequence([seed, purpose]).generate_state(2, dtype=np.uint32)


def _as_array(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    kinds = {"f": np.float32, "i": np.int32, "b": np.float32}
    return array.astype(kinds[array.dtype.kind]) if array.dtype.kind in kinds else array
