"""From a configuration to a lane: the one place where a config value becomes an array.

Everything here runs on the host.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Any, Literal

import jax
import numpy as np

from harness import checkpoints
from harness.config import Config, Init, folder_of
from harness.data.dataset import Dataset
from harness.errors import UserError
from harness.losses import pack
from harness.models import param_shapes
from harness.optimizers import learning_rates, plateau_rule
from harness.parts import Parts, most_synthetic, num_trained_on, parts_of
from harness.train import SELECT_BY, Lane, Program

# Rows of a batch for a loss of pairs: each pair takes a few numbers, a gigabyte in all.
MOST_ROWS_PAIRED = 8192

# One purpose of randomness each, derived from the run's seed; the data's own are in harness/data.
_INIT, _DROPOUT = 101, 102


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
    parts = parts_of(
        config, dataset, num_steps=program.num_steps, num_synthetic=program.num_synthetic
    )
    counts = {"num_negatives": parts.num_negatives, "num_positives": parts.num_positives}
    optimizer = config.optimizer
    prior_logit = log(parts.num_positives / parts.num_negatives)
    arrays: dict[str, Any] = dict(
        loss=pack(config.loss.fitted(**counts)),
        optimizer=optimizer.bounded(),
        learning_rates=learning_rates(
            peak=optimizer.learning_rate, schedule=config.schedule, num_steps=program.num_steps
        ),
        batch_rows=parts.batch_rows,
        validation_rows=parts.validation_rows,
        validation_weights=parts.validation_weights,
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
    return Prepared(program=program, lane=jax.tree.map(_as_array, Lane(**arrays)), parts=parts)


def _check_batch(config: Config) -> None:
    """Losses of a batch hold a value for every pair of its rows."""
    if config.loss.of_a_batch and config.training.batch_size > MOST_ROWS_PAIRED:
        raise UserError(
            f"training.batch_size={config.training.batch_size}: loss={config.loss.name} looks at "
            f"pairs of rows: at most {MOST_ROWS_PAIRED} rows a batch"
        )


def program_of(config: Config, dataset: Dataset) -> Program:
    """What of ``config`` is fixed at compile time."""
    training = config.training
    one_pass = max(1, -(-num_trained_on(config, dataset) // training.batch_size))
    return Program(
        model=config.model.static(),
        num_features=dataset.num_features,
        cardinalities=dataset.cardinalities,
        start=_start(config.init),
        freeze_body=config.init.freeze_body,
        loss_of_a_batch=config.loss.of_a_batch,
        num_epochs=training.num_epochs,
        steps_per_epoch=training.steps_per_epoch or one_pass,
        batch_size=training.batch_size,
        num_synthetic=most_synthetic(config, dataset),
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


def _key_data(seed: int, purpose: int) -> np.ndarray:
    """Raw threefry key data, made without JAX: a lane costs no device call."""
    return np.random.SeedSequence([seed, purpose]).generate_state(2, dtype=np.uint32)


def _as_array(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    kinds = {"f": np.float32, "i": np.int32, "b": np.float32}
    return array.astype(kinds[array.dtype.kind]) if array.dtype.kind in kinds else array
