"""One suite over all losses: limit, reference, minimiser, recovery, extremes, and the catalogue.

What is known of each loss stands in `tests.loss_table`; a loss that is missing there fails.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.metrics import log_loss

from harness import losses
from harness.config import AnyLoss, parse_as
from harness.errors import UserError
from harness.losses import (
    BatchLoss,
    PointwiseLoss,
    catalogue,
    family_of,
    mean_loss,
    mean_loss_and_gradient,
    pack,
)
from tests.loss_table import KNOWN, NAMES, make
from tests.references.record import LABELS, LOGITS, RECORDED
from tests.runs import config
from tests.test_resume import trained

POINTWISE = [name for name, cls in NAMES.items() if issubclass(cls, PointwiseLoss)]
OF_A_BATCH = [name for name, cls in NAMES.items() if issubclass(cls, BatchLoss)]
GRID = (0.02, 0.05, 0.3, 0.5, 0.7, 0.95)
# Compiled once for all losses of a kind, not for each test.
OVER_LANES = (0, None, None, None, None)
LANES = jax.jit(jax.vmap(mean_loss_and_gradient, in_axes=OVER_LANES))
MEAN = jax.jit(mean_loss)
EACH = jax.jit(jax.vmap(mean_loss, in_axes=(None, None, 0, 0, 0)))


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=200).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray((rng.random(200) < 0.3).astype(np.float32))


def value(loss, z, y):
    """The losses of each example, or the one of the batch."""
    if isinstance(loss, PointwiseLoss):
        return loss(logits=z, labels=y)
    return loss.mean(logits=z, labels=y, weights=jnp.ones_like(z))


def value_in_program(loss, z, y):
    """The same, of 32 bits, by one program for all losses of a kind."""
    if isinstance(loss, PointwiseLoss):
        return EACH(pack(loss), 1.0, z[:, None], y[:, None], jnp.ones((len(z), 1)))
    return MEAN(pack(loss), 1.0, z, y, jnp.ones_like(z))


def total(loss, z, y):
    return value(loss, z, y).sum()


def test_every_loss_is_known_and_of_one_kind():
    assert set(KNOWN) == set(NAMES)
    assert set(POINTWISE) | set(OF_A_BATCH) == set(NAMES)
    assert not set(POINTWISE) & set(OF_A_BATCH)


@pytest.mark.parametrize("name", NAMES)
def test_limit(name, sample):
    hyperparameters, formula = KNOWN[name].limit
    z, y = (np.asarray(part, dtype=np.float64) for part in sample)
    loss = make(name, **hyperparameters)
    found = value_in_program(loss, *sample)
    np.testing.assert_allclose(found, formula(z, y), rtol=5e-6, atol=3e-6)


@pytest.mark.parametrize("name", NAMES)
def test_reference(name, sample):
    hyperparameters, reference = KNOWN[name].reference
    loss = make(name, **hyperparameters)
    z, y = sample
    if name in POINTWISE:
        np.testing.assert_allclose(value(loss, z, y), reference(z, y), rtol=1e-5, atol=1e-6)
        ours = jax.grad(lambda z: total(loss, z, y))(z)
        theirs = jax.grad(lambda z: reference(z, y).sum())(z)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-6)
    else:
        exact = reference(np.float64(z), np.float64(y))
        np.testing.assert_allclose(value(loss, z, y), exact, rtol=1e-5)


@pytest.mark.parametrize("eta", GRID)
@pytest.mark.parametrize("name", POINTWISE)
def test_minimiser_gives_eta_back(name, eta):
    found = minimiser(make(name), eta)
    if name == "hinge":
        if eta != 0.5:
            assert np.sign(found) == np.sign(eta - 0.5)
        return
    recovered = make(name).posterior_logits(np.array([found]))
    # Symmetric cross-entropy is so flat that its minimiser is hard to find to more digits.
    assert expit(recovered[0]) == pytest.approx(eta, abs=2e-5)


def minimiser(loss, eta, at_most=25.0):
    with jax.enable_x64(True):

        def risk(z):
            z = jnp.atleast_1d(z)
            of_class = [loss(logits=z, labels=jnp.full_like(z, label)) for label in (0, 1)]
            return np.asarray(eta * of_class[1] + (1 - eta) * of_class[0])

        # A coarse grid first: some of these risks have flat ends.
        grid = np.linspace(-at_most, at_most, 401)
        best = grid[np.argmin(risk(grid))]
        bounds, options = (best - 0.2, best + 0.2), {"xatol": 1e-10}
        return minimize_scalar(
            lambda z: risk(z).item(), bounds=bounds, method="bounded", options=options
        ).x


@pytest.mark.parametrize("counts", [(950, 50), (50, 950)])
@pytest.mark.parametrize("name", NAMES)
def test_first_prediction_is_the_best_constant_short_of_the_prior(name, counts):
    negatives, positives = counts
    prior = np.log(positives / negatives)
    loss = NAMES[name]().fitted(num_negatives=negatives, num_positives=positives)
    found = loss.constant_logit(prior)
    if loss.posterior_logits(np.zeros(1)) is None:
        assert found == prior
    else:
        best = minimiser(loss, positives / (positives + negatives))
        assert found == pytest.approx(np.clip(best, *sorted((0, prior))), abs=1e-3)


def test_first_prediction_has_a_gradient():
    assert make("clipped_bce", epsilon=0.1).constant_logit(np.log(0.05 / 0.95)) == 0
    assert make("clipped_bce", epsilon=0.01).constant_logit(-2.0) == -2.0
    assert make("bce").constant_logit(0.0) == 0.0


@pytest.mark.parametrize("name", POINTWISE)
def test_recovery_follows_from_the_slopes(name, sample):
    """Where z minimises the risk, the odds of eta are the ratio of the two labels' slopes."""
    loss = make(name)
    with jax.enable_x64(True):
        z = jnp.linspace(-0.95, 0.95, 41)  # within the reach of squared error and hinge

        def slope(label):
            return jax.grad(lambda z: total(loss, z, jnp.full_like(z, label)))(z)

        odds = np.asarray(slope(0.0) / -slope(1.0))
    recovered = loss.posterior_logits(np.asarray(z))
    if recovered is None:
        assert name == "hinge"
        return
    with np.errstate(divide="ignore"):
        expected = np.clip(np.log(odds), logit(1e-6), -logit(1e-6))
    np.testing.assert_allclose(recovered, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in POINTWISE if KNOWN[name].minimiser_at_05])
def test_published_minimiser(name):
    known = KNOWN[name]
    found = minimiser(make(name), 0.05)
    shown = found if known.is_logit else expit(found)
    assert shown == pytest.approx(known.minimiser_at_05, abs=1e-3 if known.is_logit else 6e-5)


def test_published_minimisers_of_other_hyperparameters():
    assert expit(minimiser(make("focal", alpha=0.5), 0.05)) == pytest.approx(0.2502, abs=5e-5)
    assert expit(minimiser(make("poly1", epsilon=2.0), 0.05)) == pytest.approx(0.0181, abs=5e-5)
    # The asymmetric loss with its weights held has another fixed point: a root, not a minimum.
    held = make("asymmetric", detach=True)
    assert expit(held.posterior_logits(np.array([logit(0.477)])))[0] == pytest.approx(
        0.05, abs=4e-4
    )
    # At eta .75 a focal loss that weighs positives down says one half.
    assert expit(make("focal").posterior_logits(np.zeros(1)))[0] == pytest.approx(0.75)


def test_held_weights_have_no_gradient():
    z, y = jnp.array([-1.0, 0.5, 2.0]), jnp.array([1.0, 0.0, 0.0])
    loss = make("asymmetric", detach=True)
    weights = make("asymmetric")(logits=z, labels=y)
    np.testing.assert_allclose(loss(logits=z, labels=y), weights, rtol=1e-6)
    p = expit(np.float64(z))
    shifted = p[1:] - 0.05
    expected = [-((1 - p[0]) ** 2), *(p[1:] * (1 - p[1:]) * shifted**4 / (1 - shifted))]
    np.testing.assert_allclose(jax.grad(lambda z: total(loss, z, y))(z), expected, rtol=1e-5)


@pytest.mark.parametrize("family", dict.fromkeys(family_of(NAMES[name]) for name in OF_A_BATCH))
def test_a_loss_of_a_batch_orders_it(family):
    """Its minimiser tells no probability, but following it down orders the batch."""
    made = [make(cls.name) for cls in family]
    packed = stacked(made)
    lanes = jax.jit(jax.vmap(mean_loss_and_gradient, in_axes=(0, None, 0, None, None)))
    y, weights = np.float32(np.arange(60) < 20), np.ones(60, np.float32)
    z = np.tile(np.random.default_rng(4).normal(size=60).astype(np.float32), (len(made), 1))
    for _ in range(400):
        direction = np.asarray(lanes(packed, 1.0, z, y, weights)[1])
        z = z - 0.05 * direction / (np.linalg.norm(direction, axis=1, keepdims=True) / 8 + 1e-6)
    values = np.asarray(lanes(packed, 1.0, z, y, weights)[0])
    for loss, at, lost in zip(made, z, values, strict=True):
        assert loss.posterior_logits(np.zeros(3)) is None
        assert lost < 0.02, loss.name
        if loss.name != "partial_auc":  # which asks nothing of the other negatives
            assert at[:20].min() > at[20:].max(), loss.name


@pytest.mark.parametrize("name", NAMES)
def test_what_leaves_the_level_of_the_logits_alone_says_so(name, sample):
    """The gradient in the bias is the sum of those in the logits: 0 of some losses, of no other."""
    loss, (z, y) = make(name), sample
    slopes = np.float64(fused(loss, z, y)[1])
    is_level = abs(slopes.sum()) < 1e-5 * abs(slopes).sum()
    assert is_level == getattr(loss, "is_shift_invariant", False)


@pytest.mark.slow
def test_a_run_stores_whether_its_loss_leaves_the_level_alone(tmp_path):
    runs = [
        config(loss={"name": name}, model={"name": "logistic"}, training__num_epochs=1)
        for name in ("bce", "smooth_ap")
    ]
    stored = trained(runs, tmp_path)["runs"].sort("loss.name")
    assert stored["shift_invariant"].to_list() == [False, True]
    assert stored["test/log_loss"].null_count() == 0  # which analysis leaves out, not the store


@pytest.mark.parametrize("num", [10, 50, 100, 1000])
@pytest.mark.parametrize("tenths", range(1, 11))
def test_a_share_of_the_negatives_is_the_decimal_that_is_written(num, tenths):
    """Of 50, .3 are 15: its float32 is a hair more, and a sixteenth would count."""
    loss = make("partial_auc", max_fpr=tenths / 10)
    z, y = jnp.arange(num + 1.0) / num, jnp.zeros(num + 1).at[0].set(1.0)
    slopes = jax.jit(jax.grad(lambda z: total(loss, z, y)))(z)
    assert np.count_nonzero(slopes[1:]) == num * tenths // 10


@pytest.mark.parametrize("name", OF_A_BATCH)
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_batch_of_one_class_does_no_harm(name, label):
    z = jnp.array([-30.0, -1.0, 0.5, 30.0])
    y = jnp.full_like(z, label)
    loss, slope = fused(make(name), z, y)
    assert np.isfinite(loss) and np.isfinite(slope).all()
    if name not in {"dice", "tversky"}:
        assert loss == 0 and not slope.any()


@pytest.mark.parametrize("name", NAMES)
def test_an_example_of_weight_zero_is_not_there(name, sample):
    z, y = sample
    weights = jnp.asarray(np.random.default_rng(2).random(200) < 0.6, jnp.float32)
    kept = np.flatnonzero(weights)
    loss = make(name)
    ours, _ = fused(loss, z, y, weights)
    alone, _ = fused(loss, z[kept], y[kept])
    np.testing.assert_allclose(ours, alone, rtol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_finite_on_extreme_logits(name):
    z = jnp.array([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4])
    for y in (jnp.zeros(7), jnp.ones(7), jnp.array([0.0, 1, 0, 1, 0, 1, 0])):
        loss, slope = fused(make(name), z, y)
        assert np.isfinite(loss)
        assert np.isfinite(slope).all()


def stacked(made):
    """Losses of one family, each a lane."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(pack, made))


def fused(loss, z, y, weights=None):
    """The loss and its gradient as lanes of a program compute them, beside other losses."""
    weights = jnp.ones_like(z) if weights is None else weights
    others = [make(cls.name) for cls in family_of(type(loss))]
    values, slopes = LANES(stacked([loss, *others]), 1.0, z, y, weights)
    return np.asarray(values)[0], np.asarray(slopes)[0]


@pytest.mark.parametrize("name", NAMES)
def test_gradients_by_finite_differences(name):
    z = np.array([-2.3, -0.7, 0.4, 1.9], np.float32)  # off the kinks of hinge
    y = np.array([0.0, 1.0, 0.0, 1.0], np.float32)
    loss, step = make(name), np.float32(0.02)
    _, slopes = fused(loss, z, y)
    for at, moved in enumerate(step * np.eye(4, dtype=np.float32)):
        difference = fused(loss, z + moved, y)[0] - fused(loss, z - moved, y)[0]
        assert difference / (2 * step) == pytest.approx(slopes[at], rel=5e-3, abs=1e-4)


@pytest.mark.parametrize(
    "family", [catalogue.POINTWISE, catalogue.OF_A_BATCH], ids=["pointwise", "of a batch"]
)
def test_lanes_of_all_losses_are_the_losses(sample, family):
    """One program, every loss a lane: values and gradients are those of the loss by itself."""
    z, y = sample
    fitted = [make(cls.name) for cls in family]
    packed = stacked(fitted)
    values, slopes = LANES(packed, 1.0, z, y, jnp.ones_like(z))
    alone = jax.jit(jax.vmap(mean_loss, in_axes=OVER_LANES))(packed, 1.0, z, y, jnp.ones_like(z))
    np.testing.assert_allclose(alone, values, rtol=1e-6)
    for i, loss in enumerate(fitted):
        plain, slope = jax.value_and_grad(
            lambda z, loss=loss: loss.mean(logits=z, labels=y, weights=jnp.ones_like(z))
        )(z)
        np.testing.assert_allclose(values[i], plain, rtol=2e-6)
        np.testing.assert_allclose(slopes[i], slope, rtol=2e-4, atol=1e-8)


def test_a_lane_that_overflows_leaves_the_others_bits(sample):
    z, y = sample
    packed = stacked([make("bce")] * 3)
    both = jax.jit(jax.vmap(mean_loss_and_gradient, in_axes=(0, None, 0, None, None)))
    logits = np.stack([z, z, z])
    before = both(packed, 1.0, logits, y, jnp.ones_like(z))
    logits[1] = np.nan
    after = both(packed, 1.0, logits, y, jnp.ones_like(z))
    assert np.isnan(after[0][1])
    for one, other in zip(before, after, strict=True):
        assert np.asarray(one)[[0, 2]].tobytes() == np.asarray(other)[[0, 2]].tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_order_of_rows_and_shape_check(name, sample):
    loss = make(name)
    z, y = sample
    order = np.random.default_rng(1).permutation(len(z))
    moved, plain = value(loss, z[order], y[order]), value(loss, z, y)
    if name in POINTWISE:
        np.testing.assert_array_equal(moved, plain[order])
    else:
        np.testing.assert_allclose(moved, plain, rtol=2e-6)
    with pytest.raises(ValueError, match="shape"):
        loss.mean(logits=z[:, None], labels=y, weights=jnp.ones_like(z))


def test_hyperparameters_map_without_recompiling(sample):
    z, y = sample
    traces = []

    @jax.jit
    def loss(packed):
        traces.append(1)
        return mean_loss(packed, 1.0, z, y, jnp.ones_like(z))

    for one in (make("focal", gamma=0.0), make("focal", gamma=2.0), make("hinge")):
        loss(pack(one))
    assert len(traces) == 1


@pytest.mark.parametrize("progress, weights", [(0.0, (1, 1)), (0.79, (1, 1)), (0.8, None)])
def test_reweighting_is_deferred(progress, weights):
    ldam = make("ldam")
    expected = weights or (ldam.negative_weight, ldam.positive_weight)
    then = ldam.at(progress)
    assert (then.negative_weight, then.positive_weight) == pytest.approx(expected)
    assert make("bce").at(progress) == make("bce")


def test_margins_of_the_rarer_class_are_the_larger():
    """max_margin for the rarer class, in proportion to n^(-1/4), times the scale."""
    ldam = make("ldam", scale=30.0, max_margin=0.5)
    assert ldam.positive_margin == pytest.approx(15.0)
    assert ldam.negative_margin == pytest.approx(15.0 * (50 / 950) ** 0.25)


def test_known_values():
    """Values of the project's anchors: squared error's gradient at z = -10, y = 1."""
    gradient = jax.grad(lambda z: make("brier")(logits=z, labels=jnp.float32(1.0)))
    assert abs(float(gradient(-10.0))) == pytest.approx(9.079e-5, rel=1e-3)
    gradient = jax.grad(lambda z: make("bce")(logits=z, labels=jnp.float32(1.0)))
    assert abs(float(gradient(-10.0))) == pytest.approx(0.99995, abs=1e-5)


def test_symmetric_cross_entropy_is_poly1_scaled(sample):
    z, y = sample
    symmetric = make("symmetric_ce", alpha=0.4, beta=0.3)(logits=z, labels=y)
    poly = make("poly1", epsilon=9.21034 * 0.3 / 0.4)(logits=z, labels=y)
    np.testing.assert_allclose(symmetric, 0.4 * poly, rtol=1e-5)


def test_clipping_as_the_catalogue_says():
    """Zero gradient on a confidently wrong example, and in float32 no clip at all at 1e-8."""
    wrong, right = (jnp.array([20.0]), jnp.array([0.0])), (jnp.array([20.0]), jnp.array([1.0]))
    clipped = make("clipped_bce", epsilon=1e-7)
    assert jax.grad(lambda z: total(clipped, z, wrong[1]))(wrong[0])[0] == 0
    assert jax.grad(lambda z: total(make("bce"), z, wrong[1]))(wrong[0])[0] == pytest.approx(1)
    unclipped = make("clipped_bce", epsilon=1e-8)
    assert np.isinf(unclipped(logits=wrong[0], labels=wrong[1])).all()
    assert np.isnan(unclipped(logits=right[0], labels=right[1])).all()


def test_balanced_weights_are_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat([0, 1], [950, 50])
    negative, positive = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    loss = make("weighted_bce")
    assert (loss.negative_weight, loss.positive_weight) == pytest.approx((negative, positive))
    half = make("weighted_bce", positive_weight=7.0, negative_weight=1.0)
    assert (half.negative_weight, half.positive_weight) == (1.0, 7.0)


OURS = {
    "bce": {},
    "weighted_bce": {"positive_weight": 7.0, "negative_weight": 1.0},
    "label_smoothing": {},
    "clipped_bce": {},
    "focal": {},
}


@pytest.mark.parametrize("library", ["torch", "keras", "torchvision"])
def test_recorded_values_of_other_libraries(library):
    """Values and gradients to 1e-6, on ordinary logits and on those of +-1e4."""
    with jax.enable_x64(True):
        z, y = jnp.asarray(LOGITS), jnp.asarray(LABELS)
        entries = json.loads(RECORDED.read_text())[library]
        for name in entries.keys() - {"version"}:
            loss = make(name, **OURS[name])
            values, slopes = value(loss, z, y), jax.grad(lambda z, o=loss: total(o, z, y))(z)
            # Keras computes in float32 inside: 1e-7 is its epsilon of 1.
            np.testing.assert_allclose(values, entries[name]["values"], rtol=1e-6, atol=2e-9)
            np.testing.assert_allclose(slopes, entries[name]["gradients"], rtol=1e-6, atol=1e-12)


def test_bce_in_float32_agrees_with_recorded_float64():
    recorded = json.loads(RECORDED.read_text())["torch"]["bce"]
    z, y = jnp.float32(LOGITS), jnp.float32(LABELS)
    loss = make("bce")
    # The logits themselves are rounded to float32: 6e-8 of a logit is 6e-8 |z| of the loss.
    with jax.enable_x64(False):
        np.testing.assert_allclose(value(loss, z, y), recorded["values"], rtol=3e-6, atol=1e-12)
        slopes = jax.grad(lambda z: total(loss, z, y))(z)
    np.testing.assert_allclose(slopes, recorded["gradients"], rtol=3e-6, atol=1e-12)


def test_mean_bce_is_scikit_learns_log_loss(sample):
    z, y = (np.asarray(part, dtype=np.float64) for part in sample)
    with jax.enable_x64(True):
        ours = make("bce").mean(logits=jnp.asarray(z), labels=jnp.asarray(y), weights=jnp.ones(200))
    assert float(ours) == pytest.approx(log_loss(y, expit(z)), rel=1e-12)


def test_unfitted_loss_says_so():
    with pytest.raises(ValueError, match="fitted"):
        losses.WeightedBCE()(logits=jnp.zeros(2), labels=jnp.zeros(2))


def test_what_follows_from_the_counts_cannot_be_set():
    with pytest.raises(UserError, match=r"loss.*positive_margin.*leave it empty"):
        parse_as(AnyLoss, {"name": "ldam", "positive_margin": 1.0}, at="loss")
