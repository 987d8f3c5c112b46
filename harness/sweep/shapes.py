"""The shapes a program is compiled for: a run's own sizes, rounded up so that data sets share them.

A compilation takes seconds, and a small data set trains in milliseconds: sixty of them would
mostly compile. So sizes are rounded up to a few, and arrays padded with zeros that no result sees.
Rounding looks at one run's own configuration and data set alone. What else is in a sweep has no
say, so that it changes no bit; and where rounding would cost time that a compilation does not,
sizes stay as they are.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import jax
import numpy as np

from harness.config import Config
from harness.data.dataset import Dataset
from harness.data.splitters import EXACT
from harness.models import takes_padding, without_padding
from harness.parts import held_out_sizes
from harness.prepare import program_of
from harness.train import Lane, Outcome, Program

# Data up to this size is padded; see docs/decisions/012.
MOST_ROWS = 8192
MOST_FEATURES = 32

# Of these a weight that starts at zero and gets no gradient stays zero, and no other weight
# notices: they work element by element, but for the norm of the whole gradient.
ELEMENTWISE_OPTIMIZERS = frozenset(
    {"sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lion"}
)


@dataclass(frozen=True)
class Shapes:
    """What XLA compiles for. Runs of equal shapes share a compiled program."""

    program: Program  # its features and steps an epoch are those there is room for
    num_rows: int  # of the table of the data
    num_validation: int
    num_test: int
    optimizer_structure: Any
    pads_features: bool


# Axes of a stacked lane's arrays, after that of the lanes, which padding lengthens.
_AXES: dict[str, tuple[str, ...]] = {
    "learning_rates": ("steps",),
    "batch_rows": ("steps",),
    "validation_rows": ("validation",),
    "validation_weights": ("validation",),
    "test_rows": ("test",),
    "center": ("features",),
    "scale": ("features",),
    "fill": ("features",),
    "synthetic": ("synthetic", "features"),
    "synthetic_labels": ("synthetic",),
}


def shapes_of(config: Config, dataset: Dataset) -> Shapes:
    """The shapes that ``config`` trains in on ``dataset``."""
    program = program_of(config, dataset)
    pads_features = (
        takes_padding(program.model)
        and config.optimizer.name in ELEMENTWISE_OPTIMIZERS
        and not dataset.cardinalities
        and program.start == "random"
    )
    num_rows = rounded_rows(dataset.num_rows)
    num_validation, num_test = _rounded_held_out(config, dataset, num_rows)
    num_train = num_rows - num_validation - num_test
    num_synthetic = max(program.num_synthetic, num_train) if program.num_synthetic else 0
    steps_per_epoch = program.steps_per_epoch
    if config.training.steps_per_epoch is None:
        steps_per_epoch = max(steps_per_epoch, -(-num_train // program.batch_size))
    num_features = program.num_features
    return Shapes(
        program=replace(
            program,
            num_features=rounded_features(num_features) if pads_features else num_features,
            steps_per_epoch=steps_per_epoch,
            num_synthetic=num_synthetic,
        ),
        num_rows=num_rows,
        num_validation=num_validation,
        num_test=num_test,
        optimizer_structure=optimizer_structure(config.optimizer),
        pads_features=pads_features,
    )


@lru_cache(maxsize=1024)
def optimizer_structure(optimizer: Any) -> Any:
    """The tree of an optimizer's numbers, whatever they are."""
    return jax.tree.structure(optimizer, is_leaf=lambda leaf: leaf is None)


def rounded_rows(num_rows: int) -> int:
    """Room for ``num_rows`` rows: a power of two up to 2,048, then in steps of 512.

    >>> [rounded_rows(rows) for rows in (100, 257, 1484, 4601, 8193)]
    [256, 512, 2048, 4608, 8193]
    """
    if num_rows > MOST_ROWS:
        return num_rows
    if num_rows > 2048:
        return -(-num_rows // 512) * 512
    return max(256, _power_of_two(num_rows))


def rounded_features(num_features: int) -> int:
    """Room for ``num_features``: a power of two from 8 to 32.

    >>> [rounded_features(features) for features in (3, 8, 18, 57)]
    [8, 8, 32, 57]
    """
    return max(8, _power_of_two(num_features)) if num_features <= MOST_FEATURES else num_features


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _rounded_held_out(config: Config, dataset: Dataset, num_rows: int) -> tuple[int, int]:
    """Room for the validation and test parts: what they would be of ``num_rows`` rows."""
    own = held_out_sizes(config, dataset)
    if num_rows == dataset.num_rows:
        return own
    if isinstance(config.split, EXACT):
        of_rounded = config.split.sizes_of(num_rows)
        return max(own[0], of_rounded[0]), max(own[1], of_rounded[1])
    return rounded_rows(own[0]), rounded_rows(own[1])


def padded(stacked: Lane, shapes: Shapes, *, num_features: int) -> Lane:
    """Stacked lanes with room for ``shapes``; ``num_features`` is how many the data set has.

    Padding repeats the part's last row where it names a row, whose weight is 0: no row of another
    part is looked at. Elsewhere it is zero, which turns a padded feature into 0.
    """
    sizes = {
        "steps": shapes.program.num_steps,
        "validation": shapes.num_validation,
        "test": shapes.num_test,
        "features": shapes.program.num_features,
        "synthetic": shapes.program.num_synthetic,
    }
    longer: dict[str, Any] = {
        name: _lengthened(
            getattr(stacked, name),
            [sizes[axis] for axis in axes],
            mode="edge" if name in {"validation_rows", "test_rows"} else "constant",
        )
        for name, axes in _AXES.items()
        if getattr(stacked, name) is not None
    }
    if shapes.pads_features:
        width = len(stacked.steps_per_epoch)
        scale = _input_scale(num_features, shapes.program.num_features)
        longer["input_scale"] = np.broadcast_to(scale, (width, len(scale)))
    return stacked._replace(**longer)


def trimmed(
    outcome: Outcome, shapes: Shapes, *, num_validation: int, num_test: int, num_features: int
) -> Outcome:
    """``outcome`` of a batch without padding: the logits and weights of its own data set."""
    own = outcome._replace(
        validation_logits=outcome.validation_logits[:, :num_validation],
        test_logits=outcome.test_logits[:, :num_test],
    )
    if not shapes.pads_features:
        return own
    return own._replace(params=without_padding(own.params, num_features=num_features))


def _lengthened(
    array: np.ndarray, sizes: list[int], *, mode: Literal["edge", "constant"]
) -> np.ndarray:
    room = [(0, 0)] * array.ndim
    for axis, size in enumerate(sizes, start=1):
        room[axis] = (0, size - array.shape[axis])
    return np.pad(array, room, mode=mode) if any(after for _, after in room) else array


def _input_scale(num_features: int, room: int) -> np.ndarray:
    """Scales weights drawn for ``room`` inputs to the spread that ``num_features`` call for."""
    scale = np.zeros(room, dtype=np.float32)
    scale[:num_features] = np.sqrt(room / num_features)
    return scale
