"""From a configuration to a run: its name, its program, and its arrays when they are needed.

`resolve` is called once a job, and is the one place where a configuration's values become a
program's sizes and a lane's arrays. Everything here runs on the host.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import log
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from harness import checkpoints
from harness.config import Config, Init, folder_of
from harness.data.dataset import Dataset
from harness.data.run_data import Draw, RunData, held_out_sizes, most_synthetic, run_data
from harness.errors import UserError
from harness.identity import run_id
from harness.losses import family_of, pack
from harness.metrics.own_calibrator import OWN
from harness.models import Inputs, param_shapes, takes_padding
from harness.optimizers import Optimizer, learning_rates, plateau_rule
from harness.padding import rounded_features, rounded_rows, started_shapes
from harness.training import SELECT_BY, Lane, Program, Sizes

# Rows of a batch for a loss of pairs: each pair takes a few numbers, a gigabyte in all.
MOST_ROWS_PAIRED = 8192

# One purpose of randomness each, derived from the run's seed; the data's own are in harness/data.
_INIT, _DROPOUT = 101, 102

Key = tuple[Path, str]


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """One run, resolved. It holds no array: `data` and `lane` make them of its data set.

    Attributes:
      fingerprint: of the data set.
      program: what is compiled for it, with room for more than it needs.
      sizes: its own.
    """

    run_id: str
    config: Config
    fingerprint: str
    program: Program
    sizes: Sizes

    @property
    def folder(self) -> Path:
        """The sweep folder it is stored in."""
        return folder_of(self.config)

    @property
    def key(self) -> Key:
        """What is trained and stored once: a run in its folder."""
        return self.folder, self.run_id

    @property
    def exact_program(self) -> Program:
        """Its program without room: of the plain loop, and of the arithmetic that is of use."""
        program = self.program
        return Program(**{**vars(program), "sizes": self.sizes, "pads_features": False})

    def data(self, dataset: Dataset) -> RunData:
        """The rows of every part, and the order they are trained in.

        Raises:
          UserError: the data cannot give what the config asks, such as too few positives.
        """
        config = self.config
        draw = Draw(
            split=config.split,
            split_seed=_split_seed(config),
            imbalance=config.imbalance,
            sampler=config.sampler,
            batching=config.batching,
            seed=config.seed,
            impute=config.impute,
            num_steps=self.program.num_epochs * self.sizes.steps_per_epoch,
            batch_size=self.program.batch_size,
        )
        return run_data(dataset, draw)

    def lane(self, dataset: Dataset) -> Lane:
        """The run's arrays, in its own sizes; those that its program has no use for are None.

        Raises:
          UserError: as `data`, or the parameters to start from are not those of the run's model.
        """
        config, data, sizes = self.config, self.data(dataset), self.sizes
        num_steps = self.program.num_epochs * sizes.steps_per_epoch
        loss = config.loss.fitted(
            num_negatives=data.num_negatives, num_positives=data.num_positives
        )
        prior_logit = log(data.num_positives / data.num_negatives)
        makes_rows = sizes.synthetic > 0
        arrays: dict[str, Any] = dict(
            loss=pack(loss),
            optimizer=config.optimizer.in_lane(),
            learning_rates=learning_rates(
                peak=config.optimizer.learning_rate, schedule=config.schedule, num_steps=num_steps
            ),
            batch_rows=data.batch_rows,
            validation_rows=data.split.validation,
            validation_weights=data.validation_weights,
            test_rows=data.split.test,
            center=data.scaling.center,
            scale=data.scaling.scale,
            fill=data.scaling.fill if self.program.has_missing else None,
            init_key=_key_data(config.seed, _INIT),
            dropout_key=_key_data(config.seed, _DROPOUT),
            head_bias=config.model.initial_logit
            + (loss.at(0.0).constant_logit(prior_logit) if config.model.prior_bias else 0.0),
            head_scale=config.model.scale,
            start=_starting_params(config, started_shapes(self.program), dataset),
            plateau=plateau_rule(config.schedule),
            select_by=SELECT_BY.index(config.evaluation.select),
            patience=config.training.patience,
            synthetic=data.synthetic if makes_rows else None,
            synthetic_labels=data.synthetic_labels if makes_rows else None,
            steps_per_epoch=sizes.steps_per_epoch,
        )
        if self.program.has_row_weights:
            assert dataset.row_weights is not None
            of_rows = dataset.row_weights[data.split.validation]
            arrays["validation_weights"] = data.validation_weights * of_rows
        return jax.tree.map(_as_array, Lane(**arrays))


def resolve(config: Config, dataset: Dataset) -> Run:
    """The run of ``config`` on ``dataset``, which is the one that ``config`` names.

    Raises:
      UserError: the model, the loss or the split does not fit the data, or there are no parameters
        where the run is to start from some.
    """
    _check_batch(config)
    if dataset.has_row_weights:
        check_weightable(config)
    inputs = Inputs(dataset.num_features, dataset.cardinalities)
    model = config.model.static()
    param_shapes(model, inputs)  # raises where the data do not fit
    start = _start(config.init)
    pads_features = (
        takes_padding(model)
        and config.optimizer.elementwise
        and not dataset.cardinalities
        and start == "random"
    )
    sizes = _sizes(config, dataset)
    return Run(
        run_id=run_id(
            config,
            data_fingerprint=dataset.fingerprint,
            params_fingerprint=_params_fingerprint(config),
        ),
        config=config,
        fingerprint=dataset.fingerprint,
        program=Program(
            model=model,
            optimizer=optimizer_structure(config.optimizer),
            sizes=_room(config, sizes, pads_features=pads_features),
            num_epochs=config.training.num_epochs,
            batch_size=config.training.batch_size,
            has_missing=dataset.has_missing,
            cardinalities=dataset.cardinalities,
            start=start,
            freeze_body=config.init.freeze_body,
            losses=family_of(type(config.loss)),
            pads_features=pads_features,
            has_row_weights=dataset.has_row_weights,
        ),
        sizes=sizes,
    )


def _sizes(config: Config, dataset: Dataset) -> Sizes:
    """A run's own sizes: training steps are of the training part before imbalance, as expected."""
    num_train = dataset.num_rows - sum(config.split.sizes(dataset))
    one_pass = max(1, -(-num_train // config.training.batch_size))
    validation, test = held_out_sizes(dataset, config.split, seed=_split_seed(config))
    return Sizes(
        rows=dataset.num_rows,
        features=dataset.num_features,
        validation=validation,
        test=test,
        steps_per_epoch=config.training.steps_per_epoch or one_pass,
        synthetic=most_synthetic(dataset, config.split, config.sampler),
    )


def _room(config: Config, own: Sizes, *, pads_features: bool) -> Sizes:
    """The sizes that a run of its ``own`` sizes is compiled for: see `harness.padding`."""
    rows = rounded_rows(own.rows)
    validation, test = _held_out_room(config.split, own, rows)
    num_train = rows - validation - test
    steps_per_epoch = own.steps_per_epoch
    if config.training.steps_per_epoch is None:
        steps_per_epoch = max(steps_per_epoch, -(-num_train // config.training.batch_size))
    return Sizes(
        rows=rows,
        features=rounded_features(own.features) if pads_features else own.features,
        validation=validation,
        test=test,
        steps_per_epoch=steps_per_epoch,
        synthetic=max(own.synthetic, num_train) if own.synthetic else 0,
    )


def _held_out_room(split: Any, own: Sizes, rows: int) -> tuple[int, int]:
    """Room for the validation and test parts: what they would be of ``rows`` rows."""
    if rows == own.rows:
        return own.validation, own.test
    if split.exact:
        validation, test = split.sizes_of(rows)
        return max(own.validation, validation), max(own.test, test)
    return rounded_rows(own.validation), rounded_rows(own.test)


@lru_cache(maxsize=1024)
def optimizer_structure(optimizer: Optimizer) -> jax.tree_util.PyTreeDef:
    """The tree of an optimizer's numbers, whatever they are."""
    return jax.tree.structure(optimizer.in_lane())


def _split_seed(config: Config) -> int:
    return config.seed if config.split.seed is None else config.split.seed


def _check_batch(config: Config) -> None:
    """Losses of a batch hold a value for every pair of its rows."""
    if config.loss.of_a_batch and config.training.batch_size > MOST_ROWS_PAIRED:
        raise UserError(
            f"training.batch_size={config.training.batch_size}: loss={config.loss.name} looks at "
            f"pairs of rows: at most {MOST_ROWS_PAIRED} rows a batch"
        )


def check_weightable(config: Config) -> None:
    """What counts rows, and cannot weigh them, is refused: nothing ignores weights in silence.

    Raises:
      UserError: names the key.
    """
    criteria = (config.evaluation.threshold, *config.evaluation.thresholds)
    own = [name for name in config.evaluation.calibrators if name in OWN]
    counting = {
        f"sampler={config.sampler.name}": config.sampler.name != "none",
        f"imbalance.positive_rate={config.imbalance.positive_rate}": (
            config.imbalance.positive_rate is not None
        ),
        f"loss={config.loss.name}": config.loss.name == "smooth_ap",  # of ranks, which count rows
        f"evaluation.alerts={config.evaluation.alerts:g}": (
            config.evaluation.alerts >= 1 and "alerts" in criteria
        ),
        "wandb.charts=true": config.wandb.charts,
        f"extra_metrics=[{','.join(config.extra_metrics)}]": bool(config.extra_metrics),
        f"evaluation.calibrators=[{','.join(own)}]": bool(own),
    }
    for key, is_asked in counting.items():
        if is_asked:
            raise UserError(
                f"{key} counts rows, and these have weights (dataset.weight): leave one of them out"
            )


def _start(init: Init) -> Literal["random", "body", "all"]:
    if init.params is None:
        return "random"
    return "body" if init.fresh_head else "all"


def _params_fingerprint(config: Config) -> str | None:
    if config.init.params is None:
        return None
    return checkpoints.fingerprint(checkpoints.find(config.init.params, folder_of(config)))


def _starting_params(
    config: Config, shapes: Mapping[str, tuple[int, ...]], dataset: Dataset
) -> dict[str, np.ndarray]:
    """The parameters of ``shapes`` that a run takes from another, by name.

    Raises:
      UserError: they are not those of the run's own model and features.
    """
    if config.init.params is None:
        return {}
    source = f"init.params={config.init.params}"
    place = checkpoints.find(config.init.params, folder_of(config))
    there = checkpoints.load(place)
    other_head = ", or init.fresh_head=true for another head"
    for name, shape in shapes.items():
        if name not in there:
            raise UserError(f"{source}: no {name} there: give that run's model")
        if there[name].shape != shape:
            raise UserError(
                f"{source}: {name} has shape {there[name].shape} there, {shape} here: give that "
                f"run's model and columns{other_head if name.startswith('head.') else ''}"
            )
    checkpoints.check_features(place, dataset.feature_names, source=source)
    return {name: there[name] for name in shapes}


def _key_data(seed: int, purpose: int) -> np.ndarray:
    """Raw threefry key data, made without JAX: a lane costs no device call."""
    return np.random.SeedSequence([seed, purpose]).generate_state(2, dtype=np.uint32)


def _as_array(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    kinds = {"f": np.float32, "i": np.int32, "b": np.float32}
    return array.astype(kinds[array.dtype.kind]) if array.dtype.kind in kinds else array
