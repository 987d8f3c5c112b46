"""Where fetched data is kept, and that it is what was asked for."""

import hashlib
import os
import sys
from functools import lru_cache
from pathlib import Path

from harness.errors import UserError
from harness.files import cache_dir


def data_dir() -> Path:
    """`$HARNESS_DATA`, or `data` in the harness's cache folder; may not exist."""
    chosen = os.environ.get("HARNESS_DATA")
    return Path(chosen).expanduser().absolute() if chosen else cache_dir() / "data"


def verified(path: Path, sha256: str, *, what: str) -> Path:
    """``path``, where its content has the hash ``sha256`` (hex).

    Raises UserError where it has not; the file is left as it is.
    """
    state = path.stat()
    found = _sha256(path, state.st_mtime_ns, state.st_size, state.st_ino)
    if found != sha256:
        raise UserError(
            f"{path}: has sha256 {found} where {what} is pinned to {sha256}: the file is damaged "
            "or another one; delete it, and it is fetched again"
        )
    return path


@lru_cache(maxsize=64)
def _sha256(path: Path, *_state: int) -> str:
    """``_state`` (time of change, size, inode) is only part of the cache's key: a file is hashed
    once a process, not once for each of the data sets in it."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def file_state(path: str | Path) -> tuple[int, int] | None:
    """Time of change (ns) and size of a file; None where it cannot be had."""
    try:
        state = Path(path).expanduser().stat()
    except (OSError, ValueError, RuntimeError):
        return None  # said clearly by whoever opens it
    return state.st_mtime_ns, state.st_size


def say(line: str) -> None:
    """Tells the user of a wait, on standard error: standard output is the command's answer."""
    print(line, file=sys.stderr, flush=True)
