"""Reducing the learning rate where validation stops improving: a rule between epochs.

Optax's `reduce_on_plateau` decides the same way, but checks its numbers in Python, which an array
that differs from lane to lane cannot pass.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from harness.optimizers.schedules import OneCycle, Plateau, Schedule


class PlateauRule(NamedTuple):
    """A lane's numbers, see `Plateau`; ``patience`` 0 never reduces."""

    factor: Any  # () float32
    patience: Any  # () int32, epochs
    cooldown: Any  # () int32, epochs
    threshold: Any  # () float32
    lowest: Any  # () float32


class PlateauState(NamedTuple):
    """What the rule remembers from epoch to epoch."""

    scale: Array  # () float32, multiplies the learning rate
    best: Array  # () float32
    waited: Array  # () int32, epochs since a better value
    cooling: Array  # () int32, epochs of cooldown left


def plateau_rule(schedule: Schedule | OneCycle) -> PlateauRule:
    """The rule of ``schedule``: one that never reduces, for all but `Plateau`."""
    if isinstance(schedule, Plateau):
        return PlateauRule(
            factor=schedule.factor,
            patience=schedule.patience,
            cooldown=schedule.cooldown,
            threshold=schedule.threshold,
            lowest=schedule.lowest,
        )
    return PlateauRule(factor=1.0, patience=0, cooldown=0, threshold=0.0, lowest=0.0)


def plateau_shapes() -> PlateauRule:
    """The shapes and types of a lane's rule."""
    number, count = (jax.ShapeDtypeStruct((), kind) for kind in (jnp.float32, jnp.int32))  # type: ignore[no-untyped-call]
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
