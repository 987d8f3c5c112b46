"""`harness.train` and its like: the command line's sweeps as values."""

import dataclasses
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest
from IPython import display
from rich.console import Console

import harness as package
from harness import devices
from harness.errors import UserError
from harness.interface import session, sweeps
from harness.interface.best import best_run
from harness.overrides.jobs import jobs_of
from harness.sweep.progress import Progress
from tests.conftest import TINY
from tests.fabricated import Sweep, fabricate

ASKED = (*TINY, "loss=bce,focal", "seed=range(2)")


def frame_of(num_rows: int = 200) -> pl.DataFrame:
    random = np.random.default_rng(0)
    values = random.normal(size=(num_rows, 2))
    label = np.where(values[:, 0] + random.normal(size=num_rows) > 0.5, "yes", "no")
    return pl.DataFrame({"a": values[:, 0], "b": values[:, 1], "label": label})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A sweep over a frame, in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("session"))
        yield package.train(*ASKED, data=frame_of(), target="label", name="mine", folder="runs/one")


def test_importing_the_package_is_light():
    code = (
        "import sys, harness; harness.UserError, dir(harness);"
        "sys.exit(bool({'jax', 'polars', 'hydra', 'numpy', 'sklearn'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_python_and_the_command_line_share_runs(trained, harness, tmp_path):
    frame_of().write_csv(tmp_path / "mine.csv")
    asked = [*ASKED, "dataset=table", "dataset.path=mine.csv", "dataset.target=label"]
    said = harness("train", "-m", *asked, "name=one")
    assert said.out.startswith("4 trained")
    again = package.train(*ASKED, data=frame_of(), target="label", folder="runs/one")
    assert again.run_ids == trained.run_ids
    assert set(again.table()["run_id"]) == trained.run_ids
    assert set(package.load("runs/one").table()["run_id"]) == trained.run_ids


@pytest.mark.slow
def test_the_readmes_lines_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("safetensors")
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    (code,) = re.findall(r"## From Python\n\n```python\n(.*?)```", readme, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(package, "train", partial(sweeps.train, *TINY), raising=False)
    said: dict = {"frame": frame_of()}
    exec(code, said)
    assert "Use " in capsys.readouterr().out and (tmp_path / "runs" / "data" / "shards").is_dir()
    assert said["model"].predict_proba(frame_of().head(2)).shape == (2, 2)


@pytest.mark.slow
def test_jobs_are_those_of_hydras_application(hydra_sweep):
    jobs = jobs_of(["loss=bce,focal", "experiment=demo", "seed=range(3)"])
    assert len(jobs.configs) == 2 * 4 * 5 * 3  # losses, learning rates, folds, seeds
    for at in (0, len(jobs.configs) - 1):
        composed = hydra_sweep.compose(["experiment=demo", *jobs.overrides[at]])
        assert composed == jobs.configs[at]


@pytest.mark.slow
def test_a_sweep_in_hand(trained):
    table = trained.table()
    assert table.height == 4 and set(table["loss.name"]) == {"bce", "focal"}
    assert set(table["dataset.kind"]) == {"memory"} and set(table["dataset.name"]) == {"mine"}
    assert repr(trained).startswith("<4 runs of")
    answer = trained.answer(metrics="log_loss")
    assert answer.advice.startswith("Use ") and answer.advice.split(".")[0] in str(answer)
    assert {name for name, _ in answer.verdicts[0].rows} == {"focal"}
    assert "<td>focal</td>" in answer._repr_html_() and "<td>focal</td>" in trained._repr_html_()
    assert answer._repr_html_().count("<svg") == 2
    assert answer.tables["leaderboard"].height == 2
    with pytest.raises(UserError, match=r"metrik.*: a question has metrics"):
        trained.answer(metrik="log_loss")


@pytest.mark.slow
def test_the_report_is_where_the_command_puts_it(trained, tmp_path):
    assert trained.report(tmp_path / "there").read_text().startswith("<!doctype html>")
    assert (trained.sources[0].name, trained.errors) == ("one", ())


def test_the_best_run_is_the_one_that_is_best_on_average(tmp_path):
    """By the sweep's objective, and not with what its first split chose for itself."""
    rates = (1e-3, 1e-2, 3e-2)
    place = fabricate(tmp_path / "s", Sweep({"bce": 0.0}, seeds=range(3), learning_rates=rates))
    (place / "plan.json").write_text('{"num_runs": 9, "objective": "log_loss"}')
    runs = package.load(place).runs
    loss = pl.Series([5.0, 1.0, 0.0, 1.0, 1.0, 9.0, 1.0, 1.0, 9.0])  # by rate within a seed
    table = runs.runs.sort("seed", "optimizer.learning_rate")
    found = dataclasses.replace(runs, runs=table.with_columns(loss.alias("validation/log_loss")))
    own = best_run(found, metric="", where="")
    chosen = found.runs.filter(run_id=own)
    assert chosen.select("seed", "optimizer.learning_rate").row(0) == (0, 1e-2)


@pytest.mark.slow
def test_the_best_run_is_a_model(trained):
    pytest.importorskip("safetensors")
    model = trained.best("log_loss")
    scores = trained.runs.runs.group_by("loss.name").agg(pl.col("validation/log_loss").mean())
    best = scores.sort("validation/log_loss")["loss.name"][0]
    run = trained.table().filter(pl.col("loss.name") == best, seed=0)
    assert model.metadata["run_id"] == run["run_id"].item() and model.labels == ("no", "yes")
    # To the bit what the run said of its validation rows.
    said = pl.concat(trained.runs.predictions).filter(
        pl.col("run_id") == run["run_id"].item(), pl.col("split") == "validation"
    )
    rows, logits = said.select("rows", "logits").collect().row(0)
    found = model.logits(frame_of()[np.array(rows).tolist()])
    np.testing.assert_array_equal(found, np.array(logits, np.float32))
    assert model.predict_proba(frame_of().head(3).select("b", "a")).shape == (3, 2)
    assert trained.best(where="loss = bce").metadata["config"]["loss"]["name"] == "bce"
    with pytest.raises(UserError, match="metric='los'"):
        trained.best("los")


@pytest.mark.slow
def test_a_plan_is_a_value_and_reads_as_the_command_prints_it(harness):
    plan = package.plan(*ASKED)
    assert (plan.jobs, plan.stored, plan.runs, plan.compilations) == (4, 0, 4, 1)
    assert plan.memory > plan.groups[0].memory > 0 and plan.seconds > plan.groups[0].seconds > 0
    printed = harness("plan", "-m", *ASKED).out
    assert "4 to train in 1 compilation(s)" in printed and "4 to train in 1 compi" in str(plan)
    assert plan.groups[0].program.split(",")[0] in printed
    assert "<pre>" in plan._repr_html_()
    # What would keep its losses from being compared is said in either.
    doubt = "4 of 4 jobs look at validation fewer than 5 times"
    assert all(doubt in said for said in (printed, str(plan)))


@pytest.mark.parametrize(
    ("overrides", "given", "said"),
    [
        (["loss=bec"], {}, "loss=bec: loss/bec is none of .* did you mean bce"),
        (["loss.gama=2"], {}, "loss.gama: no such key"),
        (["seed=range(0)"], {}, "the sweep is empty"),
        ([3], {}, "3 is no override: give texts"),
        (["hydra/sweeper=optuna"], {}, "the command line's"),
        ([], {"target": "y"}, "target describes data: give data="),
        ([], {"data": {"a": [1, 2]}}, "data has no target"),
        ([], {"data": {"a": [1, 2]}, "target": [0, 1], "positiv": 1}, "dataset.positiv: no such"),
        (["dataset=pima"], {"data": {"a": [1, 2]}, "target": [0, 1]}, "give one of them"),
        (["name=x"], {"folder": "y"}, "is given beside name="),
    ],
)
def test_mistakes_are_one_line(overrides, given, said):
    with pytest.raises(UserError, match=said) as refused:
        package.plan(*TINY, *overrides, **given)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_what_fails_is_said_and_what_does_not_is_kept(tmp_path, capsys):
    asked = dict(data=frame_of(), target="label", folder=tmp_path / "few")
    sweep = package.train(*TINY, "imbalance=induced", "imbalance.positive_rate=.3,.001", **asked)
    assert sweep.table().height == 1 and len(sweep.errors) == 1
    assert "1 job failed, imbalance.positive_rate=0.001: " in capsys.readouterr().err
    with pytest.raises(UserError, match="positive_rate"):
        package.train(*TINY, "imbalance=induced", "imbalance.positive_rate=.001", **asked)


def test_values_are_written_as_overrides():
    written = sweeps._written
    assert written("k", ["a", "b c", 1]) == 'k=[a,"b c",1]' and written("k", True) == "k=true"
    assert written("k", None) == "k=null" and written("k", ">50K") == 'k=">50K"'


def test_jax_that_has_started_is_left_alone_and_said(monkeypatch, capsys):
    jax.devices()
    monkeypatch.setenv("XLA_FLAGS", "")
    assert not devices.configure_late()
    session._say_differences.cache_clear()
    session.ready()
    session.ready()
    said = capsys.readouterr().err
    assert said.count("JAX had started before (without --xla_cpu_multi_thread_eigen") == 1
    session._say_differences.cache_clear()


def test_jax_that_was_imported_and_has_not_started_is_set_up():
    code = (
        "import jax; from harness import devices;"
        "assert devices.configure_late() and not devices.differences();"
        "assert jax.device_count() >= 2 and jax.config.jax_compilation_cache_dir"
    )
    ours = ("JAX_", "XLA_", "HARNESS_")
    bare = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    assert subprocess.run([sys.executable, "-c", code], env=bare).returncode == 0


def test_64_bits_are_refused():
    with jax.enable_x64(True), pytest.raises(UserError, match=r"update\('jax_enable_x64', False"):
        session.ready()


def test_a_notebook_shows_progress(monkeypatch):
    shown = []

    class Line:
        def update(self, what):
            shown.append(what.data)

    monkeypatch.setattr(display, "display", lambda what, display_id: Line())
    with Progress(Console(force_jupyter=True)).training(10) as advance:
        advance(4)
        advance(4)  # too soon
        advance(2)
    assert [text.partition("> ")[2].split(" runs")[0] for text in shown] == ["4 of 10", "10 of 10"]
