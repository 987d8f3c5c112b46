"""Whether what is about to be made fits into memory: asked first, since a process that runs out of
it is killed without a word. And arrays that devices which are CPUs share, in place of copies."""

import math
from typing import Any

import numpy as np
import psutil
from numpy.typing import DTypeLike, NDArray

from harness.errors import UserError

# XLA reads an array of the host where it lies if it begins at a multiple of so many bytes; NumPy
# begins large ones at 16 beyond, and each CPU device would copy them.
_ALIGNMENT = 64

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def check_fits(needed: int, *, what: str, remedy: str, free: int | None = None) -> None:
    """Raises UserError where ``needed`` bytes are more than there are ``free``.

    By default those are what the machine's memory has to give.
    """
    if free is None:
        free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(f"{what} takes some {_size(needed)}, and {_size(free)} are free: {remedy}")


def shareable(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros of ``shape`` that `jax.device_put` hands to CPU devices as they are, to all the same.

    Nothing may be written into them afterwards.
    """
    zeros = np.zeros(math.prod(shape) * np.dtype(dtype).itemsize + _ALIGNMENT, np.uint8)
    start = -zeros.ctypes.data % _ALIGNMENT
    return zeros[start : len(zeros) - _ALIGNMENT + start].view(dtype).reshape(shape)


def _size(number: int) -> str:
    """
    >>> _size(512), _size(16_000_000_000), _size(10**40)
    ('512 bytes', '16 GB', '1e+22 EB')
    """
    power = min((len(str(number)) - 1) // 3, len(_UNITS) - 1)
    return f"{number / 1000**power:.3g} {_UNITS[power]}"
