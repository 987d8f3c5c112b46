"""Optimizers that do more than keep moments: Muon, sharpness-aware and schedule-free ones."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import jax
import optax
from annotated_types import Gt, Lt
from jax import Array
from optax import contrib

from harness.optimizers.base import Fraction, NonNegative, Optimizer, Positive, named
from harness.optimizers.first_order import Adam, Momentum

# Avoids 0 / 0 where the gradient vanishes, as under a hinge loss that is satisfied everywhere.
_TINY = 1e-12


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Muon(Optimizer):
    """Muon (Jordan et al. 2024): the momentum of a weight matrix, orthogonalised.

    Biases, embeddings and the head take Adam's step. Matrices' steps are scaled to a root mean
    square of ``consistent_rms``, so that one learning rate suits both (Liu et al. 2025, section
    2.2). Weight decay is decoupled.
    """

    name: Literal["muon"] = named("muon")
    momentum: Fraction = 0.95
    consistent_rms: Positive = 0.2
    b1: Fraction = 0.9
    b2: Fraction = 0.999
    eps: Positive = 1e-8

    def decay(self) -> optax.GradientTransformation:
        return optax.identity()

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return contrib.muon(
            schedule,
            beta=self.momentum,
            eps=self.eps,
            weight_decay=self.weight_decay,
            adam_b1=self.b1,
            adam_b2=self.b2,
            adam_weight_decay=self.weight_decay,
            consistent_rms=self.consistent_rms,
            muon_weight_dimension_numbers=_hidden_matrices,
        )


def _hidden_matrices(params: Any) -> Any:
    """For each array what Optax's Muon wants to know of it: None where Adam is to move it."""

    def axes(path: Any, leaf: Array) -> contrib.MuonDimensionNumbers | None:
        name = jax.tree_util.keystr(path)
        hidden = leaf.ndim == 2 and "head" not in name and "embedding" not in name
        return contrib.MuonDimensionNumbers() if hidden else None

    return jax.tree_util.tree_map_with_path(axes, params)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SAM(Momentum):
    """Sharpness-aware minimisation (Foret et al. 2021) over SGD with momentum.

    The gradient is taken at params + rho g / |g|, g being the gradient at params: two a step.
    Clipping and decay are of the second.
    """

    num_gradients: ClassVar[int] = 2
    elementwise = False  # it divides by the norm of the whole gradient

    name: Literal["sam"] = named("sam")  # type: ignore[assignment]
    rho: NonNegative = 0.05

    def transformation(self, schedule: optax.Schedule) -> optax.GradientTransformationExtraArgs:
        return _sharpness_aware(super().transformation(schedule), self.rho)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SAMAdam(Adam):
    """Sharpness-aware minimisation, as `SAM`, over Adam."""

    num_gradients: ClassVar[int] = 2
    elementwise = False  # it divides by the norm of the whole gradient

    name: Literal["sam_adam"] = named("sam_adam")  # type: ignore[assignment]
    rho: NonNegative = 0.05

    def transformation(self, schedule: optax.Schedule) -> optax.GradientTransformationExtraArgs:
        return _sharpness_aware(super().transformation(schedule), self.rho)


def _sharpness_aware(
    inner: optax.GradientTransformation, rho: float
) -> optax.GradientTransformationExtraArgs:
    unit = optax.stateless(
        lambda grads, _: optax.tree.scale(1.0 / (optax.tree.norm(grads) + _TINY), grads)
    )
    # Optax climbs against the adversary's updates.
    return contrib.sam(inner, optax.chain(unit, optax.scale(-rho)), opaque_mode=True)


@dataclass(frozen=True)
class _ScheduleFree(Optimizer):
    """Schedule-free learning (Defazio et al. 2024): averages iterates instead of a decay.

    Gradients are taken at y, between the base optimizer's iterate z and the average x of them,
    ``b1`` of the way to x. Predictions are those of x. Meant for a constant learning rate, after a
    warm-up at most.
    """

    b1: Annotated[float, Gt(0), Lt(1)] = 0.9

    def base(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        """The rule that moves z; without momentum."""
        raise NotImplementedError

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        # Optax counts from 1 where it weighs an iterate, and from 0 where it makes it.
        return contrib.schedule_free(
            self.base(schedule), lambda count: schedule(count - 1), b1=self.b1
        )

    def evaluated(self, opt_state: Any, params: Any) -> Any:
        *_, state = opt_state  # of `rule`, the last of the chain
        return contrib.schedule_free_eval_params(state, params)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ScheduleFreeSGD(_ScheduleFree):
    """Schedule-free SGD."""

    name: Literal["schedule_free_sgd"] = named("schedule_free_sgd")

    def base(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.sgd(schedule)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ScheduleFreeAdamW(_ScheduleFree):
    """Schedule-free AdamW: Adam's second moment, decoupled weight decay."""

    name: Literal["schedule_free_adamw"] = named("schedule_free_adamw")
    b2: Fraction = 0.999
    eps: Positive = 1e-8

    def decay(self) -> optax.GradientTransformation:
        return optax.identity()

    def base(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.chain(
            optax.scale_by_rms(
                decay=self.b2, eps=self.eps, eps_in_sqrt=False, bias_correction=True
            ),
            optax.add_decayed_weights(self.weight_decay),
            optax.scale_by_learning_rate(schedule),
        )
