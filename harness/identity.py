"""What a run is: the hash of everything that can change its numbers, and of nothing else."""

import hashlib
import json
from functools import cache
from importlib.metadata import version

import jax

from harness.config import Config, dump

# Raise when code changes what a run computes: its losses, its batch order, the fused program.
NUMERICS = 5

# What names, places or shows a run. The data set is here because its fingerprint stands for it,
# wherever its file lies and whatever it is called.
NOT_IDENTITY = frozenset({"name", "root", "rerun", "wandb", "dataset"})


@cache
def numerics() -> str:
    """The version of the arithmetic: ours, and that of the libraries that do it."""
    libraries = (
        "jax",
        "jaxlib",
        "flax",
        "optax",
        "numpy",
        "scipy",
        "scikit-learn",
        "imbalanced-learn",
    )
    versions = [f"{name}={version(name)}" for name in libraries]
    # One accelerator alone rounds differently from several; see `harness.devices`.
    layout = ["one-device"] if jax.device_count() == 1 else []
    return ";".join([str(NUMERICS), *versions, *layout])


def run_id(
    config: Config, *, data_fingerprint: str, numerics: str, params_fingerprint: str | None = None
) -> str:
    """16 hexadecimal digits, the same for the same resolved config, data and arithmetic.

    ``params_fingerprint`` is of the parameters the run starts from, wherever they lie.
    """
    values = {key: value for key, value in dump(config).items() if key not in NOT_IDENTITY}
    del values["evaluation"]["objective"]  # which stored number a search is told
    del values["training"]["save_params"]
    values["init"]["params"] = params_fingerprint
    parts = json.dumps([values, data_fingerprint, numerics], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()[:16]
