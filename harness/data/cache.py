"""Where fetched data is kept, and how a file gets there whole or not at all."""

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.errors import UserError


def data_dir() -> Path:
    """`$HARNESS_DATA`, or `bce-harness/data` in the user's cache folder (XDG); may not exist."""
    chosen = os.environ.get("HARNESS_DATA")
    if chosen:
        return Path(chosen).expanduser().absolute()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    if not cache.is_absolute():  # as the XDG specification has it
        cache = Path("~/.cache").expanduser()
    return cache / "bce-harness" / "data"


@contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """A folder on the file system of ``beside``, so that what is made in it can be renamed there.

    Two processes that fetch one file at once both fetch it, and the last rename wins: each sees
    a whole file, with no lock that a killed process could leave behind.
    """
    beside.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=beside.parent, prefix=".fetching-") as folder:
        yield Path(folder)


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
