"""Calibrators against scikit-learn's, and what they promise of any run."""

import inspect

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from harness.metrics.calibration import (
    CALIBRATORS,
    fit_beta,
    fit_isotonic,
    fit_platt,
    fit_temperature,
)
from harness.metrics.evaluate import choose
from harness.metrics.logistic import fit_logistic, groups_of
from harness.metrics.ranked_rows import rank_rows
from harness.metrics.settings import Evaluation


def batch(num_runs=5, n=300, slope=1.7, seed=0, decimals=None):
    """Labels drawn at logits that the runs show shrunk and shifted; padding anywhere."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(num_runs, n)) * 2 - 1
    labels = (rng.random(truth.shape) < expit(truth)).astype(np.int8)
    logits = truth / slope + 0.4 + 0.3 * rng.normal(size=truth.shape)
    logits = logits if decimals is None else np.round(logits, decimals)
    valid = rng.random(truth.shape) < 0.8
    logits[~valid] = np.nan
    return {"logits": logits, "labels": labels, "valid": valid}


def rows_of(rows, run):
    valid = rows["valid"][run]
    return rows["logits"][run, valid], rows["labels"][run, valid].astype(int)


def smoothed_fit(features, labels, **options):
    """scikit-learn's logistic regression on Platt's targets: each row twice, by weight."""
    num_positives, num_negatives = labels.sum(), (1 - labels).sum()
    targets = np.where(labels, (num_positives + 1) / (num_positives + 2), 1 / (num_negatives + 2))
    model = LogisticRegression(
        C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=1000, **options
    )
    n = len(labels)
    return model.fit(
        np.vstack([features, features]),
        np.repeat([1, 0], n),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )


@pytest.mark.parametrize("decimals", [None, 0])
def test_temperature_is_scikit_learns_slope_without_intercept(decimals):
    rows = batch(decimals=decimals)
    fitted = fit_temperature(rank_rows(**rows))
    for run, temperature in enumerate(fitted.parameters["temperature"]):
        logits, labels = rows_of(rows, run)
        model = smoothed_fit(logits[:, None], labels, fit_intercept=False)
        assert 1 / temperature == pytest.approx(model.coef_.item(), rel=1e-7)


@pytest.mark.parametrize("decimals", [None, 0])
def test_platt_is_scikit_learns_sigmoid_calibration(decimals):
    """`CalibratedClassifierCV` on a model whose decision function is the logit itself."""
    rows = batch(decimals=decimals)
    fitted = fit_platt(rank_rows(**rows))
    apply = fitted.apply(rows["logits"])
    for run in range(len(rows["logits"])):
        logits, labels = rows_of(rows, run)
        identity = LogisticRegression().fit(logits[:, None], labels)
        identity.coef_[:], identity.intercept_[:] = 1.0, 0.0
        model = CalibratedClassifierCV(FrozenEstimator(identity), method="sigmoid", cv=2)
        # Frozen, so that every fold is calibrated on; one calibrator fitted on all rows:
        model.set_params(ensemble=False).fit(logits[:, None], labels)
        expected = model.predict_proba(logits[:, None])[:, 1]
        # scikit-learn stops its search at about five digits
        np.testing.assert_allclose(expit(apply[run][rows["valid"][run]]), expected, rtol=2e-4)


def test_platt_is_logistic_regression_on_platts_targets():
    rows = batch()
    parameters = fit_platt(rank_rows(**rows)).parameters
    for run in range(5):
        logits, labels = rows_of(rows, run)
        model = smoothed_fit(logits[:, None], labels)
        assert parameters["platt_slope"][run] == pytest.approx(model.coef_.item(), rel=1e-7)
        expected = model.intercept_.item()
        assert parameters["platt_intercept"][run] == pytest.approx(expected, rel=1e-6)


def test_beta_is_scikit_learns_regression_on_both_logs():
    rows = batch(num_runs=20, n=80)
    fitted = fit_beta(rank_rows(**rows))
    bent = 0
    for run in range(20):
        logits, labels = rows_of(rows, run)
        probs = expit(logits)
        features = np.stack([np.log(probs), -np.log1p(-probs)], axis=1)
        model = smoothed_fit(features, labels)
        if (model.coef_ < 0).any():  # Kull et al.: the other feature alone
            kept = int(model.coef_[0, 0] < 0)
            alone = smoothed_fit(features[:, [kept]], labels)
            expected = [0.0, 0.0, alone.intercept_.item()]
            expected[kept] = alone.coef_.item()
        else:
            bent += 1
            expected = [*model.coef_[0], model.intercept_.item()]
        actual = [fitted.parameters[name][run] for name in ("beta_a", "beta_b", "beta_c")]
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-9)
    assert 0 < bent < 20  # both ways of fitting were compared


@pytest.mark.parametrize("decimals", [None, 0])
def test_isotonic_is_scikit_learns(decimals):
    validation, test = batch(decimals=decimals), batch(seed=1)
    fitted = fit_isotonic(rank_rows(**validation)).apply(test["logits"])
    for run in range(5):
        logits, labels = rows_of(validation, run)
        least = 1 / (len(labels) + 2)
        model = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
        model.fit(logits, labels)
        expected = model.predict(rows_of(test, run)[0])
        actual = expit(fitted[run][test["valid"][run]])
        np.testing.assert_allclose(actual, expected, rtol=1e-9)


@pytest.mark.parametrize("name", CALIBRATORS)
def test_a_calibrator_mends_a_line_and_keeps_the_order(name):
    """Far more rows than parameters: back to the probabilities the labels were drawn from."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(1, 100_000)) * 1.5
    labels = (rng.random(truth.shape) < expit(truth)).astype(np.int8)
    logits = 2.5 * truth if name == "temperature" else 2.5 * truth + 1
    fitted = CALIBRATORS[name](rank_rows(logits=logits, labels=labels, valid=labels >= 0))
    calibrated = fitted.apply(logits)
    np.testing.assert_allclose(expit(calibrated), expit(truth), atol=0.03)
    order = np.argsort(logits[0])
    assert (np.diff(calibrated[0, order]) >= 0).all()


@pytest.mark.parametrize("name", CALIBRATORS)
def test_separated_classes_give_finite_logits(name):
    logits = np.array([[5.0, 4.0, 3.0, -1.0, -2.0, -30.0]])
    labels = np.array([[1, 1, 1, 0, 0, 0]])
    fitted = CALIBRATORS[name](rank_rows(logits=logits, labels=labels, valid=labels >= 0))
    assert np.isfinite(fitted.apply(logits)).all()
    assert (np.diff(fitted.apply(logits)) <= 0).all()


@pytest.mark.parametrize("name", ["platt", "isotonic", "beta"])
def test_scores_that_rank_backwards_become_the_base_rate(name):
    rows = batch(n=4000)
    backwards = rows | {"logits": -rows["logits"]}
    calibrated = CALIBRATORS[name](rank_rows(**backwards)).apply(backwards["logits"])
    for run in range(5):
        values = calibrated[run][rows["valid"][run]]
        assert np.ptp(expit(values)) < 0.05
        assert expit(values.mean()) == pytest.approx(rows_of(rows, run)[1].mean(), abs=0.02)


@pytest.mark.parametrize("name", CALIBRATORS)
@pytest.mark.parametrize("kind", ["one class", "not finite", "constant", "no rows"])
def test_runs_without_a_fit_are_nan_and_disturb_no_other(name, kind):
    rows = batch()
    alone = CALIBRATORS[name](rank_rows(**rows))
    if kind == "one class":
        rows["labels"][2] = 1
    elif kind == "not finite":
        rows["logits"][2, rows["valid"][2]] = np.inf
    elif kind == "constant":
        rows["logits"][2] = 0.3
    else:
        rows["valid"][2] = False
    beside = CALIBRATORS[name](rank_rows(**rows))
    others = [0, 1, 3, 4]
    for parameter, values in beside.parameters.items():
        assert values[others].tobytes() == alone.parameters[parameter][others].tobytes()
        assert np.isfinite(values[2]) == (kind == "constant")
    with np.errstate(invalid="ignore"):
        assert np.isfinite(beside.apply(np.zeros((5, 2)))[2]).all() == (kind == "constant")


@pytest.mark.parametrize("name", CALIBRATORS)
def test_bits_do_not_depend_on_company_padding_or_order(name):
    rows = batch(num_runs=7, n=500, decimals=2)
    together = CALIBRATORS[name](rank_rows(**rows)).parameters
    rng = np.random.default_rng(1)
    for run in range(7):
        kept = rng.permutation(np.flatnonzero(rows["valid"][run]))
        alone = {key: values[run : run + 1, kept] for key, values in rows.items()}
        for parameter, value in CALIBRATORS[name](rank_rows(**alone)).parameters.items():
            assert value.tobytes() == together[parameter][run : run + 1].tobytes()


def test_a_mapped_ranking_is_the_ranking_of_mapped_rows():
    rows = batch(decimals=1)
    ranking = rank_rows(**rows)
    for apply in (np.round, lambda z: 3 * z - 1, lambda z: 0 * z):
        mapped = vars(ranking.mapped(apply(ranking.logits)))
        expected = vars(rank_rows(**(rows | {"logits": apply(rows["logits"])})))
        ends = expected["is_end"]
        for name, values in expected.items():
            if values.ndim == 2 and name not in ("is_end",):
                np.testing.assert_array_equal(mapped[name][ends], values[ends], err_msg=name)
            else:
                np.testing.assert_array_equal(mapped[name], values, err_msg=name)


def test_nothing_that_fits_can_see_the_test_part():
    for fit in CALIBRATORS.values():
        assert list(inspect.signature(fit).parameters) == ["validation"]
    assert list(inspect.signature(choose).parameters) == ["validation", "evaluation"]
    assert set(CALIBRATORS) == set(Evaluation().calibrators)


def test_logistic_fits_survive_what_plain_newton_does_not():
    """A far outlier on the wrong side, from which an undamped step overshoots."""
    logits = np.array([[-100.0, 0.2, 0.1, 0.0, -0.1, -0.2, -0.3, 0.4]])
    labels = np.array([[1, 1, 1, 1, 0, 0, 0, 0]])
    groups = groups_of(rank_rows(logits=logits, labels=labels, valid=labels >= 0))
    (intercept, slope) = fit_logistic(groups, [groups.logits])[0]
    model = LogisticRegression(C=np.inf, tol=1e-10, solver="newton-cholesky")
    model.fit(logits[0][:, None], labels[0])
    assert slope == pytest.approx(model.coef_.item(), abs=1e-6)
    assert intercept == pytest.approx(model.intercept_.item(), abs=1e-6)


def test_a_constant_run_calibrates_to_its_base_rate():
    labels = (np.arange(40) < 10).astype(int)[None]
    ranking = rank_rows(logits=np.full((1, 40), 2.0), labels=labels, valid=labels >= 0)
    for name in ("platt", "beta", "isotonic"):
        calibrated = CALIBRATORS[name](ranking).apply(np.full((1, 1), 2.0))
        assert calibrated == pytest.approx(logit(0.25), abs=0.05)
