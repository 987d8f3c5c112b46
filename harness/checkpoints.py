"""Trained models on disk: what a run keeps to predict with, and to start other runs from.

``<sweep folder>/models/<run_id>/`` holds one: arrays in `model.safetensors`, all else in
`model.json`. Reading either executes nothing. A folder is written under a temporary name and then
renamed. What the two files mean is said in `harness.predict`; here are their bytes, and the
parameters among the arrays.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import UserError, first_line
from harness.files import whole_folder

Params = Mapping[str, np.ndarray]

FOLDER = "models"
# In the folder of `harness choose`, the sweep of the one model that it ends with.
OF_A_CHOICE = "model"
ARRAYS, DOCUMENT = "model.safetensors", "model.json"
# What the names of parameters begin with, among the arrays.
PARAMS = "params."
_LARGEST_DOCUMENT = 256 * 2**20
_TYPES = {"F32": np.float32, "F64": np.float64}


def write(path: Path, *, arrays: Mapping[str, np.ndarray], document: Mapping[str, Any]) -> None:
    """Stores a model as the folder ``path``, where there is none yet.

    Raises:
      OSError: there is one.
    """
    from safetensors.numpy import save as as_bytes

    with whole_folder(path) as temporary:
        tensors = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
        (temporary / ARRAYS).write_bytes(as_bytes(tensors))
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        (temporary / DOCUMENT).write_text(text, encoding="utf-8")


def save(folder: Path, run_id: str, **files: Any) -> None:
    """`write`s a run's model in the sweep ``folder``; that of a stored run is kept as it is."""
    if is_saved(folder, run_id):
        return
    try:
        write(folder / FOLDER / run_id, **files)
    except OSError:
        # Another writer may have stored the same run, to the same bits, in between.
        if not is_saved(folder, run_id):
            raise


def is_saved(folder: Path, run_id: str) -> bool:
    """Whether the model of ``run_id`` is stored in the sweep ``folder``."""
    return (folder / FOLDER / run_id).is_dir()


def find(source: str, folder: Path) -> Path:
    """Where the model that ``source`` names lies.

    Args:
      source: a run_id in ``folder``, ``<sweep folder>/<run_id>``, or a model's own folder.
      folder: the sweep folder of the run that asks.

    Raises:
      UserError: nowhere.
    """
    given = Path(source).expanduser()
    candidates = [given.parent / FOLDER / given.name, given]
    if given.name == source:
        candidates.insert(0, folder / FOLDER / source)
    for candidate in candidates:
        if (candidate / ARRAYS).is_file():
            return candidate.absolute()
    looked = ", ".join(map(str, candidates))
    raise UserError(
        f"init.params={source}: no model in {looked}; train that run with "
        "training.save_model=true first"
    )


def document(path: Path) -> bytes:
    """What the model in ``path`` says of itself, as JSON that nobody has looked at.

    Raises:
      UserError: it cannot be read, or is too large to be what it should.
    """
    place = path / DOCUMENT
    try:
        if place.stat().st_size > _LARGEST_DOCUMENT:
            raise UserError(f"{place}: larger than {_LARGEST_DOCUMENT // 2**20} MB: no model's")
        return place.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {place}: {error.strerror or error}") from None


def arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the model in ``path`` by name, float32 and float64.

    Raises:
      UserError: they cannot be read, or are of other types.
    """
    from safetensors import SafetensorError, safe_open

    place = path / ARRAYS
    try:
        with safe_open(place, framework="np") as file:
            names = sorted(file.keys())
            others = [name for name in names if file.get_slice(name).get_dtype() not in _TYPES]
            if others:
                raise UserError(f"cannot read {place}: {others[0]!r} is neither F32 nor F64")
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot read {place}: {first_line(error)}") from None


def params_of(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters among a model's arrays, by their own names."""
    return {
        name.removeprefix(PARAMS): values
        for name, values in arrays.items()
        if name.startswith(PARAMS)
    }


def load(path: Path) -> Params:
    """The parameters of the model in ``path`` by name, float32.

    Raises:
      UserError: they cannot be read.
    """
    return _load(path, _written(path))[0]


def check_features(path: Path, features: Sequence[str], *, source: str) -> None:
    """The model in ``path`` must be of these features in this order: weights have no other names.

    Raises:
      UserError: it is of others; ``source`` is what the user called it.
    """
    try:
        there = json.loads(document(path))["features"]
        if not (isinstance(there, list) and all(isinstance(name, str) for name in there)):
            raise TypeError("its features are no names")
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise UserError(f"{source}: cannot read {path / DOCUMENT}: {error}") from None
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
    """sha256 (hex) of the parameters of the model in ``path``; raises as `load`."""
    return _load(path, _written(path))[1]


def _written(path: Path) -> int:
    try:
        return (path / ARRAYS).stat().st_mtime_ns
    except OSError as error:
        raise UserError(f"init.params: cannot read {path}: {error.strerror}") from None


@lru_cache(maxsize=64)
def _load(path: Path, written: int) -> tuple[Params, str]:
    params = {
        name: np.asarray(values, dtype=np.float32)
        for name, values in sorted(params_of(arrays(path)).items())
    }
    digest = hashlib.sha256()
    for name, values in params.items():
        values.setflags(write=False)  # cached, and shared by every lane
        digest.update(repr((name, values.shape)).encode())
        digest.update(values.astype("<f4").tobytes())
    return params, digest.hexdigest()
