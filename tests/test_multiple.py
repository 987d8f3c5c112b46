"""Statistics over data sets: published worked examples, other implementations, exact answers."""

from itertools import combinations

import baycomp
import numpy as np
import pytest
from scipy import stats

from harness.analyze import statistics

# Demsar 2006, tables 2 and 6: AUC of C4.5, +m, +cf and +m+cf on 14 UCI data sets.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.976, 0.975],  # printed as .975 and .975, ranked 2 and 3
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_wilcoxon_of_demsar_table_2():
    """R+ 93 and R- 12, zeros split: T 12 is below the critical value 21 of alpha .05."""
    differences = DEMSAR[:, 1] - DEMSAR[:, 0]
    assert stats.wilcoxon(differences, zero_method="zsplit").statistic == 12
    assert statistics.wilcoxon_p(differences) < 0.05
    assert stats.wilcoxon(differences, zero_method="zsplit").pvalue == statistics.wilcoxon_p(
        differences
    )


def test_ranks_and_critical_difference_of_demsar_table_6():
    ranks = statistics.average_ranks(DEMSAR)
    np.testing.assert_allclose(ranks, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    gap = statistics.critical_difference(num_groups=4, num_datasets=14)
    assert gap == pytest.approx(1.25, abs=5e-3)
    spans = statistics.cliques(ranks, difference=gap)
    assert [span[0] for span in spans] == [pytest.approx(1.964, abs=5e-4)]


def test_friedman_of_demsar_table_6():
    """Chi-squared 9.28 without the correction for ties that SciPy makes: 78 = sum of t^3 - t."""
    corrected = stats.chi2.isf(statistics.friedman_p(DEMSAR), 3)
    assert corrected * (1 - 78 / (14 * 4 * 15)) == pytest.approx(9.28, abs=0.01)


@pytest.mark.parametrize(
    ("groups", "q"),
    [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (10, 3.164)],
)
def test_nemenyi_critical_values_of_demsar_table_5(groups, q):
    gap = statistics.critical_difference(num_groups=groups, num_datasets=10)
    assert gap / np.sqrt(groups * (groups + 1) / 60) == pytest.approx(q, abs=1.5e-3)


@pytest.mark.parametrize("size", [6, 9, 14, 25])
def test_the_interval_inverts_the_signed_rank_test(size):
    values = np.random.default_rng(size).normal(0.3, 1, size)
    shift = statistics.hodges_lehmann(values)
    for end, outside in ((shift.low, -1), (shift.high, 1)):
        p = [
            stats.wilcoxon(values - end - step, method="exact").pvalue
            for step in (outside * 1e-9, -outside * 1e-9)
        ]
        assert p[0] <= 0.05 < p[1]
    assert shift.low < shift.median < shift.high


def test_five_data_sets_have_no_interval_and_no_verdict():
    shift = statistics.hodges_lehmann([1, 2, 3, 4, 5])
    assert shift.median == 3 and np.isnan(shift.low) and np.isnan(shift.high)
    assert statistics.wilcoxon_p([1, 2, 3, 4, 5]) == 2 / 2**5


def test_wilcoxon_false_positives_are_at_most_5_percent():
    draws = np.random.default_rng(0).normal(size=(2000, 12))
    share = np.mean([statistics.wilcoxon_p(row) <= 0.05 for row in draws])
    assert share <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize("shift", [-0.02, 0.0, 0.005, 0.03])
def test_signed_rank_posterior_is_baycomps(shift):
    """Both draw: 0.015 is four standard errors of their difference at 50,000 and 20,000 draws."""
    first, second = np.random.default_rng(3).normal(0, 0.02, (2, 15))
    reference = baycomp.two_on_multiple(first, second + shift, rope=0.01)
    ours = statistics.signed_rank_posterior(second + shift - first, rope=0.01, num_samples=20_000)
    np.testing.assert_allclose(ours, reference, atol=0.015)
    assert ours.sum() == pytest.approx(1)


def test_correlated_t_posterior_is_baycomps():
    scores = np.random.default_rng(4).normal(0.01, 0.02, 30)
    reference = baycomp.two_on_single(np.zeros(30), scores, rope=0.01, runs=3)
    spread = {"sd": scores.std(ddof=1), "num_seeds": 30, "test_train_ratio": 1 / 9}
    ours = statistics.correlated_t_posterior(mean=scores.mean(), **spread, rope=0.01)
    np.testing.assert_allclose(ours, reference, atol=1e-12)


def test_expected_best_is_the_mean_over_all_subsets():
    scores = np.random.default_rng(5).normal(size=8)
    exact = [np.mean([max(c) for c in combinations(scores, n)]) for n in range(1, 9)]
    np.testing.assert_allclose(statistics.expected_best(scores), exact, atol=1e-12)


def test_expected_best_of_many_trials_stays_finite():
    scores = np.random.default_rng(6).normal(size=1000)
    expected = statistics.expected_best(scores)
    assert expected[0] == pytest.approx(scores.mean()) and expected[-1] == pytest.approx(
        scores.max()
    )
    assert (np.diff(expected) >= -1e-9).all()


def test_interquartile_mean_is_the_mean_of_the_middle_half():
    """Agarwal 2021: the mean of the middle 50% of all runs; 0..7 leaves 2..5."""
    shift = statistics.interquartile_mean([np.arange(4.0), np.arange(4.0, 8.0)])
    assert shift.median == 3.5 and shift.low < 3.5 < shift.high


def test_interquartile_interval_is_scipys_bootstrap_for_one_stratum():
    scores = np.random.default_rng(7).normal(size=40)
    reference = stats.bootstrap(
        (scores,),
        lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
        method="percentile",
        n_resamples=5000,
        rng=np.random.default_rng(8),
    ).confidence_interval
    ours = statistics.interquartile_mean([scores], num_samples=5000)
    assert (ours.low, ours.high) == pytest.approx(tuple(reference), abs=0.03)


def test_strata_are_resampled_apart():
    """Strata far apart: resampling across them would move the mean, within hardly can."""
    narrow = np.linspace(0, 1e-6, 10)
    shift = statistics.interquartile_mean([narrow, 1 + narrow])
    assert shift.low < shift.median < shift.high
    assert (shift.low, shift.high) == pytest.approx((0.5, 0.5), abs=1e-5)


def test_one_run_a_stratum_has_no_interval():
    shift = statistics.interquartile_mean([np.array([0.5]), np.array([0.7])])
    assert shift.median == pytest.approx(0.6) and np.isnan([shift.low, shift.high]).all()


@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.1])
def test_equivalence_over_data_sets_is_two_one_sided_signed_ranks(mean):
    values = np.random.default_rng(9).normal(mean, 0.2, 11)
    one = stats.wilcoxon(values + 0.25, alternative="greater").pvalue
    other = stats.wilcoxon(values - 0.25, alternative="less").pvalue
    assert statistics.equivalence_wilcoxon_p(values, margin=0.25) == max(one, other)
    assert np.isnan(statistics.equivalence_wilcoxon_p([0.0], margin=0.25))
    assert statistics.equivalence_wilcoxon_p([0.25, 0.25], margin=0.25) == 1


def more_datasets(values, *, p_value, family_size=1):
    """Of data sets without split noise."""
    return statistics.more_needed_of_ranks(
        values=values, split_variance=0.0, num_splits=5, p_value=p_value, p_matters=float("nan"),
        family_size=family_size,
    ).datasets  # fmt: skip


def test_the_promised_number_of_data_sets_is_of_the_right_order():
    """The same differences seen again and again decide within a factor 2 of when foretold."""
    values = np.array([0.3, 0.2, -0.1, 0.25, 0.15, -0.32, 0.05])
    p = statistics.wilcoxon_p(values)
    more = more_datasets(values, p_value=p)
    decided = next(k for k in range(2, 50) if statistics.wilcoxon_p(np.tile(values, k)) <= 0.05)
    assert p > 0.05 and more is not None
    assert decided / 2 <= (7 + more) / 7 <= decided * 2


def test_few_data_sets_foretell_nothing():
    few = statistics.FORECAST_FROM - 1
    assert more_datasets(np.arange(few), p_value=0.4) is None
    assert more_datasets(np.arange(few + 1), p_value=0.4) > 0


def test_too_few_data_sets_to_ever_decide_are_told_how_many_would():
    """With Holm over 4, six agreeing data sets would be 2/64 > .05/4: eight are needed."""
    assert more_datasets(np.arange(5), p_value=0.0625, family_size=4) >= 3
    assert more_datasets(np.arange(8), p_value=1.0, family_size=4) is None


@pytest.mark.parametrize(("noise", "splits"), [(0.9, True), (0.1, False)])
def test_what_decides_follows_from_where_the_spread_between_data_sets_comes_from(noise, splits):
    """Of 12 data sets of 3 splits: those that differ by their splits' noise want more of these.

    What is foretold is checked by drawing such data sets with as many.
    """
    rng = np.random.default_rng(4)

    def drawn(num_splits: float, datasets: int = 12) -> np.ndarray:
        between = rng.normal(0.012, np.sqrt(1 - noise) * 0.03, datasets)
        return between + rng.normal(0, np.sqrt(noise * 3 / num_splits) * 0.03, datasets)

    values = drawn(3)
    values = 0.012 + 0.03 * (values - values.mean()) / values.std(ddof=1)  # as planted
    more = statistics.more_needed_of_ranks(
        values=values, split_variance=noise * 0.03**2, num_splits=3,
        p_value=statistics.wilcoxon_p(values), p_matters=float("nan"), family_size=1,
    )  # fmt: skip
    assert (more.splits is not None, more.datasets is not None) == (splits, not splits)
    then = [drawn(3 + more.splits) if splits else drawn(3, 12 + more.datasets) for _ in range(200)]
    now = [drawn(3) for _ in range(200)]
    power = [np.mean([statistics.wilcoxon_p(d) <= 0.05 for d in of]) for of in (now, then)]
    assert power[0] < 0.4 and 0.35 < power[1] < 0.8  # as foretold: about one half


def test_what_would_show_the_same_is_foretold_too():
    """No difference to be seen: nothing but equivalence can be decided, and soon."""
    values = np.array([0.004, -0.006, 0.009, -0.004, 0.007, -0.011, 0.002])
    given = {"values": values, "split_variance": 0.0, "num_splits": 5, "family_size": 4}
    p_value = statistics.wilcoxon_p(values)
    p_matters = statistics.equivalence_wilcoxon_p(values, margin=0.01)
    assert p_value > 0.5 and 0.05 / 4 < p_matters < 0.05
    more = statistics.more_needed_of_ranks(p_value=p_value, p_matters=p_matters, **given)
    assert more.datasets is not None and 1 <= more.datasets <= 5
    nothing = statistics.more_needed_of_ranks(p_value=p_value, p_matters=float("nan"), **given)
    assert nothing.datasets is None or nothing.datasets > 50
