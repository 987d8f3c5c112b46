"""JAX in a Python session, where other code may have started it under settings of its own."""

from functools import cache
from typing import Any

from harness import devices
from harness.data.fetching import say
from harness.errors import UserError


def ready() -> None:
    """Sets JAX up as on the command line, or says once what differs where it has started.

    Raises:
      UserError: under JAX's 64-bit mode, which would change the types of every run.
    """
    started = not devices.configure_late()
    import jax

    settings: Any = jax.config
    if settings.jax_enable_x64:
        raise UserError(
            "jax_enable_x64 is on, and runs are of 32 bits: "
            "jax.config.update('jax_enable_x64', False) before this call"
        )
    if started:
        _say_differences()


@cache
def _say_differences() -> None:
    if found := devices.differences():
        say(
            f"JAX had started before ({', '.join(found)}): runs have other ids and last bits than "
            "the command line's; for the same, restart and call harness before other JAX code"
        )
