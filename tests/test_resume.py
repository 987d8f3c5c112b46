"""Sweeps killed, stopped, repeated and changed: what is missing is trained, to the same bits."""

import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from harness.analyze.load import load
from harness.analyze.question import sweeps_metric
from harness.config import Config, parse
from harness.errors import UserError
from harness.record import store
from harness.record.schema import flat, nested
from harness.run import Run
from harness.sweep import claims, engine, recorder
from harness.sweep.claims import Claims
from harness.sweep.engine import Result, run_sweep
from harness.sweep.progress import Progress
from tests.conftest import TINY
from tests.logged import records, write_store
from tests.runs import config, runs_of
from tests.stored import assert_same_runs, only, stored_tables

RUNS_PER_SHARD = 16
SWEPT = (*TINY, "optimizer.learning_rate=0.01,0.1", "loss=bce,brier,focal", "seed=range(7)")
NUM_RUNS = 2 * 3 * 7
SWEEP = ("train", "-m", *SWEPT)
FOLDER = Path("runs") / "default"

# A sweep whose process gets a signal while it writes the first table of its second shard.
SIGNALLED = """
import os, sys
import polars as pl
from harness import cli
from harness.cli import application  # chooses the devices before jax is imported
from harness.record import store
from harness.sweep import recorder
recorder.RUNS_PER_SHARD = {runs_per_shard}
write, written = pl.DataFrame.write_parquet, []
def write_and_die(frame, path, **options):
    write(frame, path, **options)
    written.append(path)
    if len(written) == len(store.TABLES) + 1:
        os.kill(os.getpid(), {signal})
pl.DataFrame.write_parquet = write_and_die
sys.argv[0] = "harness"
cli.main()
"""


def train(configs: list[Config], root: Path) -> list[Result]:
    """Trains ``configs`` into ``root``/default."""
    with open(os.devnull, "w") as nowhere:
        placed = [replace(one, root=str(root)) for one in configs]
        return run_sweep(placed, progress=Progress(Console(file=nowhere)))


def trained(configs: list[Config], root: Path) -> dict[str, pl.DataFrame]:
    """The tables of ``configs``, trained into an empty ``root``."""
    train(configs, root)
    return stored_tables(root / "default")


def process(script: str, folder: Path, *arguments: str, **environment: str):
    """Runs ``script`` on ``arguments`` in a process of its own, which chooses its own devices."""
    chosen_here = ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")
    kept = {key: value for key, value in os.environ.items() if key not in chosen_here}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def signalled(number: signal.Signals, folder: Path):
    script = SIGNALLED.format(runs_per_shard=RUNS_PER_SHARD, signal=int(number))
    return process(script, folder, *SWEEP)


@pytest.fixture(scope="module")
def whole(hydra_sweep, tmp_path_factory):
    """The tables of `SWEEP` without an interruption."""
    jobs = [
        [*TINY, f"optimizer.learning_rate={rate}", f"loss={loss}", f"seed={seed}"]
        for rate in ("0.01", "0.1")
        for loss in ("bce", "brier", "focal")
        for seed in range(7)
    ]
    configs = [parse(hydra_sweep.compose(job)) for job in jobs]
    tables = trained(configs, tmp_path_factory.mktemp("whole"))
    assert tables["runs"].height == NUM_RUNS
    return tables


@pytest.mark.slow
def test_a_killed_sweep_trains_what_is_missing_to_the_same_bits(harness, tmp_path, whole):
    assert signalled(signal.SIGKILL, tmp_path).returncode == -signal.SIGKILL
    shards = tmp_path / FOLDER / "shards"
    (torn,) = shards.glob(".*")
    assert [path.name for path in torn.iterdir()] == ["runs.parquet"]
    stored = stored_tables(tmp_path / FOLDER)["runs"].height
    assert stored == RUNS_PER_SHARD < NUM_RUNS
    said = harness(*SWEEP)
    assert said.out.startswith(f"{NUM_RUNS - stored} trained, {stored} already stored, 0 failed")
    assert_same_runs(stored_tables(tmp_path / FOLDER), whole)


# A sweep that is killed as it flushes something to disk for the `at`th time: the plan and its
# folder, each file of a shard, its folder and, once it has its name, the folder around it.
KILLED_AT = """
import os, signal, sys
from harness import cli, files
from harness.cli import application
from harness.sweep import recorder
recorder.RUNS_PER_SHARD = {runs_per_shard}
flush, flushed = files.flush, []
def flush_or_die(path):
    flush(path)
    flushed.append(path)
    if len(flushed) == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
files.flush = flush_or_die
sys.argv[0] = "harness"
cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", range(1, 10))
def test_a_sweep_killed_at_any_step_of_a_shard_goes_on(at, harness, tmp_path, whole):
    script = KILLED_AT.format(runs_per_shard=RUNS_PER_SHARD, at=at)
    assert process(script, tmp_path, *SWEEP).returncode == -signal.SIGKILL
    folder = tmp_path / FOLDER
    assert len(store.shards(folder).whole) == (1 if at > 2 + len(store.TABLES) + 2 else 0)
    assert store.shards(folder).damaged == {}
    assert harness(*SWEEP).code == 0
    assert store.runs(folder)[0]["run_id"].is_unique().all()
    assert_same_runs(stored_tables(folder), whole)


@pytest.mark.slow
def test_a_sweep_killed_at_random_moments_goes_on(tmp_path, whole):
    script = "import sys; from harness import cli; sys.argv[0] = 'harness'; cli.main()"
    command = [sys.executable, "-c", script, *SWEEP]
    draw = random.Random(0)
    for _ in range(50 if "SOAK" in os.environ else 12):
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as running:
            with suppress(subprocess.TimeoutExpired):
                running.wait(timeout=draw.uniform(2, 20))
            running.kill()
        assert store.shards(tmp_path / FOLDER).damaged == {}
    assert process(script, tmp_path, *SWEEP).returncode == 0
    assert store.runs(tmp_path / FOLDER)[0]["run_id"].is_unique().all()
    assert_same_runs(stored_tables(tmp_path / FOLDER), whole)


def test_a_half_finished_sweep_knows_what_it_is_half_of(tmp_path):
    """However it was stopped: its folder says how many runs it is to have."""
    configs = [config(seed=seed, model={"name": "logistic"}) for seed in range(3)]
    train(configs[:1], tmp_path)
    folder = tmp_path / "default"
    assert store.planned(folder) == 1 and load(folder).notes == ()
    store.write_plan(folder, 3)  # as a sweep of three does before its first shard
    (said,) = load(folder).notes
    assert said.startswith("default: 1 of 3 runs so far.")
    train(configs[1:], tmp_path)  # those that are stored count too
    assert store.planned(folder) == 3 and load(folder).notes == ()


@pytest.mark.parametrize("text", [
    "no JSON", "[1]", '"runs"', "[" * 200_000, '{"runs": true}', '{"runs": -1}', '{"runs": 2.0}',
    f'{{"runs": {"9" * 4201}}}', '{"runs": 7}' + " " * 2**21, '{"runs": 7, "objective": 3}',
])  # fmt: skip
def test_a_plan_that_cannot_be_read_is_none(text, tmp_path):
    write_store(tmp_path, records(1))
    (tmp_path / store.PLAN).write_text(text)
    assert store.planned(tmp_path) is store.planned_objective(tmp_path) is None
    assert load(tmp_path).notes == ()


def test_the_last_sweeps_objective_counts_also_of_what_was_stored_before(tmp_path):
    """It is beside a run: none is trained again for it, and no stored row knows of it."""

    def asked(objective, seeds, **more):
        evaluation = {"objective": objective} if objective else {}
        configs = [
            config(seed=seed, model={"name": "logistic"}, evaluation=evaluation, **more)
            for seed in seeds
        ]
        trained = train(configs, tmp_path)
        return sum(not one.was_stored for one in trained), sweeps_metric(load(folder).runs)

    folder = tmp_path / "default"
    assert asked(None, [0, 1]) == (2, "")
    assert asked("log_loss", [0, 1]) == (0, "log_loss")
    assert asked("auroc", [0, 1, 2]) == (1, "auroc")
    assert store.planned(folder) == 3
    assert asked(None, [0]) == (0, "")
    assert store.planned(folder) == 3 and load(folder).notes == ()


@pytest.mark.slow
def test_runs_say_which_rows_they_are_tested_on(tmp_path):
    """The same of one split, whatever the seed; and what was found in the data is kept."""
    drawn = [config(seed=seed, model={"name": "logistic"}) for seed in (0, 1)]
    fixed = [config(seed=seed, model={"name": "logistic"}, split={"seed": 0}) for seed in (0, 1)]
    runs = trained([*drawn, *fixed], tmp_path)["runs"].sort("split.seed", "seed", nulls_last=True)
    prints = runs["test_fingerprint"].to_list()
    assert prints[0] == prints[1] == prints[2] != prints[3]  # a split's seed is the run's
    (found,) = store.findings(tmp_path / "default").items()
    assert found == (runs["data_fingerprint"][0], ("569 rows, 30 features",))
    made = {"kind": "two_gaussians", "rows": 200, "num_features": 2, "distance": 1.0}
    made |= {"positive_rate": 0.3, "seed": 3}
    trained([config(dataset=made, model={"name": "logistic"})], tmp_path / "drawn")
    assert store.findings(tmp_path / "drawn" / "default") == {}  # seeds may draw thousands


@pytest.mark.slow
def test_an_interrupted_sweep_says_how_to_go_on(harness, tmp_path, whole):
    done = signalled(signal.SIGINT, tmp_path)
    assert (done.returncode, done.stderr) == (130, "")
    assert "the same command trains the rest" in done.stdout
    assert list((tmp_path / FOLDER / "shards").glob(".*")) == []
    ids = store.runs(tmp_path / FOLDER)[0]["run_id"].to_list()
    assert len(ids) == len(set(ids)) and 0 < len(ids) < NUM_RUNS
    said = harness(*SWEEP)
    assert said.out.startswith(f"{NUM_RUNS - len(ids)} trained, {len(ids)} already stored")
    assert_same_runs(stored_tables(tmp_path / FOLDER), whole)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_terminated_sweep_stores_what_has_finished(number, code, tmp_path):
    done = signalled(number, tmp_path)
    assert (done.returncode, done.stderr) == (code, "")
    assert "the same command trains the rest" in done.stdout
    ids = store.runs(tmp_path / FOLDER)[0]["run_id"].to_list()
    # Also what waited for the shard in whose writing the signal came.
    assert 2 * RUNS_PER_SHARD <= len(ids) < NUM_RUNS and len(ids) == len(set(ids))


@pytest.mark.slow
def test_what_has_finished_waits_no_longer_than_is_said(tmp_path, monkeypatch):
    """However long the next batch trains, or its program compiles."""
    monkeypatch.setattr(recorder, "SECONDS_PER_SHARD", 0.2)
    first, *others = (config(seed=seed, model={"name": "logistic"}) for seed in range(3))
    rest = [replace(one, model=config(model__width=4).model) for one in others]
    folder, compile_ = tmp_path / "default", engine._compile
    seen = []
    monkeypatch.setattr(engine, "_compile", lambda program: Slow(compile_(program), folder, seen))
    train([first, *rest], tmp_path)
    assert seen == [0, 1]


class Slow:
    """A trainer that notes how many runs are stored when it has taken its time."""

    def __init__(self, trainer, folder, seen):
        self.trainer, self.folder, self.seen = trainer, folder, seen
        self.program = trainer.program

    def __call__(self, *given):
        if self.seen:
            time.sleep(3)
        self.seen.append(len(store.stored(self.folder)))
        return self.trainer(*given)


def test_a_shard_of_many_scores_is_written_before_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "BYTES_PER_SHARD", 2_000)
    trained([config(seed=seed, model={"name": "logistic"}) for seed in range(3)], tmp_path)
    assert len(store.shards(tmp_path / "default").whole) == 3


@pytest.mark.slow
def test_a_full_disk_is_one_line(harness, tmp_path, monkeypatch):
    """As Polars tells it."""
    assert harness("train", *TINY).code == 0
    before = stored_tables(tmp_path / FOLDER)

    def full(self, path, **options):
        path.write_bytes(b"PAR1")
        raise pl.exceptions.ComputeError(
            "parquet: underlying IO error: No space left on device (os error 28)"
        )

    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", full)
        both = [harness("train", "-m", *TINY, "seed=range(3)"), harness("train", *TINY, "seed=1")]
    for said in both:
        assert said.code == 2 and said.err.count("\n") == 1
        assert "No space left on device; nothing stored so far is lost" in said.err
    assert len(list((tmp_path / FOLDER / "shards").iterdir())) == 1
    assert_same_runs(stored_tables(tmp_path / FOLDER), before)
    assert harness("train", "-m", *TINY, "seed=range(3)").out.startswith("2 trained, 1 already")


@pytest.mark.slow
def test_a_shard_that_cannot_be_written_leaves_no_trace(tmp_path, monkeypatch):
    configs = [config(seed=seed, model={"name": "logistic"}) for seed in range(3)]
    first = trained(configs[:1], tmp_path)
    write = pl.DataFrame.write_parquet

    def full(self, path, **options):
        if path.name == "predictions.parquet":
            raise OSError(28, "No space left on device")
        write(self, path, **options)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(OSError, match="No space left"):
        train(configs, tmp_path)
    monkeypatch.undo()
    assert len(list((tmp_path / "default" / "shards").iterdir())) == 1
    assert_same_runs(stored_tables(tmp_path / "default"), first)
    assert [one.was_stored for one in train(configs, tmp_path)] == [True, False, False]


def test_readers_ignore_a_shard_in_writing(tmp_path):
    tables = trained([config(seed=0)], tmp_path)
    folder = tmp_path / "default"
    (shard,) = (folder / "shards").iterdir()
    leftover = folder / "shards" / f".{uuid.uuid4().hex}"
    leftover.mkdir()
    (leftover / "runs.parquet").write_bytes((shard / "runs.parquet").read_bytes()[:100])
    assert_same_runs(stored_tables(folder), tables)
    assert set(store.stored(folder)) == set(tables["runs"]["run_id"])
    assert load(folder).runs.height == 1
    assert train([config(seed=0)], tmp_path)[0].was_stored


@pytest.mark.slow
def test_writers_share_a_folder(tmp_path, monkeypatch):
    """Two sweeps that overlap, at once: no run is lost, and none is trained twice."""
    monkeypatch.setattr(recorder, "RUNS_PER_SHARD", 4)
    configs = [config(seed=seed, model={"name": "logistic"}) for seed in range(24)]
    with ThreadPoolExecutor(2) as writers:
        halves = writers.map(train, [configs[:16], configs[8:]], [tmp_path / "both"] * 2)
        assert all(one.error is None for half in halves for one in half)
    assert store.runs(tmp_path / "both" / "default")[0]["run_id"].is_unique().all()
    assert not (tmp_path / "both" / "default" / claims.FOLDER).exists()
    assert_same_runs(
        stored_tables(tmp_path / "both" / "default"), trained(configs, tmp_path / "one")
    )


def test_the_claim_of_a_killed_sweep_ends_with_it(tmp_path):
    configs = [config(seed=seed, model={"name": "logistic"}) for seed in range(2)]
    left = tmp_path / "default" / claims.FOLDER / "0"
    left.parent.mkdir(parents=True)
    runs = runs_of(*[replace(one, root=str(tmp_path)) for one in configs])
    left.write_text("\n".join(run.run_id for run in runs))
    with left.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with Claims() as own, own.deciding(runs):
            assert own.take(runs) == []
    with Claims() as own, Claims() as other:
        with own.deciding(runs):
            assert own.take(runs[:1]) == runs[:1] and not left.exists()
        with other.deciding(runs):
            assert other.take(runs) == runs[1:]
    assert not left.parent.exists()


def test_a_claim_does_not_end_while_another_sweep_decides(tmp_path):
    """Which may have read the store before the last runs were in it."""
    runs = runs_of(replace(config(model={"name": "logistic"}), root=str(tmp_path)))
    own, other = Claims(), Claims()
    with own.deciding(runs):
        assert own.take(runs) == runs
    with ThreadPoolExecutor(1) as thread:
        with other.deciding(runs):
            released = thread.submit(own.release)
            time.sleep(0.2)
            assert not released.done() and other.take(runs) == []
        released.result(timeout=10)
    other.wait(runs)  # for nobody: it ended before this looked
    with other, other.deciding(runs):
        assert other.take(runs) == runs


@pytest.mark.slow
def test_what_failed_is_no_longer_claimed(tmp_path, monkeypatch):
    """Two sweeps that wait for what failed in the other would wait for ever."""
    configs = [
        replace(config(seed=seed, model={"name": "logistic"}), root=str(tmp_path))
        for seed in range(2)
    ]
    first, second = runs_of(*configs)
    lane = Run.lane

    def failing(run, dataset):
        if run.run_id == first.run_id:
            raise UserError("no such luck")
        return lane(run, dataset)

    monkeypatch.setattr(Run, "lane", failing)
    with ThreadPoolExecutor(1) as sweeps, Claims() as other:
        with other.deciding([second]):
            other.take([second])
        sweep = sweeps.submit(train, configs, tmp_path)
        try:
            until = time.monotonic() + 60
            claimed = first.folder / claims.FOLDER
            while len(list(claimed.glob("*"))) < 2:  # until it has claimed the first
                assert time.monotonic() < until
            while len(list(claimed.glob("*"))) > 1:
                assert time.monotonic() < until
        finally:
            other.release()
        failed, trained_now = sweep.result()
    assert str(failed.error) == "no such luck" and trained_now.error is None


def test_claims_that_may_not_be_touched_are_none(tmp_path, monkeypatch):
    """Another user's, in a folder that both may write to: the sweep goes on without."""
    configs = [config(seed=seed, model={"name": "logistic"}) for seed in range(2)]
    runs = runs_of(*[replace(one, root=str(tmp_path)) for one in configs])

    def refused(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    with Claims() as other:
        with other.deciding(runs):
            other.take(runs[:1])
        # Where only the folder's lock is refused, the claims in it still count.
        for place, name, free in ((Path, "open", runs), (os, "open", runs[1:])):
            with monkeypatch.context() as patch:
                patch.setattr(place, name, refused)
                with Claims() as own, own.deciding(runs):
                    assert own.take(runs) == free


def test_folders_that_another_sweep_removes_are_made_again(tmp_path, monkeypatch):
    runs = runs_of(replace(config(), root=str(tmp_path)))
    folder, mkdir = runs[0].folder / claims.FOLDER, Path.mkdir
    errors = [FileNotFoundError(2, "gone", str(folder)), FileExistsError(17, "was", str(folder))]

    def racing(path, *arguments, **options):
        if path == folder and errors:
            raise errors.pop()
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", racing)
    with Claims() as own, own.deciding(runs):
        assert own.take(runs) == runs and not errors
    folder.parent.mkdir(parents=True)
    folder.symlink_to("nowhere")
    with Claims() as own, pytest.raises(FileExistsError), own.deciding(runs):
        pass


@pytest.mark.slow
def test_processes_share_a_folder(tmp_path, whole):
    script = "import sys; from harness import cli; sys.argv[0] = 'harness'; cli.main()"
    with ThreadPoolExecutor(2) as writers:
        runs = [writers.submit(process, script, tmp_path, *SWEEP) for _ in range(2)]
    assert [run.result().returncode for run in runs] == [0, 0]
    assert store.runs(tmp_path / FOLDER)[0]["run_id"].is_unique().all()
    assert_same_runs(stored_tables(tmp_path / FOLDER), whole)


@pytest.mark.slow
def test_a_changed_sweep_trains_only_its_new_cells(harness, tmp_path):
    base = ["train", "-m", *TINY]
    assert harness(*base, "seed=0,1", "loss=bce,brier").out.startswith("4 trained, 0 already")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    more_seeds = harness(*base, "seed=0,1,2", "loss=bce,brier")
    assert more_seeds.out.startswith("2 trained, 4 already stored")
    another_loss = harness(*base, "loss=brier,poly1,bce", "seed=0,1,2")
    assert another_loss.out.startswith("3 trained, 6 already stored")
    deeper = harness(*base, "loss=focal", "loss.gamma=0,2", "seed=0")
    assert deeper.out.startswith("2 trained, 0 already stored")
    assert harness(*base, "loss=focal", "loss.gamma=2.0", "seed=0").out.startswith("0 trained, 1 ")
    after = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    assert before.items() <= after.items()
    assert stored_tables(tmp_path / FOLDER)["runs"].height == 11


UNCALIBRATED = {"calibrators": (), "calibrator": None}
SEARCHED = "validation/platt/log_loss"


@pytest.mark.slow
def test_an_objective_that_no_stored_run_has_trains_its_own(harness, tmp_path):
    """Other settings of the evaluation make other runs; those in the folder are no obstacle."""
    base = ("train", *TINY, "seed=3")
    bare = ("evaluation.calibrators=[]", "evaluation.calibrator=null")
    assert harness(*base, *bare).out.startswith("1 trained, 0 already")
    said = harness(*base, "evaluation.objective=platt/log_loss")
    assert (said.code, said.err) == (0, "") and said.out.startswith("1 trained, 0 already")
    assert harness(*base, *bare).out.startswith("0 trained, 1 already")


def test_jobs_of_one_sweep_may_ask_for_what_others_do_not_measure(tmp_path):
    configs = [
        config(model={"name": "logistic"}, evaluation={"objective": "platt/log_loss"}),
        config(model={"name": "logistic"}, evaluation=UNCALIBRATED),
    ]
    for was_stored in (False, True):
        calibrated, bare = train(configs, tmp_path)
        assert calibrated.was_stored == bare.was_stored == was_stored
        assert SEARCHED in calibrated.objectives and SEARCHED not in bare.objectives
        assert "validation/average_precision" in bare.objectives


def test_a_stored_run_that_lacks_the_objective_is_trained_again_to_the_same_bits(tmp_path):
    """As one has that was stored before the metric was measured."""
    (asked,) = [config(model={"name": "logistic"}, evaluation={"objective": "platt/log_loss"})]
    whole = trained([asked], tmp_path)
    (path,) = store.shards(tmp_path / "default").paths("runs")
    runs, columns = flat(store.read_runs(path))
    less = nested(runs.drop(SEARCHED), columns.without([SEARCHED]))
    less.write_parquet(path, metadata={store.FORM: "2"})
    (path.parent / store.SUMS).unlink()
    plain = replace(asked, evaluation=replace(asked.evaluation, objective="auroc"))
    assert [one.was_stored for one in train([plain], tmp_path)] == [True]
    assert [one.was_stored for one in train([asked, plain], tmp_path)] == [False, False]
    assert_same_runs(stored_tables(tmp_path / "default"), whole)
    (again,) = train([asked], tmp_path)
    assert again.was_stored and again.objectives[SEARCHED] == whole["runs"][SEARCHED].item()


def test_a_store_of_the_first_form_is_continued(tmp_path):
    shutil.copytree(Path(__file__).parent / "data" / "store-1", tmp_path / "default")
    assert [one.was_stored for one in train([config()], tmp_path)] == [False]
    assert [one.was_stored for one in train([config()], tmp_path)] == [True]
    assert load(tmp_path / "default").runs.height == 5


def company(**changes):
    """Runs that one program trains, unlike each other in all that may differ in a program."""
    return [
        config(seed=3, **changes),
        config(loss={"name": "focal", "gamma": 1.5}, seed=3, **changes),
        config(loss={"name": "weighted_bce"}, imbalance={"positive_rate": 0.1}, **changes),
        config(loss={"name": "logit_adjustment"}, sampler={"name": "random_over"}, **changes),
        config(loss={"name": "hinge"}, training__patience=1, **changes),
        config(schedule={"name": "warmup_cosine"}, split={"seed": 7}, **changes),
        config(loss={"name": "brier"}, evaluation={"select": "brier", "ece_bins": 5}, **changes),
    ]


def others(**changes):
    names = ("bce", "generalized_ce", "squared_hinge", "label_smoothing", "poly1")
    return [
        config(loss={"name": name}, optimizer__learning_rate=rate, seed=seed, **changes)
        for name in names
        for rate in (3e-3, 0.3)
        for seed in (3, 4, 5)
    ]


def assert_company_does_not_matter(root, **changes):
    runs = company(**changes)
    expected = trained(runs, root / "together")
    ids = set(expected["runs"]["run_id"])
    assert len(ids) == len(runs)
    for name, sweep in {
        "among others": [*others(**changes), *runs],
        "between others": [*runs[4:], *others(**changes)[::-1], *runs[:4]],
    }.items():
        assert_same_runs(only(trained(sweep, root / name), ids), only(expected, ids))
    alone = trained(runs[1:2], root / "alone")
    ids = set(alone["runs"]["run_id"])
    assert_same_runs(only(alone, ids), only(expected, ids))


def test_a_runs_bits_do_not_depend_on_its_company(tmp_path):
    assert_company_does_not_matter(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "rmsprop", "adam", "adamw"])
def test_larger_runs_bits_do_not_depend_on_their_company(optimizer, tmp_path):
    model = {"name": "mlp", "width": 48, "depth": 2, "dropout": 0.2}
    assert_company_does_not_matter(
        tmp_path, model=model, optimizer__name=optimizer, training__batch_size=100
    )


def test_a_run_that_diverges_is_stored_so_and_changes_no_other(tmp_path):
    def sgd(rate, **changes):
        return config(optimizer={"name": "sgd", "learning_rate": rate}, **changes)

    calm = [sgd(0.05, seed=seed, loss={"name": "squared_error"}) for seed in range(6)]
    rates = ((1e12, 0), (1e30, 3))
    wild = [sgd(rate, seed=seed, loss={"name": "squared_error"}) for rate, seed in rates]
    expected = trained(calm, tmp_path / "calm")
    mixed = trained([wild[0], *calm, wild[1]], tmp_path / "mixed")
    ids = set(expected["runs"]["run_id"])
    assert set(expected["runs"]["status"]) == {"finished"}
    assert_same_runs(only(mixed, ids), only(expected, ids))
    diverged = mixed["runs"].filter(~pl.col("run_id").is_in(ids))
    assert diverged["status"].to_list() == ["diverged"] * 2
    assert diverged["diverged_step"].is_between(2, 24).all()
    again = trained(wild, tmp_path / "wild")
    wild_ids = set(diverged["run_id"])
    assert_same_runs(only(again, wild_ids), only(mixed, wild_ids))
    assert [one.was_stored for one in train(wild, tmp_path / "wild")] == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize("devices", ["1", "3"])
def test_the_number_of_devices_changes_no_bit(devices, harness, tmp_path):
    """Of networks: their matrix products round differently when lanes are laid out differently."""
    import jax

    assert jax.device_count() == 2  # as tests/conftest.py asks for
    sweep = ["train", "-m", "wandb=disabled", "training.num_epochs=5", "seed=range(9)"]
    assert harness(*sweep, "name=here").code == 0
    script = "import sys; from harness import cli; sys.argv[0] = 'harness'; cli.main()"
    done = process(script, tmp_path, *sweep, "name=there", HARNESS_DEVICES=devices)
    assert done.returncode == 0, done.stderr
    here, there = (stored_tables(tmp_path / "runs" / name) for name in ("here", "there"))
    assert_same_runs(there, here)
