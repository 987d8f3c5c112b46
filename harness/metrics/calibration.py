"""Scores adjusted after training: calibrated by a map fitted on validation, corrected by formula.

Fitting a calibrator takes the ranking of one part; applying it takes logits of any. What is fitted
never sees what it is judged on. Every map here is non-decreasing, so that it leaves AUROC and
average precision as they are but for ties: a run whose scores rank backwards on validation becomes
a constant. The parametric ones are fitted to Platt's targets, (P + 1) / (P + 2) for a positive and
1 / (N + 2) for a negative, in place of 1 and 0: a validation part whose classes a cut separates
then has finite parameters too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.metrics.definitions import VERSIONS
from harness.metrics.logistic import Groups, fit_logistic, groups_of, standardised
from harness.metrics.probability_metrics import isotonic_fit
from harness.metrics.ranked_rows import Array, Ranking

_LARGEST_TEMPERATURE = 1e6


@dataclass(frozen=True)
class Fitted:
    """A calibrator fitted to each run.

    Attributes:
        parameters: by stored name (`definitions.VERSIONS`), (runs,) each; NaN where a run could
            not be fitted.
        apply: (runs, n) raw logits to calibrated ones.
        curve: of a run whose map no parameters say: raw logits, and their probabilities.
    """

    parameters: Mapping[str, Array]
    apply: Callable[[Array], Array]
    curve: Callable[[int], tuple[Array, Array]] | None = None

    def kept(self, run: int) -> dict[str, Array]:
        """What `calibrated` needs of a run: float64 arrays of one axis, by name."""
        if self.curve is not None:
            return dict(zip(kept_names("isotonic"), self.curve(run), strict=True))
        return {name: values[run : run + 1] for name, values in self.parameters.items()}


def kept_names(calibrator: str) -> tuple[str, ...]:
    """What `Fitted.kept` of a run is called: single numbers, but for isotonic regression."""
    return ("knots", "probs") if calibrator == "isotonic" else VERSIONS[calibrator].parameters


def is_calibration(calibrator: str, kept: Mapping[str, NDArray[np.float64]]) -> bool:
    """Whether finite numbers of the right shapes are what `Fitted.kept` may be: no map decreases.

    >>> is_calibration("platt", {"platt_slope": np.array([-1.0]), "platt_intercept": np.zeros(1)})
    False
    """
    if calibrator == "isotonic":
        knots, probs = kept["knots"], kept["probs"]
        inside = bool(((probs > 0) & (probs < 1)).all())
        return inside and bool((np.diff(knots) > 0).all() and (np.diff(probs) >= 0).all())
    if calibrator == "temperature":
        return bool(kept["temperature"][0] > 0)
    return all(float(kept[name][0]) >= 0 for name in kept_names(calibrator)[:-1])


def calibrated(logits: Array, *, calibrator: str, kept: Mapping[str, NDArray[np.float64]]) -> Array:
    """Raw logits (n,), calibrated by what was `Fitted.kept` of a run."""
    if calibrator == "isotonic":
        return _between(logits, kept["knots"], kept["probs"])
    values = [float(kept[name][0]) for name in VERSIONS[calibrator].parameters]
    if calibrator == "temperature":
        return logits * (1 / values[0])
    if calibrator == "platt":
        slope, intercept = values
        return slope * logits + intercept
    a, b, c = values
    low, high = _beta_features(logits)
    return a * low + b * high + c


def fit_temperature(validation: Ranking) -> Fitted:
    """z / T, with the T > 0 of least log loss on validation.

    One parameter: it makes probabilities more or less extreme around .5 and cannot mend a shifted
    prior.

    References:
        Guo et al., On calibration of modern neural networks (2017).
    """

    def inverse(groups: Groups) -> Array:
        size = np.sqrt(groups.sums(groups.logits**2) / groups.sums(np.ones_like(groups.logits)))
        size = np.where(size > 0, size, 1.0)
        scaled = groups.logits / size[groups.run_of]
        slope = fit_logistic(groups, [scaled], intercept=False)[:, 0] / size
        return np.maximum(slope, 1 / _LARGEST_TEMPERATURE)[:, None]

    (slope,) = _fitted(validation, inverse, 1).T
    return Fitted(_named("temperature", 1 / slope), lambda logits: logits * slope[:, None])


def fit_platt(validation: Ranking) -> Fitted:
    """a z + b, with the a >= 0 and b of least log loss on validation.

    References:
        Platt, Probabilistic outputs for support vector machines (1999).
    """

    slope, intercept = _fitted(validation, lambda groups: _line(groups, groups.logits), 2).T
    return Fitted(
        _named("platt", slope, intercept),
        lambda logits: slope[:, None] * logits + intercept[:, None],
    )


def fit_beta(validation: Ranking) -> Fitted:
    """a ln p - b ln(1 - p) + c, with the a, b >= 0 and c of least log loss; p = sigmoid(z).

    a = b is Platt's map; a and b apart bend the two ends of the scale separately.

    References:
        Kull, Silva Filho and Flach, Beta calibration (2017). As there, a coefficient that would be
        negative is dropped and the other fitted alone.
    """
    fitted = _fitted(validation, _beta_coefficients, 3)
    a, b, c = fitted.T

    def apply(logits: Array) -> Array:
        low, high = _beta_features(logits)
        return a[:, None] * low + b[:, None] * high + c[:, None]

    return Fitted(_named("beta", a, b, c), apply)


def _beta_features(logits: Array) -> tuple[Array, Array]:
    """ln p and -ln(1 - p), both increasing in the logit."""
    log_tail = np.log1p(np.exp(-np.abs(logits)))
    return -(np.maximum(-logits, 0) + log_tail), np.maximum(logits, 0) + log_tail


def _beta_coefficients(groups: Groups) -> Array:
    low, high = _beta_features(groups.logits)
    x, x_mean, x_spread = standardised(low, groups)
    y, y_mean, y_spread = standardised(high, groups)
    c, a, b = fit_logistic(groups, [x, y]).T
    a, b = a / x_spread, b / y_spread
    coefficients = np.stack([a, b, c - a * x_mean - b * y_mean], axis=1)
    if (a < 0).any():
        coefficients[a < 0, 0] = 0
        coefficients[a < 0, 1:] = _line(groups, high)[a < 0]
    if (b < 0).any():
        only_b = (b < 0) & (a >= 0)
        coefficients[only_b, 1] = 0
        coefficients[only_b, ::2] = _line(groups, low)[only_b]
    return coefficients


def _line(groups: Groups, feature: Array) -> Array:
    """(runs, 2): the best slope of at least 0, and its intercept."""
    scaled, mean, spread = standardised(feature, groups)
    constant, slope = fit_logistic(groups, [scaled]).T
    if (slope < 0).any():
        constant = np.where(slope < 0, fit_logistic(groups)[:, 0], constant)
    slope = np.maximum(slope, 0) / spread
    return np.stack([slope, constant - slope * mean], axis=1)


def fit_isotonic(validation: Ranking) -> Fitted:
    """The non-decreasing map of least Brier score and log loss on validation.

    Linear between the validation logits and constant beyond them. Probabilities are kept within
    1 / (n + 2) of 0 and 1, n the validation rows (Laplace's rule for n rows of one label): blocks
    of one label would else give infinite logits.

    References:
        Zadrozny and Elkan, Transforming classifier scores into accurate multiclass probability
        estimates (2002).
    """
    fits = [isotonic_fit(validation, run) for run in range(len(validation.logits))]
    least = 1 / (validation.num_rows + 2)
    usable = _fittable(validation)

    def curve(run: int) -> tuple[Array, Array]:
        knots, shares = fits[run]
        return knots, np.clip(shares, least[run], 1 - least[run])

    def apply(logits: Array) -> Array:
        calibrated = np.full(logits.shape, np.nan)
        for run in np.flatnonzero(usable):
            calibrated[run] = _between(logits[run], *curve(int(run)))
        return calibrated

    steps = [len(np.unique(shares)) for _, shares in fits]
    return Fitted(_named("isotonic", np.where(usable, np.array(steps), np.nan)), apply, curve)


def _between(logits: Array, knots: Array, probs: Array) -> Array:
    """Logits of the probabilities that are linear between ``knots``."""
    found = np.interp(logits, knots, probs)
    return np.log(found) - np.log1p(-found)


CALIBRATORS: Mapping[str, Callable[[Ranking], Fitted]] = {
    "temperature": fit_temperature,
    "platt": fit_platt,
    "isotonic": fit_isotonic,
    "beta": fit_beta,
}


def _named(calibrator: str, *parameters: Array) -> dict[str, Array]:
    return dict(zip(VERSIONS[calibrator].parameters, parameters, strict=True))


def _fittable(validation: Ranking) -> NDArray[np.bool_]:
    return validation.usable & (validation.num_positives > 0) & (validation.num_negatives > 0)


def _fitted(validation: Ranking, solve: Callable[[Groups], Array], num: int) -> Array:
    """(runs, num) parameters of ``solve`` on Platt's targets; NaN where nothing can be fitted."""
    parameters = np.full((len(validation.logits), num), np.nan)
    fittable = _fittable(validation)
    if fittable.any():
        chosen = validation.of(fittable)
        groups = groups_of(chosen)
        of_positive = ((chosen.num_positives + 1) / (chosen.num_positives + 2))[groups.run_of]
        of_negative = (1 / (chosen.num_negatives + 2))[groups.run_of]
        rows = groups.positives + groups.negatives
        positives = groups.positives * of_positive + groups.negatives * of_negative
        parameters[fittable] = solve(
            replace(groups, positives=positives, negatives=rows - positives)
        )
    return parameters


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
