"""A classifier of scikit-learn's kind that is trained as a run of a sweep is."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from math import log
from threading import Lock
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from harness.config import Config, parse
from harness.data.dataset import Dataset
from harness.data.in_memory import Memory, held
from harness.data.splits import Rows, split_off
from harness.errors import UserError
from harness.interface.session import ready
from harness.overrides.jobs import job_of

# The columns of a fit's table beside its features: which part a row is of, its label and weight.
_PART, _LABEL, _WEIGHT = "part", "label", "weight"
_TRAINING, _VALIDATION, _TEST = 0, 1, 2
# The losses that class weights multiply, and what is trained in their place.
_WEIGHTED = {"bce": "weighted_bce", "weighted_bce": "weighted_bce"}
_LARGEST = 1 - 2**-53  # the probability next to 1
# Hydra, and the frames that a process holds, are of one thread at a time.
_PREPARING = Lock()


class BinaryClassifier(ClassifierMixin, BaseEstimator):
    """A network under any loss of this harness, for two classes of any name.

    It is one run of `harness train`, by the same program. Features are numbers, NaN where one is
    missing; text wants an encoder before it in a pipeline. Fits of the same rows that threads ask
    for at once are trained together, to the same bits.

    Args:
      loss, model, optimizer: choices of `conf/`.
      learning_rate: the optimizer's.
      num_epochs, batch_size: of the training.
      validation_fraction: of the rows, which choose the epoch to keep and fit the calibrator and
        are not trained on. 0 has all rows do both; so have classes of too few rows to give some.
      patience: epochs without a better validation loss before training stops; 0 never stops.
      calibration: "temperature", "platt", "isotonic", "beta" or None, which undoes by formula what
        the loss does to probabilities, where that is known.
      class_weight: a weight for each class, or "balanced"; for loss="bce" alone. As elsewhere in
        scikit-learn probabilities are then those of the weighted classes.
      overrides: whatever else can be configured, such as ``("loss.gamma=3", "model.width=16")``.
      random_state: of the validation part, the initialisation and the order of rows.

    Attributes:
      classes_: the two labels; the second is positive.
      model_: the trained model, which can be saved: see `harness.predict.Model`. Its probabilities
        know no class weights.
      n_features_in_, feature_names_in_: as everywhere in scikit-learn.
    """

    classes_: NDArray[Any]

    def __init__(
        self,
        loss: str = "bce",
        *,
        model: str = "mlp",
        optimizer: str = "adam",
        learning_rate: float = 0.01,
        num_epochs: int = 50,
        batch_size: int = 64,
        validation_fraction: float = 0.2,
        patience: int = 0,
        calibration: str | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        overrides: Sequence[str] = (),
        random_state: Any = None,
    ):
        self.loss = loss
        self.model = model
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.num_epochs = num_epochs
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.calibration = calibration
        self.class_weight = class_weight
        self.overrides = overrides
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Trains on X (n, d) and y (n,), of two values.

        Args:
          sample_weight: (n,) of at least 0, what each row counts in the loss, in the choice of the
            epoch and in the calibrator; a row of 0 is not there. A row of weight 2 is not quite
            the row twice: the parts and the batches are drawn by rows.

        Raises:
          UserError: a parameter that cannot be, labels of other than two values, or a training
            that diverged.
        """
        ready()
        features, y = self._checked(X, y, ensure_min_samples=2)
        check_classification_targets(y)
        counts = None
        if sample_weight is not None:
            counts = _check_sample_weight(
                sample_weight, features, dtype=np.float64, ensure_non_negative=True
            )
            there = counts > 0
            if not there.any():
                raise UserError("sample_weight is 0 throughout: some row must count")
            features, y, counts = features[there], np.asarray(y)[there], counts[there]
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) > 2:
            raise UserError(
                "Only binary classification is supported. The type of the target is "
                f"{type_of_target(y)}."
            )
        if len(classes) < 2:
            raise UserError(f"y holds 1 class, {classes[0]!r}: give rows of two classes")
        weights = self._class_weights(classes, labels)
        seed = int(check_random_state(self.random_state).randint(2**31))
        with _PREPARING:
            config = self._config(weights)
            whole = features, labels.astype(np.int8), counts
            dataset, parts = _dataset(*whole, self.validation_fraction, seed)
            run = _run(replace(config, seed=seed, dataset=parts), dataset)
            train = _together()
        self.model_ = train(run, dataset)
        self.classes_ = classes
        self._log_weight = 0.0 if weights is None else log(weights[1] / weights[0])
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """The log-odds (n,) of the second class."""
        check_is_fitted(self)
        features = self._checked(X, reset=False)
        positive = self.model_.predict_proba(_columns(features))[:, 1]
        return logit(np.clip(positive, 1 - _LARGEST, _LARGEST)) + self._log_weight

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """(n, 2): the probability of each class."""
        positive = expit(self.decision_function(X))
        return np.stack([1 - positive, positive], axis=1)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The more probable class (n,). Costs are better met by `TunedThresholdClassifierCV`."""
        positive = self.decision_function(X) > 0
        return self.classes_[positive.astype(int)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = True
        return tags

    def _checked(self, *given: Any, **options: Any) -> Any:
        """X, or X and y, as arrays; NaN may be missing values."""
        return validate_data(
            self, *given, dtype=np.float64, ensure_all_finite="allow-nan", **options
        )

    def _class_weights(
        self, classes: NDArray[Any], labels: NDArray[np.int64]
    ) -> tuple[float, float] | None:
        """Of the first class and the second."""
        given = self.class_weight
        if given is None:
            return None
        if self.loss not in _WEIGHTED:
            raise UserError(
                f"class_weight={given!r}: loss={self.loss!r} has no class weights: use loss='bce', "
                "or class_weight=None"
            )
        if isinstance(given, Mapping):
            first, second = (float(given.get(one, 1.0)) for one in classes.tolist())
        elif given == "balanced":
            first, second = (len(labels) / (2 * count) for count in np.bincount(labels).tolist())
        else:
            raise UserError(
                f"class_weight={given!r}: give a weight for each class, 'balanced' or None"
            )
        if not (first > 0 and second > 0):
            raise UserError(f"class_weight={given!r}: weights must be above 0")
        return first, second

    def _config(self, weights: tuple[float, float] | None) -> Config:
        loss = [f"loss={self.loss}"]
        if weights is not None:
            loss = [f"loss={_WEIGHTED[self.loss]}"]
            loss += [f"loss.negative_weight={weights[0]!r}", f"loss.positive_weight={weights[1]!r}"]
        for text in map(str, self.overrides):
            if re.match(r"[+~]*(dataset|split|seed)\b", text):
                raise UserError(
                    f"{text}: data are given to fit, the parts follow from validation_fraction and "
                    "the seed from random_state: leave it out of overrides"
                )
        calibrators = "[]" if self.calibration is None else f"[{self.calibration}]"
        return _configured(
            (
                *loss,
                f"model={self.model}",
                f"optimizer={self.optimizer}",
                f"optimizer.learning_rate={self.learning_rate!r}",
                f"training.num_epochs={self.num_epochs!r}",
                f"training.batch_size={self.batch_size!r}",
                f"training.patience={self.patience!r}",
                f"evaluation.calibrators={calibrators}",
                f"evaluation.calibrator={self.calibration or 'null'}",
                *map(str, self.overrides),
            )
        )


@lru_cache(maxsize=256)
def _configured(overrides: tuple[str, ...]) -> Config:
    """The configuration of a fit, but for its data and seed. Raises UserError as `parse` does."""
    fixed = ("dataset=memory", "dataset.contents=none", f"dataset.target={_LABEL}", "split=time")
    quick = ("evaluation.decompositions=false", "wandb=disabled")
    return parse(job_of([*fixed, *quick, *overrides]))


def _dataset(
    X: NDArray[np.float64],
    labels: NDArray[np.int8],
    weights: NDArray[np.float64] | None,
    fraction: float,
    seed: int,
) -> tuple[Dataset, Memory]:
    """The rows by the road of every table, and the source that describes them.

    Parts are told by a column of times: training comes before validation. A run has a test part
    too, which a fit has no use for: one more row of each class is enough to be one.
    """
    train, validation = _parts(labels, fraction, seed)
    test = np.array([np.argmin(labels), np.argmax(labels)], dtype=np.int32)
    rows = np.concatenate([train, validation, test])
    sizes = (len(train), len(validation), len(test))
    part = np.repeat([_TRAINING, _VALIDATION, _TEST], sizes)
    table = _columns(X[rows]).with_columns(
        pl.Series(_PART, part), pl.Series(_LABEL, labels[rows])
    )  # fmt: skip
    if weights is not None:
        table = table.with_columns(pl.Series(_WEIGHT, weights[rows]))
    frame, target = held(table, _LABEL)
    source = Memory(
        name="fit",
        contents=frame.contents,
        target=target,
        positive="1",
        time=_PART,
        weight=None if weights is None else _WEIGHT,
    )
    return source.load(), source


def _parts(labels: NDArray[np.int8], fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Rows to train on and to validate on; all of them both where none can be held out."""
    if not 0 <= fraction < 1:
        raise UserError(f"validation_fraction={fraction!r} must be in [0, 1)")
    rows = np.arange(len(labels), dtype=np.int32)
    try:
        return split_off(rows, labels, round(fraction * len(rows)), seed, "validation")
    except UserError:
        return rows, rows


def _columns(X: NDArray[np.float64]) -> pl.DataFrame:
    return pl.DataFrame({f"x{index}": column for index, column in enumerate(X.T, start=1)})


def _run(config: Config, dataset: Dataset) -> Any:
    from harness.run import resolve
    from harness.watching import watched

    num_validation = int(np.count_nonzero(dataset.times == _VALIDATION))
    split = replace(config.split, validation=num_validation, test=2)
    return watched(resolve(replace(config, split=split), dataset))


@cache
def _together() -> Any:
    from harness.interface.together import Together

    return Together()
