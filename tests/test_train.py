"""One training run: against an independent loop, exact answers, and its own promises."""

import jax
import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from harness.sweep import lanes
from tests.runs import config, prepared, train_alone, train_together

LOGISTIC = {"name": "logistic"}


def standardised(dataset, rows, train_rows):
    features = dataset.features.astype(np.float64)
    mean, deviation = features[train_rows].mean(0), features[train_rows].std(0)
    return (features[rows] - mean) / deviation


def test_sgd_on_logistic_regression_equals_a_loop_in_numpy():
    one = config(
        model=LOGISTIC,
        optimizer={"name": "sgd", "learning_rate": 0.3},
        training={"num_epochs": 1, "steps_per_epoch": 5, "batch_size": 32},
    )
    ready, outcome, dataset = train_alone(one)
    split = ready.data.split
    weights, bias = np.zeros(dataset.num_features), float(ready.lane.head_bias)
    for rows in ready.lane.batch_rows:
        features = standardised(dataset, rows, split.train)
        residual = expit(features @ weights + bias) - dataset.labels[rows]
        weights -= 0.3 * features.T @ residual / 32
        bias -= 0.3 * residual.mean()
    expected = standardised(dataset, split.test, split.train) @ weights + bias
    np.testing.assert_allclose(outcome.test_logits, expected, rtol=2e-4, atol=2e-5)


def test_converged_logistic_regression_is_scikit_learns():
    """L2 of strength lam on the mean loss is scikit-learn's C = 1 / (n lam). Ours decays the bias
    too, so there the bias is a column of ones."""
    one = config(
        model=LOGISTIC,
        optimizer={"name": "momentum", "learning_rate": 0.2, "weight_decay": 0.01},
        training={"num_epochs": 1, "steps_per_epoch": 3000, "batch_size": 341},
    )
    ready, outcome, dataset = train_alone(one)
    split = ready.data.split
    reference = LogisticRegression(C=1 / (len(split.train) * 0.01), fit_intercept=False, tol=1e-8)
    train, test = (
        np.hstack([standardised(dataset, rows, split.train), np.ones((len(rows), 1))])
        for rows in (split.train, split.test)
    )
    reference.fit(train, dataset.labels[split.train])
    expected = reference.decision_function(test)
    np.testing.assert_allclose(outcome.test_logits, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("model", [LOGISTIC, {"name": "mlp", "width": 8, "depth": 2}])
def test_first_prediction_is_the_prior(model):
    """Bias 0 gives ln 2; bias logit(pi) gives the entropy H(pi) of the training part."""
    still = {"name": "sgd", "learning_rate": 1e-60}
    one_epoch = {"num_epochs": 1, "steps_per_epoch": 1, "batch_size": 341}
    zero = config(model=model | {"prior_bias": False}, optimizer=still, training=one_epoch)
    _, outcome, _ = train_alone(zero)
    assert outcome.curves.train_log_loss[0] == pytest.approx(np.log(2), abs=1e-6)
    one = config(model=model, optimizer=still, training=one_epoch)
    ready, outcome, dataset = train_alone(one)
    pi = dataset.labels[ready.data.split.train].mean()
    entropy = -pi * np.log(pi) - (1 - pi) * np.log(1 - pi)
    assert outcome.curves.train_log_loss[0] == pytest.approx(entropy, abs=1e-6)


@pytest.mark.parametrize("select", ["loss", "log_loss", "brier"])
def test_best_epoch_is_the_lowest_of_the_selected_curve(select):
    one = config(evaluation={"select": select}, loss={"name": "focal"}, training__num_epochs=12)
    _, outcome, _ = train_alone(one)
    curve = getattr(outcome.curves, f"validation_{select}")
    assert outcome.best_epoch == 1 + np.argmin(curve)


def test_stored_logits_are_of_the_best_epoch():
    """Trained just to the best epoch of a longer run, a run ends with the same predictions."""
    noisy = {"name": "sgd", "learning_rate": 3.0}
    _, longer, _ = train_alone(config(optimizer=noisy, training__num_epochs=15))
    assert 0 < longer.best_epoch < 15
    shorter = config(optimizer=noisy, training__num_epochs=int(longer.best_epoch))
    _, outcome, _ = train_alone(shorter)
    np.testing.assert_allclose(outcome.test_logits, longer.test_logits, rtol=1e-4, atol=1e-5)


def test_patience_stops_and_a_stopped_run_stops_changing():
    noisy = {"name": "sgd", "learning_rate": 3.0}
    free = config(optimizer=noisy, training__num_epochs=20)
    patient = config(optimizer=noisy, training={"num_epochs": 20, "batch_size": 64, "patience": 2})
    all_epochs, stopped = train_together(free, patient)
    end = int(stopped.num_epochs)
    assert end < 20 and end == stopped.best_epoch + 2
    seen, kept = all_epochs.curves.validation_log_loss, stopped.curves.validation_log_loss
    np.testing.assert_array_equal(kept[:end], seen[:end])
    assert (kept[end:] == kept[end - 1]).all()
    assert all_epochs.num_epochs == 20


def test_divergence_is_dated_and_keeps_the_last_good_epoch():
    wild = config(
        loss={"name": "squared_error"},
        optimizer={"name": "sgd", "learning_rate": 1e6},
        training={"num_epochs": 3, "steps_per_epoch": 6, "batch_size": 64},
    )
    _, outcome, _ = train_alone(wild)
    assert 1 < outcome.diverged_step <= 6
    assert outcome.best_epoch == 0 and outcome.num_epochs == 1
    # The step before was finite: cut there, the run does not diverge.
    last_good = int(outcome.diverged_step) - 1
    one = config(
        loss={"name": "squared_error"},
        optimizer={"name": "sgd", "learning_rate": 1e6},
        training={"num_epochs": 1, "steps_per_epoch": last_good, "batch_size": 64},
    )
    _, shorter, _ = train_alone(one)
    assert shorter.diverged_step == 0


def test_company_changes_no_bit():
    tame = [config(seed=seed, loss={"name": name}) for seed in (0, 1) for name in ("bce", "hinge")]
    wild = config(loss={"name": "squared_error"}, optimizer={"name": "adam", "learning_rate": 1e30})
    alone = [train_together(one)[0] for one in tame]
    together = train_together(wild, *tame[::-1])
    assert together[0].diverged_step > 0
    for one, other in zip(alone, together[:0:-1], strict=True):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            assert a.tobytes() == b.tobytes()


def test_lanes_agree_with_the_plain_loop():
    one = config(loss={"name": "label_smoothing"})
    (fused,) = train_together(one)
    _, plain, _ = train_alone(one)
    np.testing.assert_allclose(fused.test_logits, plain.test_logits, rtol=1e-4, atol=1e-5)


def test_pairing():
    """One seed: one split, order and initialisation, whatever the loss and optimizer."""
    one = prepared(config(seed=3)).lane
    sgd = {"name": "sgd", "learning_rate": 1.0}
    other = prepared(config(seed=3, loss={"name": "focal"}, optimizer=sgd)).lane
    elsewhere = prepared(config(seed=4)).lane
    for field in ("batch_rows", "validation_rows", "test_rows", "init_key", "dropout_key"):
        assert getattr(one, field).tobytes() == getattr(other, field).tobytes()
        assert getattr(one, field).tobytes() != getattr(elsewhere, field).tobytes()


def test_dropout_trains_on_thinned_networks_and_predicts_with_whole_ones():
    dropped = {"name": "mlp", "width": 8, "depth": 1, "dropout": 0.5}
    _, with_dropout, _ = train_alone(config(model=dropped))
    _, again, _ = train_alone(config(model=dropped))
    _, without, _ = train_alone(config())
    assert with_dropout.test_logits.tobytes() == again.test_logits.tobytes()
    assert np.abs(with_dropout.test_logits - without.test_logits).max() > 1e-3
    # Halves are thrown away at random in training: its loss lies above that of the whole network.
    assert (
        with_dropout.curves.train_log_loss[-1] > with_dropout.curves.validation_log_loss[-1] - 0.05
    )


@pytest.mark.slow
def test_large_parts_are_evaluated_in_chunks(monkeypatch):
    from harness import training

    one = config()
    _, whole, _ = train_alone(one)
    monkeypatch.setattr(training, "EVALUATION_CHUNK", 50)
    lanes._train_alone.clear_cache()
    _, chunked, _ = train_alone(one)
    lanes._train_alone.clear_cache()
    np.testing.assert_allclose(chunked.test_logits, whole.test_logits, rtol=1e-5, atol=1e-6)


def test_padding_rows_count_for_nothing():
    """A lower rate in every part leaves padded validation rows, which no metric may see."""
    one = config(imbalance={"positive_rate": 0.1, "where": "all"})
    ready, outcome, dataset = train_alone(one)
    split = ready.data.split
    assert len(split.validation) < ready.run.sizes.validation
    logits = outcome.validation_logits[: len(split.validation)].astype(np.float64)
    labels = dataset.labels[split.validation]
    log_loss = np.mean(np.logaddexp(0, logits) - labels * logits)
    best = outcome.curves.validation_log_loss[outcome.best_epoch - 1]
    assert best == pytest.approx(log_loss, rel=1e-5)


def test_learning_rate_from_config_to_lane():
    from harness.optimizers import WarmupCosine

    one = config(
        optimizer={"name": "sgd", "learning_rate": 0.5},
        schedule={"name": "warmup_cosine", "warmup": 0.25, "final": 0.1},
        training={"num_epochs": 2, "steps_per_epoch": 10, "batch_size": 64},
    )
    assert one.schedule == WarmupCosine(warmup=0.25, final=0.1)
    rates = prepared(one).lane.learning_rates
    assert rates.shape == (20,) and rates.max() == np.float32(0.5) and rates[5] == np.float32(0.5)
    assert rates[0] == 0 and rates[-1] == pytest.approx(0.05, abs=0.01)
