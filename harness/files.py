"""Writing whole, and where what is shipped lies and what can be fetched or made again is kept.

A reader finds all of a file or folder, or none of it: it is written under another name beside its
place, flushed to disk, renamed, and the folder that holds it is flushed too, so that after a power
cut a name that is there has its content. Names are random: nobody can lay a link in their way.
"""

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from harness.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def conf_dir() -> Path:
    """The configuration folder: in the package where it is installed, beside it in a checkout.

    What lies beside an installed package is other packages', whatever its name.
    """
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def cache_dir() -> Path:
    """Where fetched data and compiled programs are kept; it may not exist yet."""
    return platformdirs.user_cache_path("bce-harness", appauthor=False)


def check_folder(folder: Path, *, what: str, remedy: str) -> None:
    """Refuses, before any work, a folder that could not be made or written.

    Raises:
      UserError: beginning with ``what``, ending with ``remedy``.
    """
    existing = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()
    )
    if not existing.is_dir():
        raise UserError(f"{what}: {existing} is a file; {remedy}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{what}: {existing} is not writable; {remedy}")


@contextmanager
def whole_file(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yields a new path in ``path``'s folder to write to; what is there replaces ``path`` after.

    Where the body raises, nothing changes. What can be made again need not be ``durable``: it is
    whole for every reader, and may be gone after a power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}-")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # as an ordinary file, which a temporary one is not
        if durable:
            flush(temporary)
        temporary.replace(path)
        if durable:
            flush(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields a new folder beside ``path`` to fill; it is renamed to ``path`` after.

    Where the body raises, nothing changes.

    Raises:
      OSError: ``path`` is a folder with content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix="."))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for inner in temporary.rglob("*"):
            flush(inner)
        flush(temporary)
        temporary.rename(path)
        flush(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes a file (text as UTF-8) whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def flush(path: Path) -> None:
    """Makes a file's content, or a folder's names, survive a power cut."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folder
        if path.is_dir():
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class InUse:
    """Says that a folder is in use, to `unused`, for as long as this object lives.

    Any number may. Where the system or the file system has no locks (`flock`), nothing is said, and
    nothing is ever `unused`.
    """

    def __init__(self, folder: Path):
        if fcntl is None:
            return
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError:
            return
        weakref.finalize(self, os.close, descriptor)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Yields whether nobody uses a folder (`InUse`), in this process or another; meanwhile who
    wants to waits."""
    if fcntl is None:
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # in use, or without locks
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
