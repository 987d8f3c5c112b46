"""`harness.BinaryClassifier` is a scikit-learn estimator, and a run of this harness."""

import pickle
import time
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import polars as pl
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from harness import BinaryClassifier
from harness.errors import UserError
from harness.interface import estimator, together
from harness.predict import Model

# Fits of up to 254 rows and 8 features, some missing, all in one batch, share a program.
QUICK = dict(model="logistic", num_epochs=20, batch_size=256, learning_rate=0.3, random_state=0)
NUM_ROWS = 240


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    X = random.normal(size=(NUM_ROWS, 3))
    y = np.where(X[:, 0] + 0.5 * random.normal(size=NUM_ROWS) > 0.8, "ill", "healthy")
    X[::5, 1] = np.nan
    return X, y


@pytest.fixture(scope="module")
def fitted(rows) -> BinaryClassifier:
    return BinaryClassifier(**QUICK).fit(*rows)


# The quick ones of some fifty; `make slow` runs all of them, which takes minutes of compiling.
FAST = {
    "check_estimator_cloneable",
    "check_estimator_repr", "check_estimator_tags_renamed", "check_estimators_unfitted",
    "check_fit1d", "check_fit2d_1sample", "check_get_params_invariance", "check_mixin_order",
    "check_no_attributes_set_in_init", "check_parameters_default_constructible",
    "check_set_params", "check_valid_tag_types", "check_classifiers_regression_target",
    "check_estimator_sparse_array", "check_complex_data", "check_all_zero_sample_weights_error",
    "check_classifiers_one_label_sample_weights",
}  # fmt: skip


def checks():
    return estimator_checks_generator(BinaryClassifier(num_epochs=30), legacy=True)


@pytest.mark.parametrize("name", sorted(FAST))
def test_checks_of_scikit_learn(name):
    found = [check for _, check in checks() if check.func.__name__ == name]
    assert found
    for check in found:
        check(BinaryClassifier(num_epochs=30))


# Repeated rows are split and batched as rows; that weight 0 takes a row away holds to the bit.
EXCEPTIONS = {"check_sample_weight_equivalence_on_dense_data": "parts and batches go by rows"}


@pytest.mark.slow
@parametrize_with_checks(
    [BinaryClassifier(num_epochs=30)], expected_failed_checks=lambda _: EXCEPTIONS
)
def test_all_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_what_it_says_fits_together(fitted, rows):
    X, y = rows
    probabilities, decisions = fitted.predict_proba(X), fitted.decision_function(X)
    assert fitted.classes_.tolist() == ["healthy", "ill"] and fitted.score(X, y) > 0.85
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(fitted.predict(X), np.where(decisions > 0, "ill", "healthy"))
    np.testing.assert_array_equal(probabilities[:, 1] > 0.5, decisions > 0)
    np.testing.assert_array_equal(fitted.predict_proba(X[:7]), probabilities[:7])


def test_the_same_state_is_the_same_bits_and_another_is_not(fitted, rows):
    X, _ = rows
    again = clone(fitted).fit(*rows)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    other = clone(fitted).set_params(random_state=1).fit(*rows)
    assert (other.predict_proba(X) != fitted.predict_proba(X)).any()


def test_equal_shapes_compile_once(fitted, rows):
    X, y = rows
    before = together.trainer.cache_info().misses
    for size in (150, 200, NUM_ROWS):
        clone(fitted).set_params(learning_rate=0.001 * size, loss="focal").fit(X[:size], y[:size])
    assert together.trainer.cache_info().misses == before


def test_fits_asked_for_at_once_are_lanes_of_one_batch(fitted, rows, monkeypatch):
    """To the bits that each has alone; what diverges, or has other rows, is no other's matter."""
    X, y = rows
    train, batches = together.trainer, []

    def counted(program):
        return lambda stacked, data: batches.append(1) or train(program)(stacked, data)

    monkeypatch.setattr(together, "trainer", counted)
    wild = {"loss": "squared_error", "learning_rate": 1e38}
    asked = [{"learning_rate": 0.1}, {"loss": "focal"}, wild]
    at_once = estimator._together()
    with ThreadPoolExecutor(4) as pool, at_once._training:
        fits = [pool.submit(clone(fitted).set_params(**one).fit, X, y) for one in asked]
        fits.append(pool.submit(clone(fitted).fit, X[:200], y[:200]))
        while len(at_once._waiting) < len(fits):
            time.sleep(0.005)
    wait(fits)
    assert len(batches) == 2 and not at_once._waiting
    with pytest.raises(UserError, match=r"diverged in step .* lower learning_rate=1e\+38"):
        fits[2].result()
    for one, changes in zip(fits[:2], asked, strict=False):
        alone = clone(fitted).set_params(**changes).fit(X, y)
        np.testing.assert_array_equal(one.result().predict_proba(X), alone.predict_proba(X))


def test_what_stops_one_batch_stops_no_later_fit(fitted, rows, monkeypatch):
    monkeypatch.setattr(together, "trainer", lambda program: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        clone(fitted).fit(*rows)
    monkeypatch.undo()
    np.testing.assert_array_equal(
        clone(fitted).fit(*rows).predict_proba(rows[0]), fitted.predict_proba(rows[0])
    )


def test_a_search_under_threads_is_the_search(rows):
    """As docs/how-to/scikit-learn.md has it: with rows that differ by fold, in a pipeline."""
    piped = make_pipeline(StandardScaler(), BinaryClassifier(**QUICK))
    grid = {"binaryclassifier__loss": ["bce", "focal", "brier"]}
    search = GridSearchCV(piped, grid, scoring="neg_log_loss", cv=2, refit=False)
    alone = clone(search).fit(*rows).cv_results_["mean_test_score"]
    with parallel_config("threading", n_jobs=6):
        found = clone(search).fit(*rows).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(found, alone)


def test_a_fit_is_a_model_that_can_be_kept(fitted, rows, tmp_path):
    X, _ = rows
    copied = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copied.predict_proba(X), fitted.predict_proba(X))
    pytest.importorskip("safetensors")
    fitted.model_.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.model_.predict_proba(X))


def test_meta_estimators(rows):
    X, y = rows
    one = BinaryClassifier(**QUICK)
    frame = pl.DataFrame(X, schema=["a", "b", "c"])
    piped = make_pipeline(StandardScaler(), one).set_output(transform="polars").fit(frame, y)
    assert piped[-1].feature_names_in_.tolist() == ["a", "b", "c"]
    assert piped.score(frame, y) > 0.85
    grid = GridSearchCV(piped, {"binaryclassifier__loss": ["bce", "focal"]}, cv=2).fit(frame, y)
    assert np.isfinite(grid.cv_results_["mean_test_score"]).all()
    calibrated = CalibratedClassifierCV(one, cv=2).fit(X, y)
    assert calibrated.predict_proba(X).shape == (NUM_ROWS, 2)
    tuned = TunedThresholdClassifierCV(one, scoring="balanced_accuracy", cv=2).fit(X, y)
    assert 0 < tuned.best_threshold_ < 1


def test_class_weights_move_decisions_and_not_the_model(fitted, rows):
    X, _ = rows
    balanced = clone(fitted).set_params(class_weight="balanced").fit(*rows)
    heavy = clone(fitted).set_params(class_weight={"ill": 50.0}).fit(*rows)
    flagged = [float(np.mean(one.predict(X) == "ill")) for one in (fitted, balanced, heavy)]
    assert flagged == sorted(flagged) and flagged[0] < flagged[2]
    natural = heavy.model_.predict_proba(X)[:, 1].mean()
    assert natural < heavy.predict_proba(X)[:, 1].mean()


def test_calibration_and_few_rows(fitted, rows):
    X, _ = rows
    made = clone(fitted).set_params(calibration="isotonic").fit(*rows)
    assert made.model_.version == "calibrated" and np.isfinite(made.decision_function(X)).all()
    few = clone(fitted).fit([[0.0], [np.nan], [2.0], [3.0]], [0, 0, 0, 1])
    assert few.predict([[3.0]]).shape == (1,)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"loss": "bec"}, "loss=bec.*did you mean bce"),
        ({"learning_rate": -1.0}, "optimizer.learning_rate"),
        ({"num_epochs": 0}, "training.num_epochs"),
        ({"validation_fraction": 1.5}, "validation_fraction=1.5 must be in"),
        ({"loss": "focal", "class_weight": "balanced"}, "loss='focal' has no class weights"),
        ({"class_weight": "heavy"}, "class_weight='heavy': give a weight for each class"),
        ({"class_weight": {"ill": 0}}, "weights must be above 0"),
        ({"overrides": ("loss=bce,focal",)}, "loss=bce,focal names several values"),
        ({"overrides": ("dataset.hold_out=0.2",)}, "hold_out=0.2: data are given to fit"),
        ({"overrides": ("seed=3",)}, "seed=3: .* the seed from random_state"),
        ({"calibration": "plat"}, "evaluation.calibrators"),
    ],
)
def test_mistakes_are_one_line(rows, given, said):
    with pytest.raises(UserError, match=said):
        BinaryClassifier(**QUICK | given).fit(*rows)


def test_a_fit_that_diverges_says_so(rows):
    wild = BinaryClassifier(**QUICK | {"learning_rate": 1e38})
    with pytest.raises(UserError, match=r"diverged in step .*: lower learning_rate=1e"):
        wild.set_params(loss="squared_error").fit(*rows)
