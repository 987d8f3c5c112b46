"""From the probabilities of the training part to those of the world: analytic, nothing fitted."""

from math import log

import numpy as np
from numpy.typing import ArrayLike

from harness.evaluate.ranking import Array

# The logit of the largest float below 1: a recovered probability of 0 or 1 is no surer than this.
LARGEST_LOGIT = float(-np.log(2.0**-53))


def shift_prior(logits: ArrayLike, *, shift: float) -> Array:
    """Posterior logits under one prior as those under another: z + shift.

    Args:
        logits: of eta, any shape. Infinite ones (a recovered probability of 0 or 1) become the
            largest logit a probability has before they are shifted.
        shift: see `prior_shift`.
    """
    finite = np.nan_to_num(
        np.asarray(logits, dtype=np.float64),
        nan=np.nan,
        posinf=LARGEST_LOGIT,
        neginf=-LARGEST_LOGIT,
    )
    return finite + shift


def prior_shift(*, training_rate: float, natural_rate: float) -> float:
    """logit(natural_rate) - logit(training_rate): exact where training differs from the world only
    in how often each class occurs, as after random over- or undersampling of a class.

    It is the way back from undersampling, p = b p_s / (b p_s + 1 - p_s) for a share b of negatives
    kept. Synthetic rows (SMOTE) are no exact prior shift.

    Args:
        training_rate, natural_rate: shares of positives, in (0, 1).

    References:
        Saerens et al., Adjusting the outputs of a classifier to new a priori probabilities (2002);
        Dal Pozzolo et al., Calibrating probability with undersampling (2015).

    >>> round(prior_shift(training_rate=0.5, natural_rate=0.05), 4)
    -2.9444
    """
    for name, rate in (("training_rate", training_rate), ("natural_rate", natural_rate)):
        if not 0 < rate < 1:
            raise ValueError(f"{name} must be in (0, 1), got {rate}")
    return log(natural_rate / (1 - natural_rate)) - log(training_rate / (1 - training_rate))
