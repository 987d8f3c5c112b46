"""Every loss against its limit, its minimiser and a reference nobody here wrote.

A loss without an entry in each of the three tables fails the suite.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from harness import losses
from harness.losses import POINTWISE, one_of

COUNTS = {"num_negatives": 950, "num_positives": 50}
NAMES = {cls().name: cls for cls in POINTWISE}
GRID = (0.02, 0.05, 0.3, 0.5, 0.7, 0.95)


def make(name, **hyperparameters):
    return NAMES[name](**hyperparameters).fitted(**COUNTS)


def bce(z, y):
    return np.logaddexp(0, z) - y * z


# (loss at a limit of its hyperparameters, the same values by a simpler formula)
LIMITS = {
    "bce": (make("bce"), bce),
    "weighted_bce": (make("weighted_bce", positive_weight=1.0, negative_weight=1.0), bce),
    "brier": (make("brier"), lambda z, y: (expit(z) - y) ** 2),
    "squared_error": (make("squared_error"), lambda z, y: (z - (2 * y - 1)) ** 2),
    "hinge": (make("hinge", margin=1.0), lambda z, y: np.maximum(0, 1 - (2 * y - 1) * z)),
    "squared_hinge": (
        make("squared_hinge", margin=1.0),
        lambda z, y: np.maximum(0, 1 - (2 * y - 1) * z) ** 2,
    ),
    "focal": (make("focal", gamma=0.0, alpha=0.5), lambda z, y: 0.5 * bce(z, y)),
    "label_smoothing": (make("label_smoothing", epsilon=0.0), bce),
    "logit_adjustment": (make("logit_adjustment", tau=0.0), bce),
    "poly1": (make("poly1", epsilon=0.0), bce),
    # q = 1 is the absolute error |p - y|.
    "generalized_ce": (make("generalized_ce", q=1.0), lambda z, y: np.abs(expit(z) - y)),
}


def two_logits(z):
    """The binary problem as two classes, for Optax's losses over classes."""
    return jnp.stack([jnp.zeros_like(z), z], axis=-1)


def one_hot(y):
    return jnp.stack([1 - y, y], axis=-1)


# The same loss from Optax or, where Optax has none, from the paper's formula in float64.
REFERENCES = {
    "bce": (make("bce"), optax.losses.sigmoid_binary_cross_entropy),
    "weighted_bce": (
        make("weighted_bce"),
        lambda z, y: (
            optax.losses.sigmoid_binary_cross_entropy(z, y)
            * jnp.where(y == 1, 1000 / 100, 1000 / 1900)
        ),
    ),
    "brier": (
        make("brier"),
        lambda z, y: optax.losses.squared_error(jax.nn.softmax(two_logits(z)), one_hot(y)).mean(-1),
    ),
    "squared_error": (
        make("squared_error"),
        lambda z, y: optax.losses.squared_error(z, 2 * y - 1),
    ),
    "hinge": (
        make("hinge", margin=2.5),
        lambda z, y: jnp.maximum(0, 2.5 - (2 * y - 1) * z),
    ),
    "squared_hinge": (
        make("squared_hinge"),
        lambda z, y: optax.losses.hinge_loss(z, 2 * y - 1) ** 2,
    ),
    "focal": (
        make("focal", gamma=1.5, alpha=0.3),
        lambda z, y: optax.losses.sigmoid_focal_loss(z, y, alpha=0.3, gamma=1.5),
    ),
    "label_smoothing": (
        make("label_smoothing"),
        lambda z, y: optax.losses.softmax_cross_entropy(
            two_logits(z), optax.losses.smooth_labels(one_hot(y), 0.1)
        ),
    ),
    "logit_adjustment": (
        make("logit_adjustment", tau=0.7),
        lambda z, y: optax.losses.sigmoid_binary_cross_entropy(z + 0.7 * logit(0.05), y),
    ),
    "poly1": (
        make("poly1", epsilon=2.0),
        lambda z, y: optax.losses.poly_loss_cross_entropy(two_logits(z), one_hot(y), epsilon=2.0),
    ),
    "generalized_ce": (
        make("generalized_ce"),
        lambda z, y: (1 - jax.nn.sigmoid((2 * y - 1) * z) ** 0.7) / 0.7,
    ),
}


def focal_eta(z, gamma=2.0, alpha=0.25):
    p, q = expit(z), expit(-z)

    def phi(v):
        return (1 - v) ** gamma / v - gamma * (1 - v) ** (gamma - 1) * np.log(v)

    odds = phi(q) / phi(p) * (1 - alpha) / alpha
    return odds / (1 + odds)


# eta back from the logit of the population minimiser (the catalogue's recoveries).
RECOVERIES = {
    "bce": expit,
    "weighted_bce": lambda z: expit(z - np.log(19)),
    "brier": expit,
    "squared_error": lambda z: (1 + z) / 2,
    "hinge": None,  # only the side of one half survives
    "squared_hinge": lambda z: (1 + z) / 2,
    "focal": focal_eta,
    "label_smoothing": lambda z: (expit(z) - 0.05) / 0.9,
    "logit_adjustment": lambda z: expit(z + logit(0.05)),
    "poly1": lambda z: (lambda p: (p + p * (1 - p)) / (1 + 2 * p * (1 - p)))(expit(z)),
    "generalized_ce": lambda z: expit((1 - 0.7) * z),
}


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=500).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray((rng.random(500) < 0.3).astype(np.float32))


@pytest.mark.parametrize("table", [LIMITS, REFERENCES, RECOVERIES], ids=["limit", "ref", "eta"])
def test_every_loss_is_declared(table):
    assert set(table) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_limit(name, sample):
    loss, formula = LIMITS[name]
    z, y = (np.asarray(part, dtype=np.float64) for part in sample)
    np.testing.assert_allclose(loss(logits=sample[0], labels=sample[1]), formula(z, y), 2e-6, 2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_reference_values_and_gradients(name, sample):
    loss, reference = REFERENCES[name]
    z, y = sample
    np.testing.assert_allclose(loss(logits=z, labels=y), reference(z, y), rtol=1e-5, atol=1e-6)
    ours = jax.grad(lambda z: loss(logits=z, labels=y).sum())(z)
    theirs = jax.grad(lambda z: reference(z, y).sum())(z)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("eta", GRID)
@pytest.mark.parametrize("name", NAMES)
def test_minimiser_gives_eta_back(name, eta):
    with jax.enable_x64(True):
        loss = make(name)

        def risk(z):
            pair = loss(logits=jnp.array([z, z]), labels=jnp.array([1.0, 0.0]))
            return float(eta * pair[0] + (1 - eta) * pair[1])

        found = minimize_scalar(risk, bounds=(-25, 25), method="bounded", options={"xatol": 1e-10})
    if name == "hinge":
        if eta != 0.5:
            assert np.sign(found.x) == np.sign(eta - 0.5)
        return
    assert RECOVERIES[name](found.x) == pytest.approx(eta, abs=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_finite_on_extreme_logits(name):
    loss = one_of(make(name))  # as fused: an unchosen branch must not leak a NaN gradient either
    z = jnp.array([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4])
    for label in (0.0, 1.0):
        y = jnp.full_like(z, label)
        assert np.isfinite(loss(logits=z, labels=y)).all()
        assert np.isfinite(jax.grad(lambda z, y=y: loss(logits=z, labels=y).sum())(z)).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_by_finite_differences(name):
    z = jnp.array([-2.3, -0.7, 0.4, 1.9])  # off the kinks of hinge
    y = jnp.array([0.0, 1.0, 0.0, 1.0])
    loss = make(name)
    check_grads(lambda z: loss(logits=z, labels=y), (z,), order=1, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", NAMES)
def test_fused_and_jitted_are_the_same_loss(name, sample):
    loss = make(name)
    z, y = sample
    plain = loss(logits=z, labels=y)
    np.testing.assert_allclose(one_of(loss)(logits=z, labels=y), plain, rtol=1e-6)
    jitted = jax.jit(lambda loss, z, y: loss(logits=z, labels=y))
    np.testing.assert_allclose(jitted(loss, z, y), plain, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_permutation_equivariance_and_shape_check(name, sample):
    loss = make(name)
    z, y = sample
    order = np.random.default_rng(1).permutation(len(z))
    moved = loss(logits=z[order], labels=y[order])
    np.testing.assert_array_equal(moved, loss(logits=z, labels=y)[order])
    with pytest.raises(ValueError, match="shape"):
        loss(logits=z[:, None], labels=y)


def test_hyperparameters_map_without_recompiling(sample):
    z, y = sample
    traces = []

    @jax.jit
    def mean_loss(loss):
        traces.append(1)
        return loss(logits=z, labels=y).mean()

    for gamma in (0.0, 1.0, 2.0):
        mean_loss(jax.tree.map(jnp.float32, make("focal", gamma=gamma)))
    assert len(traces) == 1


def test_known_values():
    """Values of the project's anchors: squared error's gradient at z = -10, y = 1."""
    gradient = jax.grad(lambda z: make("brier")(logits=z, labels=jnp.float32(1.0)))
    assert abs(float(gradient(-10.0))) == pytest.approx(9.079e-5, rel=1e-3)
    gradient = jax.grad(lambda z: make("bce")(logits=z, labels=jnp.float32(1.0)))
    assert abs(float(gradient(-10.0))) == pytest.approx(0.99995, abs=1e-5)


def test_balanced_weights_are_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat([0, 1], [950, 50])
    negative, positive = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    loss = make("weighted_bce")
    assert (loss.negative_weight, loss.positive_weight) == pytest.approx((negative, positive))
    half = make("weighted_bce", positive_weight=7.0, negative_weight=1.0)
    assert (half.negative_weight, half.positive_weight) == (1.0, 7.0)


def test_unfitted_loss_says_so():
    with pytest.raises(ValueError, match="fitted"):
        losses.WeightedBCE()(logits=jnp.zeros(2), labels=jnp.zeros(2))
