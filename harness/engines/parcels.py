"""Shards of workers that do not see the sweep's folder: sent to an address, and fetched from it.

A parcel is a tar of a new shard and of what lies beside it, models and findings. It is one object,
named by the sha256 of its content: what arrives is what was sent, or is known to be cut short. Only
the process that shares out the work writes to the store, and it removes what it has stored. See
docs/decisions/052.
"""

import hashlib
import re
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl

from harness import checkpoints
from harness.data.fetching import say
from harness.errors import UserError, first_line, printable
from harness.files import whole_folder, write_whole
from harness.record import store
from harness.record.shard import TABLES, fault, table_path
from harness.run import Key

_FOLDERS = ("data", checkpoints.FOLDER, "shards")
_MEMBER = re.compile(
    rf"data/\w+\.json|({checkpoints.FOLDER}|shards)/[0-9a-f]+/[A-Za-z0-9]+(\.\w+)?", re.ASCII
)


class Unsent(UserError):
    """An address cannot be used, or what a worker trained has not arrived from it."""


class Parcels:
    """What workers send to an ``address`` that fsspec knows, such as s3://bucket/folder."""

    def __init__(self, address: str):
        """Raises `UserError` where it is no address, or its library is not installed."""
        self.address = address
        try:
            import fsspec

            if not address.partition("://")[2]:
                raise ValueError("it has no protocol, such as s3://, or no folder")
            self._files, self._place = fsspec.url_to_fs(address)
        except ImportError as error:
            raise UserError(
                f"engine.shards={address}: {first_line(error)}: pip install 'bce-harness[remote]'"
            ) from None
        except Exception as error:  # each protocol's library has its own
            raise UserError(
                f"engine.shards={address}: {first_line(error)}: give an address of fsspec's, or "
                "none where workers see the sweep's folder"
            ) from None

    def check(self) -> None:
        """Raises `Unsent` where nothing can be written to the address, or removed."""
        probe = f"{self._place}/probe-{uuid.uuid4().hex}"
        with self._in_use():
            self._files.pipe_file(probe, b"harness")
            self._files.rm_file(probe)

    def send(self, folder: Path) -> None:
        """Sends what a worker has written to its own sweep ``folder``, which is empty then.

        Raises:
          Unsent: it cannot be sent.
        """
        found = [one for name in _FOLDERS for one in (folder / name).glob("[!.]*")]
        if not found:
            return
        with tempfile.TemporaryFile() as packed:
            with tarfile.open(fileobj=packed, mode="w") as tar:
                for one in found:
                    tar.add(one, arcname=str(one.relative_to(folder)))
            packed.seek(0)
            digest = hashlib.file_digest(packed, "sha256").hexdigest()
            packed.seek(0)
            place = f"{self._place}/{folder.name}-{digest}.tar"
            with self._in_use(), self._files.transaction, self._files.open(place, "wb") as there:
                shutil.copyfileobj(packed, there)
        for name in _FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)

    def fetch(self, folders: Iterable[Path], awaited: set[Key]) -> None:
        """Moves to each of ``folders`` what was sent for it, and takes its runs out of ``awaited``.

        Of runs that are stored those are kept that are awaited: others were sent twice.

        Raises:
          Unsent: the address cannot be used.
        """
        for folder in folders:
            for place, digest in self._sent_for(folder):
                with tempfile.TemporaryDirectory(prefix="bce-harness-") as own:
                    packed, unpacked = Path(own, "tar"), Path(own, "folder")
                    with self._in_use():
                        try:
                            self._files.get_file(place, str(packed))
                        except FileNotFoundError:  # another sweep into this folder was first
                            awaited.difference_update((folder, one) for one in store.stored(folder))
                            continue
                    if told := _unpack(packed, digest, unpacked):
                        say(f"{place} is damaged ({told}): passed over, its runs are trained again")
                    else:
                        _keep(unpacked, folder, awaited)
                with self._in_use(), suppress(FileNotFoundError):
                    self._files.rm_file(place)

    def _sent_for(self, folder: Path) -> list[tuple[str, str]]:
        """The place and the digest of each."""
        named = re.compile(rf"{re.escape(folder.name)}-([0-9a-f]{{64}})\.tar")
        with self._in_use():
            self._files.invalidate_cache()
            try:
                there = sorted(self._files.ls(self._place, detail=False))
            except FileNotFoundError:  # object stores have no empty folders
                return []
        matched = ((place, named.fullmatch(place.rpartition("/")[2])) for place in there)
        return [(place, match[1]) for place, match in matched if match]

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each protocol's library has its own
            raise Unsent(
                f"engine.shards={self.address}: it cannot be used ({first_line(error)}): mend the "
                "address, its bucket or the keys; the same command goes on"
            ) from error


def _unpack(packed: Path, digest: str, folder: Path) -> str:
    """Unpacks a parcel; what is wrong with it."""
    with packed.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != digest:
            return "its content is not what its name says"
    try:
        with tarfile.open(packed, mode="r:") as tar:
            for member in tar:
                if member.isdir():
                    continue
                if not (member.isfile() and _MEMBER.fullmatch(member.name)):
                    return f"it holds {printable(member.name[:80])}"
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with tar.extractfile(member) as content, path.open("wb") as file:  # type: ignore[union-attr]
                    shutil.copyfileobj(content, file)
    except tarfile.TarError as error:
        return first_line(error)
    return next(filter(None, map(fault, (folder / "shards").glob("*"))), "")


def _keep(unpacked: Path, folder: Path, awaited: set[Key]) -> None:
    """Puts a whole parcel's content into a sweep ``folder``: a stored run has its model."""
    for path in (unpacked / "data").glob("*"):
        write_whole(folder / "data" / path.name, path.read_bytes())
    for model in (unpacked / checkpoints.FOLDER).glob("*"):
        if not checkpoints.is_saved(folder, model.name):
            _copy(model, folder / checkpoints.FOLDER / model.name)
    for shard in (unpacked / "shards").glob("*"):
        stored = store.stored(folder)
        run_ids = store.read_runs(table_path(shard, "runs"))["run_id"].to_list()
        new = [one for one in run_ids if one not in stored or (folder, one) in awaited]
        if new == run_ids:
            _copy(shard, folder / "shards" / shard.name)
        elif new:
            tables = {
                name: store.scan(table_path(shard, name))
                .filter(pl.col("run_id").is_in(new))
                .collect()
                for name in TABLES
            }
            store.write_merged(folder, tables, replaces=())
        awaited.difference_update((folder, one) for one in new)


def _copy(found: Path, place: Path) -> None:
    with whole_folder(place) as temporary:
        shutil.copytree(found, temporary, dirs_exist_ok=True)
