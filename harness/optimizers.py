"""Optimizers and learning-rate schedules, from Optax.

An optimizer is a frozen dataclass and a pytree: its name fixes the program, its numbers are array
leaves that differ from lane to lane. Schedules are data: the learning rate of every step, computed
on the host, so that any schedule runs in the same compiled program.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge, Gt, Lt
from jax import Array

NonNegative = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Fraction = Annotated[float, Ge(0), Lt(1)]


def _name(value: str) -> Any:
    return field(default=value, metadata={"static": True})


@dataclass(frozen=True)
class Optimizer:
    """What all share. ``weight_decay`` is an L2 term added to the gradient, as in PyTorch.

    ``clip_norm`` bounds the global norm of the gradient; empty is no bound.
    """

    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    clip_norm: Positive | None = None

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        """The update rule under ``schedule``, from Optax."""
        raise NotImplementedError

    def decay(self) -> optax.GradientTransformation:
        return optax.add_decayed_weights(self.weight_decay)

    def transformation(self, learning_rates: Array) -> optax.GradientTransformation:
        """Clip, decay, update, with ``learning_rates`` (num_steps,) looked up by step."""
        # Every lane clips; an infinite bound leaves the gradient's bits alone. One program serves.
        bound = jnp.inf if self.clip_norm is None else self.clip_norm
        return optax.chain(
            optax.clip_by_global_norm(bound),
            self.decay(),
            self.rule(lambda step: learning_rates[step]),
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SGD(Optimizer):
    """Plain stochastic gradient descent."""

    name: Literal["sgd"] = _name("sgd")

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.sgd(schedule)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Momentum(Optimizer):
    """SGD with heavy-ball momentum."""

    name: Literal["momentum"] = _name("momentum")
    momentum: Fraction = 0.9

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.sgd(schedule, momentum=self.momentum)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RMSProp(Optimizer):
    """RMSProp (Hinton 2012)."""

    name: Literal["rmsprop"] = _name("rmsprop")
    decay_rate: Fraction = 0.9
    eps: Positive = 1e-8

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.rmsprop(schedule, decay=self.decay_rate, eps=self.eps)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015)."""

    name: Literal["adam"] = _name("adam")
    b1: Fraction = 0.9
    b2: Fraction = 0.999
    eps: Positive = 1e-8

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.adam(schedule, b1=self.b1, b2=self.b2, eps=self.eps)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"] = _name("adamw")  # type: ignore[assignment]
    weight_decay: NonNegative = 1e-4

    def decay(self) -> optax.GradientTransformation:
        return optax.identity()

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.adamw(
            schedule, b1=self.b1, b2=self.b2, eps=self.eps, weight_decay=self.weight_decay
        )


@dataclass(frozen=True)
class Constant:
    """The learning rate as given, at every step."""

    name: Literal["constant"] = "constant"

    def schedule(self, num_steps: int) -> optax.Schedule:
        return optax.constant_schedule(1.0)


@dataclass(frozen=True)
class WarmupCosine:
    """Linear from 0 over a share of the steps, then a cosine down to ``final`` of the peak."""

    name: Literal["warmup_cosine"] = "warmup_cosine"
    warmup: Fraction = 0.1
    final: Fraction = 0.0

    def schedule(self, num_steps: int) -> optax.Schedule:
        return optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=1.0,
            warmup_steps=round(self.warmup * num_steps),
            decay_steps=num_steps,
            end_value=self.final,
        )


Schedule = Constant | WarmupCosine


@lru_cache(maxsize=256)
def _relative_rates(schedule: Schedule, num_steps: int) -> np.ndarray:
    steps = jnp.arange(num_steps)
    rates = jnp.broadcast_to(schedule.schedule(num_steps)(steps), (num_steps,))
    return np.asarray(rates, dtype=np.float32)


def learning_rates(*, peak: float, schedule: Schedule, num_steps: int) -> np.ndarray:
    """The learning rate of each step, float32 (num_steps,)."""
    return np.float32(peak) * _relative_rates(schedule, num_steps)
