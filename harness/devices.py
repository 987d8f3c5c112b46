"""Which devices JAX sees, settled before it starts.

On a CPU every core becomes a device of its own, so that lanes shard over cores as over GPUs. A
choice the user made wins: `HARNESS_DEVICES=N` (at least two), or JAX's own `JAX_NUM_CPU_DEVICES`,
`JAX_PLATFORMS` and `XLA_FLAGS`.
"""

import hashlib
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.files import cache_dir

# XLA compiles a program for one device differently from one for several, to other last bits; two
# devices, three or more agree. So one core holds two.
FEWEST = 2

# A matrix product may not be split over threads: lanes already fill the cores, and a split changes
# the order of additions with the number of threads.
_CPU_FLAGS = "--xla_cpu_multi_thread_eigen=false"


def configure() -> None:
    """Sets JAX's platform variables for this process. Call before the first import of jax."""
    asked = os.environ.get("HARNESS_DEVICES") or str(available_cores())
    if not asked.isdecimal():
        raise UserError(f"HARNESS_DEVICES={asked!r} must be a number of devices, such as 4")
    devices = max(FEWEST, int(asked))
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(devices))
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_multi_thread_eigen" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_CPU_FLAGS}".strip()
    # A program compiled before loads in a quarter of the time it compiles in.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_cache_dir()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")


def configure_late() -> bool:
    """As `configure`, where JAX may have been imported before; False where it has started too.

    Nothing changes then: programs were compiled, and arrays laid out, for what was set.
    """
    if "jax" not in sys.modules:
        configure()
        return True
    import jax

    settings: Any = jax.config
    given = settings.jax_num_cpu_devices
    try:  # it takes another number until it has started
        jax.config.update("jax_num_cpu_devices", given + 1)
        jax.config.update("jax_num_cpu_devices", given)
    except RuntimeError:
        return False
    configure()
    # Read from the environment as JAX was imported, where the user may have set them since.
    if given < 0:
        jax.config.update("jax_num_cpu_devices", int(os.environ["JAX_NUM_CPU_DEVICES"]))
    if settings.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    return True


def differences() -> list[str]:
    """What JAX, which has started, has of other devices and flags than `configure` gives it."""
    import jax

    if jax.default_backend() != "cpu":
        return []
    found = [] if jax.device_count() >= FEWEST else ["one CPU device"]
    flags = os.environ.get("XLA_FLAGS", "")
    return found if "xla_cpu_multi_thread_eigen" in flags else [*found, f"without {_CPU_FLAGS}"]


def describe() -> str:
    """The devices in use and the flags they run under, for people."""
    import jax

    found = jax.devices()
    return (
        f"{len(found)} {found[0].platform} device(s), XLA_FLAGS={os.environ.get('XLA_FLAGS', '')!r}"
    )


def _cache_dir() -> Path:
    """A folder of its own for each kind of processor: compiled code runs on no other."""
    return cache_dir() / "xla" / hashlib.sha256(processor().encode()).hexdigest()[:12]


def processor() -> str:
    """What says whether code compiled here runs, and runs as fast, on another machine."""
    return f"{platform.machine()} {platform.processor()} {_cpu_flags()}"


def _cpu_flags() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return ""


def available_cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
