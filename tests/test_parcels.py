"""Shards sent to an address: what arrives is what was trained, once, or it is trained again."""

import hashlib
import io
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config.engines import Ray
from harness.engines import sharing, worker
from harness.engines.parcels import Parcels
from harness.errors import UserError
from harness.record import store
from harness.sweep import engine
from harness.sweep.claims import Claims
from harness.sweep.engine import run_sweep
from tests.runs import config, runs_of
from tests.stored import assert_same_runs, stored_tables
from tests.test_engines import Quiet, train

fsspec = pytest.importorskip("fsspec")
ADDRESS = "memory://shards"
TINY = {"model": {"name": "logistic"}, "training": {"num_epochs": 2, "batch_size": 128}}
SWEEP = [config(**TINY, seed=seed, training__save_model=seed == 0) for seed in range(4)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The sweep's folder, trained by one process."""
    root = tmp_path_factory.mktemp("whole")
    run_sweep([replace(one, root=str(root)) for one in SWEEP], progress=Quiet())
    return root / "default"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Workers in this process that send to an empty address; the units that they were given."""
    units = []

    def run(texts, engine, folder):
        for place, text in enumerate(texts):
            units.append(text)
            yield place, worker.work(text)

    monkeypatch.setattr(sharing, "_run", run)
    monkeypatch.setattr(engine, "_compile", engine._kept)  # once for all tests
    fsspec.filesystem("memory").store.clear()
    return units


def there() -> dict[str, bytes]:
    files = fsspec.filesystem("memory")
    return {name: files.cat_file(name) for name in files.find("/shards")}


def put(name: str, content: bytes) -> None:
    fsspec.filesystem("memory").pipe_file(name, content)


def swept(root: Path, whole: Path, **changes) -> list:
    results = train(SWEEP, root, Ray(shards=ADDRESS, **changes))
    assert [one.error for one in results] == [None] * len(SWEEP)
    folder = root / "default"
    assert_same_runs(stored_tables(folder), stored_tables(whole))
    assert store.runs(folder)[0].height == len(SWEEP)
    assert {row["root"] for row in store.stored(folder, ["root"]).values()} == {str(root)}
    for kept in ("data", "models"):
        names = sorted(str(path.relative_to(whole)) for path in (whole / kept).rglob("*"))
        assert names == sorted(str(path.relative_to(folder)) for path in (folder / kept).rglob("*"))
    assert not [path.name for path in folder.glob(".*")]
    assert not there()
    return results


def test_what_workers_send_is_what_one_process_leaves(tmp_path, whole, sent):
    swept(tmp_path, whole)
    assert len(sent) == 1 and not Path(tmp_path, "default", ".claims").exists()
    assert all(one.was_stored for one in swept(tmp_path, whole))
    assert len(sent) == 1


def test_runs_that_are_trained_again_arrive_beside_their_first(tmp_path, whole, sent):
    swept(tmp_path, whole)
    again = [replace(one, rerun=True) for one in SWEEP[:2]]
    assert not any(one.error for one in train(again, tmp_path, Ray(shards=ADDRESS)))
    assert store.runs(tmp_path / "default")[0].height == len(SWEEP) + 2


def forged(content: bytes) -> tuple[str, bytes]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("shards/../../evil"))
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    return f"/shards/default-{digest}.tar", packed.getvalue()


FAULTS = {
    "cut short": lambda name, content: (name, content[: len(content) // 2]),
    "another's file": lambda name, content: forged(content),
    "lost": lambda name, content: None,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_arrive_whole_is_tried_again(
    fault, tmp_path, whole, sent, capsys, monkeypatch
):
    send, faults = Parcels.send, [FAULTS[fault]]

    def faulty(parcels, folder):
        send(parcels, folder)
        if faults:
            ((name, content),) = there().items()
            fsspec.filesystem("memory").store.clear()
            if altered := faults.pop()(name, content):
                put(*altered)

    monkeypatch.setattr(Parcels, "send", faulty)
    swept(tmp_path, whole, retries=1)
    assert len(sent) == 2
    said = capsys.readouterr().err
    assert said.count("passed over, its runs are trained again\n") == (fault != "lost")
    assert ("its content is not what its name says" in said) == (fault == "cut short")
    assert ("it holds shards/../../evil" in said) == (fault == "another's file")


def test_what_can_never_be_sent_is_one_line(tmp_path, sent, monkeypatch):
    files = fsspec.filesystem("memory")
    opened = files.open

    def refuse(path, mode, **options):
        if path.endswith(".tar"):
            raise OSError("SlowDown: try later\nand more of it")
        return opened(path, mode, **options)

    monkeypatch.setattr(files, "open", refuse)
    results = train(SWEEP, tmp_path, Ray(shards=ADDRESS, retries=2))
    assert {str(one.error) for one in results} == {
        "engine.shards=memory://shards: it cannot be used (SlowDown: try later): mend the address, "
        "its bucket or the keys; the same command goes on"
    }
    assert len(sent) == 3 and not store.stored(tmp_path / "default")


def test_what_was_sent_to_a_process_that_was_killed_is_fetched_once(
    tmp_path, whole, sent, monkeypatch
):
    """Also where it was killed after storing a parcel, or two workers sent the same runs."""
    with monkeypatch.context() as killed:
        killed.setattr(Parcels, "fetch", lambda *_: None)
        train(SWEEP[:3], tmp_path, Ray(shards=ADDRESS, retries=0))
        train(SWEEP[1:], tmp_path, Ray(shards=ADDRESS, retries=0))
    assert len(there()) == 2 and not store.stored(tmp_path / "default")
    parcels = there()
    del sent[:]
    swept(tmp_path, whole)
    for name, content in parcels.items():
        put(name, content)
    others = f"/shards/default-2-{'0' * 64}.tar"
    put(others, b"of another sweep")
    train(SWEEP, tmp_path, Ray(shards=ADDRESS))
    assert list(there()) == [others] and not sent
    assert store.runs(tmp_path / "default")[0].height == len(SWEEP)


def test_an_address_that_cannot_be_used_is_one_line(tmp_path, sent, monkeypatch):
    for address, saying in {
        "bucket/folder": "it has no protocol, such as s3://",
        "nonsense://bucket": "Protocol not known: nonsense",
        "file:///nowhere/at/all": "it cannot be used ([Errno 2] No such file or directory",
    }.items():
        with pytest.raises(UserError) as refused:
            train(SWEEP, tmp_path, Ray(shards=address))
        said = str(refused.value)
        assert said.startswith(f"engine.shards={address}: ") and saying in said and "\n" not in said
    with pytest.raises(UserError, match=r"root is .* and .*: give one root"):
        placed = [replace(one, root=str(tmp_path / str(one.seed))) for one in SWEEP]
        sharing.train(
            [replace(one, engine=Ray(shards=ADDRESS)) for one in placed], progress=Quiet()
        )
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UserError, match=r"pip install 'bce-harness\[remote\]'"):
        train(SWEEP, tmp_path, Ray(shards=ADDRESS))
    assert not sent and not list(tmp_path.rglob("*.parquet"))


def test_two_sweeps_that_send_train_no_run_twice(tmp_path, whole, sent, monkeypatch):
    """The process that shares out the work claims it: workers do not see the folder."""
    runs = runs_of(*(replace(one, root=str(tmp_path)) for one in SWEEP))
    work, free = worker.work, []

    def watched(text):
        with Claims() as other, other.deciding(runs):
            free.extend(other.take(runs))
        return work(text)

    monkeypatch.setattr(worker, "work", watched)
    swept(tmp_path, whole)
    assert len(sent) == 1 and not free


def test_sweeps_that_fetch_at_once_do_not_end_each_other(tmp_path, whole, sent, monkeypatch):
    """What one has listed another may have taken by then."""
    parcels = Parcels(ADDRESS)
    put("/shards/default-" + "0" * 64 + ".tar", b"")
    listed = parcels._sent_for(tmp_path / "default")
    fsspec.filesystem("memory").store.clear()
    monkeypatch.setattr(parcels, "_sent_for", lambda folder: listed)
    awaited = {(whole, run_id) for run_id in store.stored(whole)} | {(whole, "else")}
    parcels.fetch([whole], awaited)
    assert len(listed) == 1 and awaited == {(whole, "else")}


def test_a_model_is_named_by_its_folder_where_workers_do_not_see_the_sweeps(tmp_path, sent):
    given = config(**TINY, init={"params": "0123456789abcdef"}, root=str(tmp_path))
    with pytest.raises(UserError, match=r"init.params=0123456789abcdef: .* give the model's own"):
        sharing._parcels([given], Ray(shards=ADDRESS))
