"""Missing values: imputed with what the training part says, and nothing else."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from harness.data.dataset import Dataset
from harness.data.scaling import fitted_scaling
from harness.sweep import lanes
from tests.runs import config, prepared


def holed(share=0.2, seed=0, num_rows=300, **changes) -> Dataset:
    rng = np.random.default_rng(seed)
    labels = (np.arange(num_rows) % 3 == 0).astype(np.int8)
    features = rng.standard_normal((num_rows, 5)).astype(np.float32) + labels[:, None]
    features[rng.random(features.shape) < share] = np.nan
    names = tuple("abcde")
    return Dataset(
        **{"name": "holed", "features": features, "labels": labels, "feature_names": names,
           "positive_label": "1", "source": "test", "licence": "none"} | changes
    )  # fmt: skip


@pytest.mark.parametrize("impute", ["median", "mean"])
@pytest.mark.parametrize("block", [None, 400])
def test_scaling_is_scikit_learns_imputer_and_scaler(impute, block, monkeypatch):
    if block:  # columns in several groups
        monkeypatch.setattr("harness.data.scaling._BLOCK", block)
    dataset, rows = holed(), np.arange(0, 300, 2, dtype=np.int32)
    scaling = fitted_scaling(dataset, rows=rows, impute=impute)
    reference = make_pipeline(SimpleImputer(strategy=impute), StandardScaler())
    reference.fit(dataset.features[rows].astype(np.float64))
    filled = np.where(np.isnan(dataset.features), scaling.fill, dataset.features)
    np.testing.assert_allclose(
        (filled - scaling.center) * scaling.scale,
        reference.transform(dataset.features.astype(np.float64)),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


def test_no_row_outside_the_training_part_is_seen():
    dataset, rows = holed(), np.arange(100, dtype=np.int32)
    features = dataset.features.copy()
    features[100:] *= 1000
    features[150:, 0] = np.nan
    other = replace(dataset, features=features)
    for impute in ("median", "mean"):
        one = fitted_scaling(dataset, rows=rows, impute=impute)
        two = fitted_scaling(other, rows=rows, impute=impute)
        for name in ("fill", "center", "scale"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_a_feature_without_a_value_in_training_is_nought_there():
    dataset = holed()
    features = dataset.features.copy()
    features[:100, 2] = np.nan
    scaling = fitted_scaling(
        replace(dataset, features=features), rows=np.arange(100, dtype=np.int32), impute="median"
    )
    assert (scaling.fill[2], scaling.center[2], scaling.scale[2]) == (0, 0, 1)


def test_codes_are_left_alone():
    dataset = holed()
    features = dataset.features.copy()
    features[:, 4] = np.arange(300) % 7
    coded = replace(dataset, features=features, cardinalities=(7,))
    scaling = fitted_scaling(coded, rows=np.arange(300, dtype=np.int32), impute="mean")
    assert (scaling.fill[4], scaling.center[4], scaling.scale[4]) == (0, 0, 1)
    assert (scaling.scale[:4] != 1).all()


def trained(one, dataset):
    ready = prepared(one, dataset)
    outcome = lanes.train_alone(ready.run, dataset)
    return ready, jax.tree.map(np.asarray, outcome)


@pytest.mark.parametrize("impute", ["median", "mean"])
def test_training_on_holes_is_training_on_what_fills_them(impute):
    dataset = holed()
    ready, outcome = trained(config(impute=impute), dataset)
    filled = np.where(np.isnan(dataset.features), ready.lane.fill, dataset.features)
    complete, expected = trained(config(impute=impute), replace(dataset, features=filled))
    assert ready.program.has_missing and not complete.program.has_missing
    assert complete.lane.fill is None
    np.testing.assert_allclose(outcome.test_logits, expected.test_logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        outcome.curves.train_loss, expected.curves.train_loss, rtol=1e-5, atol=1e-6
    )
    assert np.isfinite(outcome.validation_logits).all()


def test_how_to_impute_is_part_of_the_run():
    from harness.identity import run_id

    one, other = (
        run_id(config(impute=impute), data_fingerprint="d") for impute in ("median", "mean")
    )
    assert one != other
