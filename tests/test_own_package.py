"""A package of somebody else's, installed beside the harness, and a file beside a notebook: each
adds one part of every kind, which are trained, mirrored, analysed and reported by name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import plugins
from tests.stored import stored_tables

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
SETS = (
    "dataset=two_gaussians", "dataset.rows=300", "dataset.seed=range(20)", "model=logistic",
    "training.num_epochs=2", "extra_metrics=[profit]",
)  # fmt: skip
EACH = (
    "model=Attention", "model.units=4", "sampler=Jittered", "split=Blocks", "optimizer=damped",
    "loss=soft_hinge", "training.num_epochs=1", "training.steps_per_epoch=2", "name=each",
    "dataset=two_gaussians", "dataset.rows=300", "dataset.positive_rate=0.3", "wandb=disabled",
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


def check_sweep(folder: Path) -> None:
    """The sweep of `SETS`, where what was plugged in is out of reach."""
    runs = stored_tables(folder)["runs"]
    assert sorted(runs["loss.name"].unique()) == ["bce", "focal", "soft_hinge"]
    assert runs["data_fingerprint"].n_unique() == 20 and runs.height == 60
    assert runs["test/profit"].null_count() == 0
    said = harness(folder.parent, "analyze", folder.name, "--metric", "profit,log_loss")
    assert "soft_hinge" in said
    assert "profit a row" in (folder / "analysis" / "report.html").read_text(encoding="utf-8")


def test_an_installed_package(tmp_path):
    source, site = tmp_path / "source", tmp_path / "site"
    (source / "their_parts").mkdir(parents=True)
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "their_parts" / "__init__.py").write_text(parts())
    install = ("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index")
    ran(tmp_path, *install, "--target", str(site), str(source))
    sweep = ("-m", "loss=bce,focal,soft_hinge", *SETS, "wandb=offline")
    planned = harness(tmp_path, "plan", *sweep, beside=site)
    assert "60 to train in 2 compilation(s)" in planned, planned
    assert harness(tmp_path, "train", *sweep, beside=site).startswith("60 trained")
    assert harness(tmp_path, "train", *sweep, beside=site).startswith("0 trained, 60 already")
    assert len([*(tmp_path / "runs/default/wandb").glob("offline-run-*")]) == 61  # and the sweep
    check_sweep(tmp_path / "runs" / "default")
    assert "soft_hinge" in harness(tmp_path, "analyze", "runs/default/wandb")
    assert harness(tmp_path, "train", *EACH, beside=site).startswith("1 trained")
    assert "temperature: 1.0" in harness(
        tmp_path, "train", "loss=soft_hinge", "--help", beside=site
    )


def test_a_file_beside_a_notebook(tmp_path):
    (tmp_path / "mine.py").write_text(parts())
    told = [f"{text!r}" for text in ("plugins=[mine.py]", "loss=bce,focal,soft_hinge", *SETS)]
    (tmp_path / "cell.py").write_text(
        "import harness\n"
        f"runs = harness.train({', '.join(told)}, 'wandb=disabled')\n"
        "print(len(runs.table()), runs.answer())\n"
    )
    assert ran(tmp_path, "cell.py").startswith("60 ")
    check_sweep(tmp_path / "runs" / "default")
