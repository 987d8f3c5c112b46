"""A trained run as a function of new rows.

    model = Model.load("runs/mine/models/0123456789abcdef")
    model.predict_proba(frame)      # (n, 2)

Logits become probabilities as the run's own scores did: by the calibrator that `evaluation` chose,
else by the posterior that the loss hides, under the natural prior, else as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from harness import checkpoints, models
from harness.config import AnyLoss, AnyModel, parse_as
from harness.data.columns import Column, NewRows, features_of
from harness.data.frames import table_of
from harness.data.table_file import TableFile
from harness.errors import UserError, listed
from harness.losses import LossFn
from harness.metrics.calibration import (
    CALIBRATORS,
    calibrated,
    is_calibration,
    kept_names,
    prior_shift,
    shift_prior,
)
from harness.metrics.own_calibrator import OWN, OwnCalibrator, is_state
from harness.models import Inputs
from harness.predict.description import Description, dumped, read

# Rows that are scored at once. Short batches are filled up: a row's bits do not depend on how many
# others there are.
CHUNK = 2048

_SCALING = ("fill", "center", "scale")
_CALIBRATOR = "calibrator."
# Rules that look at the shares of each class alone.
_OF_CLASSES = frozenset({"balanced_accuracy", "youden", "precision_at_recall"})


@dataclass(frozen=True, eq=False)
class Scores:
    """Of rows, (n,) each.

    Attributes:
      logits: float32, as the network gives them; NaN where a row cannot be scored.
      probabilities: float64, of the positive label.
      is_positive: the decision at the threshold.
      rows: what became of the rows on the way.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    is_positive: NDArray[np.bool_]
    rows: NewRows


@dataclass(frozen=True, eq=False)
class Model:
    """Arrays by name, and a description of all else; `load` gives it, or `model_of` a run.

    Raises:
      UserError: the arrays are not those that the description asks for.
    """

    description: Description
    arrays: Mapping[str, np.ndarray]
    place: str = "the model"

    def __post_init__(self) -> None:
        self._check()

    @classmethod
    def load(cls, folder: str | Path) -> "Model":
        """The model in ``folder``, in which nothing is believed and nothing is run.

        Raises:
          UserError: there is none, or it is damaged, or of a newer harness.
        """
        path = Path(folder).expanduser()
        if not (path / checkpoints.DOCUMENT).is_file():
            raise UserError(f"{path}: no model there: it would hold {checkpoints.DOCUMENT}")
        place = str(path / checkpoints.DOCUMENT)
        described = read(checkpoints.document(path), place=place)
        return cls(described, checkpoints.arrays(path), str(path))

    def save(self, folder: str | Path) -> None:
        """Writes it whole or not at all. Raises UserError where ``folder`` holds something."""
        path = Path(folder).expanduser()
        try:
            checkpoints.write(path, **self.files())
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written ({error.strerror}): give a new folder"
            ) from None

    def files(self) -> dict[str, Any]:
        """What `harness.checkpoints.write` takes."""
        return {"arrays": self.arrays, "document": dumped(self.description)}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it needs of a row, by name."""
        return tuple(column.name for column in self.description.columns)

    @property
    def threshold(self) -> float:
        """The probability from which on a row is called positive, on the scale of `predict_proba`.

        Decisions compare raw logits: the calibrator may give rows on either side one probability.
        """
        return float(expit(self._cut))

    @cached_property
    def _cut(self) -> float:
        return float(self._final_logits(np.array([self.description.threshold.logit]))[0])

    @property
    def labels(self) -> tuple[str, str]:
        """The negative label and the positive one, as the table spells them."""
        found = self.description.labels
        return found.negative or f"not {found.positive}", found.positive

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Where it comes from, and how good it was."""
        return self.description.about

    @property
    def version(self) -> Literal["calibrated", "corrected", "raw"]:
        """What its probabilities are: which version of the scores."""
        if self.description.calibrator is not None:
            return "calibrated"
        return "raw" if self._loss.posterior_logits(np.zeros(1)) is None else "corrected"

    def logits(self, rows: Any) -> NDArray[np.float32]:
        """The network's own scores (n,) of rows: raw, before anything is corrected or calibrated.

        Args:
          rows: a Polars frame or whatever has columns by name (any order, more than are needed),
            arrays among them, or a matrix (n, columns) in the model's order.

        Raises:
          UserError: a column is missing, or a row cannot be scored.
        """
        return self._scored(rows).logits

    def predict_proba(self, rows: Any) -> NDArray[np.float64]:
        """(n, 2): the probabilities of the negative and the positive label. As `logits`."""
        positive = self._scored(rows).probabilities
        return np.stack([1 - positive, positive], axis=1)

    def predict(self, rows: Any) -> NDArray[np.str_]:
        """(n,) labels, at the threshold. As `logits`."""
        return np.array(self.labels)[self._scored(rows).is_positive.astype(np.int64)]

    def score(
        self,
        frame: pl.DataFrame,
        *,
        table: TableFile | None = None,
        positive_rate: float | None = None,
    ) -> Scores:
        """The scores of a frame's rows; a row that cannot be scored has NaN and a reason.

        Args:
          frame: at least the model's `columns`.
          table: where it was read, for errors.
          positive_rate: that of the rows, in (0, 1), where it is known to differ from `prior`.
            Logits move by the difference of the two rates' log-odds, which is exact where the
            classes themselves are as they were (Saerens, Latinne and Decaestecker 2002; Elkan 2001,
            theorem 2). The decisions follow as `keeps_cut` says.

        Raises:
          UserError: a column is missing, or of another type than in training.
        """
        self.check_columns(frame.columns)
        table = table or TableFile("the rows", frame)
        encoding = self.description.reading.encoding
        rows = features_of(frame, self.description.columns, encoding=encoding, table=table)
        logits = self.logits_of(rows.features)
        logits[list(rows.reasons)] = np.nan
        for row in np.flatnonzero(~np.isfinite(logits)).tolist():
            logits[row] = np.nan
            rows.reasons.setdefault(row, "its values are too large for a score")
        wide = logits.astype(np.float64)  # a cut may lie between two floats of 32 bits
        final = self._final_logits(wide)
        if positive_rate is None or self.keeps_cut:
            is_positive = wide >= self.description.threshold.logit
        if positive_rate is not None:
            final = final + prior_shift(
                training_rate=self.description.prior, natural_rate=positive_rate
            )
            if not self.keeps_cut:
                is_positive = final >= self._cut
        return Scores(logits, expit(final), is_positive, rows)

    @property
    def keeps_cut(self) -> bool:
        """Whether the rule of the threshold chooses the same rows at any positive rate.

        Rules of each class by itself do. The others keep the probability at which they cut, which
        is what costs and accuracy ask for; of the rest nothing better is known without labels.
        """
        return self.description.threshold.rule in _OF_CLASSES

    def check_columns(self, names: Sequence[str], *, place: str = "the rows") -> None:
        """UserError where a column is missing among ``names``, which those at ``place`` have."""
        there = set(names)
        missing = [name for name in self.columns if name not in there]
        if missing:
            plural = "s" if len(missing) > 1 else ""
            raise UserError(
                f"{place}: no column{plural} {listed(list(map(repr, missing)))}, which the model "
                f"was trained on; it has {listed(list(map(repr, names)), 5)}"
            )

    def _scored(self, rows: Any) -> Scores:
        scores = self.score(_frame(rows, self.description.columns))
        for row, reason in scores.rows.reasons.items():
            raise UserError(f"row {row}: {reason}")
        return scores

    def logits_of(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `logits`, of features (n, d) as the model's data set holds them."""
        found = np.empty(len(features), np.float32)
        room = self.description.room - self._inputs.num_features
        for start in range(0, len(features), CHUNK):
            some = features[start : start + CHUNK]
            logits = _network_logits(
                *self._padded,
                np.pad(some, ((0, CHUNK - len(some)), (0, room))),
                network=self._network,
                inputs=Inputs(self.description.room, self._inputs.cardinalities),
            )
            found[start : start + CHUNK] = np.asarray(logits)[: len(some)]
        return found

    def _final_logits(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds of the probabilities, of raw logits (n,)."""
        calibrator = self.description.calibrator
        if calibrator in OWN:
            return self._own_calibrated(OWN[calibrator], logits)
        if calibrator is not None:
            return calibrated(logits, calibrator=calibrator, kept=self._calibration)
        posterior = self._loss.posterior_logits(logits)
        if posterior is None:
            return logits
        return shift_prior(posterior, shift=self.description.recipe.prior_shift)

    def _own_calibrated(
        self, own: OwnCalibrator, logits: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        try:
            return own.mapped(own.restored(self._calibration), logits)
        except ValueError as error:
            raise UserError(f"{self.place}: {error}") from None

    @cached_property
    def _network(self) -> Any:
        return parse_as(AnyModel, self.description.network, at="network")

    @cached_property
    def _inputs(self) -> Inputs:
        return Inputs(len(self.description.features), self.description.cardinalities)

    @cached_property
    def _loss(self) -> LossFn:
        recipe = self.description.recipe
        loss: LossFn = parse_as(AnyLoss, recipe.loss, at="loss")
        fitted = loss.fitted(num_negatives=recipe.num_negatives, num_positives=recipe.num_positives)
        return fitted.at(recipe.progress)

    @cached_property
    def _padded(self) -> tuple[Any, ...]:
        """Parameters and scaling, as the program that trained them holds them."""
        params: Mapping[str, np.ndarray] = checkpoints.params_of(self.arrays)
        room = self.description.room
        if room > self._inputs.num_features:
            params = models.with_padding(params, num_features=room)
        more = room - self._inputs.num_features
        scaling = (np.pad(self.arrays[name], (0, more)) for name in _SCALING)
        return params, *scaling

    @cached_property
    def _calibration(self) -> dict[str, np.ndarray]:
        return {
            name.removeprefix(_CALIBRATOR): values
            for name, values in self.arrays.items()
            if name.startswith(_CALIBRATOR)
        }

    def _check(self) -> None:
        try:
            shapes = models.param_shapes(self._network, self._inputs)
            self._loss  # noqa: B018  raises where there is no such loss
        except UserError as error:
            raise UserError(f"{self.place}: no model: {error}") from None
        wanted = {f"{checkpoints.PARAMS}{name}": shape for name, shape in shapes.items()}
        wanted |= dict.fromkeys(_SCALING, (self._inputs.num_features,))
        pads = self.description.room > self._inputs.num_features
        if pads and not (models.takes_padding(self._network) and not self._inputs.cardinalities):
            raise UserError(f"{self.place}: no model: its network has no room for more features")
        calibrator = self.description.calibrator
        if calibrator is not None and calibrator not in CALIBRATORS:
            raise UserError(
                f"{self.place}: no model: its calibrator {calibrator!r} is plugged in nowhere: "
                "name its module, plugins=[my_module.py]"
            )
        if calibrator in OWN:
            wanted |= {
                name: values.shape[:1]
                for name, values in self.arrays.items()
                if name.startswith(_CALIBRATOR) and is_state(name.removeprefix(_CALIBRATOR))
            }
        elif calibrator is not None:
            knots = self.arrays.get(f"{_CALIBRATOR}knots", np.zeros(1)).shape
            size = knots if calibrator == "isotonic" and len(knots) == 1 and knots[0] else (1,)
            wanted |= {f"{_CALIBRATOR}{name}": size for name in kept_names(calibrator)}
        for name in sorted(wanted.keys() ^ self.arrays.keys()):
            what = "is missing" if name in wanted else "is none of its arrays"
            raise UserError(f"{self.place}: no model: array {name!r} {what}")
        for name, shape in wanted.items():
            values = self.arrays[name]
            kind = np.float64 if name.startswith(_CALIBRATOR) else np.float32
            if values.shape != shape or values.dtype != kind:
                raise UserError(
                    f"{self.place}: no model: array {name!r} is {values.dtype} {values.shape}, "
                    f"and would be {np.dtype(kind)} {shape}"
                )
            if not np.isfinite(values).all():
                raise UserError(f"{self.place}: no model: array {name!r} is not finite")
        if calibrator is None or calibrator in OWN:
            return
        if not is_calibration(calibrator, self._calibration):
            raise UserError(f"{self.place}: no model: its calibrator is no increasing map")


def calibration_arrays(kept: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a calibrator keeps of a run, as arrays of a model."""
    return {f"{_CALIBRATOR}{name}": values for name, values in kept.items()}


def _frame(rows: Any, columns: Sequence[Column]) -> pl.DataFrame:
    """Rows as a frame; those of a matrix, or of arrays alone, have no names of their own.

    Raises:
      UserError: they are none.
    """
    if isinstance(rows, np.ndarray) and rows.ndim > 1 and len(columns) == 1 and columns[0].shape:
        rows = {columns[0].name: rows}
    frame = table_of(rows, called="rows")
    if not isinstance(rows, np.ndarray):
        return frame
    if frame.width != len(columns):
        raise UserError(f"rows have shape {rows.shape}: give (rows, {len(columns)})")
    names = (column.name for column in columns)
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


@partial(jax.jit, static_argnames=("network", "inputs"))
def _network_logits(
    params: Mapping[str, jax.Array],
    fill: jax.Array,
    center: jax.Array,
    scale: jax.Array,
    features: jax.Array,
    *,
    network: models.Model,
    inputs: Inputs,
) -> jax.Array:
    """As `harness.training` evaluates: impute, standardise, and the network without dropout."""
    values = (jnp.where(jnp.isnan(features), fill, features) - center) * scale
    net = models.network(network, inputs, jax.random.key(0), head_scale=network.scale)
    models.set_params(net, params)
    return net(values)
