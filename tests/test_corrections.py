"""Analytic corrections: the prior shift, both ways, and what a trained run stores of it."""

import numpy as np
import pytest
from scipy.special import expit, logit

from harness.metrics.calibration import LARGEST_LOGIT, prior_shift, shift_prior


@pytest.mark.parametrize("kept", [0.01, 0.1, 0.5, 1.0])
def test_undersampling_formula_both_ways(kept):
    """p_s = p / (p + b (1-p)) and p = b p_s / (b p_s + 1 - p_s), b the share of negatives kept."""
    positives, negatives = 50, 9_950
    probs = np.linspace(0.001, 0.999, 101)
    sampled = probs / (probs + kept * (1 - probs))
    back = kept * sampled / (kept * sampled + 1 - sampled)
    np.testing.assert_allclose(back, probs, rtol=1e-12)
    rates = {
        "training_rate": positives / (positives + kept * negatives),
        "natural_rate": positives / (positives + negatives),
    }
    corrected = shift_prior(logit(sampled), shift=prior_shift(**rates))
    np.testing.assert_allclose(expit(corrected), probs, rtol=1e-10)
    forth = prior_shift(training_rate=rates["natural_rate"], natural_rate=rates["training_rate"])
    np.testing.assert_allclose(expit(shift_prior(logit(probs), shift=forth)), sampled, rtol=1e-10)


def test_bayes_theorem_is_the_reference():
    """Two Gaussians: the posterior at one prior, moved, is the posterior at the other."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=1000)

    def posterior(rate, d=1.3):
        ones, zeros = np.exp(-((x - d) ** 2) / 2), np.exp(-(x**2) / 2)
        return rate * ones / (rate * ones + (1 - rate) * zeros)

    shift = prior_shift(training_rate=0.5, natural_rate=0.03)
    np.testing.assert_allclose(
        expit(shift_prior(logit(posterior(0.5)), shift=shift)), posterior(0.03), rtol=1e-10
    )


def test_equal_rates_shift_by_exactly_nothing():
    assert prior_shift(training_rate=17 / 1234, natural_rate=17 / 1234) == 0


def test_certain_posteriors_stay_finite_and_ordered():
    moved = shift_prior([-np.inf, -1.0, 1.0, np.inf, np.nan], shift=0.0)
    assert moved[:4].tolist() == [-LARGEST_LOGIT, -1.0, 1.0, LARGEST_LOGIT]
    assert np.isnan(moved[4])
    assert expit(LARGEST_LOGIT) == pytest.approx(1 - 2**-53, abs=3e-16)


@pytest.mark.parametrize("rate", [0, 1, -0.1])
def test_a_rate_that_is_none(rate):
    with pytest.raises(ValueError, match=r"natural_rate must be in \(0, 1\), got"):
        prior_shift(training_rate=0.5, natural_rate=rate)
