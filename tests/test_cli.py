"""The command line: bad input is one clear line, and the same command twice trains once."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from harness import cli
from harness.metrics.names import listing
from tests.conftest import TINY
from tests.stored import assert_same_runs, stored_tables

GOOD = "a,b,y\n" + "".join(f"{i},{i * i % 7},{i % 2}\n" for i in range(40))
TABLE = ("train", *TINY, "dataset=table", "dataset.path=t.csv", "dataset.target=y")


def with_cell(row: int, column: int, text: str) -> str:
    lines = [line.split(",") for line in GOOD.splitlines()]
    lines[row][column] = text
    return "".join(",".join(line) + "\n" for line in lines)


# What the table holds, what the command adds, and what the error must name.
BAD_TABLES = {
    "missing file": (None, [], ["t.csv", "no such file"]),
    "empty file": ("", [], ["t.csv", "empty"]),
    "header alone": ("a,b,y\n", [], ["t.csv", "no rows"]),
    "no such target": (GOOD, ["dataset.target=label"], ["t.csv", "'label'"]),
    "three classes": (with_cell(3, 2, "2"), [], ["t.csv", "'y'", "3 values", "'0', '1', '2'"]),
    "one class": (GOOD.replace(",1\n", ",0\n"), [], ["t.csv", "'y'", "1 value ", "'0'"]),
    "constant features": (
        "a,b,y\n" + "".join(f"1,2,{i % 2}\n" for i in range(40)),
        [],
        ["t.csv", "constant"],
    ),
    "string among numbers": (with_cell(5, 0, "many"), [], ["t.csv", "'a'", "line 6", "'many'"]),
    "infinity": (with_cell(4, 1, "-inf"), [], ["t.csv", "'b'", "line 5", "infinite"]),
    "missing target": (with_cell(4, 2, ""), [], ["t.csv", "'y'", "line 5", "missing"]),
    "ragged": (GOOD + "1,2\n", [], ["t.csv", "line 42", "2 fields"]),
    "wrong positive": (GOOD, ["dataset.positive=yes"], ["t.csv", "'yes'", "dataset.positive"]),
    "no positives in a split": (
        "a,y\n" + "".join(f"{i},{int(i < 2)}\n" for i in range(40)),
        [],
        ["part", "positives"],
    ),
    "no positives left by imbalance": (
        GOOD,
        ["imbalance=induced", "imbalance.positive_rate=0.001"],
        ["imbalance.positive_rate 0.001", "no positive"],
    ),
    "parts too large": (GOOD, ["split.test=39"], ["split", "39"]),
}

BAD_VALUES = {
    "negative learning rate": (["optimizer.learning_rate=-1"], ["optimizer.learning_rate", "-1"]),
    "zero learning rate": (["optimizer.learning_rate=0"], ["optimizer.learning_rate", "0"]),
    "NaN learning rate": (["optimizer.learning_rate=nan"], ["optimizer.learning_rate", "nan"]),
    "no such loss": (["loss=focol"], ["loss/focol", "focal"]),
    "no such loss name": (["loss.name=focol"], ["loss", "focol", "focal"]),
    "no such group": (["los=bce"], ["los", "did you mean loss?"]),
    "unknown key": (["optimizer.lr=0.1"], ["optimizer.lr"]),
    "unknown key, added": (["+optimizer.lr=0.1"], ["optimizer.lr"]),
    "unknown key, added on top": (["+epochs=3"], ["epochs"]),
    "key of another loss": (["loss.gamma=2"], ["loss.gamma"]),
    "key of another loss, added": (["+loss.gamma=2"], ["loss.gamma"]),
    "text for a number": (["training.num_epochs=many"], ["training.num_epochs", "'many'"]),
    "fraction for a count": (["training.num_epochs=1.5"], ["training.num_epochs", "1.5"]),
    "number for a switch": (["rerun=7"], ["rerun", "7"]),
    "tree for a number": (["seed={a:1}"], ["seed", "integer"]),
    "number for a tree": (["training=7"], ["training", "7"]),
    "number for a tag": (["wandb.tags=[1]"], ["wandb.tags", "1"]),
    "null": (["model.width=null", "model=mlp"], ["model.width", "None"]),
    "share above one": (["split.validation=1.5"], ["split.validation", "1.5"]),
    "rate of one": (["imbalance.positive_rate=1"], ["imbalance.positive_rate", "1"]),
    "no such metric": (["evaluation.objective=auc"], ["evaluation.objective", "mean auroc?"]),
    "no threshold": (["evaluation.objective=accuracy"], ["evaluation.objective", "accuracy@tuned"]),
    "no direction": (["evaluation.objective=flagged@0.5"], ["evaluation.objective", "neither"]),
    "unmeasured": (["evaluation.objective=mcc@bayes"], ["needs bayes among thresholds"]),
    "no column": (
        ["dataset=table", "dataset.path=t.csv", "dataset.target=null"],
        ["dataset.target", "None"],
    ),
    "a list for a mark": (
        ["dataset=table", "dataset.path=t.csv", "dataset.target=y", "dataset.missing=[[a]]"],
        ["dataset.missing.0", "['a']"],
    ),
    "no finite number": (["evaluation.costs.false_positive=inf"], ["finite", "inf"]),
    "no finite prior": (["loss=logit_adjustment", "loss.prior_logit=nan"], ["finite", "nan"]),
    "a name too long": ([f"name={'x' * 256}"], ["name=", "255 bytes"]),
    "folder in a name": (["name=a/b"], ["name", "'a/b'"]),
    "not set": (["dataset=table"], ["dataset.path"]),
    "no such class": (["dataset.positive=cat"], ["dataset.positive", "'cat'", "malignant"]),
    "broken override": (["seed=[1"], ["[1"]),
    "no override": (["seed"], ["seed"]),
    "interpolation of nothing": (["seed=${sed}"], ["seed: ", "'sed'"]),
}


def assert_refused(said, named, folder: Path):
    assert said.code == 2, said
    # What is said of a table that could be read is no error.
    lines = [line for line in said.err.splitlines() if not line.startswith("t.csv: ")]
    assert len(lines) == 1, said.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in said.out + said.err
    missing = [text for text in named if text not in lines[0]]
    assert not missing, lines[0]
    assert [path.name for path in folder.rglob("*") if path.name != "t.csv"] == []


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_one_line(case, harness, tmp_path):
    content, overrides, named = BAD_TABLES[case]
    if content is not None:
        (tmp_path / "t.csv").write_text(content)
    assert_refused(harness(*TABLE, *overrides), named, tmp_path)


@pytest.mark.parametrize("case", BAD_VALUES)
def test_a_bad_value_is_one_line(case, harness, tmp_path):
    overrides, named = BAD_VALUES[case]
    assert_refused(harness("train", *TINY, *overrides), named, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD_VALUES)
@pytest.mark.parametrize("command", ["train", "plan", "verify"])
def test_a_bad_value_in_every_job_is_one_line(case, command, harness, tmp_path):
    overrides, named = BAD_VALUES[case]
    said = harness(command, "-m", *TINY, "split.seed=1,2", *overrides)
    assert_refused(said, named, tmp_path)


@pytest.mark.parametrize(
    ("swept", "named"),
    [
        ("optimizer.learning_rate=0.1,-0.2,0.3", ["optimizer.learning_rate", "-0.2"]),
        ("loss=bce,focol", ["loss/focol"]),
        ("seed=0,one", ["seed", "'one'"]),
        ("seed=range(3", ["range(3"]),
        ("split.test=0.2,2.5", ["split.test", "2.5"]),
        ("dataset.positive=malignant,cat", ["dataset.positive", "'cat'"]),
    ],
)
def test_one_bad_value_refuses_a_sweep(swept, named, harness, tmp_path):
    assert_refused(harness("train", "-m", *TINY, swept), named, tmp_path)


@pytest.mark.parametrize("command", ["plan", "verify"])
def test_other_commands_refuse_a_sweep_too(command, harness, tmp_path):
    assert_refused(harness(command, "-m", *TINY, "seed=0,-1"), ["seed", "-1"], tmp_path)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["tarin"], ["tarin", "train"]),
        (["analyze", "nowhere"], ["nowhere"]),
        (["data", "describe", "breast_cancr"], ["'breast_cancr'", "breast_cancer"]),
        (["data", "describe", "table", "path=t.csv", "target=y"], ["t.csv", "no such file"]),
        (["data", "describe", "breast_cancer", "colour=red"], ["dataset.colour"]),
    ],
)
def test_commands_without_hydra_refuse_in_one_line_too(arguments, named, harness, tmp_path):
    assert_refused(harness(*arguments), named, tmp_path)


def test_what_a_process_refuses_leaves_nothing_behind(tmp_path):
    """The whole of it once: a process of its own, its exit code and its folder afterwards."""
    command = [Path(sys.executable).with_name("harness"), "train", "-m", *TINY, "seed=0,-1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: seed: ") and done.stderr.count("\n") == 1
    assert "-1" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    command = [sys.executable, "-c", "from harness.cli import main; main()", "train", "--help"]
    place = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_refused_sweep_leaves_what_was_there(harness, tmp_path):
    (tmp_path / "runs" / "default").mkdir(parents=True)
    note = tmp_path / "runs" / "default" / "note.txt"
    note.write_text("mine")
    assert harness("train", "-m", *TINY, "seed=0,-1").code == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [note]


def test_help_imports_nothing_heavy(tmp_path):
    script = (
        "import sys; sys.argv = ['harness', '--help']\n"
        "from harness.cli import main; main()\n"
        "import json; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    *usage, modules = done.stdout.splitlines()
    assert "harness train" in "\n".join(usage)
    loaded = {name.partition(".")[0] for name in json.loads(modules)}
    heavy = {"jax", "flax", "optax", "hydra", "omegaconf", "polars", "wandb", "numpy", "pydantic"}
    assert loaded & heavy == set()


def test_hydras_own_options_work(harness):
    shown = harness("train", "loss=focal", "--cfg", "job")
    assert shown.code == 0
    assert "gamma: 2.0" in shown.out and "hydra:" not in shown.out
    helped = harness("train", "--help")
    assert helped.code == 0 and "logit_adjustment" in helped.out


def test_help_lists_the_metrics(harness):
    helped = harness("analyze", "--help")
    assert helped.code == 0 and listing() in helped.out


def test_the_same_command_twice_trains_once(harness, tmp_path):
    command = ["train", *TINY, "seed=1"]
    first = harness(*command)
    assert (first.code, first.out) == (0, "1 trained, 0 already stored, 0 failed: runs/default\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    second = harness(*command)
    assert (second.code, second.out) == (0, "0 trained, 1 already stored, 0 failed: runs/default\n")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_rerun_trains_again_to_the_same_bits(harness, tmp_path):
    command = ["train", "-m", *TINY, "seed=0,1", "loss=bce,hinge"]
    assert harness(*command).out.startswith("4 trained, 0 already stored")
    folder = tmp_path / "runs" / "default"
    first = stored_tables(folder)
    created = pl.read_parquet(folder / "shards/*/runs.parquet")["created"].max()
    assert harness(*command, "rerun=true").out.startswith("4 trained, 0 already stored")
    assert len(list((folder / "shards").iterdir())) == 2
    again = pl.read_parquet(folder / "shards/*/runs.parquet", missing_columns="insert")
    newest = again.filter(pl.col("created") > created)["run_id"].sort()
    assert newest.to_list() == first["runs"]["run_id"].to_list()
    assert_same_runs(stored_tables(folder), first)


def test_a_runs_place_and_mirror_are_no_part_of_it(harness, tmp_path):
    assert harness("train", *TINY, "name=one").code == 0
    assert harness("train", *TINY, "name=two", "root=elsewhere", "wandb.project=other").code == 0
    one, two = (stored_tables(tmp_path / path) for path in ("runs/one", "elsewhere/two"))
    assert_same_runs(one, two)


def test_a_moved_table_is_the_same_data(harness, tmp_path):
    """A path can change no number: moving a file must not train its runs again."""
    (tmp_path / "t.csv").write_text(GOOD)
    assert harness(*TABLE, "name=one").out.startswith("1 trained")
    (tmp_path / "t.csv").rename(tmp_path / "moved.csv")
    again = harness(*TABLE, "name=one", "dataset.path=moved.csv", "dataset.licence=mine")
    assert again.out.startswith("0 trained, 1 already stored"), again.err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb", "ignore::DeprecationWarning:google")
def test_offline_there_is_one_wandb_run_folder_a_run_and_one_of_the_sweep(
    harness, tmp_path, monkeypatch
):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    command = ["train", "-m", *TINY, "wandb=offline", "seed=0,1", "loss=bce,focal,hinge"]
    for _ in range(2):
        assert harness(*command).code == 0
        folders = list((tmp_path / "runs" / "default" / "wandb").glob("offline-run-*"))
        names = sorted(folder.name.split("-", 3)[-1] for folder in folders)
        runs = stored_tables(tmp_path / "runs" / "default")["runs"]["run_id"].to_list()
        assert names[:-1] == runs and names[-1].startswith("sweep-")
        assert len(runs) == 6


def test_errors_show_tracebacks_when_asked_to(harness, monkeypatch):
    from harness.errors import UserError

    monkeypatch.setitem(os.environ, "HARNESS_DEBUG", "1")
    with pytest.raises(UserError, match="seed"):
        harness("train", *TINY, "seed=-1")


def test_no_warning_of_numpy_reaches_the_user(harness, tmp_path):
    """A run that diverges at once has no probabilities: NaN in the store, and not a word of it."""
    diverging = (*TINY, "loss=squared_error", "optimizer=sgd", "optimizer.learning_rate=1e38")
    said = harness("train", *diverging)
    assert (said.code, said.err) == (0, "")
    assert "1 trained, 0 already stored, 0 failed; 1 diverged:" in said.out
    assert "0 trained, 1 already stored, 0 failed; 1 diverged:" in harness("train", *diverging).out
    (run,) = stored_tables(tmp_path / "runs" / "default")["runs"].to_dicts()
    assert run["status"] == "diverged" and run["best_epoch"] == 0
    assert np.isnan(run["validation/brier"]) and np.isnan(run["test/auroc"])


@pytest.mark.slow
def test_a_sweep_at_natural_rates_is_analysed(harness):
    """No run of it has an induced rate: a column of nothing but null is a column of numbers."""
    assert harness("train", "-m", *TINY, "loss=bce,focal", "seed=0,1").code == 0
    said = harness("analyze", "runs/default", "--figures", "svg", "--by", "loss,positive_rate")
    assert said.code == 0, said.err
    assert Path("runs/default/analysis/report.html").stat().st_size > 100_000


@pytest.mark.slow
def test_a_run_asked_for_in_two_folders_lands_in_both(harness):
    assert harness("train", "-m", *TINY, "name=a,b").out.startswith("2 trained, 0 already stored")
    assert all((Path("runs") / name / "shards").is_dir() for name in "ab")
    again = harness("train", "-m", *TINY, "name=a,c")
    assert again.out.startswith("1 trained, 1 already stored")
    assert "3 jobs: 2 already stored, 1 to train" in harness(
        "plan", "-m", *TINY, "name=a,b,d"
    ).out.replace("\n", " ")


def test_of_twins_the_one_that_keeps_its_parameters_is_trained(harness):
    said = harness("train", "-m", *TINY, "training.save_model=false,true")
    assert said.out.startswith("1 trained")
    assert len(list(Path("runs/default/models").iterdir())) == 1


@pytest.mark.parametrize("arguments", [
    ("train", "-m", "seed=range(0)"),
    ("plan", "-m", "dataset=glob(zzz*)"),
    ("train", "loss.gama=2"),
    ("train", "init.fresh_head=true"),
    ("train", "training.patience=4294967297"),
    ("train", "loss=weighted_bce", "loss.positive_weight=1e39"),
    ("train", "loss=pairwise_hinge", "training.batch_size=65536"),
    ("data", "describe", "table", "path=x.csv", "target=y", "date_format=%d/%m/%Y"),
    ("data", "frob"),
    ("analyze", "runs/none", "--figures", "pdf"),
    ("reproduce", "nothing"),
    ("reproduce", "all", "--until-decided", "--budget", "abc"),
])  # fmt: skip
def test_one_line_says_what_is_wrong(harness, arguments):
    said = harness(*arguments)
    assert said.code == 2 and said.err.startswith("error: ")
    assert len(said.err.strip().splitlines()) == 1 and not Path("runs").exists(), said.err


def test_a_hang_up_that_the_caller_ignores_stays_ignored(harness, monkeypatch):
    """As under `nohup`; one that nobody handles is the command's while it runs, and no longer."""
    seen = {}

    def look(arguments):
        for one in (signal.SIGHUP, signal.SIGTERM):
            seen[one] = signal.getsignal(one)

    monkeypatch.setitem(cli._COMMANDS, "data", look)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert harness("data").code == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen[signal.SIGHUP] is signal.SIG_IGN and callable(seen[signal.SIGTERM])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_reader_that_has_seen_enough_ends_a_command_in_silence():
    script = "import sys; from harness import cli; sys.argv[0] = 'harness'; cli.main()"
    with subprocess.Popen(
        [sys.executable, "-c", script, "data", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == (b"", 1)


def test_another_pipe_that_breaks_is_an_error():
    """A worker that died is no reader who has seen enough."""
    script = (
        "import sys; from harness import cli\n"
        "def work(arguments): raise BrokenPipeError(32, 'Broken pipe')\n"
        "cli._COMMANDS['data'] = work; sys.argv[:] = ['harness', 'data']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: Broken pipe; nothing stored")
