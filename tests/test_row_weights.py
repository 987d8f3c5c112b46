"""Rows that count differently: in training, in what validation chooses, in what is stored."""

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import polars as pl
import pytest

import harness as package
from harness import BinaryClassifier, losses
from harness.analyze.curves import THRESHOLDS, score_curves
from harness.analyze.flat import score_table, write_flat
from harness.analyze.load import load
from harness.data.dataset import Dataset
from harness.data.in_memory import Memory, held
from harness.errors import UserError
from harness.identity import families
from harness.padding import stack
from harness.predict import Model
from harness.reproduce import quantities
from harness.run import Run, resolve
from harness.sweep import lanes
from tests.conftest import TINY
from tests.runs import config

TRAIN, VALIDATION, TEST = 80, 30, 10


def table(seed: int = 0, size: int = TRAIN + VALIDATION + TEST) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    values = random.normal(size=(size, 2))
    label = values[:, 0] + random.normal(size=size) > 0.5
    weight = random.integers(1, 4, size).astype(float)
    return pl.DataFrame({"a": values[:, 0], "b": values[:, 1], "w": weight, "label": label * 1})


def loaded(frame: pl.DataFrame, **keys) -> Dataset:
    made, _ = held(frame, "label")
    return Memory(name="mine", contents=made.contents, target="label", **keys).load()


# Losses.


QUICK = (losses.BCE, losses.PairwiseLogistic, losses.SmoothAP)


@pytest.mark.parametrize(
    "cls",
    [
        pytest.param(cls, marks=() if cls in QUICK else pytest.mark.slow, id=cls.name)
        for cls in losses.LOSSES
    ],
)
def test_a_loss_of_a_row_of_weight_two_is_that_of_the_row_twice(cls):
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=12).astype("f4"), np.float32([0, 1, 1] * 4)
    times = random.integers(1, 4, 12)
    loss = cls().fitted(num_negatives=40, num_positives=10)
    own = loss.mean(logits=logits, labels=labels, weights=np.float32(times))
    repeated = np.repeat(logits, times), np.repeat(labels, times)
    ones = np.ones(times.sum(), "f4")
    twice = loss.mean(logits=repeated[0], labels=repeated[1], weights=ones)
    if cls is losses.SmoothAP:  # of ranks, which count rows
        with pytest.raises(UserError, match=r"loss=smooth_ap counts rows.*dataset\.weight"):
            resolve(config(loss={"name": "smooth_ap"}), loaded(table(), weight="w"))
    else:
        assert own == pytest.approx(float(twice), rel=1e-5)


# Training. By the plain loop, on all rows of a part at once, with features as they stand.


@cache
def in_parts() -> Dataset:
    parts = pl.Series("part", np.repeat([0, 1, 2], [TRAIN, VALIDATION, TEST]))
    return loaded(table().drop("w").with_columns(parts), time="part")


WEIGHTS = table()["w"].to_numpy()
REPEATED = np.repeat(np.arange(len(WEIGHTS)), WEIGHTS.astype(int)).astype(np.int32)


def at_once(dataset: Dataset, loss: str) -> Run:
    train, validation, test = (int((dataset.times == part).sum()) for part in range(3))
    one = config(
        loss={"name": loss}, model={"name": "logistic"},
        optimizer={"name": "sgd", "learning_rate": 0.5},
        training={"num_epochs": 6, "batch_size": train},
        split={"name": "time", "validation": validation, "test": test},
    )  # fmt: skip
    return resolve(one, dataset)


def outcome(run: Run, dataset: Dataset, **arrays):
    program = run.exact_program
    own = run.lane(dataset)
    same = {"center": np.zeros_like(own.center), "scale": np.ones_like(own.scale)}
    stacked = stack([own._replace(**same, **arrays)], program, width=1)
    lane = jax.tree.map(lambda leaf: leaf[0], stacked)
    labels = dataset.labels.astype(np.float32)
    weights = None if dataset.row_weights is None else dataset.row_weights.astype(np.float32)
    trained = lanes._train_alone(
        lane, dataset.features, labels, program=program, row_weights=weights
    )
    return jax.tree.map(np.asarray, trained)


LOSSES = ["bce"] + [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("logit_adjustment", "weighted_bce", "pairwise_logistic", "dice")
]


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_a_whole_weight_trains_as_the_row_so_many_times(loss):
    weighted = replace(in_parts(), row_weights=WEIGHTS / WEIGHTS.mean())
    repeated = in_parts().of_rows(REPEATED)
    runs = at_once(weighted, loss), at_once(repeated, loss)
    data = runs[0].data(weighted), runs[1].data(repeated)
    assert data[0].train_prior == pytest.approx(data[1].train_prior, rel=1e-12)
    assert data[0].natural_positive_rate == pytest.approx(data[1].natural_positive_rate, rel=1e-12)
    found, wanted = outcome(runs[0], weighted), outcome(runs[1], repeated)
    for name, curve in wanted.curves._asdict().items():
        np.testing.assert_allclose(getattr(found.curves, name), curve, rtol=2e-5, err_msg=name)
    assert found.best_epoch == wanted.best_epoch
    for name, values in wanted.params.items():
        np.testing.assert_allclose(found.params[name], values, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_on_average_over_batches_each_row_counts_by_its_weight():
    """Steps too small to matter, of ten batches, add up to one of all their rows at once."""
    dataset = replace(in_parts(), row_weights=WEIGHTS / WEIGHTS.mean())
    one = at_once(dataset, "bce").config
    steps = {"num_epochs": 1, "batch_size": 8, "steps_per_epoch": 10}
    few = replace(one, training=replace(one.training, **steps))
    many = replace(one, training=replace(one.training, num_epochs=1))
    runs = resolve(few, dataset), resolve(many, dataset)
    batches = runs[0].lane(dataset).batch_rows
    small = outcome(runs[0], dataset, learning_rates=np.full(10, 1e-4, "f4"))
    large = outcome(runs[1], dataset, batch_rows=batches.reshape(1, -1),
                    learning_rates=np.full(1, 1e-3, "f4"))  # fmt: skip
    for name, values in large.params.items():
        np.testing.assert_allclose(small.params[name], values, rtol=1e-3, err_msg=name)


def test_an_id_covers_what_weighs_rows():
    covered = families.covered(families.family_of(config()))
    assert {
        "harness.metrics.weighted._Rows",
        "harness.metrics.weighted.evaluate_weighted",
        "harness.record.collect._evaluate",
        "harness.sweep.lanes._train_lanes",
    } <= covered


def test_a_run_on_weights_is_a_run_of_its_own():
    plain = loaded(table().drop("w"))
    weighted, other = loaded(table(), weight="w"), table().with_columns(pl.col("w") * 8)
    ids = {resolve(config(), one).run_id for one in (plain, weighted, loaded(other, weight="w"))}
    assert len(ids) == 2  # only ratios count


# A sweep: its store, its scores, its model.


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("session"))
        yield package.train(
            *TINY, "loss=bce,focal", "training.save_model=true", data=table(size=240),
            target="label", weight="w",
        )  # fmt: skip


@pytest.mark.slow
def test_scores_are_stored_with_weights_and_read_back_to_the_same_numbers(trained, tmp_path):
    scores = score_table(trained.runs)
    assert scores["weight"].n_unique() == 3
    write_flat(scores, tmp_path / "scores.csv")
    again = load(tmp_path / "scores.csv").runs.sort("loss.name")
    own = trained.table().sort("loss.name")
    same = [name for name in again.columns if name.startswith(("test/", "validation/"))]
    same = [name for name in same if name in own.columns and "corrected" not in name]
    assert len(same) > 60
    for name in same:
        np.testing.assert_allclose(
            again[name].to_numpy(), own[name].to_numpy(), rtol=1e-6, atol=1e-9, err_msg=name
        )
    bare = load_without_weights(scores, tmp_path)
    assert not np.allclose(bare["test/log_loss"], own["test/log_loss"], rtol=1e-4)


def load_without_weights(scores: pl.DataFrame, folder) -> pl.DataFrame:
    write_flat(scores.drop("weight"), folder / "bare.csv")
    return load(folder / "bare.csv").runs.sort("loss.name")


def test_a_model_names_the_weight_and_is_what_was_measured(trained):
    pytest.importorskip("safetensors")
    (folder,) = trained.sources
    row = trained.table().filter(pl.col("loss.name") == "bce").row(0, named=True)
    model = Model.load(folder / "models" / row["run_id"])
    assert model.description.beside["w"] == "the weight"
    assert model.arrays["calibrator.platt_slope"][0] == pytest.approx(row["platt_slope"])
    assert model.predict_proba(table().drop("w", "label")).shape == (120, 2)


def test_the_report_draws_weighted_rows(trained):
    curves = score_curves(trained.runs, trained.answer().analysis.chosen)
    of_test = curves.counts.filter(pl.col("split") == "test", pl.col("method") == "bce")
    counts = np.array(of_test.sort("label")["counts"].to_list())
    gap = int(np.flatnonzero(THRESHOLDS == -0.5)[0]) + 1  # and above: scores of at least that
    scores = score_table(trained.runs).filter(pl.col("model") == "bce", pl.col("part") == "test")
    share = scores["weight"] / scores["weight"].sum()
    for label in (0, 1):
        wanted = share.filter((scores["label"] == label) & (scores["logit"] >= -0.5)).sum()
        assert counts[label, gap:].sum() / counts.sum() == pytest.approx(wanted)
    # Each drawn reliability is of one run: its bins' weighted means.
    bins = curves.bins.filter(pl.col("method") == "bce")
    ranked = scores.sort("logit")[:5]
    low = np.average(ranked["label"], weights=ranked["weight"])
    assert bins.sort("bin")["observed"][0] == pytest.approx(low)


def test_what_experiments_compute_from_scores_refuses_weights(trained):
    rows = quantities.Rows(trained.runs.runs, (trained.runs,))
    with pytest.raises(UserError, match="a quantity of scores counts rows"):
        list(quantities.test_rows(rows))


def test_rows_of_weight_zero_are_not_there():
    frame = table()
    gone = frame.with_columns(w=pl.when(pl.int_range(pl.len()) % 3 == 0).then(0.0).otherwise("w"))
    left = loaded(gone, weight="w")
    other = loaded(gone.filter(pl.col("w") > 0), weight="w")
    assert left.num_rows == other.num_rows == 80
    np.testing.assert_array_equal(left.row_weights, other.row_weights)
    np.testing.assert_array_equal(left.labels, other.labels)
    assert "40 of 120 rows have weight 0: left out" in left.notes
    assert left.feature_names == ("a", "b")  # the weight is no feature


WRONG = {
    "below 0": ([1.0, -2.0], r"row 2: weight 'w' is -2: give a number of at least 0"),
    "NaN": ([1.0, float("nan")], r"row 2: weight 'w' is nan"),
    "infinite": ([float("inf"), 1.0], r"row 1: weight 'w' is inf"),
    "missing": ([1.0, None], r"weight column 'w' has \d+ missing values, the first at row 2"),
    "text": (["1", "heavy"], r"row 2: weight 'w' is heavy"),
    "all 0": ([0.0, 0.0], r"weight column 'w' is 0 throughout: some row must count"),
    "too far apart": ([1e9, 1e-9], r"row 2: weight 'w' is 1e-09, less than 1e-12 of the largest"),
    "a whole class 0": ("label", r"both classes are needed"),
}


@pytest.mark.parametrize("case", WRONG)
def test_weights_that_cannot_be_are_one_line(case):
    given, said = WRONG[case]
    frame = table()
    column = frame["label"] if given == "label" else pl.Series(given * 60, strict=False)
    with pytest.raises(UserError, match=said):
        loaded(frame.with_columns(w=column), weight="w")
    with pytest.raises(UserError, match=r"no column 'ww': set dataset.weight; did you mean 'w'"):
        loaded(frame, weight="ww")


REFUSED = {
    "sampler=smote": dict(sampler={"name": "smote"}),
    "imbalance.positive_rate=0.1": dict(imbalance={"positive_rate": 0.1}),
    "evaluation.alerts=20": dict(evaluation={"alerts": 20, "threshold": "alerts"}),
    "wandb.charts=true": dict(wandb={"charts": True}),
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_counts_rows_is_refused(key):
    with pytest.raises(UserError, match=rf"{key} counts rows.*dataset\.weight.*leave one"):
        resolve(config(**REFUSED[key]), loaded(table(), weight="w"))


def test_a_choice_refuses_weights(tmp_path):
    with pytest.raises(UserError, match="weight=w: the last test of a choice counts rows"):
        package.choose(table(), target="label", weight="w", folder=tmp_path)


# The estimator.


def test_the_estimator_takes_weights():
    frame = table(size=240)
    X, y = frame.select("a", "b").to_numpy(), frame["label"].to_numpy()
    quick = dict(model="logistic", num_epochs=20, batch_size=256, learning_rate=0.3, random_state=0)
    flipped = np.r_[np.zeros(240), np.ones(240)]
    both = BinaryClassifier(**quick).fit(np.r_[X, X], np.r_[1 - y, y], sample_weight=flipped)
    alone = BinaryClassifier(**quick).fit(X, y, sample_weight=np.ones(240))
    np.testing.assert_array_equal(both.predict_proba(X), alone.predict_proba(X))
    heavy = BinaryClassifier(**quick).fit(X, y, sample_weight=np.where(y == 1, 50.0, 1.0))
    assert heavy.predict_proba(X)[:, 1].mean() > alone.predict_proba(X)[:, 1].mean() + 0.3
    with pytest.raises(ValueError, match="Negative values"):
        BinaryClassifier(**quick).fit(X, y, sample_weight=-np.ones(240))
    with pytest.raises(ValueError, match=r"non-zero|0 throughout"):
        BinaryClassifier(**quick).fit(X, y, sample_weight=np.zeros(240))
