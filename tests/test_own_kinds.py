"""Losses, models, samplers and splits of the user's own, as docs/plugins.md shows them."""

import importlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from harness import plugins
from harness.data.library import datasets
from harness.errors import UserError
from harness.identity import own_hash, run_id
from harness.metrics.definitions import METRICS
from harness.metrics.names import parse
from harness.metrics.own import add_logged, as_metric
from harness.overrides.plugging import load
from harness.record import collect
from harness.sweep import compiled
from tests.conftest import TINY
from tests.runs import config, groups, prepared, train_together
from tests.stored import stored_tables

pytestmark = pytest.mark.usefixtures("nothing_stays")

DOCS = Path(plugins.__file__).parents[1] / "docs" / "plugins.md"
FEW = ("training.num_epochs=1", "training.steps_per_epoch=2", "wandb=disabled")
DIGITS = {"kind": "sklearn", "name": "digits", "positive": "1"}


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """The file `my_parts.py` of all that the page shows."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    (tmp_path / "my_parts.py").write_text("\n\n".join(blocks))
    return tmp_path / "my_parts.py"


def id_of(**changes) -> str:
    return run_id(config(**changes), data_fingerprint="d")


@pytest.mark.slow
def test_a_model_is_trained_stored_and_predicts(harness, parts):
    sweep = ("plugins=[my_parts.py]", "dataset=digits", "model=ResNet")
    sweep += ("model.filters=2", "model.depth=1")
    said = harness("train", "-m", *FEW, *sweep, "training.save_model=true")
    assert said.out.startswith("1 trained"), said.err
    runs = stored_tables(Path("runs/default"))["runs"]
    theirs = runs.filter(pl.col("model.name") == "ResNet")
    assert set(theirs["model.depth"]) == {1} and set(theirs["model.filters"]) == {2}
    again = harness("train", "-m", *FEW, *sweep, "training.save_model=true")
    assert again.out.startswith("0 trained, 1 already stored")
    model = f"runs/default/models/{theirs['run_id'].item()}"
    digits = datasets.get(config(dataset=DIGITS).dataset)
    pl.DataFrame(digits.features, schema=list(digits.feature_names)).write_csv("rows.csv")
    assert harness("predict", model, "rows.csv", "plugins=[my_parts.py]").code == 0
    plugins._PLUGGED["model"].clear()
    said = harness("predict", model, "rows.csv")
    assert said.code == 2 and "ResNet" in said.err and "plugins=[my_module.py]" in said.err


def test_a_model_has_our_head_and_starts_at_the_prior(parts):
    plugins.load("my_parts.py")
    one = prepared(config(dataset=DIGITS, model={"name": "ResNet", "dropout": 0.5}))
    bias = np.log(one.data.num_positives / one.data.num_negatives)
    assert one.lane.head_bias == pytest.approx(bias, rel=1e-6)
    assert one.program.model.is_random and not one.program.pads_features
    table = config(model={"name": "Attention", "head": "normalized", "prior_bias": False})
    assert prepared(table).lane.head_bias == 0
    swept = [config(dataset=DIGITS, model={"name": "ResNet"}, loss={"name": n}) for n in OURS]
    other = config(dataset=DIGITS, model={"name": "ResNet", "depth": 1})
    assert sorted(map(len, groups(*swept, other))) == [1, 2]


OURS = ("bce", "focal")


def test_sources_are_of_the_runs_that_use_them_alone(parts):
    plain = {group: id_of(**{group: {"name": name}}) for group, name in USUAL.items()}
    own = {"model": "ResNet", "sampler": "Jittered", "split": "Blocks"}
    plugins.load("my_parts.py")

    def ids():
        return {group: id_of(**{group: {"name": name}}) for group, name in own.items()}

    before, program = ids(), prepared(config(dataset=DIGITS, model={"name": "ResNet"})).program
    kept = compiled._place(program, 8)
    assert plain == {group: id_of(**{group: {"name": name}}) for group, name in USUAL.items()}
    for group, old, new in (
        ("model", "images + block", "images - block"),
        ("sampler", "X + 0", "X + 0"),
        ("sampler", "self.scale * rng", "-self.scale * rng"),
        ("split", "self.blocks // len(X)", "self.blocks // (len(X) + 1)"),
    ):
        text = parts.read_text()
        if old == new:
            parts.write_text(text + "\n# A comment.\n")
        else:
            assert old in text
            parts.write_text(text.replace(old, new))
        importlib.reload(sys.modules["my_parts"])
        after = ids()
        changed = {one for one in own if after[one] != before[one]}
        assert changed == (set() if old == new else {group})
        before = after
    assert plain == {group: id_of(**{group: {"name": name}}) for group, name in USUAL.items()}
    program = prepared(config(dataset=DIGITS, model={"name": "ResNet"})).program
    assert own_hash(type(program.model)) and (kept is None or kept != compiled._place(program, 8))


USUAL = {"model": "mlp", "sampler": "smote", "split": "kfold"}


def test_a_loss_that_remembers_is_fused_over_its_numbers(parts):
    """Which is BCE where nothing fades."""
    plugins.load("my_parts.py")
    small = {"model": {"name": "logistic"}, "training__num_epochs": 2}
    runs = [config(loss={"name": "Fading", "fade": fade}, **small) for fade in (0.0, 0.8)]
    assert list(map(len, groups(*runs))) == [2]
    none, much = train_together(*runs)
    (bce,) = train_together(config(loss={"name": "bce"}, **small))
    np.testing.assert_allclose(none.test_logits, bce.test_logits, rtol=1e-3, atol=1e-4)
    assert np.abs(much.test_logits - bce.test_logits).max() > 0.01


@pytest.mark.slow
def test_the_loss_that_remembers_has_no_fault(harness, parts):
    assert "nothing found" in harness("check", "loss", "my_parts.py:Fading").out


@pytest.mark.slow
def test_a_sampler_and_a_split_are_trained(harness, parts):
    sweep = ("plugins=[my_parts.py]", "sampler=none,Jittered", "split=Blocks", "split.fold=0,1")
    said = harness("train", "-m", *TINY, *sweep, "model=logistic")
    assert said.out.startswith("4 trained"), said.err
    runs = stored_tables(Path("runs/default"))["runs"]
    theirs = runs.filter(pl.col("sampler.name") == "Jittered")
    assert (theirs["num_train_synthetic"] > 0).all() and set(theirs["sampler.scale"]) == {0.1}
    assert runs["test_fingerprint"].n_unique() == 2


def test_rows_of_a_sampler_are_told_from_real_ones(parts):
    plugins.load("my_parts.py")
    none, jittered = (
        prepared(config(sampler={"name": name}, seed=3)).data for name in ("none", "Jittered")
    )
    rarer = round(none.num_sampled * min(none.train_prior, 1 - none.train_prior))
    assert len(jittered.synthetic) == rarer
    assert jittered.num_sampled == none.num_sampled + len(jittered.synthetic)
    again = prepared(config(sampler={"name": "Jittered"}, seed=3)).data
    other = prepared(config(sampler={"name": "Jittered"}, seed=4)).data
    assert np.array_equal(jittered.synthetic, again.synthetic)
    assert not np.array_equal(jittered.synthetic, other.synthetic)


def test_those_of_libraries_do_as_they_are(parts):
    plugins.load("sampler=imblearn.over_sampling:RandomOverSampler")
    plugins.load("split=sklearn.model_selection:StratifiedKFold")
    over = prepared(config(sampler={"name": "RandomOverSampler"})).data
    assert len(over.synthetic) == 0 and over.train_prior == pytest.approx(0.5)
    fold = {"name": "StratifiedKFold", "n_splits": 4, "shuffle": True}
    parts_of = [prepared(config(split={**fold, "fold": i})).data.split for i in range(4)]
    tested = np.concatenate([one.test for one in parts_of])
    assert len(np.unique(tested)) == len(tested) == 569
    assert not set(parts_of[0].validation) & {*parts_of[0].test, *parts_of[0].train}
    with pytest.raises(UserError, match=r"gives 4 pairs: lower split\.fold=7"):
        prepared(config(split={**fold, "fold": 7}))
    with pytest.raises(UserError, match=r"split\.n_splits: should be a valid integer"):
        config(split={**fold, "n_splits": "many"})


@pytest.mark.slow
def test_a_metric_is_measured_stored_and_compared(harness, parts):
    sweep = (*TINY, "plugins=[my_parts.py]", "extra_metrics=[profit]", "seed=1,2")
    plain = harness("train", "-m", *TINY, "seed=1")
    assert plain.out.startswith("1 trained")
    before = stored_tables(Path("runs/default"))["runs"]
    said = harness("train", "-m", *sweep, "evaluation.objective=profit")
    assert said.out.startswith("2 trained"), said.err  # one of them measured anew
    assert harness("train", "-m", *sweep).out.startswith("0 trained, 2 already stored")
    runs = stored_tables(Path("runs/default"))["runs"].drop_nulls("test/profit")
    (again,) = runs.filter(pl.col("run_id") == before["run_id"].item()).rows(named=True)
    assert again["test/log_loss"] == before["test/log_loss"].item()
    assert -1 <= again["test/profit"] < 9 and again["validation/corrected/profit"] is not None
    # Another source is another measurement of the same run.
    parts.write_text(parts.read_text().replace("10 * called * labels", "20 * called * labels"))
    assert harness("train", "-m", *sweep).out.startswith("2 trained")
    parts.write_text(HOSTILE)
    METRICS.pop("profit")
    parse.cache_clear()
    said = harness(
        "analyze", "runs/default", "--metric", "profit,auroc", "--where", "validation/profit > -1"
    )
    assert said.code == 0, said
    assert "profit a row" in Path("runs/default/analysis/report.html").read_text()
    assert METRICS["profit"].direction == "higher" and METRICS["profit"].function is None


def test_a_metric_that_fails_is_said_of_each_value_once(parts, capsys):
    def fragile(probabilities, labels):
        raise RuntimeError("two\nlines")

    plugins.metric(fragile)
    logits = np.zeros((1, 4))
    part = SimpleNamespace(valid=logits == 0, logits=logits, corrected=logits, labels=logits)
    run = SimpleNamespace(run_id="r", config=config(extra_metrics=["fragile"]))
    assert np.isnan([*collect._extra(run, {"validation": part, "test": part}, 0).values()]).all()
    lines = capsys.readouterr().err.splitlines()
    assert len(set(lines)) == len(lines) == 4
    assert lines[-1] == (
        "run r: test/corrected/fragile is stored as NaN: metric fragile: RuntimeError: two lines"
    )


HOSTILE = "raise SystemExit('imported')"

METRIC = "from harness.plugins import metric\n@metric{known}\ndef f{takes}: return {result}\n"


@pytest.mark.parametrize(
    ("known", "takes", "result", "told"),
    [
        ("", "(y)", "1", "write def f(probabilities, labels)"),
        ("(direction='up')", "(p, y)", "1", "direction is one of"),
        ("('auroc')", "(p, y)", "1", "metric auroc is one of ours"),
        ("('f_low')", "(p, y)", "1", "are ends of intervals"),
        ("('a b')", "(p, y)", "1", "use letters, digits and _"),
        ("(of='labels')", "(p, y)", "1", "neither probabilities nor scores"),
        ("(low=1, high=0)", "(p, y)", "1", "in order"),
        ("", "(p, y)", "p", "return one number"),
        ("", "(p, y)", "gone", "name 'gone' is not defined"),
        ("", "(p, y)", "float('nan')", "is nan of 16 rows"),
    ],
)
def test_what_is_no_metric_is_one_line(known, takes, result, told, tmp_path):
    (tmp_path / "mine.py").write_text(METRIC.format(known=known, takes=takes, result=result))
    with pytest.raises(UserError, match=re.escape(told)) as refused:
        load([str(tmp_path / "mine.py")])
    assert "\n" not in str(refused.value)


def test_a_metric_is_asked_for_by_its_name(parts):
    with pytest.raises(UserError, match=r"extra_metrics.*'profit' is plugged in nowhere"):
        config(extra_metrics=["profit"])
    plugins.load("my_parts.py")
    with pytest.raises(UserError, match=r"'profits' is none of 1 choices: did you mean profit"):
        config(extra_metrics=["profits"])
    with pytest.raises(UserError, match="'auroc' is one of ours"):
        config(extra_metrics=["auroc"])
    with pytest.raises(UserError, match=r"profit is not measured: add extra_metrics=\[profit\]"):
        config(evaluation={"objective": "profit"})
    with pytest.raises(UserError, match="is not measured on validation"):
        config(extra_metrics=["profit"], evaluation={"objective": "platt/profit"})
    assert id_of(extra_metrics=["profit"]) == id_of()


MODEL = "from flax import nnx\nimport jax.numpy as jnp\nfrom harness.plugins import model\n@model\n"
NET = MODEL + "class f(nnx.Module):\n def __init__(self, inputs, *, {takes}rngs): {init}\n"
NET += " def __call__(self, x): return {result}\n"
PART = "import numpy as np\nfrom harness.plugins import sampler, split\n"
HALF = PART + "@sampler\nclass f:\n def fit_resample(self, X, y): return {result}\n"
CUT = PART + "@split\nclass f:\n def split(self, X, y, groups): return {result}\n"
# A group, a file's text and what is said of it.
REFUSED = {
    "a function": ("model", MODEL + "def f(inputs): return 3", "give a class Net(flax.nnx.Module)"),
    "no default": (
        "model",
        NET.format(takes="width, ", init="pass", result="x"),
        "width has no default",
    ),
    "a key of all": (
        "model",
        NET.format(takes="scale=1.0, ", init="pass", result="x"),
        "scale is a key of all such choices",
    ),
    "another kind": (
        "model",
        NET.format(takes="width=1.5, ", init="pass", result="x"),
        "width is int where our own have it",
    ),
    "logits": ("model", NET.format(takes="", init="pass", result="x[:, 0]"), "of shape (3,) for 3"),
    "another type": (
        "model",
        NET.format(takes="", init="pass", result="x.astype(jnp.float16)"),
        "returned float16",
    ),
    "a wrong size": (
        "model",
        NET.format(takes="", init="self.a = nnx.Linear(7, 2, rngs=rngs)", result="self.a(x)"),
        "fails on 30 features",
    ),
    "batch statistics": (
        "model",
        NET.format(takes="", init="self.a = nnx.BatchNorm(30, rngs=rngs)", result="self.a(x)"),
        "in place of nnx.BatchNorm",
    ),
    "random state": (
        "model",
        NET.format(takes="", init="self.a = nnx.Dropout(0.5, rngs=rngs)", result="self.a(x)"),
        "let __call__ take dropout_key=None",
    ),
    "a method's name": (
        "optimizer",
        "from harness.plugins import optimizer\n@optimizer\ndef f(learning_rate, decay=0.9): pass",
        "every optimizer has decay",
    ),
    "no fit_resample": (
        "sampler",
        PART + "@sampler\nclass f: pass",
        "def fit_resample(self, X, y)",
    ),
    "no labels": ("sampler", HALF.format(result="X, y[:3]"), "a label for each row"),
    "not finite": ("sampler", HALF.format(result="X * np.inf, y"), "that are not finite"),
    "one class": ("sampler", HALF.format(result="X[y == 1], y[y == 1]"), "would leave no negative"),
    "too many": (
        "sampler",
        HALF.format(result="np.concatenate([X, X + 1]), np.concatenate([y, y])"),
        "make fewer",
    ),
    "raises": ("sampler", HALF.format(result="X[1, 2, 3]"), "change its settings, or use sampler="),
    "no end": (
        "split",
        CUT.format(result="iter(lambda: (range(9), range(9)), 0)"),
        "more than 10000",
    ),
    "no split": ("split", PART + "@split\nclass f: pass", "def split(self, X, y, groups)"),
    "no pairs": ("split", CUT.format(result="[]"), "gives 0 pairs"),
    "rows twice": ("split", CUT.format(result="[(np.arange(9), np.arange(9))]"), "has rows twice"),
    "no places": ("split", CUT.format(result="[(y > 0, y > 1)]"), "no places of rows"),
}


@pytest.mark.parametrize(("group", "text", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_such_part_is_one_line(group, text, told, tmp_path):
    (tmp_path / "mine.py").write_text(text + "\n")
    with pytest.raises(UserError) as refused:
        plugins.load(str(tmp_path / "mine.py"))
        prepared(config(**{group: {"name": "f"}}))
    assert told in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.slow
def test_help_and_completion_list_them(harness, parts, monkeypatch):
    said = harness("train", "plugins=[my_parts.py]", "model=Attention", "--help")
    assert "ResNet" in said.out and "heads: 2" in said.out
    typed = "harness train plugins=[my_parts.py] sampler=Jit"
    monkeypatch.setenv("COMP_LINE", typed)
    assert harness("-sc", "query=bash").out.split() == ["sampler=Jittered"]


def test_a_project_has_a_conf_of_its_own(harness, parts, monkeypatch):
    project = Path("pyproject.toml")
    project.write_text('[tool.bce_harness]\nplugins = ["my_parts.py"]\nconf = "my_conf"\n')
    assert "tool.bce_harness.conf = 'my_conf' is no folder here" in harness("train", *TINY).err
    project.write_text("[tool.bce_harness]\nplugin = ['my_parts.py']\n")
    said = harness("train", *TINY)
    assert said.code == 2 and len(said.err.splitlines()) == 1
    assert "pyproject.toml: tool.bce_harness.plugin: plugin is none of 2 choices: did y" in said.err
    project.write_text('[tool.bce_harness]\nplugins = ["my_parts.py"]\nconf = "my_conf"\n')
    for name, text in {
        "model/deep": "defaults: [ResNet]\ndepth: 5\n",
        "experiment/mine": "# @package _global_\nseed: 7\nevaluation:\n  ece_bins: 9\n",
    }.items():
        path = Path("my_conf", f"{name}.yaml")
        path.parent.mkdir(parents=True)
        path.write_text(text)
    said = harness("train", "model=deep", "experiment=mine", "--cfg", "job")
    assert "depth: 5" in said.out and "seed: 7" in said.out and "ece_bins: 9" in said.out
    assert "deep, " in harness("train", "--help").out
    monkeypatch.setenv("COMP_LINE", "harness train experiment=mi")
    assert harness("-sc", "query=bash").out.split() == ["experiment=mine", "experiment=mislabelled"]
    Path("my_conf/model/mlp.yaml").write_text("name: mlp\n")
    said = harness("train", *TINY)
    assert said.code == 2 and "my_conf/model/mlp.yaml: model/mlp.yaml is one of ours" in said.err
    Path("my_conf/model/mlp.yaml").rename("my_conf/model/torn.yaml").write_text("{")
    said = harness("train", *TINY[1:], "model=torn")
    assert said.code == 2 and 'torn.yaml", line' in said.err and len(said.err.splitlines()) == 1


def test_what_a_logged_run_says_of_a_metric_is_data():
    sound = as_metric(lambda p, y: 0.0, "theirs").described("0" * 12)
    ours = sound.replace('"theirs"', '"auroc"')
    wrong = [sound.replace('"higher"', '"up"'), sound.replace('"theirs"', '"a/b"')]
    wrong += [
        sound.replace('"title": "theirs"', f'"title": "{bad}"') for bad in ("\\u001b", "x" * 999)
    ]
    before = dict(METRICS)
    add_logged(["", "{", "[]", "3", "[" * 100_000, '{"name": 3}', ours, *wrong])
    assert before == METRICS
    add_logged([sound])
    assert METRICS["theirs"].function is None and METRICS["theirs"].low == -np.inf
