"""A learning-rate schedule of somebody else's: a factory of an Optax schedule.

>>> import optax
>>> cls = as_schedule(optax.cosine_decay_schedule)
>>> cls(alpha=0.5)
cosine_decay_schedule(warmup=0.0, alpha=0.5, exponent=1.0, name='cosine_decay_schedule')
>>> [round(float(rate), 2) for rate in cls().schedule(4)(jnp.arange(4))]
[1.0, 0.85, 0.5, 0.15]
"""

from types import FunctionType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from harness.errors import UserError, first_line
from harness.optimizers.schedules import Schedule
from harness.signatures import chosen_as, name_of, settings_of, values_of


def as_schedule(given: Any, name: str | None = None) -> type[Schedule]:
    """The class of schedules that ``given`` makes; each has our linear ``warmup`` before it.

    Args:
      given: a function ``(peak, num_steps, setting=default, ...)`` that returns an Optax schedule,
        such as `optax.cosine_decay_schedule`: of the number of a step, from 0 on, its learning
        rate. It is called with a peak of 1, so that its rates are multiples of
        ``optimizer.learning_rate``, and with the steps that are left after the warm-up.
      name: what it is chosen by; its own name where there is none.

    Raises:
      UserError: it is no such function, or a setting has no default.
    """
    called = name_of(given, name)
    choice = f"schedule={called}"
    if not isinstance(given, FunctionType):
        raise UserError(f"{choice} is a {type(given).__name__}: give a function (peak, num_steps)")
    make: Any = given
    settings = settings_of(given, after=["peak", "num_steps"], choice=choice)

    def after_warmup(self: Any, num_steps: int) -> Any:
        self._check_left(num_steps)
        try:
            schedule = make(1.0, num_steps, **values_of(self, settings))
            rates: Any = jax.vmap(lambda step: jnp.asarray(schedule(step), jnp.float32))
            rates(jnp.arange(1))
        except Exception as error:
            raise UserError(
                f"{choice} fails over {num_steps} steps ({type(error).__name__}: "
                f"{first_line(error)}): return a function of a step, "
                "with jnp.where instead of `if` on it"
            ) from error
        # During the warm-up, which counts for these, what it says of its first step.
        return lambda steps: _checked(rates(jnp.maximum(steps, 0)), choice)

    namespace = {"after_warmup": after_warmup}
    return chosen_as(given, called, settings, bases=(Schedule,), namespace=namespace, choice=choice)


def _checked(rates: jax.Array, choice: str) -> jax.Array:
    if rates.ndim != 1:
        raise UserError(f"{choice} gives {rates.shape[1:]} values a step: return one number")
    wrong = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))
    if wrong.size:
        raise UserError(
            f"{choice} is {rates[wrong[0]]:g} times the peak at step {wrong[0]}: rates are numbers "
            "from 0 on"
        )
    return rates
