"""What a run leaves, said once: its facts, its configuration, its metrics, its curves, its scores.

The table `runs` is stored as one row a run: `run_id`, `created`, the facts as columns, and three
struct columns, `config` (nested as in conf/), `chosen` and `metrics`. In memory it is flat: dotted
names for config keys, metrics as they are called, and `Columns` that says which column is what, so
that nobody has to guess from a name.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

FORMAT = 3
"""Of the stored tables; the first one had flat columns (`harness.record.first_form`), and the
second one had what its own runs were measured by (`harness.record.file_form`)."""

RUN = {"run_id": pl.String(), "created": pl.Datetime("us", "UTC")}
"""What names a run, and when its row was made: of a run trained twice the later row counts."""

FACTS: dict[str, pl.DataType] = {
    "status": pl.String(),  # finished, or diverged at `diverged_step`
    "diverged_step": pl.Int64(),
    "num_steps": pl.Int64(),
    "best_epoch": pl.Int64(),  # from 1; 0 where no epoch had a finite value
    "threshold": pl.Float64(),  # the tuned one, as a probability of the raw scores
    "threshold_logit": pl.Float64(),
    "shift_invariant": pl.Boolean(),  # whether the loss leaves the logits' level alone
    "prior_shift": pl.Float64(),  # of the logit, from the prior trained under to the natural one
    # By how much, as a share, log loss expected on test rows exceeds that of the true posterior, of
    # scores under the natural prior; null where nobody knows the posterior or the loss hides none.
    "posterior_excess": pl.Float64(),
    "seconds": pl.Float64(),  # wall time, a run's share of its batch
    "numerics": pl.String(),
    "data_fingerprint": pl.String(),
    "positive_label": pl.String(),  # the label called positive, as the data spell it
    "positive_reason": pl.String(),  # why it is: configured, by convention, the rarer
    "data_positive_rate": pl.Float64(),  # of the whole data set, before imbalance
    "num_train": pl.Int64(),  # rows of each part after imbalance, before resampling
    "num_train_positives": pl.Int64(),
    "num_validation": pl.Int64(),
    "num_validation_positives": pl.Int64(),
    "num_test": pl.Int64(),
    "num_test_positives": pl.Int64(),
    "test_fingerprint": pl.String(),  # of the row numbers of the test part: equal where it is
    "num_train_sampled": pl.Int64(),  # rows trained on after resampling, repeats included
    "num_train_synthetic": pl.Int64(),
    "train_prior": pl.Float64(),  # the share of positives that the batches hold
}
"""The fixed facts of a run, which every run has whatever its settings."""

CURVES = {
    "train_loss": "train/loss",
    "train_log_loss": "train/log_loss",
    "validation_loss": "validation/loss",
    "validation_log_loss": "validation/log_loss",
    "validation_brier": "validation/brier",
}
"""What each curve, a value an epoch, is called: by its field of `harness.training.Curves`."""

SCORES = ("logits", "corrected_logits", "calibrated_logits")
"""The versions of a row's score: as the network gives it, under the natural prior, and by the
configured calibrator. The last two are null where the loss hides no posterior, or no calibrator is
configured."""

CHOICES = frozenset(
    {"dataset", "split", "sampler", "batching", "loss", "model", "optimizer", "schedule"}
)
"""Config groups that are one of several parts, of which each has its own keys."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a flat table of runs are what.

    Attributes:
      config: configuration, by dotted keys such as `seed`, `impute`, `loss.name`.
      facts: of `FACTS`, and after them what validation chose under the settings of some run: the
        thresholds of further rules and the calibrators' parameters.
      metrics: such as `test/auroc` and `validation/platt/log_loss`.
    """

    config: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    @property
    def chosen(self) -> tuple[str, ...]:
        """What validation chose, of the facts."""
        return tuple(name for name in self.facts if name not in FACTS)

    def without(self, names: Iterable[str]) -> "Columns":
        """All but those named."""
        left_out = set(names)
        return Columns(
            **{
                group: tuple(name for name in known if name not in left_out)
                for group, known in vars(self).items()
            }
        )


def joined(parts: Iterable[Columns]) -> Columns:
    """All columns that some part has: the facts as `FACTS` lists them, all others by their names.

    The order of the parts, which is that of their training, makes no difference.

    >>> joined([Columns(config=("seed",)), Columns(config=("seed", "loss.gamma"))]).config
    ('loss.gamma', 'seed')
    """
    parts = list(parts)
    config, facts, metrics = (
        sorted({name for part in parts for name in getattr(part, group)})
        for group in ("config", "facts", "metrics")
    )
    fixed = tuple(name for name in FACTS if name in facts)
    chosen = tuple(name for name in facts if name not in FACTS)
    return Columns(config=tuple(config), facts=(*fixed, *chosen), metrics=tuple(metrics))


@dataclass(frozen=True, eq=False)
class Predictions:
    """One part's scores, row by row: the arrays have one length.

    Attributes:
      rows: int, the data set's row numbers.
      logits: float32, raw.
      labels: int8, in {0, 1}.
      corrected_logits, calibrated_logits: see `SCORES`.
      row_weights: float64, what each row counts; None where all count the same.
    """

    rows: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    corrected_logits: np.ndarray | None = None
    calibrated_logits: np.ndarray | None = None
    row_weights: np.ndarray | None = None

    @property
    def versions(self) -> dict[str, np.ndarray]:
        """The scores that there are, by their column."""
        found = {name: getattr(self, name) for name in SCORES}
        return {name: scores for name, scores in found.items() if scores is not None}


@dataclass(frozen=True, eq=False)
class Record:
    """One trained run, as it is stored and mirrored.

    Attributes:
      config: nested plain values, as `harness.config.dump` gives them.
      facts: the values of `FACTS`; null where one does not apply.
      metrics: NaN where a metric is undefined; absent where it was not measured.
      curves: by their stored name, one value a point: an epoch, or several.
      predictions: by part.
      chosen: what validation chose besides, such as `threshold_logit@mcc` and `platt_slope`.
    """

    run_id: str
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    metrics: Mapping[str, float]
    curves: Mapping[str, np.ndarray]
    steps_per_epoch: int
    predictions: Mapping[str, Predictions]
    created: datetime
    chosen: Mapping[str, float] = field(default_factory=dict)
    epochs_per_point: int = 1

    @property
    def epochs(self) -> range:
        """The epoch, from 1, of each point: fewer than asked where the run stopped early."""
        stride, points = self.epochs_per_point, len(next(iter(self.curves.values())))
        return range(stride, stride * points + 1, stride)


def rows_fingerprint(rows: np.ndarray) -> str:
    """16 hexadecimal digits that say which rows of a data set these are, in whatever order."""
    return hashlib.sha256(np.sort(rows).astype("<i8").tobytes()).hexdigest()[:16]


def flat(stored: pl.DataFrame) -> tuple[pl.DataFrame, Columns]:
    """The flat table of a stored one, and what its columns are; lists stay lists.

    A key that no run's choice of part has is absent. Columns that are neither (`shard`) stay, last.

    >>> config = [{"seed": 0, "loss": {"name": "focal", "gamma": 2.0, "margin": None}}]
    >>> frame, columns = flat(pl.DataFrame({"run_id": ["a"], "config": config}))
    >>> frame.columns, columns.config
    (['run_id', 'seed', 'loss.name', 'loss.gamma'], ('seed', 'loss.name', 'loss.gamma'))
    """
    config = list(_leaves(stored["config"], "")) if "config" in stored.columns else []
    chosen = _fields(stored, "chosen")
    metrics = _fields(stored, "metrics")
    facts = [stored[name] for name in FACTS if name in stored.columns]
    head = [stored[name] for name in RUN if name in stored.columns]
    used = {"config", "chosen", "metrics", *RUN, *FACTS}
    rest = [one for one in stored.get_columns() if one.name not in used]
    columns = Columns(
        config=_names(config), facts=_names([*facts, *chosen]), metrics=_names(metrics)
    )
    return without_absent(pl.DataFrame([*head, *facts, *chosen, *config, *metrics, *rest]), columns)


def without_absent(table: pl.DataFrame, columns: Columns) -> tuple[pl.DataFrame, Columns]:
    """A flat table without the keys of choices of parts that no run has: null throughout."""
    absent = [name for name in columns.config if _is_absent(table[name])]
    return table.drop(absent), columns.without(absent)


def nested(table: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    """The stored form of a flat table; `flat` undone.

    >>> flat_table = pl.DataFrame({"run_id": ["a"], "seed": [0], "loss.name": ["bce"]})
    >>> nested(flat_table, Columns(config=("seed", "loss.name")))["config"].to_list()
    [{'seed': 0, 'loss': {'name': 'bce'}}]
    """
    groups = {
        "config": _struct(tree(columns.config)),
        "chosen": _struct({name: name for name in columns.chosen}),
        "metrics": _struct({name: name for name in columns.metrics}),
    }
    moved = {*columns.config, *columns.chosen, *columns.metrics}
    kept = [name for name in table.columns if name not in moved]
    made = [value.alias(name) for name, value in groups.items() if value is not None]
    return table.select(*kept, *made)


def tree(keys: Sequence[str]) -> dict[str, Any]:
    """Dotted keys as a nested mapping whose leaves are the keys.

    >>> tree(["seed", "loss.name"])
    {'seed': 'seed', 'loss': {'name': 'loss.name'}}
    """
    nodes: dict[str, Any] = {}
    for key in keys:
        *path, last = key.split(".")
        inner = nodes
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = key
    return nodes


def _struct(nodes: Mapping[str, Any]) -> pl.Expr | None:
    fields = [
        value.alias(name)
        for name, node in nodes.items()
        if (value := _struct(node) if isinstance(node, Mapping) else pl.col(node)) is not None
    ]
    return pl.struct(fields) if fields else None


def _leaves(values: pl.Series, prefix: str) -> Iterator[pl.Series]:
    for inner in values.struct.unnest().get_columns():
        if isinstance(inner.dtype, pl.Struct):
            yield from _leaves(inner, f"{prefix}{inner.name}.")
        else:
            yield inner.alias(prefix + inner.name)


def _is_absent(leaf: pl.Series) -> bool:
    """Whether no run has a key: the structs of several choices have the keys of all."""
    group, dot, _ = leaf.name.partition(".")
    return bool(dot) and group in CHOICES and leaf.null_count() == len(leaf)


def _fields(stored: pl.DataFrame, group: str) -> list[pl.Series]:
    return stored[group].struct.unnest().get_columns() if group in stored.columns else []


def _names(columns: Sequence[pl.Series]) -> tuple[str, ...]:
    return tuple(column.name for column in columns)
