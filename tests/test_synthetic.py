"""Generated data against what its known probabilities imply."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import chi2, norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.svm import LinearSVC

from harness.data.synthetic import Cells, Cue, FraudLike, Separable
from harness.errors import UserError

LINEAR = Cue(shape="linear", rows=20_000, num_features=4, strength=2.0, positive_rate=0.2, seed=0)
FRAUD = FraudLike(rows=50_000, num_features=10, num_positives=400, distance=1, spread=2, seed=0)
ALL = [
    LINEAR,
    replace(LINEAR, shape="product"),
    replace(LINEAR, shape="radial"),
    replace(LINEAR, flip_positives=0.2, flip_negatives=0.2),
    replace(LINEAR, flip_positives=0.3, flip_negatives=0.05),
    FRAUD,
    Cells(rows=20_000, num_cells=10, lowest=0.05, highest=0.95, seed=0),
]


def raw(dataset):
    return dataset.features * dataset.raw.std + dataset.raw.mean


IDS = ("linear", "product", "radial", "noisy", "noisier", "fraud", "cells")


@pytest.mark.parametrize("config", ALL, ids=IDS)
def test_labels_follow_the_posterior(config):
    """A chi-square of positives against expected ones, over ten bins of the posterior."""
    statistic, bins = 0.0, 0
    for seed in range(5):
        dataset = replace(config, seed=seed).load()
        order = np.argsort(dataset.posterior)
        for part in np.array_split(order, 10):
            eta = dataset.posterior[part]
            variance = (eta * (1 - eta)).sum()
            if variance > 3:  # where the normal approximation holds
                statistic += (dataset.labels[part].sum() - eta.sum()) ** 2 / variance
                bins += 1
    # A false alarm in 10^4, were the five draws independent, as they are.
    assert bins >= 5 and statistic < chi2.ppf(1 - 1e-4, bins)


def test_a_linear_cue_is_the_stated_one():
    dataset = LINEAR.load()
    cue = raw(dataset).sum(axis=1) / 2  # four features
    log_odds = np.log(dataset.posterior / (1 - dataset.posterior))
    intercept = log_odds - 2.0 * cue
    np.testing.assert_allclose(intercept, intercept[0], atol=1e-5)  # float32 features
    assert dataset.posterior.mean() == pytest.approx(0.2, abs=1e-9)
    # The mean posterior under the normal law itself, where the rows are but a sample of it.
    mean = quad(lambda z: norm.pdf(z) * expit(2.0 * z + intercept[0]), -9, 9)[0]
    assert mean == pytest.approx(0.2, abs=5 * 0.25 / np.sqrt(20_000))


def test_a_product_is_hidden_from_lines_and_a_radius_from_directions():
    for shape, revealed in (
        ("product", lambda x: x[:, :1] * x[:, 1:2]),
        ("radial", lambda x: np.square(x).sum(axis=1, keepdims=True)),
    ):
        dataset = replace(LINEAR, shape=shape).load()
        features = raw(dataset)
        linear = LogisticRegression().fit(features, dataset.labels).decision_function(features)
        # 0.5 has a standard error of .005 here; a fit on its own rows is a little above.
        assert roc_auc_score(dataset.labels, linear) < 0.53
        found = revealed(features)[:, 0]
        ours = roc_auc_score(dataset.labels, found)
        assert ours == pytest.approx(roc_auc_score(dataset.labels, dataset.posterior), abs=1e-6)


def test_noise_flips_the_stated_shares_and_nothing_else():
    noisy = replace(LINEAR, flip_positives=0.3, flip_negatives=0.05).load()
    clean = LINEAR.load()
    np.testing.assert_array_equal(noisy.features, clean.features)
    for label, share in ((1, 0.3), (0, 0.05)):
        was = clean.labels == label
        flipped = (noisy.labels[was] != label).mean()
        assert abs(flipped - share) < 5 * np.sqrt(share * (1 - share) / was.sum())
    np.testing.assert_allclose(
        noisy.posterior, 0.7 * clean.posterior + 0.05 * (1 - clean.posterior)
    )


def test_cells_are_one_feature_each():
    dataset = Cells(rows=5000, num_cells=4, lowest=0.2, highest=0.8, seed=1).load()
    features = raw(dataset).round(5)
    np.testing.assert_array_equal(np.sort(features, axis=1), np.tile([0, 0, 0, 1], (5000, 1)))
    np.testing.assert_allclose(dataset.posterior, 0.2 + 0.2 * features.argmax(axis=1))


def test_separable_classes_have_their_margin():
    config = Separable(rows=2000, num_features=5, margin=0.5, positive_rate=0.1, seed=1)
    dataset = config.load()
    assert dataset.num_positives == 200
    np.testing.assert_array_equal(dataset.posterior, dataset.labels)
    features = raw(dataset)
    svm = LinearSVC(C=1e4, dual="auto", max_iter=200_000, tol=1e-6).fit(features, dataset.labels)
    assert svm.score(features, dataset.labels) == 1.0
    along = features @ np.full(5, 5**-0.5)
    gap = along[dataset.labels == 1].min() - along[dataset.labels == 0].max()
    assert 0.5 - 1e-5 < gap < 0.6  # the closest of 2,000 half-normals are within .05 a side


def test_fraud_has_its_posterior_by_bayes():
    dataset = FRAUD.load()
    x = raw(dataset)
    assert dataset.num_positives == 400
    # Bayes by hand for one row of each class, in plain arithmetic.
    for row in (int(np.argmax(dataset.labels)), int(np.argmin(dataset.labels))):
        ratio = 400 / 49_600
        for value in x[row, :5]:
            ratio *= norm.pdf(value, 5**-0.5, 2) / norm.pdf(value, 0, 1)
        assert dataset.posterior[row] == pytest.approx(ratio / (1 + ratio), rel=1e-4)
    amounts = x[:, -1]
    assert amounts.min() > 0 and np.median(amounts) == pytest.approx(np.exp(3), rel=0.05)
    # Fraud's amounts are like all others: 5 standard errors of an AUROC with 400 positives.
    assert abs(roc_auc_score(dataset.labels, amounts) - 0.5) < 5 * 0.29 / np.sqrt(400)


@pytest.mark.parametrize("config", [
    LINEAR, FRAUD, Separable(rows=500, num_features=2, margin=1, positive_rate=0.5, seed=0),
], ids=lambda config: config.kind)  # fmt: skip
def test_data_are_their_seed(config):
    assert config.load().fingerprint == config.load().fingerprint
    assert replace(config, seed=1).load().fingerprint != config.load().fingerprint


def test_an_empty_class_is_one_error():
    with pytest.raises(UserError, match=r"0 of dataset\.rows 50 would be positive"):
        Separable(rows=50, num_features=2, margin=1, positive_rate=0.001, seed=0).load()
    with pytest.raises(UserError, match=r"raise dataset\.rows"):
        FraudLike(rows=50, num_features=4, num_positives=50, distance=1, spread=1, seed=0).load()
