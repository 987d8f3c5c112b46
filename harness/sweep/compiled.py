"""Compiled programs, kept from process to process: a warm start neither traces nor compiles.

JAX's own cache is asked with the lowered program, which takes a second of Python to trace. Here a
program is found by what it is traced from: the sources, the versions, devices and flags
(`harness.identity.environment`), and the `Program`. They lie in JAX's cache folder, under the same
switches (``JAX_COMPILATION_CACHE_DIR``, ``JAX_ENABLE_COMPILATION_CACHE``), in JAX's own form of an
executable: a pickle, so a folder to trust as one trusts installed code.
"""

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import jax
import psutil
from jax.experimental import serialize_executable
from jax.extend.mlir import ir

import harness
from harness.devices import available_cores
from harness.files import whole_file
from harness.identity import environment, own_hash
from harness.models import param_shapes
from harness.padding import lane_shapes
from harness.training import Curves, Outcome, Program

# What a program is traced from, in this package.
TRACED = (
    "training.py",
    "padding.py",
    "exact.py",
    "layout.py",
    "memory.py",
    "signatures.py",
    "threefry.py",
    "sweep/lanes.py",
    "losses",
    "models",
    "optimizers",
)

MOST = 256  # programs kept, of some 2 MB each; those go that were longest of no use
# Compilations side by side, whose tracing takes turns, and the free memory that is asked for each:
# most take a quarter of a GB.
MOST_AT_ONCE, BYTES_FREE = 4, 2**30

# Whether any is kept: not where other code stands in for what the sources say, as in tests.
keeping = True


def compiled(program: Program, lower: Callable[[], Any], *, width: int) -> Any:
    """The executable of ``program`` for ``width`` lanes: the kept one, or a fresh one."""
    place = _place(program, width)
    if place is None:
        return lower().compile()
    with suppress(Exception):  # none, damaged, or not for this JAX: made anew
        found = serialize_executable.deserialize_and_load(
            place.read_bytes(), *_trees(program), execution_devices=jax.devices()
        )
        with suppress(OSError):  # of somebody else's
            place.touch()
        return found
    lowered, hits = lower(), _hits_here()
    _name(lowered, place.name)
    fresh = lowered.compile()
    # What came out of JAX's cache cannot be written out again, so where ours was lost it is traced.
    if _hits_here() == hits:
        with suppress(Exception):  # a full disk, or a backend that cannot: nothing is lost
            _keep(serialize_executable.serialize(fresh)[0], place)
    return fresh


def _name(lowered: Any, name: str) -> None:
    """Calls a program by its key: JAX's cache tells programs by name and text, and gives none then
    that was compiled from other sources to the same text, such as an earlier version's."""
    module = lowered.compiler_ir()
    with module.context:
        module.operation.attributes["sym_name"] = ir.StringAttr.get(f"train_{name}")


class _Hits(threading.local):
    """How often this thread has found something in JAX's cache: others compile beside it."""

    count = 0


_hits = _Hits()


def _hits_here() -> int:
    _listen()
    return _hits.count


@cache
def _listen() -> None:
    def heard(event: str, **_: Any) -> None:
        _hits.count += event == "/jax/compilation_cache/cache_hits"

    jax.monitoring.register_event_listener(heard)


def at_once() -> int:
    """How many programs may compile side by side: as cores and free memory allow."""
    room = psutil.virtual_memory().available // BYTES_FREE
    return max(1, min(MOST_AT_ONCE, available_cores(), room))


def is_kept(program: Program, *, width: int) -> bool:
    """Whether the executable of ``program`` is at hand."""
    place = _place(program, width)
    return place is not None and place.is_file()


def folder() -> Path | None:
    """JAX's cache folder; None where nothing is to be kept."""
    settings: Any = jax.config
    place = settings.jax_compilation_cache_dir
    is_local = place and "://" not in place
    if not (keeping and is_local and settings.jax_enable_compilation_cache):
        return None
    return Path(place)


def key(program: Program, width: int) -> str:
    """A hash of all that ``program`` is traced from."""
    optimizer = type(jax.tree.unflatten(program.optimizer, range(program.optimizer.num_leaves)))
    # Whose sources are not among ours.
    own = own_hash(*program.losses, type(program.model), optimizer)
    traced_from = (_sources(), environment(), jax.device_count(), width, program, own)
    return hashlib.sha256(repr(traced_from).encode()).hexdigest()[:32]


def _place(program: Program, width: int) -> Path | None:
    """The file of a program; None where nothing is to be kept."""
    place = folder()
    return None if place is None else place / "programs" / key(program, width)


@cache
def _sources() -> str:
    """A hash of the text of what is `TRACED`."""
    digest = hashlib.sha256()
    root = Path(harness.__file__).parent
    for name in TRACED:
        place = root / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _trees(program: Program) -> tuple[Any, Any]:
    """The structure of a program's arguments and of what it returns."""
    leaf: Any = 0
    leaves = dict.fromkeys(Outcome._fields, leaf)
    leaves["curves"] = Curves(*[leaf] * len(Curves._fields))
    leaves["params"] = dict.fromkeys(param_shapes(program.model, program.inputs), leaf)
    shared = [leaf] * (3 if program.has_row_weights else 2)
    arguments: Any = (lane_shapes(program), *shared), {}
    return jax.tree.structure(arguments), jax.tree.structure(Outcome(**leaves))


def _keep(executable: bytes, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    kept = sorted(place.parent.iterdir(), key=lambda path: path.stat().st_mtime)
    for oldest in kept[: max(0, len(kept) + 1 - MOST)]:
        oldest.unlink(missing_ok=True)
    with whole_file(place, durable=False) as path:
        path.write_bytes(executable)
