"""Which devices JAX sees, settled before it starts.

On a CPU every core becomes a device of its own, so that lanes shard over cores as over GPUs. A
choice the user made wins: `HARNESS_DEVICES=N`, or JAX's own `JAX_NUM_CPU_DEVICES`, `JAX_PLATFORMS`
and `XLA_FLAGS`.
"""

import os

# A matrix product may not be split over threads: lanes already fill the cores, and a split changes
# the order of additions with the number of threads.
_CPU_FLAGS = "--xla_cpu_multi_thread_eigen=false"


def configure() -> None:
    """Sets JAX's platform variables for this process. Call before the first import of jax."""
    cores = os.environ.get("HARNESS_DEVICES") or str(_available_cores())
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", cores)
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_multi_thread_eigen" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_CPU_FLAGS}".strip()


def describe() -> str:
    """The devices in use and the flags they run under, for people."""
    import jax

    devices = jax.devices()
    return (
        f"{len(devices)} {devices[0].platform} device(s), "
        f"XLA_FLAGS={os.environ.get('XLA_FLAGS', '')!r}"
    )


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
