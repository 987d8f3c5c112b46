"""What does not fit into memory is refused in one line, before anything is made; what is large is
there once."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import psutil
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from harness.data.table import Table
from harness.errors import UserError
from harness.memory import check_fits, shareable
from harness.sweep import lanes
from tests.conftest import TINY
from tests.runs import config, prepared


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


on_cpus = pytest.mark.skipif(jax.default_backend() != "cpu", reason="memory of their own")


def held_at(values: jax.Array) -> list[int]:
    """Where each device has its own part."""
    return [shard.data.unsafe_buffer_pointer() for shard in values.addressable_shards]


@on_cpus
@pytest.mark.parametrize("shape", [(3,), (1000, 30), (1, 4)], ids=str)
def test_devices_read_what_is_shareable_where_it_lies(shape):
    zeros = shareable(shape, np.int32)
    assert zeros.shape == shape and zeros.dtype == np.int32 and not zeros.any()
    assert zeros.ctypes.data % 64 == 0


@on_cpus
def test_a_table_is_there_once_for_all_devices_and_for_its_data_set():
    one = prepared(config(model={"name": "logistic"}))
    room = one.run.program.sizes
    before, fingerprint = one.dataset.features.copy(), one.dataset.fingerprint
    placed = lanes.put(one.dataset, one.run.program).features
    assert placed.shape == (room.rows, room.features) == (1024, 32) != before.shape
    features = one.dataset.features
    assert lanes.num_devices() == 2 and held_at(placed) == [features.ctypes.data] * 2
    assert not features.flags.writeable and np.array_equal(features, before)
    beyond = np.asarray(placed).copy()
    beyond[: len(before), : before.shape[1]] = 0
    assert not beyond.any()
    assert replace(one.dataset).fingerprint == fingerprint


@on_cpus
def test_a_plan_counts_a_table_as_often_as_it_is_there(monkeypatch):
    one = prepared(config(model={"name": "logistic"}))
    program = one.run.program
    placed = lanes.put(one.dataset, program).arrays
    there = {place: array.nbytes for array in placed for place in held_at(array)}
    assert lanes.data_bytes(program) == sum(there.values())
    weighted = replace(program, has_row_weights=True)
    assert lanes.data_bytes(weighted) == lanes.data_bytes(program) + 4 * program.sizes.rows
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # a memory each
    assert lanes.data_bytes(program) == lanes.num_devices() * sum(there.values())


@on_cpus
def test_lanes_are_not_copied_to_devices():
    one = prepared(config(model={"name": "logistic"}))
    stacked = lanes.stacked([one.lane], one.run.program)
    by_lane = NamedSharding(lanes._mesh(), PartitionSpec("lanes"))
    placed = jax.device_put(stacked.batch_rows, by_lane)
    half = stacked.batch_rows.nbytes // 2
    start = stacked.batch_rows.ctypes.data
    assert held_at(placed) == [start, start + half]
