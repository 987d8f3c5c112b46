"""A worker: trains units of work, wherever an engine has it run.

``python -m harness.engines.worker`` answers each line on standard input with one on standard output
until there are no more.
"""

import json
import os
import queue
import signal
import socket
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any

from harness import devices
from harness.errors import UserError
from harness.files import cache_dir


def work(text: str) -> str:
    """Trains a `Unit`, given as text, and stores it in the sweep's folder, or sends it there.

    Stopped by a KeyboardInterrupt or the like, it stores what has finished.

    Returns: an `answer`, or a `refusal`.
    """
    given = json.loads(text)
    _settle(given["devices"], given["flags"])
    from harness.engines.units import Unit, answer, refusal  # late: JAX comes with it

    try:
        return answer(_trained(Unit(**given)))
    except UserError as error:
        return refusal(error)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return refusal(f"{place}{error.strerror or error} on {socket.gethostname()}")


def _settle(number: int, flags: str) -> None:
    """Devices and flags as the one who sends units has them; a process settles them once."""
    if "jax" in sys.modules:
        return
    os.environ["JAX_NUM_CPU_DEVICES"] = str(max(devices.FEWEST, number))
    os.environ["XLA_FLAGS"] = flags
    # Handed down from a machine whose processor may be of another kind.
    if os.environ.get("JAX_COMPILATION_CACHE_DIR", "").startswith(str(cache_dir())):
        del os.environ["JAX_COMPILATION_CACHE_DIR"]
    devices.configure()


def _trained(unit: Any) -> Any:
    from rich.console import Console

    from harness.config import folder_of
    from harness.overrides.jobs import parsed
    from harness.sweep import plan
    from harness.sweep.engine import run_sweep
    from harness.sweep.progress import Progress
    from harness.sweep.recorder import Part

    if unit.shards is None or os.path.isdir(unit.folder):  # another machine has it for its paths
        os.chdir(unit.folder)
    configs = parsed(unit.configs)
    _check_same([run.run_id for run in plan.resolved(configs)], unit.run_ids)
    quiet = Progress(Console(quiet=True))
    if unit.shards is None:
        return run_sweep(configs, progress=quiet, part=Part(unit.columns))

    from harness.engines.parcels import Parcels

    parcels = Parcels(unit.shards)
    with tempfile.TemporaryDirectory(prefix="bce-harness-") as own:
        placed = [replace(config, root=own) for config in configs]
        part = Part(unit.columns, root=configs[0].root, stored=parcels.send)
        results = run_sweep(placed, progress=quiet, part=part)
        for folder in {folder_of(config) for config in placed}:
            parcels.send(folder)  # what was found in data since the last shard
    return results


def _check_same(found: list[str], meant: list[str]) -> None:
    """Whatever would make other bits makes other ids."""
    from harness.identity import environment

    if found != meant:
        raise UserError(
            f"the same configuration is another run on {socket.gethostname()}: its code, data or "
            f"machine ({environment()}) differ; give workers this machine's versions and files, or "
            "start the sweep on one of theirs"
        )


def main() -> None:
    """Serves standard input. As it ends, with the one who writes to it, and upon SIGTERM, what has
    finished is stored."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else is said is no answer
    signal.signal(signal.SIGTERM, stop)
    units: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(units,), daemon=True).start()
    with suppress(KeyboardInterrupt):
        while True:
            print(work(units.get()), file=answers, flush=True)
    os._exit(0)  # at once: what is in training is lost


def _read(units: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        units.put(line)
    os.kill(os.getpid(), signal.SIGTERM)


def stop(*_: object) -> None:
    """A signal's handler."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: storing takes a moment
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
