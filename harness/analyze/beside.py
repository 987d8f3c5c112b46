"""Scores of other tools beside the runs of a sweep: which of them are of the same rows."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl

from harness.analyze.groups import FINGERPRINT, TUNED
from harness.analyze.keys import dataset_name, keys_of
from harness.analyze.runs import Runs
from harness.errors import UserError, listed

_TEST = ("num_test", "num_test_positives", "test_fingerprint")
_TRAIN = ("num_train", "num_train_positives")
_MODEL = "loss.name"
_PAIRED = ("dataset.name", "seed", "split.fold")


def beside(scored: Sequence[Runs], trained: Sequence[Runs]) -> Iterator[Runs]:
    """The tables of scores, as they are to be joined with what was trained.

    Scores on a data set of a sweep take the settings that all its runs there share, so that both
    answer one question; and they are paired with its runs where data set, seed and fold are the
    same and so is the test part, as far as is known of it: its rows by number, or how many rows and
    positives it has. What is not paired is said.

    Raises:
        UserError: two tables have the same model on the same seed and fold.
    """
    _check_once(scored)
    runs = [part.runs for part in trained]
    keys = sorted({key for part in trained for key in keys_of(part)})
    sweep = pl.concat(runs, how="diagonal_relaxed") if runs else pl.DataFrame()
    unlike = [*_unlike(scored)]
    for part in scored:
        shown = _beside(part, sweep, keys) if sweep.height else part
        yield replace(shown, notes=(*shown.notes, *unlike))
        unlike = []


def _unlike(scored: Sequence[Runs]) -> Iterator[str]:
    """A word on models of the same seed and fold whose test parts are not the same rows."""
    if not scored:
        return
    table = pl.concat([part.runs for part in scored], how="diagonal_relaxed")
    on = [key for key in _PAIRED if key in table.columns]
    parts = table.group_by(on, maintain_order=True).agg(pl.struct(*_TEST[:2]).n_unique())
    if (other := parts.filter(pl.col(_TEST[0]) > 1)).height:
        where = ", ".join(f"{k}={v}" for k, v in other.row(0, named=True).items() if k in on)
        yield (
            f"{listed([part.name for part in scored], 3)}: models were scored on other test rows "
            f"where {where}: their differences there are of models and of rows."
        )


def _check_once(scored: Sequence[Runs]) -> None:
    seen: dict[tuple, int] = {}
    for number, part in enumerate(scored):
        for row in part.runs.select(sorted(part.columns.config)).iter_rows(named=True):
            key = tuple((name, value) for name, value in row.items() if value is not None)
            if (first := seen.setdefault(key, number)) != number:
                raise UserError(
                    f"{scored[first].name} and {part.name} both have model {row[_MODEL]} on "
                    f"{row['dataset.name']}: rename one of the files, or the models in them"
                )


def _beside(part: Runs, sweep: pl.DataFrame, keys: Sequence[str]) -> Runs:
    part = _renamed(part, set(sweep[_MODEL]) if _MODEL in sweep.columns else set())
    sweep = sweep.with_columns(dataset_name(sweep).alias("dataset.name"))
    own = part.columns.config
    missing = [key for key in keys if key not in own and not key.startswith("loss.")]
    paired = [key for key in own if key in sweep.columns and not _is_of_a_model(key)]
    notes, frames = [*part.notes], []
    for (dataset,), table in part.runs.group_by("dataset.name", maintain_order=True):
        there = sweep.filter(pl.col("dataset.name") == dataset)
        if not there.height:
            notes.append(f"{part.name}: the sweep has no data set {dataset}: nothing to pair.")
            frames.append(table)
            continue
        shared = [key for key in missing if there[key].n_unique() == 1]
        table = table.join(there.select(shared).head(1), how="cross") if shared else table
        table, count = _paired(table, there, paired)
        if count < table.height:
            notes.append(
                f"{part.name}: {table.height - count} of {table.height} runs on {dataset} are not "
                "paired with the sweep's: it has no run of that seed and fold, or one with another "
                "test part."
            )
        frames.append(table)
    runs = pl.concat(frames, how="diagonal_relaxed")
    config = tuple(dict.fromkeys([*own, *(key for key in missing if key in runs.columns)]))
    return replace(
        part,
        runs=runs,
        columns=replace(part.columns, config=config),
        notes=tuple(notes),
        baseline="",
    )


def _paired(
    table: pl.DataFrame, there: pl.DataFrame, on: Sequence[str]
) -> tuple[pl.DataFrame, int]:
    """With the data's fingerprint, and what is missing of the training part's size, where a sweep's
    run has the same test part; and how many do."""
    facts = [name for name in (FINGERPRINT, *_TEST, *_TRAIN) if name in there.columns]
    known = there.select(*on, *facts).unique()
    known = known.filter(pl.len().over(on) == 1)  # rates or splits differ: who knows which
    joined = table.drop(FINGERPRINT).join(
        known, on=list(on), how="left", suffix="_there", maintain_order="left"
    )
    same = pl.col(FINGERPRINT).is_not_null()
    for name in (name for name in _TEST if name in facts):
        other = pl.col(f"{name}_there")
        same &= (pl.col(name) == other) | other.is_null() | pl.col(name).is_null()
    joined = joined.with_columns(same.alias("same"))
    joined = joined.with_columns(
        pl.when("same").then(FINGERPRINT).alias(FINGERPRINT),
        *(
            pl.when("same").then(pl.coalesce(name, f"{name}_there")).otherwise(name).alias(name)
            for name in _TRAIN
            if name in facts
        ),
    )
    count = int(joined["same"].sum())
    return joined.select(table.columns), count


def _renamed(part: Runs, taken: set[str]) -> Runs:
    """With models that are called as a loss of the sweep called after their file too."""
    both = sorted(taken.intersection(part.runs[_MODEL]))
    if not both:
        return part
    name = pl.col(_MODEL)
    said = pl.when(name.is_in(both)).then(name + f" ({part.name})").otherwise(name)
    note = f"{part.name}: the sweep has {listed(both, 3)} too: shown as {both[0]} ({part.name})."
    return replace(part, runs=part.runs.with_columns(said.alias(_MODEL)), notes=(*part.notes, note))


def _is_of_a_model(key: str) -> bool:
    """Whether a key says what was trained, and not on what."""
    return key.startswith(("loss.", *TUNED))
