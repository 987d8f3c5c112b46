"""Constants that claims of experiments/ are compared with, derived another way than by training."""

import numpy as np
import pytest
from scipy import integrate, optimize
from scipy.special import expit, logit
from scipy.stats import halfnorm, norm
from sklearn.metrics import log_loss

from harness.data.synthetic import Cells, Separable, TwoGaussians
from harness.reproduce import gaussians

D, PI = 2.0, 0.05


def information(power, low, high):
    """E[p (1 - p) u^power] of the rows with u between, u along the line through both means."""

    def of(u):
        p = expit(logit(PI) + D * u)
        density = PI * norm.pdf(u - D / 2) + (1 - PI) * norm.pdf(u + D / 2)
        return density * p * (1 - p) * u**power

    return integrate.quad(of, low, high, limit=400)[0]


@pytest.mark.parametrize(("epsilon", "excess"), [(0.1, 0.000386), (1e-3, 0.0000016)])
def test_clipped_bce_costs_the_rows_it_does_not_learn_from(epsilon, excess):
    """experiments/numerics: tr(H J^-1) / (2n) less BCE's 6 / (2n), five features, 12,000 rows."""
    ends = [(logit(p) - logit(PI)) / D for p in (epsilon, 1 - epsilon)]
    (full, other), (seen, seen_other) = (
        (np.array([[level, first], [first, second]]), level)
        for level, first, second in (
            [information(power, *between) for power in range(3)] for between in ((-12, 12), ends)
        )
    )
    price = np.trace(full @ np.linalg.inv(seen)) + 4 * other / seen_other
    assert (price - 6) / (2 * 12_000) == pytest.approx(excess, rel=0.02)


def test_the_clipped_fit_is_not_biased():
    """Its minimiser on 20,000 rows, by a solver, is as near the truth as that price says."""
    excess = []
    for seed in range(3):
        config = TwoGaussians(rows=40_000, num_features=5, distance=D, positive_rate=PI, seed=seed)
        dataset = config.load()
        rows = np.column_stack([np.ones(40_000), dataset.features.astype(float)])
        labels, posterior = dataset.labels.astype(float), dataset.posterior
        fit, other = slice(0, 20_000), slice(20_000, None)

        def loss(weights, rows=rows[fit], labels=labels[fit]):
            p = expit(rows @ weights)
            inside = (p > 0.1) & (p < 0.9)
            clipped = np.clip(p, 0.1, 0.9)
            value = -np.log(np.where(labels == 1, clipped, 1 - clipped)).mean()
            return value, ((p - labels) * inside) @ rows / len(rows)

        weights = optimize.minimize(loss, np.zeros(6), jac=True, method="BFGS").x
        p, eta = expit(rows[other] @ weights), posterior[other]
        excess.append((eta * np.log(eta / p) + (1 - eta) * np.log((1 - eta) / (1 - p))).mean())
    assert np.mean(excess) == pytest.approx(15.25 / 40_000, abs=0.0004)


def test_what_reporting_clipped_probabilities_costs():
    config = TwoGaussians(rows=400_000, num_features=1, distance=D, positive_rate=PI, seed=0)
    dataset = config.load()
    theory = gaussians.SCORES["reported_log_loss"](D, PI, 0.1)
    assert theory - gaussians.SCORES["log_loss"](D, PI, 0.1) == pytest.approx(0.06334, abs=1e-5)
    reported = np.clip(dataset.posterior, 0.1, 0.9)
    assert log_loss(dataset.labels, reported) == pytest.approx(theory, abs=0.002)


def penalised(penalty, weight):
    """(place of the border in half gaps, share flagged) at the optimum, for the whole population.

    Along the diagonal a row is at +-(1/2 + |z|), across it at z'; both features are standardised.
    """
    mean = (2 * 0.1 - 1) * (0.5 + halfnorm.mean())
    square = 0.25 + halfnorm.mean() + 1.0
    scale, centre = np.sqrt((square - mean**2 + 1) / 2), mean / np.sqrt(2)

    def logit_at(slope, bias, along):
        return slope * (np.sqrt(2) * along - 2 * centre) / scale + bias

    def loss(parameters):
        def miss(side):
            return integrate.quad(
                lambda t: halfnorm.pdf(t) * np.logaddexp(
                    0, -side * logit_at(*parameters, side * (0.5 + t))
                ), 0, 12,
            )[0]  # fmt: skip

        slope, bias = parameters
        decay = penalty / 2 * (2 * slope**2 + bias**2)
        return 0.1 * weight * miss(1) + 0.9 * miss(-1) + decay

    found = optimize.minimize(loss, [1.0, -1.0], method="BFGS")
    slope, bias = found.x
    border = (2 * centre - bias * scale / slope) / np.sqrt(2)
    flagged = 0.1 * halfnorm.sf(border - 0.5) + 0.9 * halfnorm.cdf(-border - 0.5)
    return -border / 0.5, flagged


def test_where_an_l2_penalty_holds_the_border():
    """experiments/separable: by quadrature, and by a solver on one data set."""
    (alone, _), (heavy, flagged) = penalised(0.01, 1), penalised(0.01, 256)
    assert heavy - alone == pytest.approx(1.446, abs=0.001)
    assert flagged == pytest.approx(0.1, abs=1e-6)
    assert penalised(0.1, 256)[1] - penalised(0.1, 1)[1] == pytest.approx(0.1935, abs=0.0005)
    config = Separable(rows=40_000, num_features=2, margin=1, positive_rate=0.1, seed=0)
    rows, labels = config.load().features.astype(float), config.load().labels
    weights = np.where(labels == 1, 256.0, 1.0)

    def loss(parameters):
        z = rows @ parameters[:2] + parameters[2]
        pull = weights * (expit(z) - labels)
        value = (weights * np.logaddexp(0, np.where(labels == 1, -z, z))).mean()
        gradient = np.append(pull @ rows, pull.sum()) / len(rows)
        return value + 0.05 * parameters @ parameters, gradient + 0.1 * parameters

    found = optimize.minimize(loss, np.zeros(3), jac=True).x
    flagged = np.mean(rows @ found[:2] + found[2] > 0)
    assert flagged == pytest.approx(penalised(0.1, 256)[1], abs=0.01)


def test_what_label_smoothing_costs_on_cells():
    """experiments/calibration: the mean divergence of .9 eta + .05 from eta."""
    dataset = Cells(rows=100_000, num_cells=10, lowest=0.05, highest=0.95, seed=0).load()
    eta = dataset.posterior
    smooth = 0.9 * eta + 0.05
    cost = eta * np.log(eta / smooth) + (1 - eta) * np.log((1 - eta) / (1 - smooth))
    assert cost.mean() == pytest.approx(0.00409, abs=0.0001)


def test_what_balanced_weights_do_to_skill():
    """experiments/calibration: each class costs what it costs at 50%, so the mean does too."""
    balanced = gaussians.SCORES["log_loss"](D, 0.5, 0.5)
    entropy = -0.1 * np.log(0.1) - 0.9 * np.log(0.9)
    assert 1 - balanced / entropy == pytest.approx(-0.0961, abs=0.0001)
