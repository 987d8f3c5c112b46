"""Optimizers that need one gradient a step and keep a moment or two of it."""

from dataclasses import dataclass
from typing import Literal

import jax
import optax

from harness.optimizers.base import Fraction, NonNegative, Optimizer, Positive, named


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SGD(Optimizer):
    """Plain stochastic gradient descent."""

    elementwise = True

    name: Literal["sgd"] = named("sgd")

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.sgd(schedule)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Momentum(Optimizer):
    """SGD with heavy-ball momentum."""

    elementwise = True

    name: Literal["momentum"] = named("momentum")
    momentum: Fraction = 0.9

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.sgd(schedule, momentum=self.momentum)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Nesterov(Momentum):
    """SGD with Nesterov's momentum, as Sutskever et al. (2013) write it."""

    name: Literal["nesterov"] = named("nesterov")  # type: ignore[assignment]

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.sgd(schedule, momentum=self.momentum, nesterov=True)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011): a sum of squares from ``initial_accumulator`` on."""

    elementwise = True

    name: Literal["adagrad"] = named("adagrad")
    initial_accumulator: NonNegative = 0.1
    eps: Positive = 1e-7

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.adagrad(
            schedule, initial_accumulator_value=self.initial_accumulator, eps=self.eps
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RMSProp(Optimizer):
    """RMSProp (Hinton 2012)."""

    elementwise = True

    name: Literal["rmsprop"] = named("rmsprop")
    decay_rate: Fraction = 0.9
    eps: Positive = 1e-8

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.rmsprop(schedule, decay=self.decay_rate, eps=self.eps)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015)."""

    elementwise = True

    name: Literal["adam"] = named("adam")
    b1: Fraction = 0.9
    b2: Fraction = 0.999
    eps: Positive = 1e-8

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.adam(schedule, b1=self.b1, b2=self.b2, eps=self.eps)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"] = named("adamw")  # type: ignore[assignment]
    weight_decay: NonNegative = 1e-4

    def decay(self) -> optax.GradientTransformation:
        return optax.identity()

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.adamw(
            schedule, b1=self.b1, b2=self.b2, eps=self.eps, weight_decay=self.weight_decay
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Lion(Optimizer):
    """Lion (Chen et al. 2023): the sign of a momentum, with decoupled weight decay.

    Every weight moves by the learning rate, so that wants to be 3 to 10 times below Adam's.
    """

    elementwise = True

    name: Literal["lion"] = named("lion")
    learning_rate: Positive = 1e-4
    weight_decay: NonNegative = 1e-3
    b1: Fraction = 0.9
    b2: Fraction = 0.99

    def decay(self) -> optax.GradientTransformation:
        return optax.identity()

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.lion(schedule, b1=self.b1, b2=self.b2, weight_decay=self.weight_decay)
