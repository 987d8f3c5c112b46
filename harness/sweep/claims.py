"""Which runs a sweep means to train, told to the other sweeps into the same folder.

``<folder>/.claims/<random>`` lists the ids of one sweep's runs. The sweep holds a lock on the file
for as long as it lives: the claim of a killed one ends with it, and nobody has to guess from the
time when. Where a system or a file system has no such locks (`flock`), or another user's may not be
read, nothing is claimed: sweeps that overlap train some runs twice, to the same bits.
"""

import os
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from harness.run import Run

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FOLDER = ".claims"
SECONDS_BETWEEN_LOOKS = 0.5


class Claims:
    """The claims of one sweep, held until its ``with`` block ends."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._own: set[str] = set()
        self._made: set[Path] = set()

    def __enter__(self) -> "Claims":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        for place in sorted(self._made, key=lambda place: len(place.parts), reverse=True):
            with suppress(OSError):  # goes where nothing was stored in it
                place.rmdir()

    @contextmanager
    def deciding(self, runs: Iterable[Run]) -> Iterator[None]:
        """Meanwhile no other sweep claims in the folders of ``runs``."""
        with ExitStack() as locks:
            for folder in sorted({run.folder for run in runs}):
                self._made |= {one for one in (folder, *folder.parents) if not one.exists()}
                locks.enter_context(_only_one_in(folder / FOLDER))
            yield

    def take(self, runs: Sequence[Run]) -> list[Run]:
        """Those of ``runs`` that no other sweep has claimed, claimed for this one.

        To be called while `deciding`, of runs that are not stored.
        """
        taken = self._taken(runs)
        free = [run for run in runs if run.config.rerun or run.run_id not in taken[run.folder]]
        for folder in {run.folder for run in free}:
            self._claim(folder, [run.run_id for run in free if run.folder == folder])
        return free

    def release(self) -> None:
        """Gives up what was claimed: it is stored, or has failed and another sweep may try it.

        Two sweeps that each held what had failed for them would wait for each other.
        """
        self._held.close()

    def wait(self, runs: Sequence[Run]) -> None:
        """Returns once other sweeps have stored something, or have given up some of ``runs``; at
        once where they hold none any more."""
        before = self._standing(runs)
        while before[0] and before == self._standing(runs):
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _standing(self, runs: Sequence[Run]) -> tuple[set[str], ...]:
        with self.deciding(runs):
            taken = self._taken(runs)
        folders = {run.folder for run in runs}
        ids = {run.run_id for run in runs if run.run_id in taken[run.folder]}
        return ids, {path.name for folder in folders for path in (folder / "shards").glob("*")}

    def _claim(self, folder: Path, run_ids: Sequence[str]) -> None:
        if fcntl is None:
            return
        path = folder / FOLDER / uuid.uuid4().hex
        try:
            file = path.open("x", encoding="ascii")
        except PermissionError:  # another user's: as where there are no locks
            return
        self._held.callback(_give_up, path, file)
        file.write("\n".join(run_ids))
        file.flush()
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._own.add(path.name)

    def _taken(self, runs: Iterable[Run]) -> dict[Path, set[str]]:
        """The ids that living sweeps but this one have claimed; removes what dead ones left."""
        taken: dict[Path, set[str]] = defaultdict(set)
        for folder in {run.folder for run in runs}:
            for path in (folder / FOLDER).glob("*"):
                if path.name not in self._own:
                    taken[folder] |= _claimed(path)
        return taken


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Meanwhile no sweep claims in the folder; yields whether a living one has."""
    with _only_one_in(folder / FOLDER):
        yield any([_claimed(path) for path in (folder / FOLDER).glob("*")])


@contextmanager
def sealed(folder: Path) -> Iterator[bool]:
    """Meanwhile no sweep claims in the folder, and no other command moves its shards; yields
    whether that holds, as it does not without locks."""
    with _only_one_in(folder / FOLDER) as is_locked:
        yield is_locked


def _claimed(path: Path) -> set[str]:
    """What a claim holds; nothing where it is a dead sweep's, or may not be read."""
    with suppress(OSError), path.open(encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return set(file.read().split())
        path.unlink()
    return set()


@contextmanager
def _only_one_in(folder: Path) -> Iterator[bool]:
    """Holds the lock of a folder, which is made for it and goes again where it is empty; yields
    whether there are locks."""
    if fcntl is None:
        yield False
        return
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # removed by another, as its parents may be
        except FileExistsError as error:
            if os.path.lexists(error.filename) and not os.path.isdir(error.filename):
                raise  # a file is in its place
            continue
        except PermissionError:  # another user's: as where there are no locks
            yield False
            return
        try:
            is_locked = False
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                is_locked = True
            if not _is_at(descriptor, folder):
                continue  # removed while it was waited for
            yield is_locked
            with suppress(OSError):
                folder.rmdir()
            return
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _give_up(path: Path, claim: IO[str]) -> None:
    """Not while another decides: it may have looked at what is stored before this sweep stored its
    last, and would take the end of the claim for a death."""
    with claim, suppress(OSError), _only_one_in(path.parent):
        path.unlink()
        claim.close()
