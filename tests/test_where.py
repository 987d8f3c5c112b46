"""Filters, groupings, baselines and targets: a table of what is asked, its result or one error."""

import shutil

import polars as pl
import pytest

from harness.analyze import Question, answer, curves, load
from harness.analyze.keys import filtered
from harness.cli import main
from harness.errors import UserError
from tests.fabricated import Sweep, fabricate

RUNS = pl.DataFrame(
    {
        "run_id": list("abcdef"),
        "loss.name": ["bce", "focal", "focal", "hinge", "o'neil", "drop table"],
        "loss.gamma": [None, 2.0, 5.0, None, None, None],
        "sampler.name": ["none", "none", "smote", "smote", "none", "none"],
        "dataset.name": ["adult", "adult", "adult", "keel/yeast4", None, "adult"],
        "dataset.kind": ["named", "named", "named", "named", "table", "named"],
        "imbalance.positive_rate": [0.01, 0.05, 0.2, None, None, 0.05],
        "num_train": [100, 100, 100, 100, 100, 100],
        "num_train_positives": [1, 5, 20, 9, 30, 5],
        "optimizer.learning_rate": [1e-3, 1e-2, 1e-3, 1e-2, 1e-3, 1e-3],
        "schedule.warmup": [0, 0, 1, 1, 2, 2],
        "model.width": [8, 16, 8, 16, 8, 16],
        "loss.width": [1, 1, 1, 1, 1, 1],
        "seed": [0, 1, 2, 3, 4, 5],
        "validation/auroc": [0.6, 0.7, 0.8, 0.9, 0.5, 0.5],
        "test/auroc": [0.6, 0.7, 0.8, 0.9, 0.5, 0.5],
    }
)


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("", "abcdef"),
        ("  ", "abcdef"),
        ("loss = bce", "a"),
        ("loss == bce", "a"),
        ("loss.name = 'bce'", "a"),
        ('loss = "bce"', "a"),
        ("LOSS.NAME = bce or loss = bce", None),
        ("loss in (bce, focal)", "abc"),
        ("loss not in (bce, focal)", "def"),
        ("loss in (bce, focal) and positive_rate < .1", "ab"),
        ("positive_rate < .1", "abdf"),
        ("positive_rate >= 5e-2", "bcdef"),
        ("imbalance.positive_rate is null", "de"),
        ("gamma is not null and not gamma = 5", "b"),
        ("learning_rate = 1e-3 AND seed > 1", "cef"),
        ("seed < 2 or seed > 4", "abf"),
        ("(seed < 2 or seed > 4) and sampler = none", "abf"),
        ("not (seed < 5)", "f"),
        ("seed != 0 and seed <> 1", "cdef"),
        ("loss like 'fo%'", "bc"),
        ("dataset = keel/yeast4", "d"),
        ("dataset = table", "e"),
        ("loss = 'o''neil'", "e"),
        ('loss = "o\'neil"', "e"),
        ("loss = 'drop table'", "f"),
        ("model.width = 8", "ace"),
        ("validation/auroc > .75", "cd"),
        ("seed = -1 or seed = +3", "d"),
    ],
)
def test_what_is_left(where, kept):
    if kept is None:
        with pytest.raises(UserError):
            filtered(RUNS, where)
    else:
        assert "".join(filtered(RUNS, where)["run_id"]) == kept


def test_columns_stay_as_they_were():
    assert filtered(RUNS, "seed > 1").columns == RUNS.columns


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("los = bce", "did you mean loss"),
        ("width = 8", "loss.width or model.width"),
        ("loss = bce and", "loss = bce and"),
        ("loss", "loss"),
        ("loss bce", "bce stands where a comparison should"),
        ("= bce", "no run has the key 'bce'"),
        ("loss = (bce", "loss = (bce"),
        ("loss = 'bce", "cannot read"),
        ("loss; drop table runs", "cannot read"),
        ("lower(loss) = bce", "no functions"),
        ("loss = upper(bce)", "no functions"),
        ("read_csv('/etc/passwd') = 1", "no functions"),
        ("loss in (select)", "leaves none"),
        ("3 < seed", "3 stands where a key should"),
        ("'loss' = bce", "'loss' stands where a key should"),
        ("test/auroc > .5", "test score"),
        ("seed > 99", "leaves none of 6 runs"),
        ("seed > many", "seed > many"),
        ("loss = bce -- comment", "loss = bce -- comment"),
        ("loss = \x00", "cannot read"),
    ],
)
def test_a_mistake_is_one_clear_error(where, said):
    with pytest.raises(UserError) as error:
        filtered(RUNS, where)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two losses with two samplers each; smote helps, whatever the loss."""
    folder = tmp_path_factory.mktemp("sweeps") / "by"
    for sampler, effects in {"none": (0.0, 0.0), "smote": (0.5, 0.5)}.items():
        sweep = Sweep(
            dict(zip(("bce", "focal"), effects, strict=True)),
            seeds=range(4),
            num_rows=60,
            columns={"sampler.name": sampler, "sampler.k": 5 if sampler == "smote" else None},
        )
        fabricate(folder, sweep, num_shards=1)
    return folder


@pytest.mark.parametrize(
    ("by", "groups", "baseline"),
    [
        (("loss",), {"bce", "focal"}, "bce"),
        (("sampler",), {"none", "smote"}, "none"),
        (("sampler.name",), {"none", "smote"}, "none"),
        (("loss", "sampler"), {"bce, none", "bce, smote", "focal, none", "focal, smote"}, None),
    ],
)
def test_what_is_compared(folder, by, groups, baseline):
    analysis = answer(load(folder), Question(by=by))
    assert set(analysis.board["method"]) == groups
    assert analysis.baseline == (baseline or "bce, none")
    assert set(analysis.differences["method"]) == groups - {analysis.baseline}


@pytest.mark.parametrize(
    ("asked", "baseline"),
    [("", "bce, none"), ("focal", "focal, none"), ("focal, smote", "focal, smote")],
)
def test_a_baseline_may_give_its_first_values_alone(folder, asked, baseline):
    question = Question(by=("loss", "sampler"), baseline=asked)
    assert answer(load(folder), question).baseline == baseline


def test_a_samplers_parameter_that_varies_makes_rows_of_its_own(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "more")
    columns = {"sampler.name": "smote", "sampler.k": 3}
    more = Sweep({"bce": 0.2}, seeds=range(4), num_rows=60, columns=columns)
    fabricate(tmp_path / "more", more, num_shards=1)
    analysis = answer(load(tmp_path / "more"), Question(by=("sampler",), where="loss = bce"))
    assert set(analysis.board["method"]) == {"none", "smote (k=3)", "smote (k=5)"}
    assert set(analysis.differences["num_pairs"]) == {4}


def test_what_is_not_compared_makes_scenarios(folder):
    analysis = answer(load(folder), Question())
    assert set(analysis.board["settings"]) == {"sampler=none", "sampler=smote"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--baseline", "hinge"], "--baseline hinge: no such group; one of bce; focal"),
        (["--by", "lossy"], "no run has the key 'lossy'; did you mean loss"),
        (["--where", "loss = nothing"], "leaves none of 16 runs"),
        (["--metric", "auroq"], "--metric auroq: no metric is called 'auroq'; did you mean auroc"),
        (["--select", "test/auroc"], "cannot choose by"),
        (["--target", "log_loss"], "--target log_loss: write such as"),
        (["--target", "train/loss=1"], "--target train/loss=1: write such as"),
        (["--target", "validation/nothing=1"], "no metric is called 'nothing'"),
        (["--target", "validation/ece=1"], "no run has the curve validation/ece"),
        (["--rope", "0"], "--rope must be a finite number above 0"),
        (["--rope", "-1"], "--rope must be a finite number above 0, got -1"),
        (["--rope", "inf"], "--rope must be a finite number above 0, got inf"),
        (["--rope", "nan"], "--rope must be a finite number above 0, got nan"),
        (["--rope", "wide"], "argument --rope: invalid float value: 'wide'"),
        (["--tuned", "nope"], "--tuned nope: no hyperparameter begins so"),
        (["--tuned", "learning_rate"], "begins so; such as optimizer.learning_rate"),
        (["--tuned", "loss.name"], "--tuned loss.name: no hyperparameter begins so"),
        (["--where", "not"], "it ends where a comparison should stand"),
        (["--where", "loss"], "--where 'loss':"),
        (["--by", "x" * 5000], "no run has the key"),
        (["--by", "name"], "may mean"),
        (["--baseline", "x" * 5000], "no such group"),
        (["--where", "loss = " + "x" * 5000], "leaves none"),
        (["--where", "x" * 5000], "no run has the key"),
        (["--metric", "x" * 5000], "no metric is called"),
        (["--select", "x" * 5000], "cannot choose by"),
        (["--tuned", "x" * 5000], "no hyperparameter begins so"),
        (["--target", "x" * 5000], "write such as"),
        (["--format", "x" * 5000], "one or more of csv"),
        (["--log-wandb", "/" * 5000], "takes PROJECT"),
        (["--format", "xlsx"], "--format xlsx: one or more of csv"),
    ],
)
def test_a_question_nobody_can_answer_is_one_line_and_writes_nothing(
    folder, arguments, said, capsys, tmp_path, monkeypatch
):
    command = ["harness", "analyze", str(folder), "--output", str(tmp_path / "o"), *arguments]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    captured = capsys.readouterr()
    assert stopped.value.code == 2 and not (tmp_path / "o").exists()
    assert said in captured.err and captured.err.count("\n") == 1
    assert len(captured.err) < 400


@pytest.mark.parametrize("target", ["", "validation/log_loss=0.75", "log_loss=0.5"])
def test_steps_to_a_target_are_the_first_that_reach_it(folder, target):
    runs = load(folder)
    analysis = answer(runs, Question(target=target))
    table = curves.steps_to_target(runs, analysis.chosen, baseline=analysis.baseline, target=target)
    assert table.height == analysis.chosen.height
    history = runs.history.collect()
    for row in table.iter_rows(named=True):
        curve = history.filter(run_id=row["run_id"]).sort("epoch")
        steps = [
            step
            for step, loss in curve.select("step", "validation/log_loss").iter_rows()
            if loss <= row["target"]
        ]
        assert row["steps"] == (steps[0] if steps else None)
        assert not target or row["target"] == float(target.partition("=")[2])
    assert table["steps"].count() > 0 and curves.MAX_POINTS > 1


def test_a_share_of_runs_reaches_the_target_and_never_falls():
    group = {"dataset": "d", "positive_rate": None, "settings": "", "method": "bce"}
    rows = [{**group, "run_id": str(i), "steps": s} for i, s in enumerate([30, 10, None, 10])]
    table = pl.DataFrame(rows, schema_overrides={"positive_rate": pl.Float64})
    table = table.with_columns(curve=pl.lit("validation/log_loss"), target=pl.lit(0.2))
    points = curves.reached_shares(table).sort("steps", "share").select("steps", "share")
    assert points.rows() == [(0, 0.0), (10, 0.5), (30, 0.75)]
