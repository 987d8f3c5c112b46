"""Reducing the learning rate where validation stops improving: a rule between epochs.

Optax's `reduce_on_plateau` decides the same way, but checks its numbers in Python, which an array
that differs from lane to lane cannot pass.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float32, Int32

from harness.optimizers.schedules import OneCycle, Plateau, Schedule


class PlateauRule(NamedTuple):
    """A lane's numbers, see `Plateau`; ``patience`` 0 never reduces."""

    factor: Float32[Array, ""]
    patience: Int32[Array, ""]  # epochs
    cooldown: Int32[Array, ""]  # epochs
    threshold: Float32[Array, ""]
    lowest: Float32[Array, ""]


class PlateauState(NamedTuple):
    """What the rule remembers from epoch to epoch."""

    scale: Float32[Array, ""]  # multiplies the learning rate
    best: Float32[Array, ""]
    waited: Int32[Array, ""]  # epochs since a better value
    cooling: Int32[Array, ""]  # epochs of cooldown left


def plateau_rule(schedule: Schedule | OneCycle) -> PlateauRule:
    """The rule of ``schedule``: one that never reduces, for all but `Plateau`."""
    numbers: dict[str, Any] = dict(factor=1.0, patience=0, cooldown=0, threshold=0.0, lowest=0.0)
    if isinstance(schedule, Plateau):
        numbers = {name: getattr(schedule, name) for name in numbers}
    return PlateauRule(**numbers)  # as arrays in a lane


def plateau_shapes() -> PlateauRule:
    """The shapes and types of a lane's rule."""
    shaped: Any = jax.ShapeDtypeStruct
    number, count = shaped((), jnp.float32), shaped((), jnp.int32)
    return PlateauRule(
        factor=number, patience=count, cooldown=count, threshold=number, lowest=number
    )


def plateau_start() -> PlateauState:
    return PlateauState(jnp.float32(1.0), jnp.float32(jnp.inf), jnp.int32(0), jnp.int32(0))


def plateau_update(rule: PlateauRule, state: PlateauState, value: Array) -> PlateauState:
    """The state after an epoch whose validation ``value`` is given."""
    better = value < (1.0 - rule.threshold) * state.best
    cooling = state.cooling > 0
    waited = jnp.where(better | cooling, 0, state.waited + 1)
    cut = (rule.patience > 0) & (waited >= rule.patience)
    reduced = jnp.maximum(state.scale * rule.factor, rule.lowest)
    return PlateauState(
        scale=jnp.where(cut, reduced, state.scale),
        best=jnp.where(better, value, state.best),
        waited=jnp.where(cut, 0, waited),
        cooling=jnp.where(cut, rule.cooldown, jnp.maximum(state.cooling - 1, 0)),
    )
