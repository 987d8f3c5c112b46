"""A package of somebody else's, installed beside the harness, and a file beside a notebook: each
adds one part of every kind and an experiment, which are trained, mirrored, synced, analysed,
reported and reproduced by name."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import plugins
from tests.stored import stored_tables
from tests.wandb_server import StandIn

pytestmark = pytest.mark.slow

ROOT = Path(plugins.__file__).parents[1]
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "their-parts"
version = "1.0"

[project.entry-points."bce_harness.plugins"]
parts = "their_parts"
"""
MORE = """
import jax
import optax
from harness.plugins import loss, optimizer

@loss
def soft_hinge(logits, labels, temperature=1.0):
    margins = 1 - (2 * labels - 1) * logits
    return temperature * jax.nn.softplus(margins / temperature)

@optimizer
def damped(learning_rate, damping=0.5):
    return optax.chain(optax.scale(damping), optax.sgd(learning_rate))
"""
CLAIMS = """
question: Does soft_hinge give probabilities as good as BCE's?
source: nobody says so
measures:
  found: {derive: share_found, of: num_test_positives}
claims:
  - name: counts
    says: The share of all test positives is 1.
    of: {measure: found}
    than: {value: 1}
    expect: equal
    by: 1.0e-9
    test: exact
    unit: [loss.name, dataset.seed]
  - name: calibrated
    says: soft_hinge's log loss, binned, is at most .1 above BCE's.
    of: {where: "loss = 'soft_hinge'", measure: test/Binned/log_loss}
    than: {where: "loss = 'bce'"}
    expect: not_higher
    by: 0.1
    test: draws
    unit: [dataset.seed]
"""
SWEEP = """
wards:
  set:
    loss: bce,soft_hinge
    dataset: clinic
    model: logistic
    schedule: root
    training.num_epochs: 2
    evaluation.calibrators: "[platt,Binned]"
  vary: dataset.seed
  seeds: 6
"""
SETS = (
    "dataset=clinic", "dataset.rows=300", "dataset.seed=range(20)", "model=logistic",
    "training.num_epochs=2", "extra_metrics=[profit]", "schedule=root",
    "evaluation.calibrators=[platt,Binned]", "wandb=offline",
)  # fmt: skip
EACH = (
    "model=Attention", "model.units=4", "sampler=Jittered", "split=Blocks", "optimizer=damped",
    "loss=soft_hinge", "training.num_epochs=1", "training.steps_per_epoch=2", "name=each",
    "dataset=clinic", "schedule=root", "schedule.warmup=0.5", "wandb=disabled",
    "evaluation.calibrators=[Binned]", "evaluation.calibrator=Binned", "training.save_model=true",
)  # fmt: skip


def parts() -> str:
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    return "\n\n".join([*re.findall(r"```python\n(.*?)```", page, re.S), MORE])


def ran(folder: Path, *command: str, beside: Path | None = None) -> str:
    """What a process says in ``folder``, with the packages of ``beside`` in reach."""
    path = os.pathsep.join(map(str, [ROOT, *([beside] if beside else [])]))
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def harness(folder: Path, *arguments: str, beside: Path | None = None) -> str:
    command = "from harness.cli import main; main()"
    return ran(folder, "-c", command, *arguments, beside=beside)


def write_experiment(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, text in {"README.md": "?", "claims.yaml": CLAIMS, "sweep.yaml": SWEEP}.items():
        (folder / name).write_text(text)


def check_sweep(folder: Path, server: StandIn) -> None:
    """The sweep of `SETS`, where what was plugged in is out of reach."""
    assert len([*(folder / "wandb").glob("offline-run-*")]) == 61  # and the sweep
    assert "60 sent" in harness(folder.parent, "sync", folder.name)
    assert {run.config["loss"]["name"] for run in server.runs.values()} == LOSSES
    assert "test/Binned/log_loss" in str(next(iter(server.runs.values())).summary)
    runs = stored_tables(folder)["runs"]
    assert {*runs["loss.name"]} == LOSSES and {*runs["dataset.name"]} == {"clinic"}
    assert runs["data_fingerprint"].n_unique() == 20 and runs.height == 60
    assert runs["test/profit"].null_count() == 0
    metrics = "profit,log_loss,Binned/log_loss"
    for source in (folder.name, f"{folder.name}/wandb"):
        assert "soft_hinge" in harness(folder.parent, "analyze", source, "--metric", metrics)
    report = (folder / "analysis" / "report.html").read_text(encoding="utf-8")
    assert "profit a row" in report and "log loss after Binned" in report


def check_verdicts(folder: Path) -> None:
    """What is said of `CLAIMS`."""
    found = json.loads((folder / "results/theirs/verdicts.json").read_text())["claims"]
    assert [one["verdict"] for one in found] == ["supported", "supported"], found
    assert [one["rests_on"] for one in found] == ["identity", "generated"]


LOSSES = {"bce", "focal", "soft_hinge"}


def test_an_installed_package(tmp_path, server):
    source, site = tmp_path / "source", tmp_path / "site"
    (source / "their_parts").mkdir(parents=True)
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "their_parts" / "__init__.py").write_text(parts())
    write_experiment(source / "their_parts" / "experiments" / "theirs")
    install = ("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index")
    ran(tmp_path, *install, "--target", str(site), str(source))
    sweep = ("-m", "loss=bce,focal,soft_hinge", *SETS)
    planned = harness(tmp_path, "plan", *sweep, beside=site)
    assert "60 to train in 2 compilation(s)" in planned, planned
    assert harness(tmp_path, "train", *sweep, beside=site).startswith("60 trained")
    assert harness(tmp_path, "train", *sweep, beside=site).startswith("0 trained, 60 already")
    check_sweep(tmp_path / "runs" / "default", server)
    harness(tmp_path, "reproduce", "theirs", beside=site)
    check_verdicts(tmp_path)
    harness(tmp_path, "train", *EACH, beside=site)
    (model,) = (tmp_path / "runs/each/models").iterdir()
    (tmp_path / "rows.csv").write_text("dose,age\n1.5,40\n-1.5,50\n")
    harness(tmp_path, "predict", str(model), "rows.csv", beside=site)
    assert "clinic" in harness(tmp_path, "data", "list", "medicine", beside=site)
    assert "temperature: 1.0" in harness(
        tmp_path, "train", "loss=soft_hinge", "--help", beside=site
    )


def test_a_file_beside_a_notebook(tmp_path, server):
    (tmp_path / "mine.py").write_text(parts())
    told = [f"{text!r}" for text in ("plugins=[mine.py]", "loss=bce,focal,soft_hinge", *SETS)]
    (tmp_path / "cell.py").write_text(
        "import harness\n"
        f"runs = harness.train({', '.join(told)})\n"
        "print(len(runs.table()), runs.answer())\n"
    )
    assert ran(tmp_path, "cell.py").startswith("60 ")
    check_sweep(tmp_path / "runs" / "default", server)
    write_experiment(tmp_path / "experiments" / "theirs")
    harness(tmp_path, "reproduce", "theirs", "plugins=[mine.py]")
    check_verdicts(tmp_path)
