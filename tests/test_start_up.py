"""What a run imports: each of these takes a tenth of a second to one, and none is of use to it."""

import json
import subprocess
import sys

import pytest

from tests.conftest import TINY

UNUSED = {
    "altair",
    "imblearn",
    "jinja2",
    "joblib",
    "matplotlib",
    "pandas",
    "scipy.stats",
    "sklearn",
    "wandb",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What `harness train` of a run, mirrored offline, has loaded as it ends, what is frozen then,
    and whether garbage was looked for as Flax was imported, and is at the end."""
    folder = tmp_path_factory.mktemp("lone")
    script = (
        "import atexit, gc, json, sys\n"
        "collects = []\n"
        "class Finder:\n"
        "    def find_spec(name, *_):\n"
        "        if name == 'flax': collects.append(gc.isenabled())\n"
        "sys.meta_path.insert(0, Finder)\n"
        "def said():\n"
        "    collects.append(gc.isenabled())\n"
        "    print(json.dumps([sorted(sys.modules), gc.get_freeze_count(), collects]))\n"
        "atexit.register(said)\n"
        "from harness.cli import main; main()"
    )
    arguments = [*TINY[:2], "dataset=two_gaussians", "dataset.rows=300", "wandb=offline"]
    done = subprocess.run(
        [sys.executable, "-c", script, "train", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("runs/*/wandb/offline-run-*/run-*.wandb"))) == 1
    modules, frozen, collects = json.loads(done.stdout.splitlines()[-1])
    return set(modules), frozen, collects


def test_a_run_imports_nothing_that_it_has_no_use_for(trained):
    modules, _, _ = trained
    assert {"jax", "hydra", "polars"} <= modules and modules & UNUSED == set()


def test_the_interpreter_ends_without_a_search_for_garbage(trained):
    _, frozen, _ = trained
    assert frozen > 100_000


def test_imports_are_not_gone_through_for_garbage(trained):
    _, _, collects = trained
    assert collects == [False, True]
