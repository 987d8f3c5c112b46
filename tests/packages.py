"""Tiny packages for the tests, and the folder where real ones are kept between test runs."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

TABLE = "size, colour, label\n1.5, red, no\n2.5, blue, yes\n3, red, no\n4, green, no\n"


def write_wheel(
    folder: Path, members: Mapping[str, str | bytes], *, name: str = "tiny-data"
) -> tuple[Path, str]:
    """A sound wheel of version 1.0 with ``members``; its path and sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = name.replace("-", "_")
    path = folder / f"{stem}-1.0-py3-none-any.whl"
    about = {
        f"{stem}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{stem}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        f"{stem}-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in {**members, **about}.items():
            archive.writestr(member, content)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def use_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes ``folder`` all that the package client finds, as a user's configuration would."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def everything(folder: Path) -> dict[str, bytes]:
    """All files below ``folder`` by their path in it; empty where there is none."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
