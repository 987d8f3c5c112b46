"""Config keys by their short names: `loss` for `loss.name`, `learning_rate` for `optimizer...`."""

import difflib
from collections.abc import Sequence
from functools import cache

import polars as pl

from harness.analyze.runs import Runs
from harness.errors import UserError

PLACES = frozenset({"name", "root", "rerun", "wandb"})
"""Config groups that say where a run is kept and shown: no question is about them."""


def keys_of(runs: Runs) -> list[str]:
    """The config keys of these runs, but for those that say where a run is kept and shown."""
    return [key for key in runs.columns.config if key.partition(".")[0] not in PLACES]


def varying(runs: pl.DataFrame, keys: Sequence[str]) -> list[str]:
    """Those of ``keys`` that have at least two values (null counts as one), sorted."""
    return sorted(key for key in keys if runs[key].n_unique() > 1)


def replicates(keys: Sequence[str]) -> list[str]:
    """The keys that repeat a run without asking another question.

    Splits and data sets declare theirs (`harness.data.streams.Replicate`). Runs may have been
    logged by other versions, with parts that are unknown here: any seed is one.

    >>> replicates(["seed", "split.fold", "dataset.flip_seed", "model.width", "model.seed"])
    ['seed', 'split.fold', 'dataset.flip_seed', 'model.seed']
    """
    return [key for key in keys if key in _declared() or key.endswith("seed")]


@cache
def _declared() -> frozenset[str]:
    # These load scikit-learn, which not every question needs.
    from harness.data import sources, splitters
    from harness.data.streams import replicate_fields

    groups = {"dataset": sources.DATASETS, "split": splitters.SPLITTERS}
    return frozenset(
        f"{group}.{name}"
        for group, choices in groups.items()
        for choice in choices
        for name in replicate_fields(choice)
    )


def as_labels(runs: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Lists and structs among ``keys`` as text, which can be compared, grouped by and shown.

    >>> as_labels(pl.DataFrame({"model.widths": [[64, 32]]}), ["model.widths"]).item()
    '64,32'
    """
    text = []
    for key in keys:
        if isinstance(runs.schema[key], pl.List):
            text.append(pl.col(key).cast(pl.List(pl.String)).list.join(","))
        elif isinstance(runs.schema[key], pl.Struct):
            text.append(pl.col(key).struct.json_encode())
    return runs.with_columns(text)


def resolve(key: str, columns: Sequence[str]) -> str:
    """The column that `key` names: itself, its group's choice, or the only key that ends so.

    Raises:
        UserError: no column or more than one fits.

    >>> resolve("loss", ["loss.name", "loss.gamma"]), resolve("gamma", ["loss.name", "loss.gamma"])
    ('loss.name', 'loss.gamma')
    """
    for exact in (key, f"{key}.name", "imbalance.positive_rate" if key == "positive_rate" else key):
        if exact in columns:
            return exact
    ending = [c for c in columns if c.endswith(f".{key}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise UserError(f"{key!r} may mean {' or '.join(sorted(ending))}: give the whole key")
    raise UserError(f"no run has the key {key!r}{suggestion(key, columns)}")


def suggestion(key: str, columns: Sequence[str]) -> str:
    """`; did you mean ...?`, or nothing where no name is near.

    >>> suggestion("los", ["loss.name", "seed"])
    '; did you mean loss?'
    """
    short = {c.removesuffix(".name") for c in columns} | {c.rpartition(".")[2] for c in columns}
    near = difflib.get_close_matches(key, sorted(short), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def short_names(columns: Sequence[str]) -> list[str]:
    """Last parts of the names, or all of a name where last parts collide.

    >>> short_names(["sampler.name", "model.width", "loss.width"])
    ['sampler', 'model.width', 'loss.width']
    """
    last = [c.removesuffix(".name").rpartition(".")[2] for c in columns]
    return [s if last.count(s) == 1 else c for s, c in zip(last, columns, strict=True)]
