"""What does not fit into memory is refused in one line, before anything is made."""

from types import SimpleNamespace

import psutil
import pytest

from harness.data.table import Table
from harness.errors import UserError
from harness.memory import check_fits
from tests.conftest import TINY


@pytest.fixture
def little(monkeypatch):
    """A machine with some kilobytes left."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000))


def test_what_fits_passes():
    check_fits(1000, what="it", remedy="less")
    with pytest.raises(UserError, match="it takes some 2 kB, and 1 kB are free: less"):
        check_fits(2000, what="it", remedy="less", free=1000)


@pytest.fixture
def usual(monkeypatch):
    """A machine with 16 GB left, whichever this one is."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=16 * 10**9))


@pytest.mark.parametrize("arguments", [
    ("train", *TINY, "dataset=two_gaussians", "dataset.rows=2000000000"),
    ("plan", *TINY, "dataset=synthetic/cells", "dataset.rows=2000000", "dataset.num_cells=1000000"),
    ("data", "describe", "two_gaussians", "rows=2000000000"),
    ("train", *TINY, "training.num_epochs=100000", "training.batch_size=1048576"),
    ("verify", "model=mlp", "model.width=65536", "model.depth=64", "wandb=disabled"),
])  # fmt: skip
def test_one_line_says_how_much_there_is(arguments, harness, tmp_path, usual):
    said = harness(*arguments)
    assert said.code == 2 and len(said.err.splitlines()) == 1, said
    assert "16 GB are free: " in said.err and not list(tmp_path.iterdir())


def test_a_table_of_many_levels(little, tmp_path):
    rows = "".join(f"{'abcdefgh'[i % 8]},{i % 2}\n" for i in range(900))
    (tmp_path / "t.csv").write_text(f"a,y\n{rows}")
    with pytest.raises(UserError, match=r"t\.csv: 900 rows of 8 features takes some"):
        Table(path=str(tmp_path / "t.csv"), target="y").load()
