"""Data inside packages: what is read, and all that is refused with the cache left as it was."""

import bz2
import hashlib
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.data import fetching, packages
from harness.data.packages import Mislabelled, Package, Wheel
from harness.errors import UserError
from harness.files import cache_dir
from tests.packages import TABLE, everything, use_index, write_wheel

ANY_HASH = "0" * 64


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """The cache, empty, and an index that has nothing."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "cache"))
    use_index(tmp_path / "index", monkeypatch)
    return tmp_path / "cache"


def tiny(sha256: str = ANY_HASH, **changes) -> Wheel:
    fields = {
        "name": "tiny", "package": "tiny-data", "version": "1.0", "sha256": sha256,
        "member": "tiny_data/table.csv", "target": "label",
        "rows": 4, "features": 2, "positives": 1,
    }  # fmt: skip
    return Wheel(**(fields | changes))


def put(kept: Path, source: Path, sha256: str) -> Path:
    """Places a file in the cache as a download would have."""
    path = Package("tiny-data", "1.0", sha256).path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source.read_bytes())
    return path


def test_a_package_is_fetched_once_and_read(tmp_path, kept, capsys, monkeypatch):
    # Code in the package that would be noticed if it were run, imported or unpickled.
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')"
    _, sha256 = write_wheel(
        tmp_path / "index",
        {"tiny_data/table.csv": TABLE, "tiny_data/__init__.py": trap, "setup.py": trap},
    )
    dataset = tiny(sha256).load()
    assert (dataset.num_rows, dataset.num_features, dataset.num_positives) == (4, 4, 1)
    assert dataset.feature_names == ("size", "colour=blue", "colour=green", "colour=red")
    assert dataset.positive_label == "yes" and dataset.raw is not None
    np.testing.assert_array_equal(dataset.raw.max, [4, 1, 1, 1])
    assert "fetching tiny-data 1.0" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists() and "tiny_data" not in sys.modules
    assert len(everything(kept)) == 1  # nothing of the download is left behind

    monkeypatch.setattr(packages, "_download", lambda _: pytest.fail("fetched again"))
    assert replace(tiny(sha256), name="other").load().fingerprint == dataset.fingerprint
    assert capsys.readouterr().err == ""


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path, kept):
    write_wheel(tmp_path / "index", {"tiny_data/table.csv": TABLE})
    with pytest.raises(UserError, match="is not the pinned 0000") as caught:
        tiny(ANY_HASH).load()
    assert "\n" not in str(caught.value)
    assert everything(kept) == {}


def test_a_package_nobody_has_says_what_to_do(kept):
    with pytest.raises(UserError, match=r"cannot be fetched .*tiny-data.* copy .*breast_cancer"):
        tiny().load()
    assert everything(kept) == {}


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory) -> str:
    """An environment without pip, as uv makes them."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    lacking = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, text=True)
    assert "No module named pip" in lacking.stderr
    return str(python)


@pytest.mark.slow
def test_an_environment_without_pip_borrows_the_one_of_its_python(
    bare_python, tmp_path, kept, monkeypatch
):
    _, sha256 = write_wheel(tmp_path / "index", {"tiny_data/table.csv": TABLE})
    monkeypatch.setattr(sys, "executable", bare_python)
    assert tiny(sha256).load().num_rows == 4
    assert len(everything(kept)) == 1
    with pytest.raises(UserError, match="is not the pinned 0000"):
        tiny(ANY_HASH).load()


def test_or_that_of_uv(bare_python, tmp_path, kept, monkeypatch):
    _, sha256 = write_wheel(tmp_path / "index", {"tiny_data/table.csv": TABLE})
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(
        '#!/bin/sh\n[ "$1 $2 $3" = "tool run pip" ] || exit 9\nshift 3\n'
        f'exec {sys.executable} -m pip "$@"\n'
    )
    uv.chmod(0o755)
    monkeypatch.setattr(sys, "executable", bare_python)
    monkeypatch.setattr(packages, "_bundled_pip", lambda _: None)
    with pytest.raises(UserError, match="neither pip nor ensurepip, and uv is not") as caught:
        monkeypatch.setattr(packages.shutil, "which", lambda _: None)
        tiny(sha256).load()
    assert f"put it at {tiny(sha256).pinned.path}" in str(caught.value)
    monkeypatch.setattr(packages.shutil, "which", lambda _: str(uv))
    assert tiny(sha256).load().num_rows == 4


@pytest.mark.parametrize(("told", "settings"), [
    ({}, {}),
    ({"UV_INDEX_URL": "https://a/simple"}, {"PIP_INDEX_URL": "https://a/simple"}),
    ({"UV_DEFAULT_INDEX": "mine=https://u:p=1@a/simple", "UV_INDEX_URL": "https://b"},
     {"PIP_INDEX_URL": "https://u:p=1@a/simple"}),
    ({"UV_INDEX": "x=https://a https://b"}, {"PIP_EXTRA_INDEX_URL": "https://a https://b"}),
    ({"UV_INDEX_URL": "https://a", "PIP_INDEX_URL": "https://b"}, {}),
])  # fmt: skip
def test_an_index_that_uv_is_told_is_asked(told, settings):
    assert packages._index_of_uv(told) == settings


@pytest.mark.parametrize("spoil", [
    lambda content: content[:-40],  # truncated
    lambda content: content.replace(b"1.5, red", b"1.5, tan"),  # tampered with
    lambda content: b"",
])  # fmt: skip
def test_a_damaged_file_is_refused_and_left_alone(spoil, tmp_path, kept):
    source, sha256 = write_wheel(tmp_path / "elsewhere", {"tiny_data/table.csv": TABLE})
    path = put(kept, source, sha256)
    path.write_bytes(spoil(source.read_bytes()))
    before = everything(kept)
    with pytest.raises(UserError, match=f"{path}: has sha256 .* pinned to {sha256}") as caught:
        tiny(sha256, name=f"spoilt {len(path.read_bytes())}").load()
    assert "delete it" in str(caught.value)
    assert everything(kept) == before


@pytest.mark.parametrize("member", ["../evil.csv", "/etc/evil", "a/../../evil", "..\\evil", "C:/e"])
def test_an_archive_that_leaves_its_folder_is_refused(member, tmp_path, kept):
    _, sha256 = write_wheel(tmp_path / "index", {"tiny_data/table.csv": TABLE, member: "evil"})
    with pytest.raises(UserError, match="points outside the archive: refused"):
        tiny(sha256).load()
    assert everything(kept) == {}
    assert not list(tmp_path.rglob("*evil*"))


def test_two_processes_fetch_at_once(tmp_path, kept):
    _, sha256 = write_wheel(tmp_path / "index", {"tiny_data/table.csv": TABLE})
    fetch = (
        "from harness.data.packages import Package, fetch;"
        f"fetch(Package('tiny-data', '1.0', {sha256!r}))"
    )
    both = [subprocess.Popen([sys.executable, "-c", fetch]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    (content,) = everything(kept).values()
    assert content == (tmp_path / "index" / "tiny_data-1.0-py3-none-any.whl").read_bytes()


def test_a_file_that_is_no_archive_is_refused(tmp_path, kept):
    source = tmp_path / "no.whl"
    source.write_bytes(b"not an archive")
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    put(kept, source, sha256)
    with pytest.raises(UserError, match="is no sound archive"):
        tiny(sha256).load()


@pytest.mark.parametrize(("changes", "message"), [
    ({"member": "tiny_data/tabel.csv"}, "did you mean tiny_data/table.csv"),
    ({"target": "Label"}, "no column 'Label': set dataset.target; did you mean 'label'"),
    ({"drop": ("hue",)}, "no column 'hue'"),
    ({"drop": ("size", "colour"), "features": None}, "no features beside target 'label'"),
    ({"positive": "maybe"}, "label 'maybe' is not a value of target 'label'.*'no', 'yes'"),
    ({"target": "colour"}, "has 3 values .*dataset.positive"),
    ({"rows": 5}, "table.csv: has 4 rows where dataset tiny says 5: .*dataset.rows=null"),
    ({"features": 3}, "has 2 features where dataset tiny says 3"),
    ({"positives": 2}, "has 1 positives where dataset tiny says 2"),
])  # fmt: skip
def test_what_the_config_says_is_checked(changes, message, tmp_path, kept):
    source, sha256 = write_wheel(tmp_path / "elsewhere", {"tiny_data/table.csv": TABLE})
    put(kept, source, sha256)
    with pytest.raises(UserError, match=message) as caught:
        tiny(sha256, **changes).load()
    assert "\n" not in str(caught.value)


def test_a_compressed_member_and_counts_left_open(tmp_path, kept):
    content = bz2.compress(TABLE.encode())
    source, sha256 = write_wheel(tmp_path / "elsewhere", {"tiny_data/table.csv.bz2": content})
    put(kept, source, sha256)
    counts = {"rows": None, "features": None, "positives": None}
    dataset = tiny(
        sha256, member="tiny_data/table.csv.bz2", target="colour", positive="red", **counts
    ).load()
    assert dataset.num_positives == 2 and dataset.feature_names == ("size", "label=yes")


def test_a_member_too_large_to_unpack_is_refused(tmp_path, kept, monkeypatch):
    source, sha256 = write_wheel(tmp_path / "elsewhere", {"tiny_data/table.csv": TABLE})
    put(kept, source, sha256)
    monkeypatch.setattr(packages, "_MAX_BYTES", 10)
    with pytest.raises(UserError, match=f"unpacks to {len(TABLE)} bytes: at most 10"):
        tiny(sha256).load()


def test_the_cache_is_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "mine"))
    assert fetching.data_dir() == tmp_path / "mine"
    monkeypatch.delenv("HARNESS_DATA")
    assert fetching.data_dir() == cache_dir() / "data"


def test_flips_of_several_seeds_are_several_data_sets(tmp_path, kept):
    rows = "".join(f"{row},{'yes' if row % 4 else 'no'}\n" for row in range(400))
    source, sha256 = write_wheel(
        tmp_path / "elsewhere", {"tiny_data/table.csv": "size,label\n" + rows}
    )
    put(kept, source, sha256)
    counts = {"rows": 400, "features": 1, "positives": 100}

    def flipped(**flips):
        fields = {**vars(tiny(sha256, **counts)), "kind": "mislabelled"}
        return Mislabelled(**(fields | flips)).load()

    clean = [flipped(flip_seed=seed) for seed in range(3)]
    assert len({dataset.fingerprint for dataset in clean}) == 3
    assert all((dataset.labels == clean[0].labels).all() for dataset in clean)
    few, many = flipped(flip_positives=0.1), flipped(flip_positives=0.3)
    flips = [dataset.labels != clean[0].labels for dataset in (few, many)]
    assert 20 < flips[0].sum() < 60 and (flips[0] <= flips[1]).all()
    assert flipped(flip_positives=0.1).fingerprint == few.fingerprint


def test_an_interrupted_fetch_leaves_nothing(tmp_path, kept, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(packages.subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tiny().load()
    assert everything(kept) == {}


def test_zip_names_are_what_the_tests_think(tmp_path):
    """The archives above do hold the names that are refused: zipfile does not clean them."""
    path, _ = write_wheel(tmp_path, {"../evil.csv": "", "/etc/evil": ""})
    with zipfile.ZipFile(path) as archive:
        assert {"../evil.csv", "/etc/evil"} <= set(archive.namelist())
