"""Curves at fewer points and on fewer rows: the same training, chosen from less."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from harness.data.library import datasets
from harness.errors import UserError
from harness.identity import numerics, run_id
from harness.predict import Model
from harness.record.shard import table_path
from harness.record.store import read_runs, shards
from harness.sweep import plan
from harness.sweep.engine import run_sweep
from harness.sweep.progress import Progress
from harness.watching import epochs_a_point, sample, scored, watched
from tests.runs import config, prepared, runs_of

ALL = config(
    model={"name": "logistic"},
    training={"num_epochs": 6, "batch_size": 64, "save_model": True},
)


def looked(**asked):
    return replace(ALL, evaluation=replace(ALL.evaluation, **asked))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Of each way to look: its row, its curves, its scores and its model's folder."""
    found = {}
    for name, one in {
        "all": ALL,
        "points": looked(curve_points=3),
        "rows": looked(curve_rows=40),
        "both": looked(curve_points=2, curve_rows=40),
    }.items():
        root = tmp_path_factory.mktemp(name)
        (result,) = run_sweep([replace(one, root=str(root))], progress=Progress(Console()))
        assert result.error is None
        (shard,) = shards(root / "default").whole
        found[name] = [
            read_runs(table_path(shard, "runs")).row(0, named=True),
            *(pl.read_parquet(table_path(shard, table)) for table in ("history", "predictions")),
            root / "default" / "models" / result.run_id,
        ]
    return found


def test_points_are_those_of_the_whole_curve(stored):
    whole = stored["all"][1]
    row, curve, *_ = stored["points"]
    assert curve["epoch"].to_list() == [2, 4, 6]
    assert curve["step"].to_list() == whole["step"].to_list()[1::2]
    for name in ("validation/loss", "validation/brier"):
        np.testing.assert_allclose(curve[name], whole[name].to_numpy()[1::2], rtol=1e-5)
    np.testing.assert_allclose(
        curve["train/loss"], whole["train/loss"].to_numpy().reshape(3, 2).mean(1), rtol=1e-5
    )
    best = curve["validation/loss"].arg_min()
    assert row["best_epoch"] == curve["epoch"][best] and row["num_steps"] == curve["step"][-1]


def test_a_model_of_few_points_knows_how_far_its_training_was(stored):
    """Counted in epochs, each as long as a point, it was past its end, and could not be loaded."""
    row, *_, folder = stored["both"]
    model = Model.load(folder)
    (run,), whole = runs_of(looked(curve_points=2, curve_rows=40)), prepared(ALL).run
    epoch = row["best_epoch"]
    steps = whole.sizes.steps_per_epoch
    assert epoch in (3, 6) and run.sizes.steps_per_epoch == 3 * steps
    expected = (epoch * steps - 1) / whole.exact_program.num_steps
    assert model.description.recipe.progress == pytest.approx(expected)


def test_parts_are_scored_whole_whatever_was_looked_at(stored):
    whole, _, everywhere, _ = stored["all"]
    for name in ("rows", "both"):
        row, _, scores, _ = stored[name]
        assert row["best_epoch"] == whole["best_epoch"]  # or they would differ
        for one, other in zip(scores.to_dicts(), everywhere.to_dicts(), strict=True):
            for column in ("split", "rows", "labels"):
                assert one[column] == other[column]
            np.testing.assert_allclose(one["logits"], other["logits"], atol=1e-5)


def test_the_curve_of_a_sample_is_that_of_its_rows():
    one, whole = prepared(looked(curve_rows=40)), prepared(ALL)
    assert one.program.sizes.validation == 40
    lane = watched(one.run).lane(one.dataset)
    assert set(lane.validation_rows) < set(whole.lane.validation_rows)
    shares = [one.dataset.labels[rows.validation_rows].mean() for rows in (lane, whole.lane)]
    assert shares[0] == pytest.approx(shares[1], abs=1 / 40)


def test_a_run_that_says_nothing_is_itself():
    run = prepared(ALL).run
    assert watched(run) is run and epochs_a_point(run) == 1
    outcome = object()
    assert scored(outcome, run) is outcome
    fingerprint = datasets.get(ALL.dataset).fingerprint
    ids = {
        run_id(one, data_fingerprint=fingerprint)
        for one in (ALL, looked(curve_points=3), looked(curve_points=2), looked(curve_rows=40))
    }
    assert len(ids) == 4
    assert numerics(ALL) == numerics(looked(curve_points=3))


def test_patience_is_told_in_epochs():
    one = prepared(replace(looked(curve_points=3), training=replace(ALL.training, patience=3)))
    assert watched(one.run).lane(one.dataset).patience == 2


def test_points_that_do_not_divide_the_epochs_are_refused():
    with pytest.raises(
        UserError, match=r"curve_points=4 must divide training\.num_epochs=6.*: 3 does"
    ):
        plan.resolved([looked(curve_points=4)])


def test_looks_share_a_program_where_they_are_as_many():
    runs = runs_of(*(replace(looked(curve_points=3), seed=seed) for seed in range(3)))
    assert len(plan.groups(runs)) == 1


def test_a_sample_holds_the_share_of_positives():
    labels = np.arange(1000) % 100 == 7
    assert labels[sample(labels, 100)].sum() == 1
    assert sample(labels, 1000).tolist() == list(range(1000))
