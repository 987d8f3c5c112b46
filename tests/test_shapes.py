"""Data sets that share a program: what padding may change (nothing), and what it saves."""

import jax
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import models
from harness.config import Config
from harness.data.library import datasets
from harness.models import MLP, Inputs
from harness.optimizers import OPTIMIZERS
from harness.padding import MOST_ROWS, rounded_features, rounded_rows, stack
from harness.run import resolve
from harness.sweep import lanes, plan
from tests.runs import config, groups, prepared, runs_of, train_alone, train_together
from tests.stored import assert_same_runs, only
from tests.test_resume import train, trained

# (rows, features): other steps an epoch, other parts and other widths, in one program.
SMALL, MIDDLE, LARGE = (270, 3), (300, 8), (450, 6)


def gaussians(size, **changes) -> Config:
    rows, num_features = size
    dataset = {
        "kind": "two_gaussians", "name": f"{rows} x {num_features}", "rows": rows,
        "num_features": num_features, "distance": 2.0, "positive_rate": 0.3, "seed": 0,
    }  # fmt: skip
    return config(**{"dataset": dataset, "training__batch_size": 32, **changes})


@given(st.integers(1, 100_000))
def test_sizes_are_rounded_up_and_not_far(size):
    rows, features = rounded_rows(size), rounded_features(size)
    assert rows >= size and features >= size
    assert rounded_rows(rows) == rows and rounded_features(features) == features
    assert rounded_rows(size + 1) >= rows
    if size > 2048:
        assert rows - size <= size / 4
    if size > MOST_ROWS:
        assert rows == size


CUTS = [
    {"validation": 0.2, "test": 0.2},
    {"validation": 0.07, "test": 0.31},
    {"validation": 10, "test": 0.3},
    {"name": "kfold", "folds": 7, "validation": 0.11},
]


@settings(max_examples=30)
@given(rows=st.integers(40, 9000), batch=st.integers(1, 300), split=st.sampled_from(CUTS))
def test_what_is_rounded_has_room_for_what_is_there(rows, batch, split):
    one = config(split=split, training__batch_size=batch)
    dataset = one.dataset.load()
    sized = _Sized(dataset, rows)
    run = resolve(one, sized)
    room = run.program.sizes
    assert run.sizes.rows == rows
    for size in ("rows", "validation", "test", "steps_per_epoch"):
        assert getattr(room, size) >= getattr(run.sizes, size)


class _Sized:
    """A data set that is all size."""

    def __init__(self, dataset, num_rows):
        self.num_rows, self.num_features = num_rows, dataset.num_features
        self.fingerprint, self.cardinalities, self.has_missing = "drawn", (), False
        self.has_row_weights = False


def num_programs(*configs: Config) -> int:
    return len(list(plan.batches(runs_of(*configs))))


@pytest.mark.slow
def test_similar_data_sets_compile_once(tmp_path, monkeypatch):
    compiled = []
    trainer = lanes.Trainer
    monkeypatch.setattr(lanes, "Trainer", lambda *given: compiled.append(1) or trainer(*given))
    sweep = [gaussians(size, seed=seed) for seed in (0, 1) for size in (SMALL, MIDDLE, LARGE)]
    assert num_programs(*sweep) == 1 and len(groups(*sweep)) == 3
    assert {group[0].sizes.steps_per_epoch for group in groups(*sweep)} == {6, 9}
    assert [one.error for one in train(sweep, tmp_path)] == [None] * 6
    assert len(compiled) == 1


def test_what_differs_by_more_does_not_share():
    far = [gaussians(size) for size in (SMALL, (600, 3), (270, 9), (9000, 3), (9001, 3))]
    assert num_programs(*far) == 5


@pytest.mark.slow
def test_a_runs_bits_do_not_depend_on_the_data_sets_in_its_company(tmp_path):
    changes = {"loss": {"name": "weighted_bce"}, "split": {"name": "kfold", "fold": 1}}
    runs = [gaussians(SMALL, seed=1), gaussians(SMALL, seed=2, **changes)]
    company = [gaussians(size, seed=seed) for size in (LARGE, MIDDLE) for seed in range(3)]
    expected = trained(runs, tmp_path / "alone")
    ids = set(expected["runs"]["run_id"])
    for name, sweep in {
        "before": [*company, *runs],
        "between": [*company[:3], runs[1], *company[3:], runs[0]],
    }.items():
        assert_same_runs(only(trained(sweep, tmp_path / name), ids), only(expected, ids))


@pytest.mark.slow
def test_a_sweep_over_data_sets_goes_on_where_it_stopped(tmp_path):
    sizes = (SMALL, MIDDLE, LARGE)
    sweep = [gaussians(size, seed=seed) for size in sizes for seed in (0, 1)]
    whole = trained(sweep, tmp_path / "whole")
    train(sweep[1::2], tmp_path / "parts")
    stored = [one.was_stored for one in train(sweep[::-1], tmp_path / "parts")]
    assert stored == [True, False] * 3
    assert_same_runs(trained(sweep, tmp_path / "parts"), whole)
    for one in sweep:
        dataset = datasets.get(one.dataset)
        runs = whole["runs"].filter(pl.col("data_fingerprint") == dataset.fingerprint)
        assert runs["dataset.rows"].to_list() == [dataset.num_rows] * 2
        for run_id in runs["run_id"]:
            parts = whole["predictions"].filter(pl.col("run_id") == run_id)
            for rows, labels in parts.select("rows", "labels").iter_rows():
                np.testing.assert_array_equal(dataset.labels[rows], labels)
                assert len(set(rows)) == round(0.2 * dataset.num_rows)


# What an optimizer does to padding follows from its rule: one of them stands for all but at length.
SELDOM = {kind().name for kind in OPTIMIZERS if kind.elementwise} - {"adam"}


def optimizer(name: str) -> dict:
    return {"optimizer": {"name": name, "learning_rate": 0.01}}


PADDED = {
    "adam": optimizer("adam"),
    "clipped and decayed": {"optimizer__clip_norm": 0.05, "optimizer__weight_decay": 0.1},
    "logistic": {"model": {"name": "logistic"}},
    "deep, with dropout": {"model": {"name": "mlp", "width": 8, "depth": 2, "dropout": 0.3}},
    "stopped early": {"training__patience": 1, "optimizer__learning_rate": 0.3},
    "a schedule": {"schedule": {"name": "warmup_cosine"}},
    "fewer validation rows": {"imbalance": {"positive_rate": 0.1, "where": "all"}},
}  # fmt: skip


@pytest.mark.parametrize("changes", PADDED.values(), ids=PADDED)
def test_padding_changes_no_result(changes):
    assert_padding_changes_no_result(changes)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SELDOM))
def test_padding_changes_no_result_of_any_optimizer(name):
    assert_padding_changes_no_result(optimizer(name))


def assert_padding_changes_no_result(changes):
    """Against the plain loop in the data set's own shapes, rounding aside."""
    one = gaussians((520, 5), **changes)  # nearly half of what there is room for is padding
    (group,) = groups(one)
    room = group[0].program.sizes
    assert (room.rows, room.features) == (1024, 8)
    assert room.steps_per_epoch > group[0].sizes.steps_per_epoch
    (ours,) = train_together(one)
    _, plain, _ = train_alone(one)
    for got, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-5)
    assert np.abs(ours.test_logits).max() > 0.1


def test_other_optimizers_and_models_keep_their_features():
    one = gaussians(SMALL)
    strange = gaussians(SMALL, optimizer={"name": "muon"})  # it works on whole matrices
    assert [run.program.sizes.features for run in runs_of(one, strange)] == [8, 3]


def test_a_network_with_room_starts_where_one_without_does():
    key = jax.random.key(3)
    natural = models.network(MLP(width=16), Inputs(5), key)
    roomy = models.network(MLP(width=16), Inputs(8), key)
    models.scale_inputs(roomy, np.array([(8 / 5) ** 0.5] * 5 + [0.0] * 3, np.float32))
    kernel = np.asarray(roomy.body.layers[0].kernel[...])
    np.testing.assert_allclose(kernel[:5], natural.body.layers[0].kernel[...], rtol=1e-6)
    assert (kernel[5:] == 0).all()
    np.testing.assert_array_equal(
        roomy.body.layers[1].kernel[...], natural.body.layers[1].kernel[...]
    )


def test_lanes_of_one_batch_take_as_many_steps():
    runs = [gaussians(size) for size in (SMALL, LARGE)]
    ready = [prepared(one) for one in runs]
    with pytest.raises(AssertionError):
        stack([one.lane for one in ready], ready[0].program, width=4)


def test_programs_that_follow_each_other_share_the_data_on_the_device():
    one, other = prepared(gaussians(SMALL)), prepared(gaussians(SMALL, model__width=9))
    assert one.program != other.program
    assert lanes.put(one.dataset, one.program) is lanes.put(other.dataset, other.program)
    larger = prepared(gaussians(LARGE))
    features = np.asarray(lanes.put(larger.dataset, larger.program).features)
    assert features.shape == (512, 8)
    np.testing.assert_array_equal(features[:450, :6], larger.dataset.features)
    assert not features[450:].any() and not features[:, 6:].any()


def test_padding_looks_at_no_row_of_another_part():
    """A loss may be infinite on a test row: it decides nothing about the choice of an epoch."""
    one = gaussians(SMALL, loss={"name": "clipped_bce", "epsilon": 1e-9})
    (group,) = groups(one)
    lane = prepared(one).lane
    stacked = stack([lane], group[0].program, width=2)
    own = lane.validation_rows
    assert stacked.validation_rows.shape[1] > len(own)
    assert set(stacked.validation_rows[0]) == set(own)
    assert set(stacked.test_rows[0]) == set(lane.test_rows)
