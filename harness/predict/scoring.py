"""A table of new rows, scored: read some rows at a time, and written whole."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from harness.data.reading import Reader, open_reader
from harness.data.table_file import TableFile, table_at
from harness.errors import UserError, listed, override, shown
from harness.files import whole_file
from harness.predict.drift import LARGE, MOVED, chance_index, counts, stability_index
from harness.predict.model import Model, Scores

PROBABILITY, DECISION, REASON = "probability", "decision", "reason"
_WRITTEN = (".csv", ".parquet")
_SHOWN = 5
_DECIMAL_COMMA = re.compile(r"'[-+]?\d*,\d+' is no number")


@dataclass
class Summary:
    """What is said of rows that were scored, added up over a file."""

    model: Model
    positive_rate: float | None = None
    rows: int = 0
    positives: int = 0
    unscored: int = 0
    probability: float = 0.0  # the sum of all
    reason: str = ""  # why the first could not be scored
    missing: Counter[str] = field(default_factory=Counter)
    unknown: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    spread: list[np.ndarray] = field(default_factory=list)

    def add(self, scores: Scores) -> None:
        """Counts some rows more."""
        rows = scores.rows
        self.reason = self.reason or next(iter(rows.reasons.values()), "")
        self.rows += len(scores.logits)
        self.unscored += len(rows.reasons)
        self.positives += int(scores.is_positive.sum())
        self.probability += float(np.nansum(scores.probabilities))
        self.missing.update(rows.missing)
        for name, (count, levels) in rows.unknown.items():
            before, known = self.unknown.get(name, (0, ()))
            self.unknown[name] = before + count, tuple(dict.fromkeys((*known, *levels)))[:3]
        scored = np.ones(len(scores.logits), np.bool_)
        scored[list(rows.reasons)] = False
        found = list(self._counted(rows.features[scored]))
        self.spread = (
            [old + new for old, new in zip(self.spread, found, strict=True)]
            if self.spread
            else found
        )

    def _counted(self, features: np.ndarray) -> Iterator[np.ndarray]:
        start, one = 0, self.model.description
        for column, spread in zip(one.columns, one.training, strict=True):
            end = start + column.num_features
            yield counts(features[:, start:end], column, spread)
            start = end

    def lines(self) -> list[str]:
        """For people: what was decided, what could not be, and how far the rows are from those that
        the model was trained on."""
        return [*self._decided(), *self._odd_cells(), self._drift()]

    def _decided(self) -> Iterator[str]:
        one = self.model.description
        scored = self.rows - self.unscored
        if self.unscored:
            yield (
                f"{self.unscored:,} of {self.rows:,} rows could not be scored: see {REASON}, the "
                f"first being {self.reason}"
            )
            if _DECIMAL_COMMA.search(self.reason):
                yield f"if that is a decimal comma, say so: {override('decimal', ',')}"
        if not scored:
            return
        yield (
            f"{self.positives:,} of {scored:,} rows are {self.model.labels[1]!r}: from probability "
            f"{self.model.threshold:.3g} on, by {one.threshold.rule} on validation"
        )
        mean = self.probability / scored
        if self.positive_rate is None:
            yield (
                f"mean probability {mean:.3g}, where validation held {one.prior:.3g} positives: if "
                "these rows are known to hold another share, give it by --positive-rate"
            )
        else:
            same = "rows" if self.model.keeps_cut else "probability"
            yield (
                f"mean probability {mean:.3g}, moved from a positive rate of {one.prior:.3g} to "
                f"{self.positive_rate:.3g}; decisions are cut at the same {same} as before"
            )

    def _odd_cells(self) -> Iterator[str]:
        for name, (count, levels) in self.unknown.items():
            yield (
                f"column {name!r}: {_rows(count)} of levels that training did not have "
                f"({', '.join(map(repr, levels))}): taken for missing"
            )
        one = self.model.description
        for column, spread in zip(one.columns, one.training, strict=True):
            is_level = column.kind in ("category", "code")
            before = spread.counts[0 if is_level else -1]
            count = self.missing[column.name]
            if count and not before and not column.has_missing:
                yield (
                    f"column {column.name!r}: {_rows(count)} without it, as no training row was: "
                    f"{'taken for none of its levels' if is_level else 'its mean is filled in'}"
                )

    def _drift(self) -> str:
        one = self.model.description
        found = []
        for column, spread, after in zip(one.columns, one.training, self.spread, strict=True):
            index = stability_index(spread.counts, after)
            if index > max(MOVED, chance_index(spread.counts, after)):
                found.append((index, column.name))
        if not found:
            return f"drift: no column of {len(one.columns)} has moved from training's (PSI)"
        found.sort(reverse=True)
        names = [f"{name!r} {index:.2f}{' (large)' * (index > LARGE)}" for index, name in found]
        return (
            f"drift: {len(found)} of {len(one.columns)} columns moved from training's (PSI above "
            f"{MOVED} and chance): {listed(names, _SHOWN)}"
        )


def score_file(
    model: Model,
    path: str,
    *,
    output: Path,
    id_column: str | None = None,
    positive_rate: float | None = None,
) -> tuple[Summary, list[str]]:
    """Scores the table at ``path`` and writes ``output``: a row each, in their order.

    Returns:
      what is said of the rows, and of the columns.

    Raises:
      UserError: the table cannot be read, lacks a column, or the output cannot be written.
    """
    if positive_rate is not None and not 0 < positive_rate < 1:
        raise UserError(f"--positive-rate {positive_rate} must be a share in (0, 1)")
    reading = model.description.reading
    table = table_at(path, reading.csv)
    _check_output(output, path)
    kept = [] if id_column is None else [id_column]
    reader = open_reader(table, marks=(), texts={*model.columns, *kept})
    names = list(reader.schema)
    if id_column is not None and id_column not in names:
        raise UserError(f"--id {id_column}: {table.place} has {listed(list(map(repr, names)), 5)}")
    if id_column in (PROBABILITY, DECISION, REASON):
        raise UserError(f"--id {id_column}: the scores have a column of that name: rename yours")
    _check_delimiter(model, names, table)
    model.check_columns(names, place=table.place)
    summary = Summary(model, positive_rate)
    with whole_file(output) as temporary:
        scored = _scored(reader, table, summary, id_column)
        if output.suffix.lower() == ".parquet":
            parts = list(scored)  # a Parquet file's columns are whole
            (pl.concat(parts) if parts else pl.DataFrame()).write_parquet(temporary)
        else:
            with temporary.open("wb") as file:
                for part in scored:
                    part.write_csv(file, include_header=file.tell() == 0)
        if not summary.rows:
            table.fail("no rows: there is nothing to score")
    return summary, list(_said_of_columns(model, names, kept))


def _check_delimiter(model: Model, names: Sequence[str], table: TableFile) -> None:
    """A model trained on a table of a stated delimiter reads by it."""
    if len(names) != 1 or names[0] in model.columns:
        return
    for sign in (one for one in ";\t|," if one in names[0]):
        given = override("delimiter", sign)
        table.fail(f"one column, {shown(names[0])}: say what parts it: {given}")


def _check_output(output: Path, path: str) -> None:
    if output.suffix.lower() not in _WRITTEN:
        raise UserError(f"{output}: scores are written as {' or '.join(_WRITTEN)}")
    if output.resolve() == Path(path).expanduser().resolve():
        raise UserError(f"{output}: is the table itself: give another name for its scores")
    if output.is_dir():
        raise UserError(f"{output}: is a directory: give a file's name")


def _scored(
    reader: Reader, table: TableFile, summary: Summary, id_column: str | None
) -> Iterator[pl.DataFrame]:
    model = summary.model
    wanted = dict.fromkeys([*model.columns, *([id_column] if id_column else [])])
    for frame in reader.rows(list(wanted)):
        scores = model.score(frame, table=table, positive_rate=summary.positive_rate)
        summary.add(scores)
        reasons = scores.rows.reasons
        scorable = pl.Series([row not in reasons for row in range(frame.height)])
        labels = pl.Series(np.array(model.labels)[scores.is_positive.astype(np.int64)])
        columns = {
            PROBABILITY: pl.Series(scores.probabilities).fill_nan(None),
            DECISION: labels.set(~scorable, None),
            REASON: pl.Series([reasons.get(row) for row in range(frame.height)], dtype=pl.String),
        }
        ids = [frame[id_column]] if id_column else []
        yield pl.DataFrame([*ids, *(values.alias(name) for name, values in columns.items())])


def _said_of_columns(model: Model, names: Sequence[str], kept: Sequence[str]) -> Iterator[str]:
    """Columns that the file has and the model does not ask for."""
    beside = model.description.beside
    label = next((name for name, part in beside.items() if part == "the label"), None)
    if label in names and label not in kept:
        yield f"column {label!r} is the label: not looked at"
    extra = [name for name in names if name not in {*model.columns, *beside, *kept}]
    if extra:
        yield f"not looked at, as the model knows none: {listed(list(map(repr, extra)), _SHOWN)}"


def _rows(count: int) -> str:
    return f"{count:,} row{'s'[: count != 1]}"
