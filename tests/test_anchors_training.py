"""Known answers about where training goes: on separable data, and with rare classes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize

from harness.losses import BCE, LabelSmoothing, VectorScaling, WeightedBCE
from harness.optimizers import SGD, Adam

# Two clusters in the plane, which a line parts; the positives are the rarer.
POINTS = np.array(
    [[2.0, 1.0], [1.5, 2.2], [-1.0, -1.2], [-0.8, -0.4], [-2.0, -1.0], [-0.5, -1.6], [-1.6, 0.1]]
)
LABELS = np.array([1.0, 1, 0, 0, 0, 0, 0])


def descended(loss, num_steps, rate=0.05):
    """(w, b) after gradient descent with steps of one length, which speeds up the way out."""
    features, labels = jnp.asarray(np.c_[POINTS, np.ones(len(POINTS))]), jnp.asarray(LABELS)

    def mean(theta):
        return loss.mean(logits=features @ theta, labels=labels, weights=jnp.ones(len(labels)))

    def step(theta, _):
        gradient = jax.grad(mean)(theta)
        return theta - rate * gradient / jnp.linalg.norm(gradient), None

    return np.asarray(jax.lax.scan(step, jnp.zeros(3), length=num_steps)[0])


def widest_margin(scales):
    """The shortest (w, b) that puts every point beyond 1 / its class's scale: hard margin."""
    signs = 2 * LABELS - 1
    sides = (signs * np.where(LABELS == 1, *scales))[:, None] * np.c_[POINTS, np.ones(len(POINTS))]
    found = minimize(
        lambda theta: theta @ theta,
        np.ones(3),
        jac=lambda theta: 2 * theta,
        constraints={
            "type": "ineq",
            "fun": lambda theta: sides @ theta - 1,
            "jac": lambda _: sides,
        },
        tol=1e-12,
    )
    assert found.success
    return found.x


def angle(one, other):
    return np.degrees(np.arccos(one @ other / np.linalg.norm(one) / np.linalg.norm(other)))


def test_weights_fade_on_separable_data_and_scales_do_not():
    """Byrd and Lipton 2019; Kini et al. 2021: only vector scaling's D moves the limit direction."""
    counts = {"num_negatives": 5, "num_positives": 2}
    with jax.enable_x64(True):
        plain = descended(BCE(), 4000)
        weighted = descended(WeightedBCE(positive_weight=64.0, negative_weight=1.0), 4000)
        scaled = descended(VectorScaling(gamma=1.0, tau=0.0).fitted(**counts), 4000)
        early = descended(WeightedBCE(positive_weight=64.0, negative_weight=1.0), 20)
    limit = widest_margin((1.0, 1.0))
    # The angle left falls as one over the norm: 3.6 degrees at a quarter of these steps.
    assert angle(plain, limit) < 1.5
    assert angle(weighted, limit) < 1.5
    assert angle(early, limit) > 5.0  # the weights do matter before the classes are parted
    # Scales ask the rarer class for a margin 1 / D times as wide.
    assert angle(scaled, widest_margin((2 / 5, 1.0))) < 1.5
    assert angle(scaled, limit) > 5.0


def test_label_smoothing_stops_at_a_finite_logit():
    """e .1: z* = 2.944 with a floor of H(e / 2) = .1985, where BCE goes on for ever."""
    loss = LabelSmoothing(epsilon=0.1)
    features, labels = jnp.array([1.0, -1.0]), jnp.array([1.0, 0.0])

    def mean(weight):
        return loss.mean(logits=weight * features, labels=labels, weights=jnp.ones(2))

    found = jax.lax.fori_loop(0, 2000, lambda _, w: w - 2.0 * jax.grad(mean)(w), 0.0)
    assert float(found) == pytest.approx(2.944, abs=1e-3)
    assert float(mean(found)) == pytest.approx(0.1985, abs=1e-4)


@pytest.mark.parametrize("share", [0.3, 0.1, 0.01])
def test_descent_fits_a_rare_class_slowly_and_sign_descent_does_not(share):
    """Kunstner et al. 2024: gradient descent's loss on a class of share pi_k falls as 1/(pi_k t);
    a step by the sign of the gradient (Adam without memory) does not see the share."""
    labels = jnp.array([1.0, 0.0])  # one example a class, each with a feature of its own
    shares = jnp.array([share, 1.0 - share])

    def of_each(weights):
        return BCE()(logits=weights * jnp.array([1.0, -1.0]), labels=labels)

    def after(optimizer, num_steps):
        tx = optimizer.in_lane().transformation(lambda _: optimizer.learning_rate)

        def step(carry, _):
            weights, state = carry
            gradient = jax.grad(lambda w: shares @ of_each(w))(weights)
            updates, state = tx.update(gradient, state, weights)
            return (optax.apply_updates(weights, updates), state), None

        start = (jnp.zeros(2), tx.init(jnp.zeros(2)))
        return np.asarray(of_each(jax.lax.scan(step, start, length=num_steps)[0][0]))

    t = 20_000
    by_descent = after(SGD(learning_rate=1.0), t)
    np.testing.assert_allclose(by_descent * np.asarray(shares) * t, 1.0, atol=0.1)
    by_sign = after(Adam(learning_rate=0.01, b1=0.0, b2=0.0, eps=1e-30), 500)
    np.testing.assert_allclose(by_sign, np.log1p(np.exp(-5.0)), rtol=1e-3)
