"""Whether what is about to be made fits into memory: asked first, since a process that runs out of
it is killed without a word."""

import psutil

from harness.errors import UserError

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def check_fits(needed: int, *, what: str, remedy: str, free: int | None = None) -> None:
    """Raises UserError where ``needed`` bytes are more than there are ``free``.

    By default those are what the machine's memory has to give.
    """
    if free is None:
        free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(f"{what} takes some {_size(needed)}, and {_size(free)} are free: {remedy}")


def _size(number: int) -> str:
    """
    >>> _size(512), _size(16_000_000_000), _size(10**40)
    ('512 bytes', '16 GB', '1e+22 EB')
    """
    power = min((len(str(number)) - 1) // 3, len(_UNITS) - 1)
    return f"{number / 1000**power:.3g} {_UNITS[power]}"
