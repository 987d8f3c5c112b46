"""What all optimizers share: an update rule from Optax behind clipping and decay."""

from dataclasses import dataclass, field, replace
from math import inf
from typing import Annotated, Any, ClassVar, Self

import jax.numpy as jnp
import optax
from annotated_types import Ge, Gt, Le, Lt

# Lanes carry numbers in float32.
NonNegative = Annotated[float, Ge(0), Le(3e38)]
Positive = Annotated[float, Gt(0), Le(3e38)]
Fraction = Annotated[float, Ge(0), Lt(1)]


def named(value: str) -> Any:
    """The field of an optimizer's name, which fixes the program."""
    return field(default=value, metadata={"static": True})


@dataclass(frozen=True)
class Optimizer:
    """What all share. ``weight_decay`` is an L2 term added to the gradient, as in PyTorch.

    ``clip_value`` bounds every entry of the gradient and ``clip_norm`` its global norm, in that
    order; empty is no bound.
    """

    # Gradients a step computes, for estimates of time.
    num_gradients: ClassVar[int] = 1
    # Whether it works entry by entry, but for the norm of the whole gradient: then a weight that
    # starts at zero and gets no gradient stays zero, and no other weight notices.
    elementwise: ClassVar[bool] = False

    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    clip_norm: Positive | None = None
    clip_value: Positive | None = None

    def rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        """The update rule under ``schedule``, from Optax."""
        raise NotImplementedError

    def decay(self) -> optax.GradientTransformation:
        return optax.add_decayed_weights(self.weight_decay)

    def in_lane(self) -> Self:
        """This as lanes carry it: no bound is infinity, and learning rates are an array beside it,
        one a step."""
        return replace(
            self,
            learning_rate=None,  # type: ignore[arg-type]
            clip_norm=inf if self.clip_norm is None else self.clip_norm,
            clip_value=inf if self.clip_value is None else self.clip_value,
        )

    def transformation(self, schedule: optax.Schedule) -> optax.GradientTransformationExtraArgs:
        """Clip, decay, update, at the learning rate ``schedule`` gives for a step.

        Its ``update`` takes ``grad_fn`` (params, int) -> gradient, for rules that ask for another.
        """
        # Every lane clips; an infinite bound leaves the gradient's bits alone. One program serves.
        clip_norm = jnp.inf if self.clip_norm is None else self.clip_norm
        clip_value = jnp.inf if self.clip_value is None else self.clip_value
        chain = optax.chain(
            optax.clip(clip_value),
            optax.clip_by_global_norm(clip_norm),
            self.decay(),
            self.rule(schedule),
        )
        return optax.with_extra_args_support(chain)

    def evaluated(self, opt_state: Any, params: Any) -> Any:
        """The parameters to predict with, after an update to ``opt_state`` and ``params``."""
        return params
