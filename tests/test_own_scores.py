"""Calibrators, schedules and measures of the user's own."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from harness import plugins
from harness.config import dump, parse
from harness.data.in_memory import Memory, held
from harness.errors import UserError
from harness.identity import run_id
from harness.metrics.calibration import CALIBRATORS
from harness.metrics.definitions import VERSIONS
from harness.metrics.evaluate import Scored, evaluate
from harness.metrics.names import parse as parse_name
from harness.metrics.own_calibrator import OWN, add_logged, rows_of
from harness.metrics.ranked_rows import rank_rows
from harness.overrides.plugging import load
from harness.predict import Model
from harness.reproduce.quantities import Rows, measures
from harness.run import resolve
from tests.conftest import TINY
from tests.runs import config, groups, prepared
from tests.stored import stored_tables

pytestmark = pytest.mark.usefixtures("nothing_stays")

PARTS = '''
import jax.numpy as jnp
import numpy as np

from harness.plugins import calibrator, measure, schedule


def share(labels):
    return (labels.sum() + 1) / (len(labels) + 2)


@calibrator
class halves:
    """The share of positives on either side of the middle logit."""

    def fit(self, logits, labels):
        self.middle_ = np.median(logits)
        sides = labels[logits < self.middle_], labels[logits >= self.middle_]
        self.shares_ = np.maximum.accumulate([share(one) for one in sides])

    def predict(self, logits):
        return self.shares_[(logits >= self.middle_).astype(int)]


@schedule
def root(peak, num_steps, final=0.0):
    return lambda step: peak * (final + (1 - final) * jnp.sqrt(1 - step / num_steps))


@measure
def doubled(rows, *, of):
    return 2 * rows.table[of].to_numpy()
'''
HOSTILE = "raise SystemExit('imported')"
LISTED = "evaluation.calibrators=[platt,halves]"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PARTS)
    return tmp_path / "mine.py"


def with_halves(**more):
    return config(evaluation={"calibrators": ["platt", "halves"], "calibrator": "halves"}, **more)


def id_of(one) -> str:
    return run_id(one, data_fingerprint="d")


def edited(mine, old, new):
    assert old in mine.read_text()
    mine.write_text(mine.read_text().replace(old, new))
    importlib.reload(sys.modules["mine"])


@pytest.mark.slow
def test_a_calibrator_is_stored_analysed_and_predicts(harness, mine):
    sweep = (*TINY, "plugins=[mine.py]", LISTED, "evaluation.calibrator=halves")
    sweep += ("training.save_model=true", "evaluation.objective=halves/log_loss")
    said = harness("train", *sweep)
    assert said.code == 0, said.err
    runs = stored_tables(Path("runs/default"))["runs"]
    assert 0 < runs["test/halves/log_loss"].item() < 1
    assert runs["test/halves/log_loss"].item() != runs["test/platt/log_loss"].item()
    path = f"runs/default/models/{runs['run_id'].item()}"
    (rows,) = [p for p in stored_tables(Path("runs/default"))["predictions"].to_dicts()
               if p["split"] == "test"]  # fmt: skip
    model = Model.load(path)
    kept = model._final_logits(np.array(rows["logits"], np.float64))
    assert np.array_equal(kept.astype(np.float32), np.array(rows["calibrated_logits"], np.float32))
    mine.write_text(HOSTILE)
    for known in (OWN, VERSIONS, CALIBRATORS):
        known.pop("halves")
    parse_name.cache_clear()
    said = harness("analyze", "runs/default", "--metric", "halves/log_loss,auroc")
    assert said.code == 0, said
    assert "log loss after halves" in Path("runs/default/analysis/report.html").read_text()
    with pytest.raises(UserError, match=r"calibrator 'halves' is plugged in nowhere: name its"):
        Model.load(path)


def test_editing_a_calibrator_moves_the_runs_that_list_it_alone(mine):
    plain = id_of(config())
    plugins.load("mine.py")
    before, others = id_of(with_halves()), id_of(config())
    edited(mine, "+ 2)", "+ 2)  # Laplace's")
    assert (id_of(with_halves()), id_of(config())) == (before, plain)
    edited(mine, "+ 1) / (len", "+ 2) / (len")  # in a helper
    assert id_of(with_halves()) != before and id_of(config()) == others == plain
    assert dump(with_halves())["evaluation"]["calibrators"] == ["platt", "halves"]


def test_a_calibrator_sees_rows_in_one_order_and_keeps_none_beside_others(mine):
    plugins.load("mine.py")
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 50)).round(1)
    labels = (rng.random((2, 50)) < 0.4).astype(int)
    ranking = rank_rows(logits=logits, labels=labels, valid=labels >= 0)
    seen, called = rows_of(ranking, 1)
    order = np.lexsort((labels[1], logits[1]))
    assert np.array_equal(seen, logits[1][order]) and np.array_equal(called, labels[1][order])
    alone = OWN["halves"](rank_rows(logits=logits[1:], labels=labels[1:], valid=labels[1:] >= 0))
    together = OWN["halves"](ranking)
    assert np.array_equal(together.apply(logits)[1], alone.apply(logits[1:])[0])
    weighted = replace(ranking, group_positives=ranking.group_positives * 0.5)
    with pytest.raises(ValueError, match="know no weights of rows"):
        rows_of(weighted, 0)
    assert np.isnan(OWN["halves"](weighted).apply(logits)).all()
    one_class = rank_rows(logits=logits, labels=0 * labels, valid=labels >= 0)
    assert np.isnan(OWN["halves"](one_class).apply(logits)).all()


def test_a_calibrator_of_ones_own_counts_rows(mine):
    plugins.load("mine.py")
    frame = pl.DataFrame({"a": np.arange(60.0), "w": np.ones(60) + np.arange(60), "y": [0, 1] * 30})
    held_frame, _ = held(frame, "y")
    weighed = Memory(name="m", contents=held_frame.contents, target="y", weight="w")
    with pytest.raises(UserError, match=r"evaluation.calibrators=\[halves\] counts rows"):
        resolve(with_halves(), weighed.load())


def test_a_calibrator_that_fails_costs_its_scores_alone(mine, caplog):
    plugins.load("mine.py")

    class Odd:
        def fit(self, logits, labels):
            self.rate_ = labels.mean()

        def predict(self, logits):
            if len(logits) > 32:
                raise RuntimeError("two\nlines")
            return np.full(len(logits), self.rate_)

    plugins.calibrator(Odd, name="odd")
    labels = (np.arange(80) % 3 == 0).astype(int)[None]
    logits = np.random.default_rng(0).normal(size=(1, 80))
    part = Scored(logits, labels, labels >= 0, logits)
    settings = parse(dump(config(evaluation={"calibrators": ["odd"], "calibrator": None})))
    found = evaluate(validation=part, test=part, evaluation=settings.evaluation).metrics
    assert np.isnan(found["test/odd/log_loss"]) and np.isfinite(found["test/log_loss"])
    assert "calibrator odd: RuntimeError: two lines: its scores are stored" in caplog.messages[0]


def test_what_a_logged_run_says_of_a_calibrator_is_a_name():
    before = dict(VERSIONS)
    add_logged(["", "a b", "a/b", "\x1b[2J", "x" * 99, "corrected", "platt"])
    assert before == VERSIONS
    add_logged(["theirs"])
    assert parse_name("test/theirs/log_loss").title == "log loss after theirs"
    with pytest.raises(UserError, match="'theirs'"):  # known to readers, and to no training
        config(evaluation={"calibrators": ["theirs"]})


CALIBRATOR = (
    "import numpy as np\nfrom harness.plugins import calibrator\n@calibrator{known}\nclass f:\n"
)
CALIBRATOR += " def fit(self, x, y): {fit}\n def predict(self, x): return {result}\n"


@pytest.mark.parametrize(
    ("known", "fit", "result", "told"),
    [
        ("('platt')", "pass", "x", "calibrator platt is one of ours"),
        ("('corrected')", "pass", "x", "calibrator corrected is one of ours"),
        ("('a b')", "pass", "x", "use letters, digits and _"),
        ("", "pass", "x", "let predict return numbers from 0 to 1"),
        ("", "pass", "0.5", "let predict return numbers from 0 to 1"),
        ("", "pass", "1 / (1 + np.exp(x))", "gives a higher logit a lower probability"),
        ("", "gone", "x", "calibrator f: NameError: name 'gone' is not defined"),
    ],
)
def test_what_is_no_calibrator_is_one_line(known, fit, result, told, tmp_path):
    text = CALIBRATOR.format(known=known, fit=fit, result=result)
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError) as refused:
        load([str(tmp_path / "mine.py")])
    assert told in str(refused.value) and "\n" not in str(refused.value)


def test_a_calibrator_is_asked_for_by_its_name(mine):
    with pytest.raises(UserError, match=r"calibrators.*is no calibrator.*plugins=\[my_mod"):
        with_halves()
    with pytest.raises(UserError, match=r"is no calibrator: did you mean platt\?, got 'plat'"):
        config(evaluation={"calibrators": ["plat"]})
    plugins.load("mine.py")
    with_halves(training={"save_model": True})
    nothing = {"fit": lambda self, x, y: None, "predict": lambda self, x: 0 * x}
    plugins.calibrator(type("Nothing", (), nothing))
    plain = {"calibrators": ["Nothing"], "calibrator": "Nothing"}
    with pytest.raises(UserError, match=r"=Nothing: no saved model can hold it .*ends in"):
        config(evaluation=plain, training={"save_model": True})


def test_a_schedule_fuses_with_ours_and_moves_its_runs_alone(mine):
    plain = id_of(config())
    plugins.load("mine.py")
    root = config(schedule={"name": "root", "final": 0.5})
    warm = config(schedule={"name": "root", "warmup": 0.5})
    assert [len(one) for one in groups(root, warm, config())] == [3]
    rates = prepared(root).lane.learning_rates
    assert rates[0] == pytest.approx(0.01) and 0.005 < rates[-1] < 0.0065
    risen = prepared(warm).lane.learning_rates
    assert (
        risen[0] == 0 and risen.max() == pytest.approx(0.01) and np.argmax(risen) == len(risen) // 2
    )
    plugins.schedule(lambda peak, n: lambda step: peak / jnp.sqrt(step), name="inverse")
    with pytest.raises(UserError, match="schedule=inverse is inf times the peak at step 0"):
        prepared(config(schedule={"name": "inverse"}))
    plugins.schedule(lambda peak, n: lambda step: peak / jnp.sqrt(step + 1), name="later")
    later = prepared(config(schedule={"name": "later", "warmup": 0.5})).lane.learning_rates
    assert later.max() == pytest.approx(0.01)  # it knows no step before its first
    before = id_of(root)
    edited(mine, "jnp.sqrt(1", "jnp.square(1")
    assert id_of(config(schedule={"name": "root", "final": 0.5})) != before
    assert id_of(config()) == plain
    again = prepared(config(schedule={"name": "root", "final": 0.5})).lane.learning_rates
    assert not np.array_equal(again, rates)


@pytest.mark.slow
def test_a_schedule_is_trained_and_listed(harness, mine):
    optax = ("schedule=constant,root,optax:cosine_decay_schedule", "plugins=[mine.py]")
    said = harness("train", "-m", *TINY, *optax)
    assert said.out.startswith("3 trained"), said.err
    runs = stored_tables(Path("runs/default"))["runs"]
    assert {"root", "cosine_decay_schedule"} < set(runs["schedule.name"])
    assert "final: 0.0" in harness("train", "plugins=[mine.py]", "schedule=root", "--help").out
    mine.write_text(HOSTILE)
    assert harness("analyze", "runs/default").code == 0


F = "def f(peak, num_steps)"
SCHEDULE = "import jax.numpy as jnp\nfrom harness.plugins import schedule\n@schedule\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("class f: pass", "give a function (peak, num_steps)"),
        ("def f(peak): pass", "it takes no num_steps: write def f(peak, num_steps, number=def"),
        ("def f(peak, num_steps, warmup=1.0): pass", "warmup is a key of all such choices"),
        (
            "def f(peak, num_steps): return lambda step: -peak * step",
            "is -1 times the peak at step 1",
        ),
        (
            "def f(peak, num_steps): return lambda step: step / (3.0 - step)",
            "times the peak at step 3",
        ),
        (
            "def f(peak, num_steps): return lambda step: 1 if step < 3 else 0",
            "instead of `if` on it",
        ),
        (f"{F}: return lambda step: jnp.ones(3)", "gives (3,) values a step"),
        (f"{F}: return peak", "schedule=f fails over 8 steps"),
    ],
)
def test_what_is_no_schedule_is_one_line(text, told, tmp_path):
    (tmp_path / "mine.py").write_text(f"{SCHEDULE}{text}\n")
    with pytest.raises(UserError) as refused:
        load([str(tmp_path / "mine.py")])
    assert told in str(refused.value) and "\n" not in str(refused.value)


def test_a_measure_is_a_column_or_one_line(mine):
    plugins.load("mine.py")
    rows = Rows(pl.DataFrame({"a": [1.0, 2.0]}))
    assert measures()["doubled"](rows, of="a").to_list() == [2.0, 4.0]
    with pytest.raises(UserError, match="measure doubled: ColumnNotFoundError: "):
        measures()["doubled"](rows, of="gone")
    plugins.measure(lambda rows: [1.0], name="short")
    with pytest.raises(UserError, match="short gives 1 values of 2 rows: return one a row"):
        measures()["short"](rows)
    plugins.measure(lambda rows: [1.0], name="place")
    with pytest.raises(UserError, match=r"measure place of .* is one of ours: rename yours"):
        measures()
    with pytest.raises(UserError, match=r"write def f\(rows, parameter=...\)"):
        plugins.measure(SimpleNamespace(__name__="f"))


def test_experiments_of_a_package_are_found(harness, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "their_package").mkdir()
    (tmp_path / "their_package" / "__init__.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path / "their_package")
    harness("new", "experiment", "theirs")
    monkeypatch.chdir(tmp_path)
    named = "plugins=[their_package]"
    said = harness("reproduce", "theirs", named, "--plan")
    assert said.code == 0 and "ranks-better" in said.out, said
    said = harness("reproduce", "their", named, "--plan")
    assert said.code == 2 and "no experiment 'their': one of " in said.err
    harness("new", "experiment", "theirs")
    said = harness("reproduce", "theirs", named, "--plan")
    assert said.code == 2 and "are called alike: rename one" in said.err
    assert len(said.err.splitlines()) == 1
