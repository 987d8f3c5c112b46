"""Files and folders are there whole or not at all."""

import os
import stat

import pytest

from harness.files import whole_file, whole_folder, write_whole


def test_a_file_replaces_another_whole(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_whole(path, "one")
    write_whole(path, b"two")
    assert path.read_text() == "two"
    assert os.listdir(path.parent) == ["a.txt"]


def test_what_fails_leaves_everything_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "one")
    with pytest.raises(ValueError), whole_file(path) as temporary:
        temporary.write_text("tw")
        raise ValueError
    with pytest.raises(ValueError), whole_folder(tmp_path / "b") as folder:
        (folder / "inner").write_text("x")
        raise ValueError
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_appears_whole(tmp_path):
    with whole_folder(tmp_path / "b") as folder:
        (folder / "inner").write_text("x")
        assert not (tmp_path / "b").exists()
    assert (tmp_path / "b" / "inner").read_text() == "x"
    with pytest.raises(OSError), whole_folder(tmp_path / "b"):
        pass
    assert os.listdir(tmp_path) == ["b"]


def test_a_name_laid_in_the_way_is_not_followed(tmp_path):
    """Temporary names are random: a link cannot be put at one beforehand."""
    names = set()
    for _ in range(3):
        with whole_file(tmp_path / "a") as temporary:
            names.add(temporary.name)
    assert len(names) == 3


def test_permissions_are_those_of_ordinary_files(tmp_path):
    (tmp_path / "plain").write_text("")
    write_whole(tmp_path / "whole", "")
    with whole_folder(tmp_path / "folder"):
        pass
    (tmp_path / "made").mkdir()

    def mode(name):
        return stat.S_IMODE((tmp_path / name).stat().st_mode)

    assert mode("whole") == mode("plain")
    assert mode("folder") == mode("made")
