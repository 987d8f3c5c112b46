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

from harness.data import cache, package
from harness.data.columns import columns_of, read_text
from harness.data.package import Package
from harness.data.wheel import Wheel
from harness.errors import UserError
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

    monkeypatch.setattr(package, "_download", lambda _: pytest.fail("fetched again"))
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


def test_without_the_package_client_the_error_is_its_own(kept, monkeypatch):
    monkeypatch.setattr(package, "_PIP", (sys.executable, "-m", "no_such_client"))
    with pytest.raises(UserError, match="No module named no_such_client"):
        tiny().load()


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
        "from harness.data.package import Package, fetch;"
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
    ({"target": "Label"}, "no column 'Label': one of size, colour, label"),
    ({"drop": ("hue",)}, "no column 'hue'"),
    ({"drop": ("size", "colour")}, "no column but 'label' is left"),
    ({"positive": "maybe"}, "no row has the label 'maybe'.*no, yes"),
    ({"target": "colour"}, "has 3 labels .*dataset.positive"),
    ({"rows": 5}, "has 4 rows where the config says 5: .*dataset.rows=null"),
    ({"features": 3}, "has 2 features where the config says 3"),
    ({"positives": 2}, "has 1 positives where the config says 2"),
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
    monkeypatch.setattr(package, "_MAX_BYTES", 10)
    with pytest.raises(UserError, match=f"unpacks to {len(TABLE)} bytes: at most 10"):
        tiny(sha256).load()


def columns(text: str, **given):
    defaults = {"target": "class", "positive": None, "drop": (), "place": "here"}
    return columns_of(read_text(text.encode(), header=False, place="here"), **(defaults | given))


def test_the_rarer_label_is_positive_whatever_it_is_called():
    assert columns("1,positive\n2,positive\n3,negative\n").positive_label == "negative"
    assert columns("1,positive\n2,negative\n3,negative\n").positive_label == "positive"
    assert columns("1,0\n2,1.0\n3,0\n").positive_label == "1"
    assert columns("1,a\n2,b\n").positive_label == "b"  # as frequent: the one that sorts last


def test_missing_numbers_stay_missing_and_missing_texts_are_a_level():
    got = columns("1,<null>,a\n?, x,b\n 3 ,y,b\n\n")
    np.testing.assert_array_equal(got.features[:, 0], [1, np.nan, 3])
    assert got.names == ("x1", "x2=missing", "x2=x", "x2=y") and got.num_columns == 2
    np.testing.assert_array_equal(got.features[:, 1:], np.eye(3))


def test_encoded_columns_do_not_depend_on_the_order_of_rows():
    rows = ["1,b,u,a", "2,a,u,b", "3,c,u,b", "4,a,u,b"]
    forward, backward = columns("\n".join(rows)), columns("\n".join(rows[::-1]))
    assert forward.names == backward.names == ("x1", "x2=a", "x2=b", "x2=c", "x3=u")
    np.testing.assert_array_equal(forward.features, backward.features[::-1])


def test_text_that_is_no_table_is_one_error():
    with pytest.raises(UserError, match="here is no table"):
        read_text(b"a,b\n1,2,3\n", header=True, place="here")
    with pytest.raises(UserError, match="'class' has missing values"):
        columns("1,a\n2,\n3,b\n")


def test_the_cache_is_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "mine"))
    assert cache.data_dir() == tmp_path / "mine"
    monkeypatch.delenv("HARNESS_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.data_dir() == tmp_path / "xdg/bce-harness/data"
    for unset in ("", "relative"):  # the XDG specification has relative paths ignored
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert cache.data_dir() == Path.home() / ".cache/bce-harness/data"


def test_an_interrupted_fetch_leaves_nothing(tmp_path, kept, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(package.subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tiny().load()
    assert everything(kept) == {} and not list(kept.rglob(".fetching-*"))


def test_zip_names_are_what_the_tests_think(tmp_path):
    """The archives above do hold the names that are refused: zipfile does not clean them."""
    path, _ = write_wheel(tmp_path, {"../evil.csv": "", "/etc/evil": ""})
    with zipfile.ZipFile(path) as archive:
        assert {"../evil.csv", "/etc/evil"} <= set(archive.namelist())
