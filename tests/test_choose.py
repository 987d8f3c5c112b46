"""`harness choose`: the whole question in one call."""

import dataclasses
import datetime
import html
import re
import sys
from functools import cache

import numpy as np
import polars as pl
import pytest

from harness import plugins
from harness.data.table import Table
from harness.errors import UserError
from harness.interface import choosing
from harness.overrides import jobs
from harness.predict import Model
from tests.conftest import TINY

GERMAN = "%d.%m.%Y"
QUICK = (
    *TINY, "optimizer.learning_rate=.03,.1", "split.folds=2", "split.fold=0,1",
    f"dataset.date_format={GERMAN}",
)  # fmt: skip
ASKED = {"target": "ill", "time": "day", "cost_fp": 1, "cost_fn": 20, "budget": 1e-9}


def frame_of(num_rows: int = 800) -> pl.DataFrame:
    random = np.random.default_rng(0)
    size, ward = random.normal(size=num_rows), random.choice(["a", "b", None], num_rows)
    start = datetime.date(2024, 1, 1)
    days = [start + datetime.timedelta(int(day)) for day in random.integers(0, 300, num_rows)]
    ill = np.where(size + random.normal(size=num_rows) > 1.9, "Y", "N")
    return pl.DataFrame({"size": size, "ward": ward, "day": days, "ill": ill})


def german(day: pl.Expr) -> pl.Expr:
    """Dates that nothing reads without an override, the last test's rows included."""
    return day.dt.strftime(GERMAN)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """What was chosen on a table, and the table."""
    place = tmp_path_factory.mktemp("choose")
    frame_of().with_columns(german(pl.col("day"))).write_csv(place / "patients.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        choice = choosing.choose(
            "patients.csv", losses=["bce", "weighted_bce"], overrides=QUICK, **ASKED
        )
        yield choice, place


def test_every_loss_has_the_same_trials(chosen):
    runs = chosen[0].sweep.table()
    trials = runs.group_by("loss.name").agg(
        pl.struct("optimizer.learning_rate", "split.fold", "seed").sort()
    )
    assert trials.height == 2
    assert trials.item(0, 1).to_list() == trials.item(1, 1).to_list()
    assert runs.height == 2 * 2 * 2


def test_the_last_test_is_of_the_latest_rows_that_no_run_has_seen(chosen):
    choice, place = chosen
    table = {"path": str(place / "patients.csv"), "target": "ill", "time": "day", "hold_out": 0.2}
    table |= {"date_format": GERMAN}
    seen, last = Table(**table).load(), Table(**table).load_held_out()
    assert last.num_rows == choice.test.rows
    assert seen.times.max() < last.times.min()
    assert set(choice.sweep.table()["data_fingerprint"]) == {seen.fingerprint}


def test_costs_are_those_of_the_decisions(chosen):
    """Counted by hand, from the table and the model's own decisions."""
    choice, _ = chosen
    late = frame_of().sort("day")[-choice.test.rows :]
    flagged = choice.model.predict(late.with_columns(german(pl.col("day")))) == "Y"
    ill = (late["ill"] == "Y").to_numpy()
    alarms, misses = (flagged & ~ill).sum(), (~flagged & ill).sum()
    assert choice.test.cost[0] == pytest.approx(1000 * (alarms + 20 * misses) / len(ill))
    assert choice.test.none == pytest.approx(1000 * 20 * ill.mean())
    assert choice.test.all == pytest.approx(1000 * (~ill).mean())
    assert choice.test.cost[1] <= choice.test.cost[0] <= choice.test.cost[2]
    assert choice.test.flagged == flagged.sum()


def test_the_answer_is_in_words(chosen):
    choice, _ = chosen
    said = str(choice)
    assert said.startswith(f"Use {choice.loss}: ")
    assert "That is of 2 splits of the other rows; each loss had the same trials." in said
    rate = choice.learning_rate  # of two, so that both are ends
    wider = "0.003,0.03,0.1" if rate == 0.03 else "0.03,0.1,1"
    assert f"Its learning rate, {rate:g}, is at the end of those tried: " in said
    assert f"may do better (optimizer.learning_rate={wider})." in said
    assert f"Flag a row from probability {choice.model.threshold:.3g} on" in said
    assert "(the latest by 'day')" in said
    assert "1 a false alarm, 20 a missed positive), against" in said
    assert f"rests on {choice.test.positives} positives" in said
    answer = html.unescape(choice.report.read_text()).partition("<table")[0]
    assert all(line in answer for line in choice.lines())
    assert "Call a row positive from" not in choice.report.read_text()  # another threshold
    assert Model.load(choice.model_folder).threshold == choice.model.threshold


def test_the_command_says_it_and_how_to_go_on(chosen, harness):
    """Into the same folder, so that nothing is trained again."""
    choice, place = chosen
    given = [f"--{key.replace('_', '-')}={value}" for key, value in ASKED.items()]
    said = harness(
        "choose", str(place / "patients.csv"), *given[:-1], "--budget=0.01s",
        "--losses=bce,weighted_bce", f"--output={place / 'runs/choose-patients'}", *QUICK,
    )  # fmt: skip
    assert said.code == 0
    assert str(choice) in said.out
    assert "Next: harness predict" in said.out
    assert re.search(r"a round of folds in \d+ s: a longer budget has up to 6\n", said.err)
    page = choice.report.read_bytes()
    assert harness("analyze", str(place / "runs/choose-patients")).code == 0
    assert choice.report.read_bytes() == page  # an analysis of the search leaves the answer be
    scored = harness("predict", str(place / "runs/choose-patients"), str(place / "patients.csv"),
                     f"date_format={GERMAN}", "-o", "scores.csv")  # fmt: skip
    assert f"{place / choice.model_folder}: " in scored.out
    assert all(one.sentence in said.out for one in choice.answer.analysis.trained)


def test_ctrl_c_gives_the_answer_so_far(chosen, monkeypatch):
    choice, place = chosen
    monkeypatch.chdir(place)
    real, calls = choosing.train, []

    def interrupted(*args, **given):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **given)

    monkeypatch.setattr(choosing, "train", interrupted)
    again = choosing.choose(
        "patients.csv", losses=["bce", "weighted_bce"], overrides=QUICK,
        **{**ASKED, "budget": 1e9},
    )  # fmt: skip
    assert len(calls) == 3  # a round, the one that was stopped, and the model
    assert again.loss == choice.loss


@pytest.fixture
def own(tmp_path, monkeypatch, hydra_restore_singletons):
    """What a loss in a file of the user's is asked for by, and what is said of the data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_losses.py").write_text(
        "import jax\n\n\ndef own(logits, labels, scale=1.0):\n"
        "    return scale * jax.nn.softplus(-(2 * labels - 1) * logits)\n"
    )
    monkeypatch.setattr(plugins, "_PLUGGED", {group: {} for group in plugins.GROUPS})
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(jobs, "_loader", cache(jobs._loader.__wrapped__))  # of the fixture's Hydra
    said = ("dataset.drop=[number,day]", "dataset.positive=N", "dataset.hold_out=0.4")
    yield {"losses": ["own_losses.py:own"], "overrides": (*QUICK, *said), "target": "ill"}
    del sys.modules["own_losses"]


def test_overrides_say_of_the_data_what_arguments_do(own, monkeypatch):
    """And every sweep names the file of a loss of the user's own, that of the model too."""

    def asked(*overrides, **given):
        raise UserError(f"{overrides} {given}")

    monkeypatch.setattr(choosing, "train", asked)
    frame = frame_of(300).with_columns(german(pl.col("day"))).with_row_index("number")
    frame.write_csv("a.csv")
    with pytest.raises(UserError) as refused:
        choosing.choose("a.csv", **own)
    said = str(refused.value)
    assert "'loss=bce,own'" in said and "loss=own_losses.py:own@" in said
    assert "'drop': ['number', 'day'], 'positive': 'N'" in said and "'hold_out': 0.4" in said
    assert "dataset." not in said


@pytest.mark.slow
def test_the_last_test_is_of_the_data_as_overrides_say_it_is(own, tmp_path, monkeypatch):
    monkeypatch.setattr(choosing.overview, "recommended", lambda analysis: "own")
    choice = choosing.choose(frame_of(300).with_row_index("number"), budget=1e-9, folder="c", **own)
    assert (choice.loss, choice.model.labels) == ("own", ("Y", "N"))
    assert (choice.test.rows, choice.model.columns) == (120, ("size", "ward"))
    assert choice.test.positives > 60  # of N, which is frequent
    for record in (tmp_path / "c", tmp_path / "c/model"):
        assert "loss=own_losses.py:own@" in (record / "multirun.yaml").read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"overrides": ("dataset.hold_out=0",)}, "hold_out=0 keeps no row"),
        ({"cost_fp": 1}, "costs: say what a missed positive"),
        ({"cost_fp": -1, "cost_fn": 1}, "cost_fp=-1 must be above 0"),
        ({"cost_fp": 1, "cost_fn": float("nan")}, "cost_fn=nan must be above 0"),
        ({"hold_out": 0.001}, "dataset.hold_out=0.001: 200 rows, .* cannot be cut so that both"),
        ({"losses": ["bce", ""]}, "losses: 'bce,' names none in a place"),
        ({"losses": "focal,"}, "losses: 'focal,' names none in a place"),
        ({"budget": "soon"}, "budget 'soon' is no time: write 90s, 5m or 1h"),
        ({"budget": -1}, "budget -1 is no time"),
        ({"overrides": ["loss=focal"]}, "loss=focal: a search sets loss itself: .* by losses"),
        ({"overrides": ["seed=3"]}, "seed=3: a search sets seed itself"),
        ({"overrides": ["model=logistic,mlp"]}, "model=logistic,mlp names several values"),
        ({"time": "ward"}, "time column 'ward' holds neither numbers nor dates"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    frame_of(200).write_csv("patients.csv")
    monkeypatch.setattr(choosing, "train", None)
    with pytest.raises(UserError, match=message):
        choosing.choose("patients.csv", target="ill", **given)


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ((300.0, 250.0, 350.0), "against 1,500 when none is flagged and 400 when all are."),
        ((399.0, 350.0, 450.0), "That is not shown to be cheaper than flagging all."),
        ((1500.0, 1450.0, 1550.0), "That is dearer than flagging all."),
    ],
)
def test_it_says_where_flagging_none_or_all_is_no_dearer(chosen, cost, said):
    test = dataclasses.replace(chosen[0].test, cost=cost, none=1500.0, all=400.0)
    lines = dataclasses.replace(chosen[0], test=test).lines()
    assert any(line.endswith(said) for line in lines)
    warnings = ("That is not shown", "That is dearer")
    assert sum(line.startswith(warnings) for line in lines) == said.startswith("That is")


@pytest.mark.parametrize("by", [{}, {"time": "day"}, {"group": "ward"}])
def test_held_out_rows_and_seen_ones_are_all_rows(tmp_path, by):
    wards = pl.col("ward").fill_null("c") + pl.int_range(pl.len()).mod(9).cast(pl.String)
    frame_of().with_columns(wards).write_csv(tmp_path / "a.csv")
    source = Table(path=str(tmp_path / "a.csv"), target="ill", hold_out=0.2, **by)
    whole = Table(path=str(tmp_path / "a.csv"), target="ill", **by).load()
    seen, last = source.load(), source.load_held_out()
    rows = np.concatenate([seen.features, last.features])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, whole.features))
    if by.get("time"):
        assert seen.times.max() < last.times.min()
    if by.get("group"):
        assert not set(seen.groups) & set(last.groups)
    if not by:
        assert last.labels.mean() == pytest.approx(whole.labels.mean(), abs=0.01)
    assert source.load_held_out().fingerprint == last.fingerprint


def test_months_are_times(tmp_path):
    """README's own example is `--time month`."""
    dated = frame_of(200).with_columns(month=pl.col("day").dt.strftime("%Y-%m"))
    dated.write_csv(tmp_path / "a.csv")
    times = Table(path=str(tmp_path / "a.csv"), target="ill", time="month").load().times
    first = pl.Series(times).cast(pl.Int32).cast(pl.Date)
    assert first.equals(dated["day"].dt.truncate("1mo"))
