"""What a run is: the hash of everything that can change its numbers, and of nothing else.

That is its configuration, its data, the code that computes it (`code`, `families`) and what the
arithmetic depends on besides (`environment`). All of it is computed; nobody keeps a version number.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache

from harness import plugins
from harness.config import Config, dump
from harness.errors import UserError
from harness.identity.families import NAMED as NAMED
from harness.identity.families import (
    Family,
    family_hash,
    family_named,
    family_of,
    source_hash,
)
from harness.identity.families import own_hash as own_hash
from harness.identity.machine import environment as environment
from harness.keys import BESIDE_A_RUN
from harness.metrics.own_calibrator import OWN

# What a calibrator that is not ours passes besides its own code.
CALIBRATING = "harness.metrics.own_calibrator.OwnCalibrator"


def numerics(config: Config) -> str:
    """The arithmetic of a run: the code of its family, then versions, devices and flags.

    Such as ``code=0f3a92c1b7de;cpu x86_64;jax=0.10.2;...``.
    """
    return _numerics(family_of(config))


def numerics_named(names: Mapping[str, str]) -> str | None:
    """`numerics` of a run from the names it was stored under, such as ``{"loss": "bce", ...}``.

    One for each group of `NAMED`. None where a choice of that name is gone.
    """
    try:
        return _numerics(family_named(names))
    except KeyError:
        return None


@cache
def _numerics(family: Family) -> str:
    return f"code={family_hash(family)};{environment()}"


def described_metrics(config: Config) -> list[str]:
    """What a run stores of each of its ``extra_metrics``, the hash of its source included.

    They are beside a run: a stored one that lacks some is trained again, to the same bits.
    """
    known = plugins.plugged("metric")
    for name in config.extra_metrics:
        if name not in known:
            raise UserError(f"extra_metrics=[{name}]: name its module: plugins=[my_module.py]")
    found = (known[name] for name in config.extra_metrics)
    return [made.described(source_hash(made.function)) for made in found]


def run_id(
    config: Config,
    *,
    data_fingerprint: str,
    params_fingerprint: str | None = None,
) -> str:
    """16 hexadecimal digits, the same for the same resolved config, data and arithmetic.

    ``params_fingerprint`` is of the parameters the run starts from, wherever they lie.
    """
    values = dump(config)
    # Its fingerprint stands for the data set, wherever its file lies and whatever it is called.
    del values["dataset"]
    for group, _, key in (beside.partition(".") for beside in BESIDE_A_RUN):
        if group in values:
            del (values[group] if key else values)[key or group]
    values["init"]["params"] = params_fingerprint
    parts = [values, data_fingerprint, numerics(config)]
    if own := [OWN[name].given for name in config.evaluation.calibrators if name in OWN]:
        parts.append(source_hash(CALIBRATING, *own))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
