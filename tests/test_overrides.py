"""What is typed wrongly: one short line, at once, that names what was meant."""

import pickle
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from harness.data.sources import Table
from harness.files import conf_dir
from tests.conftest import TINY

DIGITS = "9" * 5000

# What follows `harness train`, and what the one line says.
MEANT = {
    "a list without -m": (["loss=bce,focal"], "add -m"),
    "a range without -m": (["seed=range(3)"], "add -m"),
    "a key as an option": (["--loss", "bce"], "write loss=bce"),
    "a key as an option, joined": (["--loss=bce"], "write loss=bce"),
    "an unknown option": (["-m", "--dry-run"], "--dry-run: no such option"),
    "an abbreviated option": (["--multi"], "--multi: no such option"),
    "a typo of a choice": (["loss=bcee"], "did you mean bce"),
    "a typo of a deeper choice": (["dataset=keel/yeas4"], "did you mean keel/yeast4"),
    "a choice that is a number": (["loss=1"], "loss=1"),
    "no choice": (["loss=null"], "loss needs a choice"),
    "no choice in a sweep": (["-m", "loss=bce,null"], "loss needs a choice"),
    "a file for a data set": (
        ["dataset=loans.csv"],
        "dataset=table dataset.path=loans.csv dataset.target=COLUMN",
    ),
    "an abbreviated key": (["optimizer.lr=1"], "did you mean optimizer.learning_rate?"),
    "an abbreviated key alone": (["lr=1"], "did you mean optimizer.learning_rate?"),
    "a part of a key": (["epochs=10"], "did you mean training.num_epochs?"),
    "a part of a key in its group": (["training.epochs=10"], "did you mean training.num_epochs?"),
    "a key in another group": (["batch_size=8"], "did you mean training.batch_size?"),
    "a typo of a group": (["los=bce"], "did you mean loss?"),
    "a key of another choice": (["loss.gamma=2"], "loss.gamma: no such key in the loss chosen"),
    "costs as a ratio": (
        ["costs=1:20"],
        "evaluation.costs.false_positive=1 evaluation.costs.false_negative=20",
    ),
    "a range in words": (["seed=1-5"], "'range(1,6)'"),
    "an experiment alone": (["demo"], "experiment=demo"),
    "part of a metric's name": (["evaluation.objective=accuracy"], "or accuracy@tuned"),
    "a key of Hydra's": (["hydra.sweeper.foo=1"], "--cfg hydra"),
    "a pickle": (["--experimental-rerun=x.pickle"], "pickle"),
    "a pickle, apart": (["--experimental-rerun", "x.pickle"], "pickle"),
    "a sweep's whole configuration": (["-m", "--cfg", "all", "seed=1,2"], "--cfg job"),
    "a switch for a number": (["optimizer.learning_rate=true"], "should be a number, got True"),
    "a switch for a count": (["seed=true"], "should be a number, got True"),
    "a text for a number": (["optimizer.learning_rate='0.1'"], "should be a number, got '0.1'"),
    "a text for an optional number": (["optimizer.clip_norm='1'"], "got '1'"),
    "a switch in a list": (
        ["schedule=step", "schedule.milestones=[true]"], "schedule.milestones",
    ),
    "no step": (["-m", "seed=range(0,10,0)"], "range(0,10)"),
    "no number": (["-m", "seed=range(nan)"], "finite"),
    "no end": (["-m", "seed=range(0,inf)"], "finite"),
    "an interval": (["-m", "seed=interval(0,1)"], "hydra/sweeper=optuna"),
    "too many": (["-m", "seed=range(100000000)"], "100,000,000 jobs"),
    "too many together": (
        ["-m", "seed=range(2000)", "split.seed=range(2000)"], "4,000,000 jobs",
    ),
    "too many, in steps": (["-m", "seed=range(0,1,1e-9)"], "1,000,000,000 jobs"),
    "too many digits": ([f"seed={DIGITS}"], "5000 digits"),
    "many digits": ([f"seed={DIGITS[:4000]}"], "seed: should be less than"),
    "many digits of a float": ([f"optimizer.learning_rate={DIGITS[:4000]}"], "learning_rate"),
    "NUL": (["name=a\0b"], r"a\x00b"),
    "an escape sequence": (["name=\x1b[31mred"], r"\x1b"),
    "a line break in a name": (["name='a\nb'"], r"a\nb"),
    "a C1 control": (["root=a\x9bb"], r"\x9b"),
}  # fmt: skip


@pytest.mark.parametrize("case", MEANT)
def test_one_short_line_names_what_was_meant(case, harness, tmp_path):
    arguments, named = MEANT[case]
    begun = time.perf_counter()
    said = harness("train", *arguments)
    # Of its own process's two seconds; what is imported already costs none here.
    assert time.perf_counter() - begun < 2
    assert (said.code, said.out) == (2, ""), said.err
    assert said.err.startswith("error: ") and said.err.endswith("\n")
    line = said.err.removesuffix("\n")
    assert line.isprintable() and len(line) <= 407, line
    assert named in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["plan", "verify"])
def test_messages_speak_of_their_own_command(command, harness):
    assert f"`harness {command} -m" in harness(command, "loss=bce,focal").err
    assert harness(command, "--foo").err.startswith(f"error: harness {command}: --foo")


def test_a_pickle_is_not_run(harness, tmp_path):
    class Malign:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "x.pickle").write_bytes(pickle.dumps(Malign()))
    assert harness("train", f"--experimental-rerun={tmp_path / 'x.pickle'}").code == 2
    assert not (tmp_path / "ran").exists()


def test_numbers_may_be_written_without_a_point(harness, tmp_path):
    """An integer is a number, and a whole number an integer; an option may follow an override."""
    said = harness("train", *TINY, "optimizer.learning_rate=1", "training.num_epochs=2.0", "-r")
    assert (said.code, said.err) == (0, "")


def test_a_sweep_shows_the_configuration_of_its_first_job(harness, tmp_path):
    said = harness("train", "-m", "--cfg", "job", "loss=focal,bce", "seed=3,4")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("# job 1 of 4\n")
    assert "gamma: 2.0" in said.out and "seed: 3\n" in said.out and "hydra:" not in said.out
    assert list(tmp_path.iterdir()) == []


def test_many_jobs_are_announced_with_the_time_they_take(harness):
    said = harness("train", "-m", "--cfg", "job", "seed=range(20000)")
    assert said.code == 0
    assert said.err.startswith("20,000 jobs: composing and checking them takes about 10 s")
    assert harness("train", "-m", "--cfg", "job", "seed=range(20)").err == ""


def test_each_command_has_help_of_its_own(harness):
    said = {name: harness(name, "--help") for name in ("train", "plan", "verify")}
    assert all(one.code == 0 and one.err == "" for one in said.values())
    first = {name: one.out.strip().splitlines()[0] for name, one in said.items()}
    assert all(f"harness {name}" in line for name, line in first.items())
    assert "nothing" in first["plan"] and "bits" in first["verify"]
    assert len(set(first.values())) == 3


def test_help_lists_the_keys_of_the_choice_it_is_given(harness):
    assert "target: ???" in harness("train", "dataset=table", "--help").out
    assert "dataset=table --help" in harness("train", "--help").out
    described = harness("data", "describe", "table", "--help")
    assert described.code == 0
    assert all(f"\n{field.name}: " in described.out for field in fields(Table))


def test_what_is_wrong_is_said_before_jax_is_loaded(tmp_path):
    script = (
        "import sys; from harness import cli\n"
        "sys.argv = ['harness', 'train', '-m', 'seed=range(100000000)']\n"
        "try:\n    cli.main()\n"
        "except SystemExit as stopped:\n    assert stopped.code == 2\n"
        "assert 'jax' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def installed(site: Path, *, with_conf: bool) -> Path:
    """A tree as a wheel installs it: the package, its conf/ inside, and another's beside it."""
    package = site / "harness"
    package.mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "files.py"):
        (package / name).write_text((conf_dir().parent / "harness" / name).read_text())
    if with_conf:
        (package / "conf").mkdir()
    (site / "conf").mkdir()
    return site


@pytest.mark.parametrize("with_conf", [True, False], ids=["installed", "checkout"])
def test_the_packages_own_configuration_wins(with_conf, tmp_path):
    site = installed(tmp_path / "site-packages", with_conf=with_conf)
    code = "from harness.files import conf_dir; print(conf_dir())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(site)}, cwd=tmp_path,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    expected = site / "harness" / "conf" if with_conf else site / "conf"
    assert done.stdout.strip() == str(expected), done.stderr
