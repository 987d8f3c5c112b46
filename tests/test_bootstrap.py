"""Bootstrap intervals: against scipy's, and what resampling must keep."""

import numpy as np
import pytest
from scipy.stats import bootstrap, norm, t

from harness.metrics import bootstrap as resampling
from harness.metrics.decision_metrics import decide, decision_metrics
from harness.metrics.evaluate import score_metrics
from harness.metrics.probability_metrics import line_of, probability_metrics
from harness.metrics.ranked_rows import rank_rows
from harness.metrics.ranking_metrics import auroc, average_precision, ranking_metrics
from harness.metrics.settings import Costs


def rows(n=200, seed=0, decimals=8):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(np.int8)
    return np.round(rng.normal(size=n) + 1.5 * labels, decimals), labels


def intervals(*, logits, statistics, **given):
    """Of one version of the scores."""
    of = {"raw": logits}
    return resampling.intervals(logits=of, statistics={"raw": statistics}, **given)["raw"]


def resampled(logits, labels, num_resamples, seed):
    """The ranking of all resamples, in one chunk."""
    (drawn,) = resampling._drawn(labels, num_resamples, seed)
    groupings = resampling._groupings({"": logits})
    ((_, ranking),) = resampling._rankings(groupings, {"": logits}, drawn, labels)
    return ranking


def decided(ranking):
    return decision_metrics(decide(ranking, 0.5), beta=2.0, costs=Costs())


@pytest.mark.parametrize("decimals", [8, 0])
def test_each_resample_is_scored_as_if_its_rows_stood_alone(decimals):
    """The rankings of resamples against the rows they stand for, written out and ranked anew."""
    logits, labels = rows(60, decimals=decimals)
    ranking = resampled(logits, labels, 5, seed=3)
    for i in range(5):
        positives = ranking.group_positives[i].astype(int)
        negatives = ranking.group_negatives[i].astype(int)
        written = {
            "logits": np.repeat(ranking.logits[0], positives + negatives)[None],
            "labels": np.concatenate(
                [[1] * p + [0] * q for p, q in zip(positives, negatives, strict=True)]
            )[None],
        }
        written["valid"] = np.ones_like(written["labels"], dtype=bool)
        alone = rank_rows(**written)
        assert auroc(alone)[0] == auroc(ranking)[i]
        for name, values in decided(alone).items():
            assert values[0] == decided(ranking)[name][i]


@pytest.mark.parametrize("decimals", [8, 0, -2])
def test_resampled_scores_match_scores_of_the_written_out_rows(decimals):
    """Without ties, with some, and with nothing else: most bins are empty then."""
    logits, labels = rows(60, decimals=decimals)
    ranking = resampled(logits, labels, 4, seed=3)
    original = line_of(rank_rows(logits=[logits], labels=[labels], valid=[labels >= 0]))
    measured = probability_metrics(
        ranking, num_bins=15, line=True, decompose=True, original=original
    )
    measured |= ranking_metrics(
        ranking, max_fpr=0.1, alerts=0.05, min_precision=0.9, min_recall=0.9
    )
    for i in range(4):
        positives = ranking.group_positives[i].astype(int)
        sizes = positives + ranking.group_negatives[i].astype(int)
        written = np.repeat(ranking.logits[0], sizes)[None]
        of = [[1] * p + [0] * (n - p) for p, n in zip(positives, sizes, strict=True)]
        targets = np.concatenate(of)[None].astype(int)
        alone = score_metrics(logits=written, labels=targets, valid=targets >= 0)
        for name, values in alone.items():
            np.testing.assert_allclose(measured[name][i], values[0], 1e-7, 1e-9, err_msg=name)


def test_versions_that_share_an_order_are_measured_as_if_alone():
    """A map of the scores, one with ties, the same ones in another scale, and one backwards."""
    logits, labels = rows(60)
    versions = {"raw": logits, "tied": np.round(logits), "platt": 2 * logits, "back": -logits}
    groupings = resampling._groupings(versions)
    assert groupings["platt"] is groupings["raw"] is not groupings["tied"]
    assert groupings["tied"].order is groupings["raw"].order

    def measured(ranking):
        given = {"num_bins": 15, "line": False, "decompose": True}
        return probability_metrics(ranking, **given) | {"auroc": auroc(ranking)} | decided(ranking)

    given = {"labels": labels, "num_resamples": 100, "level": 0.9}
    statistics = dict.fromkeys(versions, measured)
    together = resampling.intervals(logits=versions, statistics=statistics, **given)
    for version, scores in versions.items():
        assert together[version] == intervals(logits=scores, statistics=measured, **given)


def test_the_prevalence_stands_still():
    logits, labels = rows()
    ranking = resampled(logits, labels, 50, seed=0)
    assert (ranking.num_positives == labels.sum()).all()
    assert (ranking.num_rows == len(labels)).all()


def test_recalls_interval_is_students_of_the_positives():
    """Recall is a mean over the positives alone, of which t has the interval."""
    logits, labels = rows(400)
    found = intervals(
        logits=logits, labels=labels, statistics=decided, num_resamples=20_000, level=0.9
    )
    hits = (logits[labels == 1] >= 0.5).astype(float)
    expected = t.interval(
        0.9, len(hits) - 1, loc=hits.mean(), scale=hits.std(ddof=1) / len(hits) ** 0.5
    )
    # One step of the statistic is 1 / (number of positives), about .008.
    step = 1.01 / labels.sum()
    assert found["recall"] == pytest.approx(expected, abs=step)


def test_many_rows_have_scipys_percentile_interval():
    """What few rows widen is nothing with many."""
    logits, labels = rows(8000)
    found = intervals(
        logits=logits, labels=labels, statistics=decided, num_resamples=2000, level=0.9
    )
    hits = (logits[labels == 1] >= 0.5).astype(float)
    expected = bootstrap(
        (hits,), np.mean, n_resamples=2000, confidence_level=0.9, method="percentile", rng=0
    ).confidence_interval
    assert found["recall"] == pytest.approx((expected.low, expected.high), abs=2e-3)


def test_a_single_row_of_a_class_has_no_interval():
    logits, labels = np.linspace(-1, 1, 9), (np.arange(9) == 7).astype(np.int8)
    found = intervals(
        logits=logits, labels=labels, statistics=decided, num_resamples=100, level=0.9
    )
    assert all(np.isnan(ends).all() for ends in found.values())


@pytest.mark.parametrize("seed", [0, 1])
def test_few_positives_are_covered_as_often_as_it_says(seed):
    """18 positives of 180 rows, 95% of 400 data sets: plain percentiles cover .91, these .944.

    The truth is the average precision of two Gaussians 1.5 apart, of four million rows.
    """
    covered = 0
    for number in range(400):
        rng = np.random.default_rng([seed, number])
        labels = np.repeat([1, 0], [18, 162]).astype(np.int8)
        low, high = intervals(
            logits=rng.normal(size=180) + 1.5 * labels,
            labels=labels,
            statistics=lambda ranking: {"ap": average_precision(ranking)},
            num_resamples=300,
            level=0.95,
        )["ap"]
        covered += low <= 0.478 <= high
    assert 0.925 <= covered / 400 <= 0.975  # 2 standard errors


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """AUROC of two Gaussians a distance 1.5 apart, over 200 data sets: 90% +- 3 standard errors."""
    truth, covered = norm.cdf(1.5 / np.sqrt(2)), 0
    for seed in range(200):
        logits, labels = rows(250, seed=seed)
        (low, high) = intervals(
            logits=logits,
            labels=labels,
            statistics=lambda ranking: {"auroc": auroc(ranking)},
            num_resamples=300,
            level=0.9,
        )["auroc"]
        covered += low <= truth <= high
    assert 0.83 <= covered / 200 <= 0.97


def test_runs_on_the_same_rows_share_their_resamples():
    """Two models that differ by a monotone map have the same interval, to the bit."""
    logits, labels = rows()

    def of(scores):
        return intervals(
            logits=scores,
            labels=labels,
            statistics=lambda ranking: {"auroc": auroc(ranking)},
            num_resamples=200,
            level=0.95,
        )

    assert of(logits) == of(np.exp(logits))


def test_chunks_change_nothing(monkeypatch):
    logits, labels = rows()
    given = {"logits": logits, "labels": labels, "statistics": decided}
    whole = intervals(**given, num_resamples=100, level=0.9)
    assert whole["f1"][0] < whole["f1"][1]
    monkeypatch.setattr("harness.metrics.bootstrap._CHUNK", 7 * len(logits))
    chunked = intervals(**given, num_resamples=100, level=0.9)
    assert chunked == whole
