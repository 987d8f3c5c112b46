"""Config keys by their short names: `loss` for `loss.name`, `learning_rate` for `optimizer...`."""

import difflib
from collections.abc import Sequence

import polars as pl

from harness.errors import UserError

REPLICATES = ("seed", "split.fold", "split.repeat")
"""Keys that repeat a run without asking another question; any `.seed` is one too."""


def config_columns(runs: pl.DataFrame) -> list[str]:
    """The columns that hold a run's config: `seed` and the dotted ones."""
    return [c for c in runs.columns if c == "seed" or ("." in c and "/" not in c)]


def varying_columns(runs: pl.DataFrame) -> list[str]:
    """Config columns with at least two values (null counts as one), sorted."""
    return sorted(c for c in config_columns(runs) if runs[c].n_unique() > 1)


def replicate_columns(columns: Sequence[str]) -> list[str]:
    return [c for c in columns if c in REPLICATES or c.endswith(".seed")]


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
