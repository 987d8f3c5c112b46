"""Room: the sizes a program is compiled for, how a run's arrays fill it, and the way back.

A compilation takes seconds, and a small data set trains in milliseconds: sixty of them would
mostly compile. So sizes are rounded up to a few, and arrays padded so that no result sees it.
Rounding looks at one run's own configuration and data set alone. What else is in a sweep has no
say, so that it changes no bit; and where rounding would cost time that a compilation does not,
sizes stay as they are.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from harness.losses import packed_shapes
from harness.memory import shareable
from harness.models import param_shapes, without_padding
from harness.optimizers import plateau_shapes
from harness.training import Lane, Outcome, Program, Sizes

# Data up to this size is padded; see docs/decisions/012.
MOST_ROWS = 8192
MOST_FEATURES = 32

# The axes of a lane's arrays, by the size they have room for. What is not here is a number.
_AXES: dict[str, tuple[str, ...]] = {
    "learning_rates": ("steps",),
    "batch_rows": ("steps", "batch"),
    "validation_rows": ("validation",),
    "validation_weights": ("validation",),
    "test_rows": ("test",),
    "center": ("features",),
    "scale": ("features",),
    "fill": ("features",),
    "input_scale": ("features",),
    "init_key": ("key",),
    "dropout_key": ("key",),
    "synthetic": ("synthetic", "features"),
    "synthetic_labels": ("synthetic",),
}
_INTEGERS = frozenset(
    {"batch_rows", "validation_rows", "test_rows", "select_by", "patience", "steps_per_epoch"}
)
# Padding here repeats the part's last row: no row of another part is looked at. Elsewhere it is
# zero, which turns a padded feature into 0 and gives a padded row no weight.
_ROWS = frozenset({"validation_rows", "test_rows"})


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


def lane_shapes(program: Program) -> Lane:
    """The shape and type of everything in one lane of ``program``."""
    sizes = _sizes(program)
    arrays: dict[str, Any] = {
        name: _shape(name, sizes) for name in Lane._fields if name not in _TREES
    }
    arrays |= dict.fromkeys(_absent(program))
    arrays["start"] = {
        name: jax.ShapeDtypeStruct(shape, np.float32)
        for name, shape in started_shapes(program).items()
    }
    number = jax.ShapeDtypeStruct((), np.float32)
    return Lane(
        loss=packed_shapes(program.losses),
        optimizer=jax.tree.unflatten(program.optimizer, [number] * program.optimizer.num_leaves),
        plateau=plateau_shapes(),
        **arrays,
    )


_TREES = frozenset({"loss", "optimizer", "plateau", "start"})


def started_shapes(program: Program) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters that a run takes from another, by name."""
    if program.start == "random":
        return {}
    shapes = param_shapes(program.model, program.inputs)
    fresh = ("head.",) if program.start == "body" else ()
    return {name: shape for name, shape in shapes.items() if not name.startswith(fresh)}


def stack(lanes: Sequence[Lane], program: Program, *, width: int) -> Lane:
    """``lanes`` as one tree with a leading axis of ``width``, each array filling its room.

    All are of one data set and take the same number of steps: the program's loop has one end. The
    last lane is repeated to fill the width.
    """
    assert len({int(lane.steps_per_epoch) for lane in lanes}) == 1
    filled = [*lanes, *[lanes[-1]] * (width - len(lanes))]
    sizes = _sizes(program)
    stacked: dict[str, Any] = {}
    for name in Lane._fields:
        leaves = [getattr(one, name) for one in filled]
        if name in _TREES:
            stacked[name] = jax.tree.map(lambda *numbers: np.stack(numbers), *leaves)
        else:
            stacked[name] = _stacked(leaves, name, sizes)
    if program.pads_features:
        scale = _input_scale(len(lanes[0].center), program.sizes.features)
        stacked["input_scale"] = np.broadcast_to(scale, (width, len(scale)))
    return Lane(**stacked)


def trimmed(outcome: Outcome, program: Program, sizes: Sizes) -> Outcome:
    """A batch's ``outcome`` without padding: the logits and weights of runs of ``sizes``."""
    own = outcome._replace(
        validation_logits=outcome.validation_logits[:, : sizes.validation],
        test_logits=outcome.test_logits[:, : sizes.test],
    )
    if not program.pads_features:
        return own
    return own._replace(params=without_padding(own.params, num_features=sizes.features))


def _sizes(program: Program) -> dict[str, int]:
    return {
        **vars(program.sizes),
        "steps": program.num_steps,
        "batch": program.batch_size,
        "key": 2,
    }


def _absent(program: Program) -> list[str]:
    """What a lane of ``program`` has not."""
    there = {
        "synthetic": program.sizes.synthetic > 0,
        "synthetic_labels": program.sizes.synthetic > 0,
        "fill": program.has_missing,
        "input_scale": program.pads_features,
    }
    return [name for name, is_there in there.items() if not is_there]


def _shape(name: str, sizes: dict[str, int]) -> jax.ShapeDtypeStruct:
    kind = np.uint32 if name.endswith("_key") else np.int32 if name in _INTEGERS else np.float32
    return jax.ShapeDtypeStruct(tuple(sizes[axis] for axis in _AXES.get(name, ())), kind)


def _stacked(arrays: Sequence[Any], name: str, sizes: dict[str, int]) -> np.ndarray | None:
    if arrays[0] is None:
        return None
    room = tuple(sizes[axis] for axis in _AXES.get(name, ()))
    padded = shareable((len(arrays), *room), arrays[0].dtype)
    if all(array.shape == room for array in arrays):
        return np.stack(arrays, out=padded)
    for into, array in zip(padded, arrays, strict=True):
        into[tuple(map(slice, array.shape))] = array
        if name in _ROWS:
            into[len(array) :] = array[-1]
    return padded


def _input_scale(num_features: int, room: int) -> np.ndarray:
    """Scales weights drawn for ``room`` inputs to the spread that ``num_features`` call for."""
    scale = np.zeros(room, dtype=np.float32)
    scale[:num_features] = np.sqrt(room / num_features)
    return scale
