"""Trained parameters on disk (Orbax), to start other runs from.

``<sweep folder>/params/<run_id>/`` holds one run's: arrays by name and a description in JSON, so
that restoring executes nothing. A checkpoint is written under a temporary name and then renamed.
"""

import glob
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from harness.errors import UserError
from harness.files import whole_folder

Params = Mapping[str, np.ndarray]

_FOLDER = "params"
_FEATURES = "features.json"


@dataclass(frozen=True, eq=False)
class Saved:
    """A run's parameters by name, and the names of the features that they were trained on."""

    run_id: str
    params: Params
    features: Sequence[str]


def save(folder: Path, runs: Iterable[Saved]) -> None:
    """Stores parameters in the sweep ``folder``; those of stored runs are kept as they are."""
    import orbax.checkpoint as ocp  # half a second, which most sweeps need not spend

    at = folder.absolute() / _FOLDER
    at.mkdir(parents=True, exist_ok=True)
    with _without_signs(at) as at, ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        for run in runs:
            if is_saved(folder, run.run_id):
                continue
            try:
                with whole_folder(at / run.run_id) as temporary:
                    arrays = ocp.args.PyTreeSave(dict(run.params))
                    checkpointer.save(temporary, args=arrays, force=True)  # the folder is there
                    names = json.dumps(list(run.features))
                    (temporary / _FEATURES).write_text(names, encoding="utf-8")
            except OSError:
                # Another writer may have stored the same run, to the same bits, in between.
                if not is_saved(folder, run.run_id):
                    raise


@contextmanager
def _without_signs(folder: Path) -> Iterator[Path]:
    """``folder``, by a link where its name would be a pattern to Orbax, which then loses arrays."""
    if glob.escape(str(folder)) == str(folder) and not set("{}") & set(str(folder)):
        yield folder
        return
    with TemporaryDirectory(prefix="bce-harness-") as temporary:
        link = Path(temporary) / "params"
        link.symlink_to(folder, target_is_directory=True)
        yield link


def is_saved(folder: Path, run_id: str) -> bool:
    """Whether the parameters of ``run_id`` are stored in the sweep ``folder``."""
    return (folder / _FOLDER / run_id).is_dir()


def find(source: str, folder: Path) -> Path:
    """Where the parameters ``source`` names lie.

    Args:
      source: a run_id in ``folder``, ``<sweep folder>/<run_id>``, or a checkpoint's own folder.
      folder: the sweep folder of the run that asks.

    Raises:
      UserError: nowhere.
    """
    given = Path(source).expanduser()
    candidates = [given.parent / _FOLDER / given.name, given]
    if given.name == source:
        candidates.insert(0, folder / _FOLDER / source)
    for candidate in candidates:
        if (candidate / "_METADATA").is_file():
            return candidate.absolute()
    looked = ", ".join(map(str, candidates))
    raise UserError(
        f"init.params={source}: no parameters in {looked}; train that run with "
        "training.save_params=true first"
    )


def load(path: Path) -> Params:
    """The parameters in ``path`` by name, float32.

    Raises:
      UserError: they cannot be read.
    """
    return _load(path, _written(path))[0]


def check_features(path: Path, features: Sequence[str], *, source: str) -> None:
    """The parameters in ``path`` must be of these features in this order: they have no other names.

    What was saved before names were kept is taken at its word.

    Raises:
      UserError: they are of others; ``source`` is what the user called them.
    """
    try:
        there = json.loads((path / _FEATURES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{source}: cannot read {path / _FEATURES}: {error}") from None
    if there == list(features):
        return
    if len(there) != len(features):
        differ = f"{len(there)} features there, {len(features)} here"
    else:
        at = next(i for i in range(len(there)) if there[i] != features[i])
        differ = f"feature {at + 1} is {there[at]!r} there and {features[at]!r} here"
    same = sorted(there) == sorted(features)
    remedy = "put the table's columns in that order" if same else "give that run's columns"
    raise UserError(f"{source}: {differ}: {remedy}")


def fingerprint(path: Path) -> str:
    """sha256 (hex) of the parameters in ``path``; raises as `load`."""
    return _load(path, _written(path))[1]


def _written(path: Path) -> int:
    try:
        return (path / "_METADATA").stat().st_mtime_ns
    except OSError as error:
        raise UserError(f"init.params: cannot read {path}: {error.strerror}") from None


@lru_cache(maxsize=64)
def _load(path: Path, written: int) -> tuple[Params, str]:
    import orbax.checkpoint as ocp

    try:
        with (
            _without_signs(path) as place,
            ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer,
        ):
            restored = checkpointer.restore(place)
        params = {
            str(name): np.asarray(restored[name], dtype=np.float32) for name in sorted(restored)
        }
    except Exception as error:  # a damaged file surfaces as whatever its reader trips over
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"init.params: cannot read {path}: {reason}") from None
    digest = hashlib.sha256()
    for name, values in params.items():
        values.setflags(write=False)  # cached, and shared by every lane
        digest.update(repr((name, values.shape)).encode())
        digest.update(values.astype("<f4").tobytes())
    return params, digest.hexdigest()
