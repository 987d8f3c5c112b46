"""What the arithmetic of a run depends on besides its code: versions, devices and flags."""

import os
import platform
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import jax

LIBRARIES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "scipy",
    "scikit-learn",
    "imbalanced-learn",
)

# JAX's settings that change what is computed, and the values that they have of themselves. What
# they are set by (code, or JAX_... in the environment) makes no difference.
SETTINGS = {
    "jax_default_matmul_precision": None,
    "jax_enable_x64": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_allow_f16_reductions": True,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_threefry_gpu_kernel_lowering": False,
    "jax_random_seed_offset": 0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_softmax_custom_jvp": False,
    "jax_use_direct_linearize": True,
    "jax_disable_jit": False,
    "jax_disable_most_optimizations": False,
    "jax_optimization_level": "UNKNOWN",
    "jax_exec_time_optimization_effort": 0.0,
    "jax_compiler_enable_remat_pass": True,
    "jax_pjrt_client_create_options": None,
}
# Variables that the libraries beneath XLA read, by the platforms on which they do.
VARIABLES = {
    "gpu": ("NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "CUBLASLT_WORKSPACE_SIZE"),
    "tpu": ("LIBTPU_INIT_ARGS",),
}
# XLA's flags that change no number: what is written where, and how many devices there are (see
# `_devices`). Any other that is set counts, known here or not.
NEUTRAL = ("xla_dump_", "xla_force_host_platform_device_count", "xla_hlo_profile", "xla_log_")


@cache
def environment() -> str:
    """One line, such as ``cpu x86_64;jax=0.10.2;...;xla_cpu_multi_thread_eigen=false``."""
    versions = [f"{name}={version(name)}" for name in LIBRARIES]
    return ";".join([*_devices(), *versions, *_settings(), *_variables(), *_xla_flags()])


def _devices() -> Iterator[str]:
    """The kind of machine. Not the model of a CPU: see docs/decisions/021."""
    devices = jax.devices()
    if jax.default_backend() == "cpu":
        yield f"cpu {_architecture(platform.machine())}"
    else:
        kinds = sorted({device.device_kind for device in devices})
        # Of CUDA and the like, which come with the machine and not with a package.
        driver = " ".join(devices[0].client.platform_version.split())
        yield f"{jax.default_backend()} {', '.join(kinds)} ({driver})"
    # One device alone rounds differently from several; see `harness.devices`.
    if len(devices) == 1:
        yield "one-device"


def _architecture(machine: str) -> str:
    """Systems call the same processors by different names.

    >>> _architecture("AMD64"), _architecture("arm64")
    ('x86_64', 'aarch64')
    """
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine.lower(), machine.lower())


def _settings() -> Iterator[str]:
    for name, usual in SETTINGS.items():
        value = getattr(jax.config, name, usual)  # other versions of JAX have others
        value = getattr(value, "value", value)  # of an enumeration
        if value != usual:
            yield f"{name}={value}"


def _variables() -> Iterator[str]:
    for name in VARIABLES.get(jax.default_backend(), ()):
        if os.environ.get(name):
            yield f"{name}={os.environ[name]}"


def _xla_flags() -> list[str]:
    """Those of XLA_FLAGS that count here: not another platform's."""
    backend = jax.default_backend()
    elsewhere = tuple(f"xla_{other}_" for other in {"cpu", "gpu", "tpu"} - {backend})
    flags = {}
    for word in _xla_words():
        name, _, value = word.lstrip("-").partition("=")
        flags[name] = value or "true"  # the last one wins
    counted = (name for name in sorted(flags) if not name.startswith((*NEUTRAL, *elsewhere)))
    return [f"{name}={flags[name].lower()}" for name in counted]


def _xla_words() -> list[str]:
    """XLA_FLAGS holds flags or, where it does not begin with a dash, names a file of them."""
    given = os.environ.get("XLA_FLAGS", "").strip()
    if given and not given.startswith("-") and Path(given).is_file():
        given = Path(given).read_text()
    return given.split()
