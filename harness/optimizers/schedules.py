"""Learning-rate schedules: data, computed on the host, so that any runs in the same program.

Shares are of all steps of a run. The plateau, which depends on how the run goes, is a rule inside
the program (`harness.optimizers.plateau`) that every lane carries and few use.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge, Gt, Le, Lt

from harness.errors import UserError
from harness.exact import exact
from harness.optimizers.base import Fraction

Share = Annotated[float, Gt(0), Lt(1)]


@dataclass(frozen=True)
class Schedule:
    """The learning rate as a multiple of its peak, after a linear ``warmup`` from 0."""

    warmup: Fraction = 0.0

    def schedule(self, num_steps: int) -> optax.Schedule:
        """The multiple at each step."""
        warmup_steps = round(exact(self.warmup) * num_steps)
        after = self.after_warmup(num_steps - warmup_steps)
        if not warmup_steps:
            return after
        rise = optax.linear_schedule(0.0, 1.0, warmup_steps)
        return optax.join_schedules([rise, after], [warmup_steps])

    def after_warmup(self, num_steps: int) -> optax.Schedule:
        return optax.constant_schedule(1.0)

    def _check_left(self, num_steps: int) -> None:
        """Raises UserError where the warm-up leaves no step to come down in."""
        if num_steps < 1:
            raise UserError(
                f"schedule.warmup={self.warmup} takes all steps of the run and leaves none to come "
                "down in: lower it, or train longer (training.num_epochs, training.steps_per_epoch)"
            )


@dataclass(frozen=True)
class Constant(Schedule):
    """The learning rate as given."""

    name: Literal["constant"] = "constant"


@dataclass(frozen=True)
class WarmupCosine(Schedule):
    """A cosine down to ``final`` of the peak (Loshchilov and Hutter 2017, without restarts)."""

    name: Literal["warmup_cosine"] = "warmup_cosine"
    warmup: Fraction = 0.1
    final: Fraction = 0.0

    def after_warmup(self, num_steps: int) -> optax.Schedule:
        self._check_left(num_steps)
        return optax.cosine_decay_schedule(1.0, num_steps, alpha=self.final)


@dataclass(frozen=True)
class Linear(Schedule):
    """A straight line down to ``final`` of the peak."""

    name: Literal["linear"] = "linear"
    final: Fraction = 0.0

    def after_warmup(self, num_steps: int) -> optax.Schedule:
        self._check_left(num_steps)
        return optax.linear_schedule(1.0, self.final, num_steps)


@dataclass(frozen=True)
class Exponential(Schedule):
    """The same factor at every step, to ``final`` of the peak at the end."""

    name: Literal["exponential"] = "exponential"
    final: Share = 0.01

    def after_warmup(self, num_steps: int) -> optax.Schedule:
        self._check_left(num_steps)
        return optax.exponential_decay(1.0, num_steps, self.final)


@dataclass(frozen=True)
class Step(Schedule):
    """Times ``factor`` at every milestone, which are shares of all steps."""

    name: Literal["step"] = "step"
    milestones: tuple[Share, ...] = (0.5, 0.75)
    factor: Share = 0.1

    def schedule(self, num_steps: int) -> optax.Schedule:
        warmup = super().schedule(num_steps)
        steps = [round(exact(milestone) * num_steps) for milestone in self.milestones]
        return lambda step: warmup(step) * self.factor ** sum(step >= at for at in steps)


@dataclass(frozen=True)
class OneCycle:
    """Up along a half cosine and down along another (Smith and Topin 2018)."""

    name: Literal["one_cycle"] = "one_cycle"
    rise: Share = 0.3
    start_divisor: Annotated[float, Ge(1)] = 25.0  # the peak over the first rate
    final_divisor: Annotated[float, Ge(1)] = 1e4  # the first rate over the last

    def schedule(self, num_steps: int) -> optax.Schedule:
        # Optax's `cosine_onecycle_schedule`, but for runs so short that its rise has no step.
        peak_at = max(1, round(exact(self.rise) * num_steps))
        cycle = optax.piecewise_interpolate_schedule(
            "cosine",
            1.0 / self.start_divisor,
            {
                peak_at: self.start_divisor,
                max(peak_at + 1, num_steps): 1.0 / (self.start_divisor * self.final_divisor),
            },
        )
        return jax.vmap(cycle)  # Optax's takes one step at a time


@dataclass(frozen=True)
class Plateau(Schedule):
    """Times ``factor`` after ``patience`` epochs without a better validation value.

    Better is lower by a share ``threshold`` of the best so far, in the value that selects the
    epoch. For ``cooldown`` epochs after a cut none is counted. ``lowest`` bounds the multiple.
    """

    name: Literal["plateau"] = "plateau"
    factor: Share = 0.1
    patience: Annotated[int, Ge(1), Le(100_000)] = 10
    cooldown: Annotated[int, Ge(0), Le(100_000)] = 0
    threshold: Annotated[float, Ge(0), Lt(1)] = 1e-4
    lowest: Annotated[float, Ge(0), Le(1)] = 0.0


@lru_cache(maxsize=256)
def _relative_rates(schedule: Schedule | OneCycle, num_steps: int) -> np.ndarray:
    steps = jnp.arange(num_steps)
    rates = jnp.broadcast_to(schedule.schedule(num_steps)(steps), (num_steps,))
    return np.asarray(rates, dtype=np.float32)


def learning_rates(*, peak: float, schedule: Schedule | OneCycle, num_steps: int) -> np.ndarray:
    """The learning rate of each step, float32 (num_steps,)."""
    return np.float32(peak) * _relative_rates(schedule, num_steps)
