"""The wheel and the sdist: built, installed and run where there is no checkout."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import harness

ROOT = Path(__file__).parent.parent


def test_what_says_the_version_says_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["version"] == citation["version"] == harness.__version__
    assert project["license"] == citation["license"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(project['version'])}\b", changes, re.MULTILINE)


def called(*command: str | Path, at: Path, **variables: str) -> str:
    """What a process says; it knows nothing of this checkout."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=at, env=own | variables, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.slow
def test_a_wheel_works_where_there_is_no_checkout(tmp_path):
    """Built without a network by the backend that is installed; of the sdist as of the checkout."""
    place, empty, dist = tmp_path / "installed", tmp_path / "empty", tmp_path / "dist"
    empty.mkdir()
    called("-m", "hatchling", "build", "-d", dist, at=ROOT)
    (sdist,) = dist.glob("*.tar.gz")
    called("-m", "tarfile", "-e", sdist, tmp_path / "unpacked", at=empty)
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    called("-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "again", at=unpacked)
    (wheel,) = (tmp_path / "again").glob("*.whl")
    assert contents(wheel) == contents(dist / wheel.name)
    names = contents(wheel).keys()
    metadata = f"bce_harness-{harness.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"harness", "hydra_plugins", metadata}
    assert "harness/conf/config.yaml" in names and "harness/py.typed" in names
    called("-m", "pip", "install", "--no-deps", "--no-index", "--disable-pip-version-check",
           "--target", place, wheel, at=empty)  # fmt: skip

    def command(*arguments: str) -> str:
        run = "import harness.cli as c, sys; assert sys.argv.pop(1) in c.__file__; c.main()"
        return called("-c", run, str(place), *arguments, at=empty, PYTHONPATH=str(place))

    assert "harness train" in command("--help")
    assert command("--version").strip() == harness.__version__
    assert "breast_cancer" in command("data", "list")
    sweep = ("-m", "model=logistic", "loss=bce,focal", "training.num_epochs=2", "wandb=disabled")
    assert "2" in command("plan", *sweep)
    assert "2 trained" in command("train", *sweep)
    assert "Report:" in command("analyze", "runs/default")
    assert "2 runs" in command("runs", "list", "runs/default")
    assert {one.name for one in empty.iterdir()} == {"runs"}
