"""What is known of every loss from elsewhere: a limit, a reference, and its minimiser.

References are written from the papers' formulas in plain float64, or are Optax's. A loss that is
missing here fails the suite.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.optimize import minimize
from scipy.special import expit, logit

from harness.exact import exact
from harness.losses import LOSSES

COUNTS = {"num_negatives": 950, "num_positives": 50}
NAMES = {cls().name: cls for cls in LOSSES}


@dataclass(frozen=True)
class Known:
    """``limit``: (hyperparameters at a limit, what the loss is there). ``reference``:
    (hyperparameters, the loss from elsewhere). Both functions take logits and labels and give what
    the loss does: an array for pointwise losses, a number for those of a batch.

    ``minimiser_at_05``: the published minimiser at eta .05 as a probability (as a logit if so
    marked); None for losses whose minimiser tells no probability.
    """

    limit: tuple[dict[str, Any], Callable[..., Any]]
    reference: tuple[dict[str, Any], Callable[..., Any]]
    minimiser_at_05: float | None = None
    is_logit: bool = False


def make(name: str, **hyperparameters: Any) -> Any:
    return NAMES[name](**hyperparameters).fitted(**COUNTS)


def bce(z, y):
    return np.logaddexp(0, z) - y * z


def optax_bce(z, y):
    return optax.losses.sigmoid_binary_cross_entropy(z, y)


def two_logits(z):
    """The binary problem as two classes, for losses over classes."""
    return jnp.stack([jnp.zeros_like(z), z], axis=-1)


def one_hot(y):
    return jnp.stack([1 - y, y], axis=-1)


def p_t(z, y):
    return jax.nn.sigmoid((2 * y - 1) * z)


def weighted_by(negative: float, positive: float):
    return lambda z, y: optax_bce(z, y) * jnp.where(y == 1, positive, negative)


def asymmetric(z, y):
    """Equations 4 to 7 of Ridnik et al. with gamma 1 and 3, margin .1."""
    p = jax.nn.sigmoid(z)
    shifted = jnp.maximum(p - 0.1, 0)
    return -(y * (1 - p) * jnp.log(p) + (1 - y) * shifted**3 * jnp.log(1 - shifted))


def vector_scaling(z, y):
    """Two classes as the authors have them: logits / Delta + iota into a weighted cross-entropy."""
    n = jnp.array([950.0, 50.0])
    delta = (n.max() / n) ** 0.2
    # One logit, not two: both classes' logits are divided by the label's Delta.
    scaled = two_logits(z) / jnp.where(y == 1, delta[1], delta[0])[:, None]
    return optax.losses.softmax_cross_entropy(scaled + 1.5 * jnp.log(n / n.sum()), one_hot(y))


def ldam(z, y):
    """Two classes: the label's cosine less its margin, times the scale, reweighted."""
    n = np.array([950.0, 50.0])
    margins = n**-0.25 * (0.3 / (n**-0.25).max())
    cosines = two_logits(z) / 10.0 - one_hot(y) * margins
    weights = (1 - 0.999) / (1 - 0.999**n)
    weights = weights / weights.sum() * 2
    losses = optax.losses.softmax_cross_entropy(10.0 * cosines, one_hot(y))
    return losses * jnp.where(y == 1, weights[1], weights[0])


def symmetric_ce(z, y):
    """Both cross-entropies over two classes, log 0 as log 1e-4."""
    probs = jax.nn.softmax(two_logits(z))
    reverse = -jnp.sum(probs * jnp.log(jnp.clip(one_hot(y), 1e-4, 1.0)), axis=-1)
    return 0.5 * optax.losses.softmax_cross_entropy(two_logits(z), one_hot(y)) + 2.0 * reverse


def tversky(a: float, b: float):
    def loss(z, y):
        p = expit(z)
        tp, fp, fn = (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()
        return 1 - tp / (tp + a * fp + b * fn)

    return loss


def pairs(surrogate, share=1.0):
    """A mean over pairs, one by one; against the highest ``share`` of the negatives."""

    def loss(z, y):
        negatives = np.sort(z[y == 0])[::-1]
        kept = negatives[: math.ceil(exact(share) * len(negatives))]
        return np.mean([[surrogate(i - j) for j in kept] for i in z[y == 1]])

    return loss


def spreads(z, y):
    positive, negative = expit(z)[y == 1], expit(z)[y == 0]
    return positive.var() + negative.var() + max(0.0, negative.mean() - positive.mean()) ** 2


def auc_margin(z, y):
    """The paper's min over a, b and max over alpha, done by a numerical optimiser."""
    h, positive = expit(z), y == 1

    def value(a, b):
        gap = max(0.0, 0.8 - a + b)  # the best alpha, for the means: equation 3
        spread = ((h[positive] - a) ** 2).mean() + ((h[~positive] - b) ** 2).mean()
        return spread, gap

    found = minimize(lambda ab: value(*ab)[0], [0.5, 0.5], tol=1e-14)
    alpha = np.linspace(0, 4, 400_001)
    short = 0.8 - h[positive].mean() + h[~positive].mean()
    return found.fun + (2 * alpha * short - alpha**2).max()


def smooth_ap(z, y):
    """Equation 5 of Brown et al., term by term."""
    positives = np.flatnonzero(y == 1)
    terms = []
    for i in positives:
        others = [j for j in range(len(z)) if j != i]
        above = {j: expit((z[j] - z[i]) / 0.5) for j in others}
        among = 1 + sum(above[j] for j in others if y[j] == 1)
        terms.append(among / (1 + sum(above.values())))
    return 1 - np.mean(terms)


def soap(z, y):
    """Of each positive, the share of positives in the squared hinges of all rows above it."""
    terms = []
    for i in z[y == 1]:
        above = np.maximum(0, 0.7 - (i - z)) ** 2
        terms.append(above[y == 1].sum() / above.sum())
    return 1 - np.mean(terms)


def average_precision_missed(z, y):
    from sklearn.metrics import average_precision_score

    return 1 - average_precision_score(y, z)


KNOWN = {
    "bce": Known(({}, bce), ({}, optax_bce), 0.05),
    "clipped_bce": Known(
        ({"epsilon": 1e-12}, bce),
        (
            {"epsilon": 0.01},
            lambda z, y: (lambda p: -(y * jnp.log(p) + (1 - y) * jnp.log(1 - p)))(
                jnp.clip(jax.nn.sigmoid(z), 0.01, 0.99)
            ),
        ),
        0.05,
    ),
    "weighted_bce": Known(
        ({"positive_weight": 1.0, "negative_weight": 1.0}, bce),
        ({}, weighted_by(1000 / 1900, 1000 / 100)),
        0.5,
    ),
    "class_balanced": Known(
        ({"beta": 0.0}, bce),
        # w = (1 - b) / (1 - b^n), to sum to 2.
        (
            {},
            lambda z, y: weighted_by(
                *(lambda w: 2 * w / w.sum())(1e-4 / (1 - 0.9999 ** np.array([950, 50])))
            )(z, y),
        ),
        float(expit(logit(0.05) + np.log(18.17))),
    ),
    "brier": Known(
        ({}, lambda z, y: (expit(z) - y) ** 2),
        (
            {},
            lambda z, y: optax.losses.squared_error(jax.nn.softmax(two_logits(z)), one_hot(y)).mean(
                -1
            ),
        ),
        0.05,
    ),
    "squared_error": Known(
        ({}, lambda z, y: (z - (2 * y - 1)) ** 2),
        ({}, lambda z, y: optax.losses.squared_error(z, 2 * y - 1)),
        -0.9,
        is_logit=True,
    ),
    "hinge": Known(
        ({"margin": 1.0}, lambda z, y: np.maximum(0, 1 - (2 * y - 1) * z)),
        ({"margin": 2.5}, lambda z, y: jnp.maximum(0, 2.5 - (2 * y - 1) * z)),
    ),
    "squared_hinge": Known(
        ({"margin": 1.0}, lambda z, y: np.maximum(0, 1 - (2 * y - 1) * z) ** 2),
        ({}, lambda z, y: optax.losses.hinge_loss(z, 2 * y - 1) ** 2),
        -0.9,
        is_logit=True,
    ),
    "focal": Known(
        ({"gamma": 0.0, "alpha": 0.5}, lambda z, y: 0.5 * bce(z, y)),
        (
            {"gamma": 1.5, "alpha": 0.3},
            lambda z, y: optax.losses.sigmoid_focal_loss(z, y, alpha=0.3, gamma=1.5),
        ),
        0.1819,
    ),
    "asymmetric": Known(
        ({"gamma_positive": 0.0, "gamma_negative": 0.0, "margin": 0.0}, bce),
        ({"gamma_positive": 1.0, "gamma_negative": 3.0, "margin": 0.1}, asymmetric),
        0.4173,
    ),
    "label_smoothing": Known(
        ({"epsilon": 0.0}, bce),
        (
            {},
            lambda z, y: optax.losses.softmax_cross_entropy(
                two_logits(z), optax.losses.smooth_labels(one_hot(y), 0.1)
            ),
        ),
        0.095,
    ),
    "logit_adjustment": Known(
        ({"tau": 0.0}, bce),
        ({"tau": 0.7}, lambda z, y: optax_bce(z + 0.7 * logit(0.05), y)),
        0.5,
    ),
    "ldam": Known(
        ({"max_margin": 0.0, "beta": 0.0}, bce),
        ({"max_margin": 0.3, "scale": 10.0, "beta": 0.999}, ldam),
    ),
    "vector_scaling": Known(
        # Without scales it is the logit adjustment.
        ({"gamma": 0.0, "tau": 0.7}, lambda z, y: bce(z + 0.7 * logit(0.05), y)),
        ({"gamma": 0.2, "tau": 1.5}, vector_scaling),
    ),
    "poly1": Known(
        ({"epsilon": 0.0}, bce),
        (
            {"epsilon": 2.0},
            lambda z, y: optax.losses.poly_loss_cross_entropy(
                two_logits(z), one_hot(y), epsilon=2.0
            ),
        ),
    ),
    "generalized_ce": Known(
        # q = 1 is the absolute error |p - y|.
        ({"q": 1.0}, lambda z, y: np.abs(expit(z) - y)),
        ({}, lambda z, y: (1 - p_t(z, y) ** 0.7) / 0.7),
        -9.815,
        is_logit=True,
    ),
    "symmetric_ce": Known(
        ({"alpha": 1.0, "beta": 0.0}, bce),
        ({"alpha": 0.5, "beta": 2.0}, symmetric_ce),
    ),
    "dice": Known(
        ({}, tversky(0.5, 0.5)),
        ({}, lambda z, y: 1 - 2 * (expit(z) * y).sum() / (expit(z) + y).sum()),
    ),
    "tversky": Known(
        ({"false_positive_weight": 0.5, "false_negative_weight": 0.5}, tversky(0.5, 0.5)),
        ({"false_positive_weight": 0.2, "false_negative_weight": 0.9}, tversky(0.2, 0.9)),
    ),
    "auc_margin": Known(
        # With nothing asked of the gap, only the spreads are left.
        ({"margin": 1e-9}, spreads),
        ({"margin": 0.8}, auc_margin),
    ),
    "pairwise_logistic": Known(
        ({}, pairs(lambda gap: np.logaddexp(0, -gap))),
        (
            {},
            lambda z, y: float(
                np.mean([optax_bce(jnp.float32(i - z[y == 0]), 1.0) for i in z[y == 1]])
            ),
        ),
    ),
    "pairwise_hinge": Known(
        # Wider than any gap, only the squares' mean is left.
        ({"margin": 50.0}, pairs(lambda gap: (50.0 - gap) ** 2)),
        ({"margin": 1.5}, pairs(lambda gap: max(0.0, 1.5 - gap) ** 2)),
    ),
    "partial_auc": Known(
        ({"max_fpr": 1.0}, pairs(lambda gap: max(0.0, 1.0 - gap) ** 2)),
        ({"max_fpr": 0.2, "margin": 2.0}, pairs(lambda gap: max(0.0, 2.0 - gap) ** 2, share=0.2)),
    ),
    "soap": Known(
        # Wider than any gap, every row is as much above.
        ({"margin": 1e7}, lambda z, y: 1 - y.mean()),
        ({"margin": 0.7}, soap),
    ),
    "auc_min_max": Known(
        ({"margin": 1e-9}, spreads),
        ({"margin": 0.8}, auc_margin),
    ),
    "smooth_ap": Known(
        # As the temperature falls, the average precision itself.
        ({"temperature": 1e-5}, average_precision_missed),
        ({"temperature": 0.5}, smooth_ap),
    ),
}
