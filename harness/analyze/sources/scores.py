"""Anybody's scores: a table of one row a scored example, as the tables of our own runs.

Its rows are those of one run where data set, seed, fold, model and every column with a dot in its
name (`optimizer.learning_rate`: a key of the configuration) are the same. The model stands where a
loss stands in our runs, since that is what is compared. All is measured by the code that measures
our runs, under the default evaluation; what that decides on validation is left out where the table
has no validation rows.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit, logit

from harness.analyze.headings import SELECTION
from harness.analyze.runs import HISTORY_SCHEMA, Runs, Scale
from harness.data.reading import Reader, open_reader
from harness.data.table_file import CsvFormat, TableFile, table_at
from harness.data.target import labels_of, spelled
from harness.errors import UserError, cut, listed, shown
from harness.metrics.evaluate import Scored
from harness.metrics.settings import Evaluation
from harness.metrics.weighted import evaluate_either
from harness.record.schema import FACTS, Columns, rows_fingerprint

MAX_ROWS = 100_000_000  # after rows are repeated by their weight
MAX_CELLS = 20_000_000  # of the scores that are measured at once

# By role, the names a column may have; the first is the one that messages and exports use.
NAMES = {
    "dataset": ("dataset", "data_set", "data"),
    "fold": ("fold", "split"),
    "seed": ("seed", "random_state"),
    "model": ("model", "method", "loss", "estimator"),
    "part": ("part", "subset"),
    "row": ("row", "row_id", "id"),
    "label": ("label", "y_true", "y", "target"),
    "score": ("score", "y_score", "prediction"),
    "probability": ("probability", "proba", "prob", "y_prob", "y_proba", "p"),
    "logit": ("logit", "log_odds", "decision_value", "decision_function"),
    "weight": ("weight", "sample_weight"),
    "num_train": ("num_train",),
    "num_train_positives": ("num_train_positives",),
}
KEYS = {"dataset": "dataset.name", "model": "loss.name", "seed": "seed", "fold": "split.fold"}
"""The configuration that a column is."""

_SCORES = ("score", "probability", "logit")
_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
}
_MISSING = ("", "nan", "na", "n/a", "null", "none")


def read_scores(path: Path, *, scale: Scale = "auto") -> Runs:
    """The runs whose scores are in a CSV, Parquet or Arrow file.

    Args:
        path: with a column for `label` and one for `score`; see `NAMES` for the others. Without a
            `model`, the file's name is it.
        scale: what a score is: the log odds or the probability of a positive, or a number that
            orders rows and means nothing else. `auto` takes what the column is called, else a
            probability where all of a model's lie in [0, 1], and says so.

    Raises:
        UserError: no such table, or a row of it that cannot be scored, with its line.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; give a sweep folder or a table of scores")
    table = table_at(str(path), CsvFormat())
    reader = open_reader(table, marks=_MISSING)
    roles = _roles(reader, table)
    rows = _rows(reader, roles, table)
    rows, labels = _labelled(rows, table)
    rows, notes = _on_one_scale(rows, roles, scale, table)
    rows = _repeated(rows, table)
    keys = [name for name in rows.columns if name in KEYS or "." in name]
    _check_duplicates(rows, keys, table)
    examples = [
        _example(dict(zip(keys, key, strict=True)), own, labels)
        for key, own in rows.group_by(keys, maintain_order=True)
    ]
    if untested := [one for one in examples if not len(one.parts["test"])]:
        table.fail(f"{_named(untested[0].key)} has no row with part=test: nothing to score")
    notes += _sized(examples)
    _check_choice(examples, keys, table)
    ignored = [n for n in reader.schema if n not in roles.values() and "." not in n]
    if ignored:
        notes.append(f"columns that are no part of scores: {listed(ignored, 6)}.")
    runs, columns = _table(examples, keys, created=_written(path))
    return Runs(
        name=path.name,
        runs=runs,
        columns=columns,
        history=pl.LazyFrame(schema=HISTORY_SCHEMA),
        predictions=(_predictions(examples),),
        notes=tuple(f"{path.name}: {note}" for note in notes),
        baseline=str(examples[0].key["model"]),
    )


def _roles(reader: Reader, table: TableFile) -> dict[str, str]:
    """Which column has which role."""
    found: dict[str, str] = {}
    for role, names in NAMES.items():
        fitting = [name for name in reader.schema if _plain(name) in names]
        if len(fitting) > 1:
            table.fail(f"columns {fitting[0]!r} and {fitting[1]!r} are both a {role}: drop one")
        if fitting:
            found[role] = fitting[0]
    scores = [role for role in _SCORES if role in found]
    some = f"it has {listed([repr(cut(name)) for name in reader.schema], 6)}"
    if "label" not in found:
        table.fail(f"has no column 'label' (0 or 1 of each scored row); {some}")
    if not scores:
        table.fail(f"has no column 'score', 'probability' or 'logit'; {some}")
    if len(scores) > 1:
        table.fail(
            f"columns {found[scores[0]]!r} and {found[scores[1]]!r} are both scores: drop one"
        )
    return found


def _plain(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def _rows(reader: Reader, roles: Mapping[str, str], table: TableFile) -> pl.DataFrame:
    """The table by roles, typed; with `line`, the row of the file from 0."""
    wanted = {name: role for role, name in roles.items()}
    wanted |= {name: name for name in reader.schema if "." in name}
    columns = {wanted[column.name]: column for column in reader.columns(list(wanted))}
    height = len(columns["label"])
    if not height:
        table.fail("has no rows")
    score = next(role for role in _SCORES if role in roles)
    typed = {
        "line": pl.Series(range(height), dtype=pl.Int64),
        "dataset": _text(columns.get("dataset", pl.Series(["data"] * height)), "dataset", table),
        "model": _text(
            columns.get("model", pl.Series([table.short_name.rpartition(".")[0]] * height)),
            "model",
            table,
        ),
        "part": _parts(columns.get("part"), height, table),
        "label": columns["label"],
        "score": columns[score].cast(pl.Float64, strict=False),
        "weight": _weights(columns.get("weight"), height, table),
    }
    for role in ("seed", "fold", "num_train", "num_train_positives"):
        if role in columns:
            typed[role] = _whole(columns[role], role, table)
    if "row" in columns:
        typed["row"] = _value(columns["row"], table).cast(pl.String)
    for name in sorted(name for name in columns if "." in name):
        typed[KEYS.get(name, name)] = _value(columns[name], table)
    rows = pl.DataFrame([column.alias(name) for name, column in typed.items()])
    bad = rows["score"].is_null() | rows["score"].is_nan() | rows["score"].is_infinite()
    bad &= rows["part"] != "train"  # of which the number alone is taken
    _refuse(bad, columns[score], "is no finite number: score the row or drop it", table)
    return rows


def _text(column: pl.Series, role: str, table: TableFile) -> pl.Series:
    missing = column.is_null()
    _refuse(missing, column, f"is missing: name the {role} of each row", table)
    return pl.Series([spelled(value).strip() for value in column.to_list()], dtype=pl.String)


def _parts(column: pl.Series | None, height: int, table: TableFile) -> pl.Series:
    if column is None:
        return pl.Series(["test"] * height)
    spelt = column.cast(pl.String).str.strip_chars().str.to_lowercase()
    known = spelt.replace_strict(_PARTS, default=None, return_dtype=pl.String)
    _refuse(known.is_null(), column, "is none of train, validation and test", table)
    return known


def _whole(column: pl.Series, role: str, table: TableFile) -> pl.Series:
    numbers = column.cast(pl.Float64, strict=False)
    bad = numbers.is_null() | ~numbers.is_finite() | (numbers != numbers.floor())
    said = "is no whole number" + (
        " (or is it the part of the data? call it part)" * (role == "fold")
    )
    _refuse(bad | (numbers.abs() > 2**53), column, said, table)
    return numbers.cast(pl.Int64)


def _weights(column: pl.Series | None, height: int, table: TableFile) -> pl.Series:
    if column is None:
        return pl.Series([1] * height, dtype=pl.Int64)
    weights = column.cast(pl.Float64, strict=False)
    bad = weights.is_null() | ~weights.is_finite() | (weights < 0)
    _refuse(bad, column, "is no number of at least 0", table)
    whole = bool((weights == weights.floor()).all())
    return weights.cast(pl.Int64) if whole else weights


def _value(column: pl.Series, table: TableFile) -> pl.Series:
    """A key's values; whole numbers of a CSV file are such."""
    if column.dtype.is_nested():
        table.fail(f"column {column.name!r} holds {column.dtype}: give one value a row")
    known = column.drop_nulls()
    if column.dtype.is_float() and (known == known.floor()).all():
        return column.cast(pl.Int64)
    return column


def _refuse(bad: pl.Series, column: pl.Series, said: str, table: TableFile) -> None:
    """Names the first bad row, and how many there are."""
    bad = bad.fill_null(True)
    if not (count := int(bad.sum())):
        return
    first = int(bad.arg_max() or 0)
    value = "an empty cell" if column[first] is None else shown(column[first])
    more = f" ({count} such rows)" if count > 1 else ""
    table.fail(f"{table.line(first)}: {column.name} {value} {said}{more}")


def _labelled(rows: pl.DataFrame, table: TableFile) -> tuple[pl.DataFrame, dict[str, Any]]:
    """With labels 0 and 1; and for each data set which label is positive, and why."""
    label = rows["label"]
    if label.dtype in (pl.String, pl.Categorical, pl.Enum):
        label = label.cast(pl.String).str.strip_chars()
        label = label.set(label == "", None)
    _refuse(label.is_null(), rows["label"], "is no label: fill it in or drop the row", table)
    parts, chosen = [], {}
    for (name,), own in rows.with_columns(label).group_by("dataset", maintain_order=True):
        values = own["label"].unique(maintain_order=True)
        if len(values) != 2:
            place = own["line"][int((own["label"] == values[-1]).arg_max() or 0)]
            if len(values) > 2:
                place = own["line"][int((own["label"] == values[2]).arg_max() or 0)]
            third = shown(spelled(values[min(len(values) - 1, 2)]))
            told = f"{third} is a third label" if len(values) > 2 else f"{third} is the only label"
            table.fail(f"{table.line(place)}: {told} of {shown(name)}: there must be two")
        found = labels_of(own["label"], positive=None, table=table)
        chosen[str(name)] = (found.positive, found.reason)
        parts.append(own.with_columns(pl.Series("label", found.values)))
    return pl.concat(parts).sort("line"), chosen


def _on_one_scale(
    rows: pl.DataFrame, roles: Mapping[str, str], scale: Scale, table: TableFile
) -> tuple[pl.DataFrame, list[str]]:
    """With the column `logit`, and `is_rank` where scores order rows and mean nothing else."""
    named = next(role for role in _SCORES if role in roles)
    column = roles[named]
    told: dict[str, list[str]] = {}
    parts = []
    for (model,), own in rows.group_by("model", maintain_order=True):
        used = own.filter(pl.col("part") != "train")["score"]
        within = bool(((used >= 0) & (used <= 1)).all())
        taken, why = scale, f"as --scores {scale} says"
        if scale == "auto" and named != "score":
            taken, why = named, f"as the column {column!r} is called"  # type: ignore[assignment]
        elif scale == "auto":
            taken = "probability" if within else "logit"
            why = "all lie in [0, 1]" if within else "some lie outside [0, 1]"
        if taken == "probability" and not within:
            outside = ((rows["score"] < 0) | (rows["score"] > 1)) & (rows["model"] == model)
            outside &= rows["part"] != "train"
            _refuse(outside, rows["score"].alias(column), "is no probability: see --scores", table)
        told.setdefault(_TAKEN[taken].format(why=why), []).append(str(model))
        values = own["score"].to_numpy()
        if taken == "probability":
            values, note = _log_odds(values)
            told |= {note: [str(model)]} if note else {}
        parts.append(
            own.with_columns(pl.Series("logit", values), pl.lit(taken == "rank").alias("is_rank"))
        )
    notes = [f"{listed(models, 3)}: {note}" for note, models in told.items()]
    return pl.concat(parts).sort("line"), notes


_TAKEN = {
    "probability": "scores are taken as probabilities ({why}).",
    "logit": "scores are taken as log odds ({why}); if they are on another scale, such as a "
    "margin, log loss, Brier score, ECE and a threshold of .5 mean nothing: give --scores rank.",
    "rank": "scores are taken for the order of rows alone ({why}).",
}


def _log_odds(probabilities: np.ndarray) -> tuple[np.ndarray, str]:
    """The log odds, and a note where 0 or 1, which have none, are moved: the order stays."""
    least = probabilities[probabilities > 0].min(initial=2 * np.finfo(float).eps) / 2
    most = np.nextafter(1, 0)
    count = int(((probabilities <= 0) | (probabilities >= 1)).sum())
    note = (
        f"{count} probabilities of exactly 0 or 1 are taken as {least:.2g} and 1 - {1 - most:.2g}: "
        "an infinite log loss is of no use."
    )
    with np.errstate(invalid="ignore"):
        return logit(np.clip(probabilities, least, most)), note if count else ""


def _repeated(rows: pl.DataFrame, table: TableFile) -> pl.DataFrame:
    """Rows as often as they count, where that is a whole number; else those that count."""
    weights = rows["weight"].to_numpy()
    if (weights == 1).all():
        return rows
    if rows["weight"].dtype.is_float():
        return rows.filter(pl.col("weight") > 0)
    if (total := int(weights.sum())) > MAX_ROWS:
        table.fail(f"weights add up to {total:,} rows, of at most {MAX_ROWS:,}: scale them down")
    return rows[np.repeat(np.arange(len(weights)), weights)]


def _check_duplicates(rows: pl.DataFrame, keys: Sequence[str], table: TableFile) -> None:
    """A row of the data that one run scores twice; unknown where rows have no name."""
    if "row" not in rows.columns:
        return
    once = rows.unique("line", maintain_order=True)  # a weight repeats it rightly
    named = [*keys, "part", "row"]  # some number the rows of each part anew
    again = once.filter(~pl.struct(named).is_first_distinct())
    if again.height:
        row = again.row(0, named=True)
        same = [pl.col(name).eq_missing(pl.lit(row[name])) for name in named]
        first = once.filter(*same)["line"][0]
        table.fail(
            f"{table.line(row['line'])}: row {shown(row['row'])} of {_named(row, keys)} stands at "
            f"{table.line(first)} already: drop one, or tell seeds and folds apart by columns"
        )


@dataclass(eq=False)
class _Example:
    """A run: its key, its rows by part, and its facts."""

    key: dict[str, Any]
    parts: dict[str, pl.DataFrame]
    facts: dict[str, Any]
    run_id: str


def _example(key: dict[str, Any], rows: pl.DataFrame, labels: Mapping[str, Any]) -> _Example:
    parts = {part: rows.filter(pl.col("part") == part) for part in ("train", "validation", "test")}
    positive, reason = labels[str(key["dataset"])]
    facts: dict[str, Any] = {
        "status": "finished",
        "shift_invariant": bool(rows["is_rank"][0]),
        "positive_label": positive,
        "positive_reason": reason,
    }
    for part, own in parts.items():
        if own.height or part != "train":
            facts[f"num_{part}"] = own.height
            facts[f"num_{part}_positives"] = int(own["label"].sum())
    for name in ("num_train", "num_train_positives"):
        if name in rows.columns:
            facts[name] = int(rows[name][0])
    if "row" in rows.columns:
        numbers = parts["test"]["row"].cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
        if not numbers.null_count():
            facts["test_fingerprint"] = rows_fingerprint(numbers.to_numpy())
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode())
    for part, own in parts.items():
        for column in ("label", "logit"):
            digest.update(part.encode() + own[column].to_numpy().tobytes())
    return _Example(key, parts, facts, digest.hexdigest()[:16])


def _sized(examples: Sequence[_Example]) -> list[str]:
    """Fills in how many rows models were trained on, where folds tell; says what is not known."""
    folds: dict[tuple, list[_Example]] = {}
    for one in examples:
        others = {name: value for name, value in one.key.items() if name != "fold"}
        folds.setdefault(tuple(others.values()), []).append(one)
    for together in folds.values():
        if len(together) > 1 and all("num_train" not in one.facts for one in together):
            for end in ("", "_positives"):
                tested = [one.facts[f"num_test{end}"] for one in together]
                for one, own in zip(together, tested, strict=True):
                    held = one.facts[f"num_validation{end}"]
                    one.facts[f"num_train{end}"] = max(sum(tested) - own - held, 0)
    notes = []
    if any(not len(one.parts["validation"]) for one in examples):
        notes.append(
            "without rows with part=validation: thresholds tuned on validation and calibrated "
            "scores are missing."
        )
    if any("num_train" not in one.facts for one in examples):
        notes.append(
            "nothing says how many rows the models were trained on, without which there is no "
            "interval or test: give a column num_train, or rows with part=train."
        )
    return notes


def _check_choice(examples: Sequence[_Example], keys: Sequence[str], table: TableFile) -> None:
    tuned = [key for key in keys if key.startswith(("optimizer.", "schedule.", "training."))]
    for name in tuned:
        values = {one.key[name] for one in examples}
        if len(values) > 1 and any(not len(one.parts["validation"]) for one in examples):
            table.fail(
                f"has several values of {name} and no rows with part=validation, on which one is "
                "chosen: add these, or drop the column"
            )


def _table(
    examples: Sequence[_Example], keys: Sequence[str], *, created: datetime
) -> tuple[pl.DataFrame, Columns]:
    evaluation = Evaluation()
    names = [*evaluation.measured("validation"), *evaluation.measured("test")]
    metrics = {str(name): np.full(len(examples), np.nan) for name in names}
    # What hangs on what validation decides.
    decided = {
        str(name)
        for name in names
        if name.rule in evaluation.criteria or name.version in evaluation.calibrators
    }
    for at in _batches(examples):
        batch = [examples[place] for place in at]
        has_validation = np.array([len(one.parts["validation"]) > 0 for one in batch])
        for name, found in _measured(batch, evaluation).items():
            metrics[name][at] = (
                np.where(has_validation, found, np.nan) if name in decided else found
            )
    known = {name: v for name, v in metrics.items() if name == SELECTION or not np.isnan(v).all()}
    config = {KEYS.get(name, name): [one.key[name] for one in examples] for name in keys}
    table = pl.DataFrame(
        [
            pl.Series("run_id", [one.run_id for one in examples], pl.String),
            pl.Series("created", [created] * len(examples), pl.Datetime("us", "UTC")),
            *(pl.Series(n, [one.facts.get(n) for one in examples], k) for n, k in FACTS.items()),
            *(pl.Series(name, values) for name, values in config.items()),
            *(pl.Series(name, values) for name, values in known.items()),
            pl.Series("shard", ["scores"] * len(examples)),
        ]
    )
    columns = Columns(config=tuple(config), facts=tuple(FACTS), metrics=tuple(known))
    return table.unique("run_id", keep="first").sort("run_id"), columns


def _batches(examples: Sequence[_Example]) -> Iterator[list[int]]:
    """Positions of runs of like sizes, that padding them to one takes little room."""
    widths = [max(len(one.parts[part]) for part in ("validation", "test")) for one in examples]
    batch: list[int] = []
    for place in sorted(range(len(examples)), key=widths.__getitem__):
        if batch and widths[place] * (len(batch) + 1) > MAX_CELLS:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _measured(batch: Sequence[_Example], evaluation: Evaluation) -> Mapping[str, np.ndarray]:
    """The metrics; the tuned threshold becomes a fact."""
    parts = {part: _scored([one.parts[part] for one in batch]) for part in ("validation", "test")}
    measured = evaluate_either(**parts, evaluation=evaluation)
    for one, found in zip(batch, measured.facts["threshold_logit"], strict=True):
        if one.parts["validation"].height:
            one.facts |= {"threshold_logit": float(found), "threshold": float(expit(found))}
    return measured.metrics


def _scored(parts: Sequence[pl.DataFrame]) -> Scored:
    width = max(1, *(own.height for own in parts))
    shape = (len(parts), width)
    logits, labels = np.zeros(shape), np.zeros(shape, np.int8)
    for place, own in enumerate(parts):
        logits[place, : own.height] = own["logit"].to_numpy()
        labels[place, : own.height] = own["label"].to_numpy()
    valid = np.arange(width) < np.array([[own.height] for own in parts])
    # What their training did to the prior is not known: there are no corrected scores.
    corrected, weights = np.full(shape, np.nan), None
    if parts[0]["weight"].dtype.is_float():
        weights = np.ones(shape)
        for place, own in enumerate(parts):
            weights[place, : own.height] = own["weight"].to_numpy()
    return Scored(logits, labels, valid, corrected, weights)


def _predictions(examples: Iterable[_Example]) -> pl.LazyFrame:
    rows = [
        (
            one.run_id,
            "scores",
            part,
            own["logit"].cast(pl.Float32),
            own["label"].cast(pl.Int8),
            own["weight"] if own["weight"].dtype.is_float() else None,
        )
        for one in examples
        for part, own in one.parts.items()
        if part != "train" and own.height
    ]
    kinds = {
        "run_id": pl.String(), "shard": pl.String(), "split": pl.String(),
        "logits": pl.List(pl.Float32()), "labels": pl.List(pl.Int8()),
        "row_weights": pl.List(pl.Float64()),
    }  # fmt: skip
    return pl.LazyFrame(rows, schema=kinds, orient="row")


def _written(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)


def _named(row: Mapping[str, Any], keys: Iterable[str] = KEYS) -> str:
    """A run for a message: `model=lightgbm, seed=0`."""
    return ", ".join(f"{key}={cut(str(row[key]))}" for key in keys if row.get(key) is not None)
