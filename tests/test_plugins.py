"""Losses of the user's own, from a package outside of the tree: found, trained and stored."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from harness import plugins
from harness.errors import UserError
from harness.identity import numerics_named, own_hash, run_id
from harness.losses import POINTWISE, as_loss
from harness.overrides.plugging import with_plugins
from harness.sweep import compiled, plan
from tests.conftest import TINY
from tests.runs import config, groups, prepared, runs_of
from tests.stored import stored_tables

pytestmark = pytest.mark.usefixtures("nothing_stays")

LOSSES = '''
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from harness.plugins import loss
from their_package.helper import softplus


@loss
def soft_hinge(logits, labels, temperature=1.0):
    """A hinge with a round corner."""
    margins = 1 - (2 * labels - 1) * logits
    return temperature * softplus(margins / temperature)


@loss("their_brier")
@dataclass(frozen=True)
class Brier:
    weight: float = 1.0

    def __call__(self, logits, labels):
        return self.weight * (jax.nn.sigmoid(logits) - labels) ** 2

    def posterior_logits(self, logits):
        return logits


@dataclass(frozen=True)
class Undecorated:
    def __call__(self, *, logits, labels):
        return softplus(-(2 * labels - 1) * logits)


@loss(of_a_batch=True)
def ratio(logits, labels, weights):
    share = jnp.sum(weights * labels * jax.nn.sigmoid(logits)) / jnp.sum(weights * labels)
    return 1.0 - share
'''
HELPER = """
import jax

def softplus(x):
    return jax.nn.softplus(x)
"""
HOSTILE = "import pathlib\npathlib.Path({place!r}).write_text('imported')\nraise SystemExit(3)\n"


def written(folder: Path, **files: str) -> Path:
    """A package of these modules on disk."""
    package = folder / "their_package"
    package.mkdir(parents=True, exist_ok=True)
    for name, text in {"__init__": "", "helper": HELPER, "losses": LOSSES, **files}.items():
        (package / f"{name}.py").write_text(text)
    return folder


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(written(tmp_path)))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "their_package"


def ids(*names: str, **changes) -> dict[str, str]:
    return {
        name: run_id(config(loss={"name": name}, **changes), data_fingerprint="d") for name in names
    }


OURS = ("bce", "focal", "dice")


def test_a_sweep_over_ours_and_theirs(harness, package, tmp_path):
    """Trained, stored, drawn and analysed by name, where what they come from is long gone."""
    loss = "loss=bce,their_brier,their_package.losses:Undecorated"
    sweep = ("train", "-m", *TINY, loss, "seed=1,2", "wandb=offline")
    said = harness(*sweep)
    assert (said.code, said.out) == (0, "6 trained, 0 already stored, 0 failed: runs/default\n")
    lanes = ("loss=soft_hinge", "loss.temperature=0.5,1,2", "plugins=[their_package.losses]")
    again = ("train", "-m", *TINY, "wandb=offline", *lanes, "seed=1,2")
    assert harness(*again).out.startswith("6 trained, 0 already stored")
    assert harness(*again).out.startswith("0 trained, 6 already stored")
    stored = stored_tables(Path("runs/default"))["runs"]
    assert set(stored["loss.name"]) == {"bce", "soft_hinge", "Undecorated", "their_brier"}
    theirs = stored.filter(pl.col("loss.name") == "soft_hinge")
    assert set(theirs["loss.temperature"]) == {0.5, 1.0, 2.0}
    assert stored["test_fingerprint"].n_unique() == 2  # the same splits for all
    assert set(theirs["plugins"].to_list()[0]) == {"their_package.losses"}
    # What is read of it afterwards is the record alone.
    touched = tmp_path / "touched"
    for module in package.glob("*.py"):
        module.write_text(HOSTILE.format(place=str(touched)))
    command = "from harness.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "analyze", "runs/default", "runs/default/wandb"],
        env={**os.environ, "PYTHONPATH": f"{Path(plugins.__file__).parents[1]}:{tmp_path}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not touched.exists()
    assert "soft_hinge" in done.stdout and "Undecorated" in done.stdout


def test_ours_keep_their_programs_and_ids(package):
    before, program = ids(*OURS), prepared(config()).program
    plugins.load("their_package.losses")
    assert (ids(*OURS), prepared(config()).program) == (before, program)
    theirs = ids("soft_hinge", "their_brier")
    assert prepared(config(loss={"name": "soft_hinge"})).program != program
    # Where it is said from makes no difference: what it computes does.
    assert ids("soft_hinge", plugins=["their_package.losses"]) == {
        "soft_hinge": theirs["soft_hinge"]
    }

    def after(file: str, old: str, new: str) -> set[str]:
        text = (package / file).read_text()
        assert old in text
        (package / file).write_text(text.replace(old, new))
        for module in ("their_package.helper", "their_package.losses"):
            importlib.reload(sys.modules[module])
        now = ids("soft_hinge", "their_brier")
        changed = {name for name in theirs if now[name] != theirs[name]}
        theirs.update(now)
        assert ids(*OURS) == before
        return changed

    assert after("losses.py", "A hinge with", "# Another. A hinge with") == set()
    assert after("losses.py", "margins = 1 -", "margins = 2 -") == {"soft_hinge"}
    assert after("helper.py", "softplus(x)\n", "softplus(x) * 2\n") == {"soft_hinge"}
    assert after("losses.py", ") ** 2", ") ** 4") == {"their_brier"}


def test_a_file_takes_along_what_lies_beside_it(tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text(HELPER)
    text = "from beside import softplus\ndef mine(logits, labels):\n    return softplus(-logits)\n"
    (tmp_path / "mine.py").write_text(text)
    loaded = plugins.load(f"loss={tmp_path / 'mine.py'}:mine")
    assert loaded.chosen == "mine"
    assert re.fullmatch(r"loss=.*/mine\.py:mine@[0-9a-f]{12}", loaded.spec)
    assert plugins.load(loaded.spec) == loaded
    before = ids("mine")
    (tmp_path / "beside.py").write_text(HELPER.replace("(x)\n", "(x) + 1\n"))
    (tmp_path / "mine.py").write_text(f"# A comment.\n{text}")
    with pytest.raises(UserError, match=r"mine\.py has changed since.*without @"):
        plugins.load(loaded.spec)
    plugins.load(f"loss={tmp_path / 'mine.py'}:mine")
    assert ids("mine") != before


def test_their_hyperparameters_are_lanes(package):
    plugins.load("their_package.losses")
    swept = [config(loss={"name": "soft_hinge", "temperature": t}) for t in (0.5, 1.0, 2.0)]
    other = [config(loss={"name": "their_brier"}), config()]
    assert sorted(map(len, groups(*swept, *other))) == [1, 1, 3]
    programs = {run.program for run in runs_of(*swept, *other)}
    assert len(programs) == 3
    assert {one.losses == POINTWISE for one in programs} == {True, False}
    assert plan.groups(runs_of(*swept))


OPTIMIZER = """
import optax
from harness.plugins import optimizer

@optimizer
def damped(learning_rate, damping=0.5):
    return optax.chain(optax.scale(damping), optax.sgd(learning_rate))
"""


@pytest.mark.slow
def test_an_optimizer_of_theirs_goes_the_same_road(harness, package, tmp_path):
    (package / "losses.py").write_text(OPTIMIZER)
    chosen = ("optimizer=their_package.losses:damped", "optimizer.damping=0.5,1")
    said = harness("train", "-m", *TINY, *chosen, "optimizer.learning_rate=0.1")
    assert said.out.startswith("2 trained, 0 already stored")
    stored = stored_tables(Path("runs/default"))["runs"]
    assert set(stored["optimizer.name"]) == {"damped"}
    assert set(stored["optimizer.damping"]) == {0.5, 1.0}
    swept = [
        config(optimizer={"name": "damped", "learning_rate": 0.1, "damping": damping})
        for damping in (0.25, 0.5, 1.0)
    ]
    assert len(groups(*swept)) == 1
    rule = swept[0].optimizer.in_lane().transformation(lambda step: 0.1)
    updates, _ = rule.update({"w": np.float32(2)}, rule.init({"w": np.float32(1)}), {"w": 1.0})
    assert float(updates["w"]) == pytest.approx(-0.05)

    def id_of(one):
        return run_id(one, data_fingerprint="d"), compiled.own_hash(type(one.optimizer))

    sgd = config(optimizer={"name": "sgd"})
    before, ours = id_of(swept[0]), id_of(sgd)
    assert ours[1] == ""
    (package / "losses.py").write_text(OPTIMIZER.replace("chain(", "chain(optax.clip(1.0), "))
    plugins.load("optimizer=their_package.losses:damped")
    after = id_of(config(optimizer={"name": "damped", "learning_rate": 0.1, "damping": 0.25}))
    assert after[0] != before[0] and after[1] != before[1]
    assert id_of(sgd) == ours
    # One of Optax, as it is: hyperparameters are its floats.
    assert plugins.load("optimizer=optax:amsgrad").chosen == "amsgrad"
    amsgrad = config(optimizer={"name": "amsgrad", "b1": 0.8})
    assert (amsgrad.optimizer.b1, amsgrad.optimizer.b2) == (0.8, 0.999) and id_of(amsgrad)[1]
    with pytest.raises(UserError, match=r"optimizer\.damping: should be a valid number"):
        config(optimizer={"name": "damped", "damping": "much"})


def test_a_kept_program_is_of_its_source(package, tmp_path, monkeypatch):
    plugins.load("their_package.losses")
    run = prepared(config(loss={"name": "soft_hinge"}))
    assert own_hash(*prepared(config()).program.losses) == ""
    before = own_hash(*run.program.losses), compiled._place(run.program, 8)
    text = (package / "losses.py").read_text()
    (package / "losses.py").write_text(text.replace("margins = 1 -", "margins = 3 -"))
    plugins.load("their_package.losses")
    run = prepared(config(loss={"name": "soft_hinge"}))
    after = own_hash(*run.program.losses), compiled._place(run.program, 8)
    assert before[0] != after[0]
    assert before[1] is None or before[1] != after[1]


def test_their_config_is_checked_as_ours(harness, package):
    plugged = ("train", *TINY, "plugins=[their_package.losses]")
    for loss, told in {
        "their_brer": "did you mean their_brier",
        "soft_hinge loss.temperature=hot": "loss.temperature: should be a valid number",
        "soft_hinge loss.temperature=true": "loss.temperature: should be a number, got True",
        "soft_hinge loss.temperature=inf": "loss.temperature: should be a finite number",
        "soft_hinge loss.temprature=2": "did you mean loss.temperature?",
        "focal loss.temperature=2": "no such key in the loss chosen",
    }.items():
        said = harness(*plugged, *f"loss={loss}".split())
        assert said.code == 2 and told in said.err and len(said.err.splitlines()) == 1


def test_help_and_completion_list_theirs(harness, package, monkeypatch):
    said = harness("train", "plugins=[their_package.losses]", "loss=soft_hinge", "--help")
    assert "soft_hinge, " in said.out and "temperature: 1.0" in said.out
    monkeypatch.setenv("COMP_LINE", "harness train plugins=[their_package.losses] loss=soft")
    assert harness("-sc", "query=bash").out.split() == ["loss=soft_f1", "loss=soft_hinge"]
    plugged = "harness train plugins=[their_package.losses] loss=soft_hinge loss."
    monkeypatch.setenv("COMP_LINE", plugged)
    assert "loss.temperature=" in harness("-sc", "query=bash").out.split()


def test_a_project_and_an_installed_package_need_not_be_named(harness, package, tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text('[tool.bce_harness]\nplugins = ["their_package.losses"]\n')
    assert harness("train", "loss=soft_hinge", "--help").code == 0
    project.write_text("[tool.bce_harness]\nplugins = 3\n")
    assert "is to be a list" in harness("train", *TINY).err
    project.unlink()
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{plugins.ENTRY_POINTS}]\nany = mine.gone\n")
    said = harness("train", *TINY)
    assert said.code == 2 and "installed package theirs is a plug-in that fails" in said.err
    (info / "entry_points.txt").write_text(f"[{plugins.ENTRY_POINTS}]\nany = their_package.losses")
    assert harness("train", "loss=soft_hinge", "--help").code == 0


HEAD = "import numpy as np\nfrom dataclasses import dataclass\nfrom harness.plugins import loss\n"
# A file's text and what is said of it.
REFUSED = {
    "no rate": (
        "from harness.plugins import optimizer\n@optimizer\ndef f(): pass",
        "learning_rate",
    ),
    "no rule": ("from harness.plugins import optimizer\n@optimizer\ndef f(r): return r", "optax."),
    "no syntax": ("def f(:", "importing it raised SyntaxError"),
    "a missing import": ("import nothing_such", "importing it raised ModuleNotFoundError"),
    "ends the process": ("raise SystemExit(1)", "importing it raised SystemExit"),
    "one of ours": (HEAD + "@loss\ndef bce(z, y): return z", "loss=bce is one of ours"),
    "a name of signs": (HEAD + "@loss('a b')\ndef f(z, y): return z", "use letters, digits and _"),
    "no labels": (HEAD + "@loss\ndef f(z): return z", "write def f(logits, labels)"),
    "no default": (HEAD + "@loss\ndef f(z, y, a): return z", "hyperparameters with defaults"),
    "a text": (HEAD + "@loss\ndef f(z, y, how='a'): return z", "how is to be a number"),
    "our switch": (HEAD + "@loss\ndef f(z, y, detach=.5): return z", "detach is a switch"),
    "a plain class": (HEAD + "@loss\nclass F: pass", "write @dataclass(frozen=True) over class F"),
    "can change": (HEAD + "@loss\n@dataclass\nclass F: a: float = 1.0", "F can change"),
    "not called": (HEAD + "@loss\n@dataclass(frozen=True)\nclass F: a: float = 1.0", "__call__"),
    "no function": (HEAD + "loss(3)", "loss=3 is a int"),
    "NumPy": (HEAD + "@loss\ndef f(z, y): return np.abs(np.asarray(z))", "cannot be traced"),
    "a branch": (HEAD + "@loss\ndef f(z, y, a=1.): return z if a > 1 else -z", "jnp.where"),
    "reduced": (HEAD + "@loss\ndef f(z, y): return (z - y).mean()", "shape () for logits"),
    "one too many": (HEAD + "@loss\ndef f(z, y): return z[:, None] - y", "shape (4, 4)"),
}


@pytest.mark.parametrize(("text", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_loss_is_one_line(text, told, harness, tmp_path):
    (tmp_path / "mine.py").write_text(text + "\n")
    said = harness("train", *TINY, "plugins=[mine.py]", "loss=f")
    assert said.code == 2 and len(said.err.splitlines()) == 1
    assert told in said.err


@pytest.mark.parametrize(
    ("given", "told"),
    {
        "plugins=[gone.py]": "gone.py: no such file",
        "plugins=[gone.there]": "no module gone is installed, nor does it lie in this folder",
        "plugins=a,b": "write plugins=[a,b]",
        "plugins=[a=b]": "give modules or files",
        "loss=their_package.losses:Gone": "their_package.losses has no Gone",
        "plugins=[random.py]": "the module random is another one",
    }.items(),
)
def test_what_cannot_be_found_is_one_line(given, told, harness, package):
    Path("random.py").write_text("")
    said = harness("train", *TINY, given)
    assert said.code == 2 and len(said.err.splitlines()) == 1
    assert told in said.err


def test_the_readme_shows_a_loss_that_trains(harness, tmp_path):
    readme = (Path(plugins.__file__).parents[1] / "README.md").read_text()
    section = readme.partition("### Your own loss")[2]
    (code,) = re.findall(r"```python\n(.*?)```", section.partition("Scores are kept raw")[0], re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (tmp_path / "my_losses.py").write_text(code)
    first, _ = re.findall(r"harness train -m (plugins=.*)", section)
    sweep = first.replace("'seed=range(5)'", "seed=0").split()
    assert harness("train", "-m", *TINY, *sweep).out.startswith("3 trained")


def test_one_that_fails_stops_no_other(package, tmp_path):
    """In a session, that is: each is tried as it is named, and read anew when it is named again."""
    file = tmp_path / "mixed.py"
    file.write_text(
        "from harness.plugins import loss\n\n\n"
        "@loss\ndef broken(logits, labels):\n    return logits.sum()\n"
    )
    for _ in range(2):
        with pytest.raises(UserError, match="loss=broken returned"):
            with_plugins([f"plugins=[{file}]"])
        with_plugins(["loss=bce"])
    file.write_text(file.read_text().replace("logits.sum()", "logits * labels"))
    with_plugins([f"plugins=[{file}]"])
    assert "broken" in plugins.plugged("loss")


def test_two_of_one_name_are_refused(package):
    plugins.load("their_package.losses")
    (package / "more.py").write_text(
        HEAD + "@loss\ndef soft_hinge(logits, labels):\n    return logits\n"
    )
    with pytest.raises(UserError, match=r"soft_hinge is defined by .*losses.* and by .*more"):
        plugins.load("their_package.more")


def test_a_loss_that_is_gone_is_of_no_known_arithmetic(package):
    plugins.load("their_package.losses")
    one = config(loss={"name": "soft_hinge"})
    names = {g: getattr(one, g).name for g in ("split", "sampler", "batching", "model", "loss")}
    names |= {"optimizer": one.optimizer.name, "schedule": one.schedule.name}
    assert numerics_named(names)
    plugins._PLUGGED["loss"].clear()
    assert numerics_named(names) is None


def test_a_dataclass_of_ours_may_be_extended(package):
    """What a loss may have besides is what ours have: here fitted weights and a posterior."""
    from harness.losses import WeightedBCE

    made = as_loss(WeightedBCE, "theirs")
    fitted = made().fitted(num_negatives=90, num_positives=10)
    assert (fitted.name, fitted.positive_weight) == ("theirs", 5.0)
    assert np.isfinite(fitted.posterior_logits(np.zeros(2))).all()
