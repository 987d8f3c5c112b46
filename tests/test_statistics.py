"""Statistics against published worked examples, exact identities and simulation."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_moons
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.svm import SVC

from harness.analyze import statistics

# Cushny and Peebles (1905) as in R's `sleep`: `t.test(extra ~ group, paired = TRUE)`.
SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])


def describe(values: np.ndarray, ratio: float = 0.0) -> dict[str, Any]:
    """The arguments the functions share, for repeats along the last axis."""
    shape = values.shape[:-1]
    return {
        "sd": values.std(axis=-1, ddof=1),
        "num_seeds": np.full(shape, values.shape[-1]),
        "test_train_ratio": np.full(shape, ratio),
    }


def test_sleep_data_as_published_by_r():
    half = statistics.half_interval(**describe(SLEEP))
    p = statistics.corrected_p_value(mean=SLEEP.mean(), **describe(SLEEP))
    assert SLEEP.mean() - half == pytest.approx(0.7001142, abs=1e-7)
    assert SLEEP.mean() + half == pytest.approx(2.4598858, abs=1e-7)
    assert p == pytest.approx(0.002833, abs=1e-6)


def test_interval_of_the_nist_handbook():
    """ZARR13.DAT, NIST/SEMATECH e-Handbook 1.3.5.2: n 195, mean 9.261460, sd 0.022789."""
    half = statistics.half_interval(sd=0.02278881, num_seeds=195, test_train_ratio=0)
    assert 9.261460 - half == pytest.approx(9.258242, abs=2e-6)
    assert 9.261460 + half == pytest.approx(9.264679, abs=2e-6)


def test_corrected_t_as_published_by_scikit_learn():
    """Its example "Statistical comparison of models using grid search": t 0.750, one-sided p .227.

    There 10 times 10 folds: n_test / n_train = 10 / 90.
    """
    features, labels = make_moons(noise=0.352, random_state=1, n_samples=100)
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    rbf, linear = (
        cross_val_score(SVC(kernel=k), features, labels, scoring="roc_auc", cv=folds)
        for k in ("rbf", "linear")
    )
    scores = rbf - linear
    error = statistics.standard_error(**describe(scores, 10 / 90))
    p = statistics.corrected_p_value(mean=scores.mean(), **describe(scores, 10 / 90))
    assert scores.mean() / error == pytest.approx(0.750, abs=5e-4)
    assert p / 2 == pytest.approx(0.227, abs=5e-4)


def test_ratio_zero_is_scipy_paired_t():
    first, second = np.random.default_rng(0).normal(size=(2, 7))
    p = statistics.corrected_p_value(mean=(first - second).mean(), **describe(first - second))
    assert p == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-12)


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_false_positives_under_the_null_are_5_percent(ratio):
    """Scores with correlation n_test / (n_test + n_train), the model of Nadeau and Bengio.

    There the corrected t is exactly Student's, so 20,000 trials give 5% +- 0.6% (4 sigma); the
    uncorrected t must be far off.
    """
    rng, correlation, shape = np.random.default_rng(1), ratio / (1 + ratio), (20_000, 10)
    shared, own = rng.normal(size=(shape[0], 1)), rng.normal(size=shape)
    scores = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    p = statistics.corrected_p_value(mean=scores.mean(axis=1), **describe(scores, ratio))
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.0062)
    naive = statistics.corrected_p_value(mean=scores.mean(axis=1), **describe(scores))
    assert (np.mean(naive <= 0.05) > 0.2) == (ratio > 0)


def test_holm_as_published_by_stdlib_and_computed_by_r():
    """`padjust([0.319, 0.201, 0.4, 0.374, 0.113], 'holm')` in stdlib's documentation."""
    adjusted = statistics.holm([0.319, 0.201, 0.4, 0.374, 0.113])
    np.testing.assert_allclose(adjusted, [0.957, 0.804, 0.957, 0.957, 0.565], atol=1e-12)


def test_holm_leaves_undefined_comparisons_out_of_the_family():
    np.testing.assert_allclose(statistics.holm([np.nan, 0.01, 0.02]), [np.nan, 0.02, 0.02])
    assert statistics.holm([]).size == 0


def test_holm_controls_the_family_wise_error():
    p = np.random.default_rng(2).uniform(size=(4000, 8))
    wrong = [statistics.holm(row).min() <= 0.05 for row in p]
    assert np.mean(wrong) == pytest.approx(1 - (1 - 0.05 / 8) ** 8, abs=0.014)  # 4 sigma


@pytest.mark.parametrize("ratio", [0.0, 0.05])
def test_the_promised_number_of_seeds_decides_and_one_less_does_not(ratio):
    have, effect, sd, family = 5, 1.0, 1.2, 3
    spread = {"mean": effect, "sd": sd, "test_train_ratio": ratio}
    more = statistics.more_seeds_needed(num_seeds=have, **spread, family_size=family)[0]
    p = [
        statistics.corrected_p_value(num_seeds=have + extra, **spread) for extra in (more - 1, more)
    ]
    assert p[1] < 0.05 / family <= p[0]


def test_no_number_of_seeds_overcomes_the_overlap_of_splits():
    """As J grows, t tends to effect / (sd sqrt(ratio)), here 1.73 < 1.96."""
    more = statistics.more_seeds_needed(
        mean=1, sd=1, num_seeds=5, test_train_ratio=1 / 3, family_size=1
    )
    assert np.isnan(more[0])


@pytest.mark.parametrize("spread", [{"sd": np.nan, "num_seeds": 1}, {"sd": 0.0, "num_seeds": 2}])
def test_one_seed_and_no_spread_decide_nothing(spread):
    """Two runs that agree by chance are no proof: t would divide by 0 and be certain."""
    spread = spread | {"test_train_ratio": 0.3}
    assert np.isnan(statistics.half_interval(**spread))
    assert np.isnan(statistics.corrected_p_value(mean=0.01, **spread))
    assert np.isnan(statistics.equivalence_p_value(mean=0.001, margin=0.01, **spread))
    assert np.isnan(statistics.correlated_t_posterior(mean=0.01, rope=0.001, **spread)).all()
    assert np.isnan(statistics.more_seeds_needed(mean=0.01, family_size=1, **spread)).all()
    nothing = [np.nan, 1]
    words = statistics.verdicts(gain=[1, 0], adjusted_p=nothing, adjusted_same=nothing)
    assert words == ["undecided"] * 2


def test_differences_that_are_all_0_are_none():
    same = statistics.corrected_p_value(mean=0, sd=0, num_seeds=5, test_train_ratio=0.3)
    assert same == 1


def test_few_seeds_foretell_nothing():
    few, enough = (
        statistics.more_seeds_needed(
            mean=1, sd=1.2, num_seeds=seeds, test_train_ratio=0, family_size=1
        )[0]
        for seeds in (statistics.FORECAST_FROM - 1, statistics.FORECAST_FROM)
    )
    assert np.isnan(few) and enough > 0


@pytest.mark.parametrize("ratio", [0.0, 0.25])
@pytest.mark.parametrize("mean", [-0.6, 0.0, 0.3])
def test_equivalence_is_two_one_sided_tests(ratio, mean):
    """With ratio 0 those of SciPy; the correction widens both alike."""
    d = np.random.default_rng(3).normal(size=12)
    d = d - d.mean() + mean
    p = statistics.equivalence_p_value(mean=d.mean(), margin=0.5, **describe(d, ratio))
    scaled = d.mean() + (d - d.mean()) * np.sqrt(1 + 12 * ratio)
    one = stats.ttest_1samp(scaled, -0.5, alternative="greater").pvalue
    other = stats.ttest_1samp(scaled, 0.5, alternative="less").pvalue
    assert p == pytest.approx(max(one, other), rel=1e-9)


def test_a_difference_at_the_margin_is_called_the_same_in_5_percent():
    """The edge of what is not the same, where a wrong verdict is likeliest: 20,000 trials."""
    values = 0.2 + np.random.default_rng(4).normal(size=(20_000, 40)) / 10
    p = statistics.equivalence_p_value(mean=values.mean(axis=1), margin=0.2, **describe(values))
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.0062)
