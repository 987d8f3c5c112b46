"""Every metric against scikit-learn, and the promise that a run's bits do not depend on company."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.metrics import geometric_mean_score
from scipy.optimize import brentq
from scipy.special import expit, xlog1py, xlogy
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from harness.metrics.decision_metrics import threshold_metrics
from harness.metrics.definitions import METRICS
from harness.metrics.evaluate import score_metrics
from harness.metrics.probability_metrics import probability_metrics
from harness.metrics.ranked_rows import rank_rows
from harness.metrics.ranking_metrics import ranking_metrics

NUM_BINS = 15


def softplus_loss(labels, logits):
    """scikit-learn takes log(1 - p), which keeps 12 digits only for logits below about 8."""
    if np.abs(logits).max() < 8:
        return sk.log_loss(labels, expit(logits), labels=[0, 1])
    return np.mean(np.logaddexp(0, np.where(labels == 1, -logits, logits)))


def d2_log_loss(labels, logits):
    if np.unique(labels).size < 2:
        return np.nan
    if np.abs(logits).max() < 8:
        return sk.d2_log_loss_score(labels, expit(logits), labels=[0, 1])
    pi = labels.mean()
    return 1 - softplus_loss(labels, logits) / -(xlogy(pi, pi) + xlog1py(1 - pi, -pi))


def binned(labels, logits):
    """The documented bins, one row at a time: (label, probability) pairs of each."""
    n = len(labels)
    bins: dict[int, list[tuple[float, float]]] = {}
    for label, logit in zip(labels, logits, strict=True):
        above, tied = np.sum(logits > logit), np.sum(logits == logit)
        index = int((2 * above + tied) * NUM_BINS // (2 * n))
        bins.setdefault(index, []).append((float(label), expit(logit)))
    return [np.array(pairs).T for pairs in bins.values()]


def calibration_error(labels, logits):
    return sum(abs((y - p).sum()) for y, p in binned(labels, logits)) / len(labels)


def debiased_calibration_error(labels, logits):
    """Kumar et al.'s `unbiased_square_ce`: the variance of a bin's mean is taken off."""
    squared = 0.0
    for y, p in binned(labels, logits):
        chance = np.var(y, ddof=1) / len(y) if len(y) > 1 else 0.0
        squared += len(y) / len(labels) * ((y.mean() - p.mean()) ** 2 - chance)
    return np.sqrt(max(squared, 0.0))


def separated(labels, logits):
    """1 where a cut puts all positives on or above it and all negatives on or below, -1 reversed"""
    ones, zeros = logits[labels == 1], logits[labels == 0]
    if np.unique(logits).size < 2:
        return 0
    return int(ones.min() >= zeros.max()) - int(ones.max() <= zeros.min())


def calibration_slope(labels, logits):
    if np.unique(labels).size < 2 or np.unique(logits).size < 2:
        return np.nan
    if separated(labels, logits):
        return np.inf * separated(labels, logits)
    scaled = (logits - logits.mean()) / logits.std()
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    return model.fit(scaled[:, None], labels).coef_.item() / logits.std()


def calibration_intercept(labels, logits):
    if np.unique(labels).size < 2:
        return np.nan
    reach = np.abs(logits).max() + 50
    signs = 1 - 2 * labels.astype(float)

    def score_equation(a):
        return (signs * expit(signs * (a + logits))).sum()

    return brentq(score_equation, -reach, reach, xtol=1e-13)


def recalibrated(labels, logits):
    ranks = np.unique(logits, return_inverse=True)[1]  # scikit-learn merges close neighbours
    return IsotonicRegression(y_min=0, y_max=1).fit_transform(ranks, labels.astype(float))


def decomposition(score, of, part):
    """The CORP decomposition from a score of (labels, probabilities)."""

    def reference(labels, logits):
        pi = labels.mean()
        if part == "uncertainty":
            return of(labels, np.full(len(labels), pi))
        best = of(labels, recalibrated(labels, logits))
        if part == "discrimination":
            return of(labels, np.full(len(labels), pi)) - best
        return SCORE_REFERENCES[score](labels, logits) - best

    return reference


def mean_entropy(labels, probs):
    return -np.mean(xlogy(labels, probs) + xlog1py(1 - labels, -probs))


def mean_square(labels, probs):
    return np.mean((labels - probs) ** 2)


def partial_auroc(labels, logits):
    both = np.unique(labels).size == 2
    return sk.roc_auc_score(labels, logits, max_fpr=0.1) if both else np.nan


def flagged_at_random(labels, logits):
    """(k, expected positives among the k highest), ties broken at random."""
    n = len(labels)
    k = min(max(round(0.05 * n), 1), n)
    last = np.sort(logits)[::-1][k - 1]
    sure, tied = labels[logits > last], labels[logits == last]
    return k, sure.sum() + tied.mean() * (k - len(sure))


def precision_at_k(labels, logits):
    k, found = flagged_at_random(labels, logits)
    return found / k


def recall_at_k(labels, logits):
    return flagged_at_random(labels, logits)[1] / labels.sum() if labels.any() else np.nan


def recall_at_precision(labels, logits):
    if not labels.any():
        return np.nan
    precision, recall, _ = sk.precision_recall_curve(labels, logits)
    return recall[precision >= 0.9].max()


def precision_at_recall(labels, logits):
    if not labels.any():
        return np.nan
    precision, recall, _ = sk.precision_recall_curve(labels, logits)
    return precision[recall >= 0.9].max()


def random_average_precision(labels, logits):
    """The mean over positions of the precision there, given that the row there is positive."""
    n, p = len(labels), labels.sum()
    others = (p - 1) / (n - 1) if n > 1 else 0.0
    return np.mean([(1 + (i - 1) * others) / i for i in range(1, n + 1)]) if p else np.nan


def p4(labels, decisions):
    four = [
        score(labels, decisions, pos_label=of, zero_division=0)
        for score in (sk.precision_score, sk.recall_score)
        for of in (0, 1)
    ]
    return 4 / sum(1 / value for value in four) if min(four) > 0 else 0.0


def auroc(labels, logits):
    return sk.roc_auc_score(labels, logits) if np.unique(labels).size == 2 else np.nan


def average_precision(labels, logits):
    return sk.average_precision_score(labels, logits) if labels.any() else np.nan


SCORE_REFERENCES: dict[str, Callable] = {
    "log_loss": softplus_loss,
    "skill": d2_log_loss,
    "brier": lambda y, z: sk.brier_score_loss(y, expit(z), pos_label=1, labels=[0, 1]),
    "auroc": auroc,
    "average_precision": average_precision,
    "brier_skill": lambda y, z: (
        sk.d2_brier_score(y, expit(z)) if np.unique(y).size == 2 else np.nan
    ),
    "ece": calibration_error,
    "ece_debiased": debiased_calibration_error,
    "calibration_intercept": calibration_intercept,
    "calibration_slope": calibration_slope,
    **{
        f"{name}_{part}": decomposition(name, of, part)
        for name, of in (("log_loss", mean_entropy), ("brier", mean_square))
        for part in ("miscalibration", "discrimination", "uncertainty")
    },
    "partial_auroc": partial_auroc,
    "random_average_precision": random_average_precision,
    "precision_at_k": precision_at_k,
    "recall_at_k": recall_at_k,
    "lift_at_k": lambda y, z: precision_at_k(y, z) / y.mean() if y.any() else np.nan,
    "recall_at_precision": recall_at_precision,
    "precision_at_recall": precision_at_recall,
}
THRESHOLD_REFERENCES: dict[str, Callable] = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "precision": lambda y, d: sk.precision_score(y, d, zero_division=0),
    "recall": lambda y, d: sk.recall_score(y, d, zero_division=0),
    "specificity": lambda y, d: sk.recall_score(y, d, pos_label=0, zero_division=0),
    "f1": lambda y, d: sk.f1_score(y, d, zero_division=0),
    "f_beta": lambda y, d: sk.fbeta_score(y, d, beta=2, zero_division=0),
    "mcc": sk.matthews_corrcoef,
    # imbalanced-learn leaves out a class that is absent
    "g_mean": lambda y, d: geometric_mean_score(y, d) if np.unique(y).size == 2 else 0.0,
    "p4": p4,
    "flagged": lambda y, d: d.mean(),
    "expected_cost": lambda y, d: 1 - sk.accuracy_score(y, d),
}


def make_batch(kind: str, seed: int = 0, num_runs: int = 6, width: int = 200) -> dict:
    """A batch whose padding stands anywhere and holds what must not be looked at."""
    rng = np.random.default_rng(seed)
    rate = {"imbalanced": 0.02, "all_negative": 0.0, "all_positive": 1.0}.get(kind, 0.3)
    width = 3 if kind == "tiny" else width
    labels = (rng.random((num_runs, width)) < rate).astype(np.int8)
    logits = (rng.normal(size=labels.shape) + 1.5 * labels - 1).astype(np.float32)
    if kind == "tied":
        logits = np.round(logits)
    elif kind == "constant":
        logits[:] = -0.7
    elif kind == "extreme":
        logits *= rng.choice([1, 1e2, 1e4], size=labels.shape)
    elif kind == "saturated":
        logits += 40  # every sigmoid is 1 in float64; the ranking is intact
    valid = np.ones(labels.shape, dtype=bool)
    if kind != "unpadded":
        valid = rng.random(labels.shape) < 0.8
        valid[:, 0] = True
        logits[~valid] = rng.choice([np.nan, np.inf, 1e30, 0.5], size=(~valid).sum())
        labels[~valid] = rng.choice([-1, 0, 1, 7], size=(~valid).sum())
    return {"logits": logits, "labels": labels, "valid": valid}


KINDS = [
    "random",
    "unpadded",
    "tied",
    "constant",
    "imbalanced",
    "all_negative",
    "all_positive",
    "tiny",
    "extreme",
    "saturated",
]


def runs_of(batch: dict):
    for logits, labels, valid in zip(*batch.values(), strict=True):
        yield labels[valid], logits[valid].astype(np.float64)


def one_run(batch: dict, run: int) -> dict:
    """The run alone: no neighbours, no padding."""
    valid = batch["valid"][run]
    return {name: values[run : run + 1, valid] for name, values in batch.items()}


def assert_same_bits(actual: dict, expected: dict):
    assert actual.keys() == expected.keys()
    for name, values in actual.items():
        assert values.tobytes() == expected[name].tobytes(), name


@pytest.fixture(autouse=True)
def _our_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # scikit-learn's remarks on single-class input
        warnings.filterwarnings("ignore", module="sklearn")
        yield


def test_every_metric_has_a_reference():
    batch = make_batch("random")
    scores = score_metrics(**batch)
    decisions = threshold_metrics(**batch, threshold_logits=0.0)
    assert set(scores) == set(SCORE_REFERENCES)
    assert set(decisions) == set(THRESHOLD_REFERENCES)
    assert {*scores, *decisions} == METRICS.keys() - {"net_benefit", "loss"}
    for values in (scores | decisions).values():
        assert values.shape == (6,) and values.dtype == np.float64


# 1e-12 relative: both sides are float64 sums of a few hundred terms, in different orders. The
# line is where two iterations stopped; the debiased error is the root of a difference, and 1e-8
# where 0 is meant.
TOLERANCES = {"calibration_slope": 1e-5, "calibration_intercept": 1e-6, "ece_debiased": 1e-5}


@pytest.mark.parametrize("name", SCORE_REFERENCES)
@pytest.mark.parametrize("kind", KINDS)
def test_score_metrics_match_reference(kind, name):
    batch = make_batch(kind)
    expected = [SCORE_REFERENCES[name](y, z) for y, z in runs_of(batch)]
    actual = score_metrics(**batch, num_bins=NUM_BINS)[name]
    rtol = TOLERANCES.get(name, 1e-12)
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=max(rtol / 100, 1e-14))


@pytest.mark.parametrize("name", THRESHOLD_REFERENCES)
@pytest.mark.parametrize("threshold", [0.0, -1.0, np.inf, -np.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_threshold_metrics_match_reference(kind, threshold, name):
    batch = make_batch(kind)
    expected = [
        THRESHOLD_REFERENCES[name](y, (z >= threshold).astype(int)) for y, z in runs_of(batch)
    ]
    actual = threshold_metrics(**batch, threshold_logits=np.full(6, threshold))[name]
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


def test_a_logit_on_the_threshold_is_positive():
    rows: dict = {"logits": [[0.0]], "labels": [[1]], "valid": [[True]]}
    assert threshold_metrics(**rows, threshold_logits=0.0)["recall"] == 1
    assert threshold_metrics(**rows, threshold_logits=1e-300)["recall"] == 0


def test_each_run_has_its_own_threshold():
    rows: dict = {"logits": [[0.5], [0.5]], "labels": [[1], [1]], "valid": [[True], [True]]}
    recall = threshold_metrics(**rows, threshold_logits=[0.0, 1.0])["recall"]
    np.testing.assert_array_equal(recall, [1, 0])


def test_mcc_of_many_rows_does_not_overflow():
    """The product of the four margins passes 2^63."""
    labels = np.arange(400_000)[None] % 2
    rows = {"logits": labels - 0.5, "labels": labels, "valid": labels >= 0}
    assert threshold_metrics(**rows, threshold_logits=0.0)["mcc"] == 1


@pytest.mark.parametrize("pi", [0.5, 0.2, 0.05, 0.01])
def test_constant_predictor_at_prevalence(pi):
    """Entropy, pi (1 - pi), no skill, perfect calibration: the anchors of a useless model."""
    labels = (np.arange(1000) < 1000 * pi).astype(np.int8)[None]
    logits = np.full(labels.shape, np.log(pi / (1 - pi)))
    result = score_metrics(logits=logits, labels=labels, valid=labels >= 0)
    entropy = -pi * np.log(pi) - (1 - pi) * np.log(1 - pi)
    expected = {
        "log_loss": entropy,
        "skill": 0,
        "brier": pi * (1 - pi),
        "brier_skill": 0,
        "auroc": 0.5,
        "partial_auroc": 0.5,
        "average_precision": pi,
        "ece": 0,
        "calibration_intercept": 0,
        "log_loss_miscalibration": 0,
        "log_loss_discrimination": 0,
        "brier_miscalibration": 0,
        "brier_discrimination": 0,
        "precision_at_k": pi,
        "lift_at_k": 1,
    }
    actual = [result[name][0] for name in expected]
    np.testing.assert_allclose(actual, list(expected.values()), atol=1e-12)


def test_two_gaussians_reach_the_known_answers():
    """Distance 2, prevalence .05, true posterior; tolerances are 4 standard errors at 4e5 rows."""
    rng, pi, n = np.random.default_rng(0), 0.05, 400_000
    labels = (rng.random((1, n)) < pi).astype(np.int8)
    logits = np.log(pi / (1 - pi)) + np.where(labels, 2, -2) + 2 * rng.normal(size=(1, n))
    result = score_metrics(logits=logits, labels=labels, valid=labels >= 0)
    assert result["auroc"] == pytest.approx(0.9214, abs=0.004)
    assert result["log_loss"] == pytest.approx(0.11800, abs=0.002)
    assert result["brier"] == pytest.approx(0.03199, abs=0.0007)
    assert result["average_precision"] == pytest.approx(0.5376, abs=0.016)
    f1 = threshold_metrics(
        logits=logits, labels=labels, valid=labels >= 0, threshold_logits=np.log(0.2592 / 0.7408)
    )["f1"]
    assert f1 == pytest.approx(0.5184, abs=0.014)


def test_log_loss_is_not_clipped():
    result = score_metrics(logits=[[-1e4, 1e4]], labels=[[1, 0]], valid=[[True, True]])
    assert result["log_loss"] == 1e4


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_non_finite_logit_makes_the_run_undefined_and_no_other(bad):
    batch = make_batch("unpadded")
    before = score_metrics(**batch)
    batch["logits"][2, 5], batch["logits"][4] = bad, bad
    after = score_metrics(**batch) | threshold_metrics(**batch, threshold_logits=0.0)
    for name, values in after.items():
        assert np.isnan(values[[2, 4]]).all(), name
        assert not np.isnan(values[[0, 1, 3, 5]]).any(), name
    for name, values in before.items():
        assert after[name][[0, 1, 3, 5]].tobytes() == values[[0, 1, 3, 5]].tobytes()


def test_a_nan_threshold_is_undefined():
    result = threshold_metrics(**make_batch("random"), threshold_logits=np.nan)
    assert all(np.isnan(values).all() for values in result.values())


@pytest.mark.parametrize("shape", [(2, 0), (2, 3)])
def test_no_valid_rows_are_undefined(shape):
    nothing = np.zeros(shape, dtype=bool)
    batch: dict = {"logits": np.zeros(shape), "labels": np.zeros(shape), "valid": nothing}
    result = score_metrics(**batch) | threshold_metrics(**batch, threshold_logits=0.0)
    for values in result.values():
        assert values.shape == (2,) and np.isnan(values).all()


def test_no_runs():
    batch = make_batch("random")
    result = score_metrics(**{name: values[:0] for name, values in batch.items()})
    assert all(values.shape == (0,) for values in result.values())


@pytest.mark.parametrize("num_runs, width", [(7, 37), (33, 920), (3, 1025)])
def test_bits_do_not_depend_on_company(num_runs, width):
    for kind in KINDS:
        batch = make_batch(kind, 1, num_runs, width)
        thresholds = np.linspace(-2, 1, num_runs)
        together = score_metrics(**batch)
        decided = threshold_metrics(**batch, threshold_logits=thresholds)
        for run in range(0, num_runs, max(1, num_runs // 8)):
            alone = one_run(batch, run)
            assert_same_bits(score_metrics(**alone), {k: v[[run]] for k, v in together.items()})
            assert_same_bits(
                threshold_metrics(**alone, threshold_logits=thresholds[run]),
                {k: v[[run]] for k, v in decided.items()},
            )


def test_bits_do_not_depend_on_padding():
    batch = make_batch("random")
    for extra in (1, 7, 64, 1000):
        padded: dict = {
            "logits": np.pad(batch["logits"], ((0, 0), (extra, 3)), constant_values=np.nan),
            "labels": np.pad(batch["labels"], ((0, 0), (extra, 3)), constant_values=-1),
            "valid": np.pad(batch["valid"], ((0, 0), (extra, 3))),
        }
        assert_same_bits(score_metrics(**padded), score_metrics(**batch))


def test_a_plain_sum_would_break_the_promise():
    """The trap behind `_total`, so that nobody simplifies it away."""
    terms = np.random.default_rng(0).random((50, 900))
    padded = np.pad(terms, ((0, 0), (0, 700)))
    assert (terms.sum(axis=1) != padded.sum(axis=1)).any()
    total, padded_total = terms.cumsum(axis=1)[:, -1], padded.cumsum(axis=1)[:, -1]
    assert (total == padded_total).all()


ROWS = st.lists(
    st.tuples(
        st.one_of(st.integers(-3, 3).map(float), st.floats(-1e4, 1e4, width=32)), st.booleans()
    ),
    min_size=1,
    max_size=40,
)


def as_batch(rows) -> dict:
    logits, labels = zip(*rows, strict=True)
    return {
        "logits": np.array([logits]),
        "labels": np.array([labels], dtype=np.int8),
        "valid": np.ones((1, len(rows)), dtype=bool),
    }


@settings(max_examples=150)
@given(rows=ROWS)
def test_any_rows_match_the_references(rows):
    batch = as_batch(rows)
    ((labels, logits),) = runs_of(batch)
    for name, values in score_metrics(**batch, num_bins=NUM_BINS).items():
        if name == "calibration_intercept" and np.ptp(logits) > 20:
            continue  # sums of saturated probabilities no longer tell where the root is
        expected = SCORE_REFERENCES[name](labels, logits)
        if name == "calibration_slope" and 4 < abs(expected) * logits.std() < np.inf:
            continue  # all but separated, or by one far row: a flat valley for either solver
        rtol = TOLERANCES.get(name, 1e-10)
        np.testing.assert_allclose(values[0], expected, rtol, max(rtol / 100, 1e-12), err_msg=name)


@settings(max_examples=100)
@given(rows=ROWS, data=st.data())
def test_the_order_of_rows_changes_no_bit(rows, data):
    shuffled = data.draw(st.permutations(rows))
    assert_same_bits(score_metrics(**as_batch(shuffled)), score_metrics(**as_batch(rows)))


@settings(max_examples=100)
@given(rows=ROWS)
def test_ranking_metrics_ignore_monotone_transforms(rows):
    batch = as_batch(rows)
    # Dense ranks are the transform that keeps every order and tie, whatever the spacing.
    transformed = batch | {"logits": np.unique(batch["logits"], return_inverse=True)[1] / 7 - 1}
    transformed["logits"] = transformed["logits"].reshape(1, -1)
    before, after = score_metrics(**batch), score_metrics(**transformed)
    for name in ("auroc", "average_precision"):
        np.testing.assert_array_equal(before[name], after[name])


@settings(max_examples=100)
@given(rows=ROWS)
def test_swapping_the_classes(rows):
    """Log loss, skill and Brier do not care which class is positive; nor does AUROC."""
    batch = as_batch(rows)
    swapped = batch | {"logits": -batch["logits"], "labels": 1 - batch["labels"]}
    before, after = score_metrics(**batch), score_metrics(**swapped)
    for name in ("log_loss", "skill", "brier", "auroc"):
        np.testing.assert_allclose(before[name], after[name], 1e-12, 1e-12, err_msg=name)


def test_a_ranking_can_be_shared():
    batch = make_batch("tied")
    ranking = rank_rows(**batch)
    shared = probability_metrics(ranking, num_bins=15, line=True, decompose=True)
    shared |= ranking_metrics(ranking, max_fpr=0.1, alerts=0.05, min_precision=0.9, min_recall=0.9)
    assert_same_bits(shared, score_metrics(**batch))


def test_ece_bins_hold_equal_mass():
    """40 bins of 40 distinct rows: one row a bin, so the mean absolute error."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(1, 40)), rng.integers(0, 2, (1, 40))
    result = score_metrics(logits=logits, labels=labels, valid=labels >= 0, num_bins=40)
    assert result["ece"] == pytest.approx(np.abs(expit(logits) - labels).mean())


def test_ece_bias_is_as_documented():
    """Perfect models look miscalibrated: at rare positives about as much as the prevalence."""
    rng, pi, n = np.random.default_rng(0), 0.02, 900
    logits = np.log(pi / (1 - pi)) + 1e-3 * rng.normal(size=(400, n))
    labels = (rng.random(logits.shape) < expit(logits)).astype(np.int8)
    ece = score_metrics(logits=logits, labels=labels, valid=labels >= 0)["ece"].mean()
    documented = 15 * np.sqrt(2 * pi * (1 - pi) * (n / 15) / np.pi) / n
    assert ece == pytest.approx(documented, rel=0.1)  # a normal approximation at 1.2 positives
    assert ece > pi / 2


@pytest.mark.parametrize(
    "change, message",
    [
        ({"logits": np.zeros(3)}, r"must all be \(runs, n\)"),
        ({"labels": np.zeros((2, 4))}, r"must all be \(runs, n\)"),
        ({"labels": np.full((2, 3), 2)}, "labels must be 0 or 1"),
        ({"num_bins": 0}, "num_bins must be at least 1, got 0"),
    ],
)
def test_bad_input(change, message):
    batch = {"logits": np.zeros((2, 3)), "labels": np.zeros((2, 3)), "valid": np.ones((2, 3))}
    with pytest.raises(ValueError, match=message):
        score_metrics(**(batch | change))
