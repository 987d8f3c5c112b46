"""From an experiment's runs and computed tables to the differences that its claims are about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from harness.analyze import load, trained
from harness.analyze.comparisons import test_train_ratio
from harness.analyze.groups import chosen_runs, families, label_runs
from harness.analyze.keys import as_labels, keys_of, replicates, rows_where
from harness.analyze.runs import Runs
from harness.analyze.trained import Finding
from harness.data.synthetic import SYNTHETIC
from harness.errors import UserError, first_line
from harness.identity import NAMED, numerics_named
from harness.reproduce.claims import Claim, Experiment, Side, Sweep, Tune
from harness.reproduce.computed import TABLES
from harness.reproduce.judging import Pairs
from harness.reproduce.quantities import Rows
from harness.reproduce.quantities import measures as known_measures

RUNS = "runs"
GENERATED = [kind.kind for kind in SYNTHETIC]


@dataclass(frozen=True, eq=False)
class Observed:
    """All that was measured.

    Attributes:
      tables: `runs` and the computed tables, with their derived columns.
      keys: the columns of `runs` that hold the runs' configuration.
      choices: what each of the tuned `runs` chose (`trained.choices`), with its sweep.
      trained: what is known of whether the runs were trained to the end.
      registered: when its claims were (`registration`).
      newer: claims that are newer than their runs, and why they are not judged.
    """

    experiment: Experiment
    tables: Mapping[str, pl.DataFrame]
    keys: Sequence[str]
    choices: pl.DataFrame = field(default_factory=pl.DataFrame)
    trained: Sequence[Finding] = ()
    registered: str = "unknown"
    newer: Mapping[str, str] = field(default_factory=dict)

    def pairs(self, claim: Claim) -> Pairs:
        """The differences of ``claim``, a unit each.

        Raises:
          UserError: a table, column or condition that is not there, or a side without rows.
        """
        at = f"{self.experiment.name}/{claim.name}"
        second = Side(
            where=claim.than.where,
            measure=claim.than.measure or claim.of.measure,
            table=claim.than.table or claim.of.table,
        )
        value = claim.than.value
        sides = [claim.of] if value is not None else [claim.of, second]
        withheld = self.newer.get(claim.name, "") or self._untrained(sides, at)
        found = self._differences(sides, claim, at, claim.unit)
        noise = {}
        if claim.test == "datasets":
            noise = self._split_noise(sides, claim, at)
            found = self._one_a_family(found, claim)
        differences = found["difference"].to_numpy()
        ratio = 0.0
        if claim.test == "repeats":
            rows = select(self.tables, claim.of.table or RUNS, claim.of.where, at=at)
            ratio = float(rows.select(test_train_ratio(rows.columns)).item())
        return Pairs(differences, ratio, value or 0.0, withheld, **noise)

    def _differences(
        self, sides: Sequence[Side], claim: Claim, at: str, unit: Sequence[str]
    ) -> pl.DataFrame:
        """Rows (unit, difference): of the first side minus the second, or minus a number."""
        first, *others = [self._side(side, claim, at, unit) for side in sides]
        if others:
            other = others[0].rename({"measured": "other"})
            first = first.join(other, on=unit, how="full", coalesce=True, nulls_equal=True)
        else:
            first = first.with_columns(other=pl.lit(claim.than.value))
        minus = (pl.col("measured") - pl.col("other")).fill_null(np.nan)
        return first.sort(unit).select(*unit, difference=minus)

    def _split_noise(self, sides: Sequence[Side], claim: Claim, at: str) -> dict[str, float]:
        """What of the spread between data sets is the noise of their splits; nothing unknown."""
        tables = [select(self.tables, side.table or RUNS, side.where, at=at) for side in sides]
        repeated = [k for k in replicates(self.keys) if all(k in one.columns for one in tables)]
        repeated = [key for key in repeated if key not in claim.unit]
        if not repeated:
            return {}
        rows = self._differences(sides, claim, at, [*claim.unit, *repeated])
        by_unit = rows.filter(pl.col("difference").is_finite()).group_by(claim.unit)
        spread = by_unit.agg(pl.col("difference").var() / pl.len(), splits=pl.len()).drop_nulls()
        if spread.is_empty():
            return {}
        variance, splits = spread.select(pl.col("difference", "splits").mean()).row(0)
        return {"split_variance": variance, "num_splits": splits}

    def _one_a_family(self, rows: pl.DataFrame, claim: Claim) -> pl.DataFrame:
        """With the mean difference of data sets that are made from the same rows."""
        if "dataset.name" not in claim.unit:
            return rows
        runs = self.tables.get(RUNS, pl.DataFrame())
        known = runs if "dataset.name" in runs.columns else rows
        kin = families(known.with_columns(dataset="dataset.name")).rename(
            {"dataset": "dataset.name"}
        )
        others = [key for key in claim.unit if key != "dataset.name"]
        joined = rows.join(kin, on="dataset.name", how="left", maintain_order="left")
        means = joined.group_by(*others, pl.coalesce("family", "dataset.name"), maintain_order=True)
        return means.agg(pl.col("difference").mean())

    def rests_on(self, claim: Claim) -> str:
        """`identity` (exact, whatever the data), or `generated` or `real` data."""
        if claim.test == "exact" or RUNS not in self.tables:
            return "identity"
        runs = self.tables[RUNS]
        rows = select(self.tables, claim.of.table or RUNS, claim.of.where, at=claim.name)
        if "dataset.name" in rows.columns:
            runs = runs.join(rows, on="dataset.name", how="semi")
        drawn = runs["dataset.kind"].is_in(GENERATED)
        if "dataset.generated" in runs.columns:  # what a source of one's own says of itself
            drawn |= runs["dataset.generated"].fill_null(False)
        return "generated" if drawn.all() else "real"

    def _untrained(self, sides: Sequence[Side], at: str) -> str:
        """Why the runs of ``sides`` are not to be judged; empty where nothing is against it."""
        of_runs = [side for side in sides if (side.table or RUNS) == RUNS]
        if self.choices.is_empty() or not of_runs:
            return ""
        rows = [select(self.tables, RUNS, side.where, at=at) for side in of_runs]
        members = pl.concat([one.select("run_id", "sweep") for one in rows]).unique()
        found = trained.at_ends(self.choices.join(members, on=["run_id", "sweep"]))
        return "; ".join(one.sentence for one in found if one.is_beyond)

    def _side(self, side: Side, claim: Claim, at: str, unit: Sequence[str]) -> pl.DataFrame:
        """Rows (unit, measured), one a unit; several of a unit are averaged, but for anchors."""
        rows = select(self.tables, side.table or RUNS, side.where, at=at)
        if missing := [c for c in (side.measure, *unit) if c not in rows.columns]:
            raise UserError(f"{at}: {side.table or RUNS} has no column {missing[0]!r}")
        measured = pl.col(side.measure).cast(pl.Float64).fill_null(np.nan)
        grouped = rows.group_by(unit).agg(measured.mean().alias("measured"), pl.len())
        if claim.test == "exact" and grouped["len"].max() != 1:
            units = ", ".join(claim.unit)
            raise UserError(f"{at}: an exact claim needs one row a unit; {units} has several")
        return grouped.drop("len").sort(unit)


def select(tables: Mapping[str, pl.DataFrame], name: str, where: str, *, at: str) -> pl.DataFrame:
    """The rows of a table for which a condition holds.

    Raises:
      UserError: no such table, a condition that cannot be read, or one that no row meets.
    """
    if name not in tables:
        raise UserError(f"{at}: no table {name!r}; there are {', '.join(tables)}")
    table = rows_where(tables[name], where)
    if table.is_empty():
        raise UserError(f"{at}: no row of {name} has {where!r}")
    return table


def observe(experiment: Experiment, sweeps: Mapping[Path, tuple[str, Sweep]]) -> Observed:
    """Reads the runs of ``sweeps`` (by their folder), computes tables and measures, and tunes.

    Measures and tables are of all runs; claims and figures see those that were chosen.

    Raises:
      UserError: a derived quantity that is unknown or cannot be computed.
    """
    sources = {folder: load(folder) for folder in sweeps}
    runs = _runs(sources, sweeps)
    keys = list(dict.fromkeys(key for source in sources.values() for key in keys_of(source)))
    tables: dict[str, pl.DataFrame] = {} if runs.is_empty() else {RUNS: runs}
    stored = tuple(sources.values())
    of_runs = {n: g for n, g in experiment.measures.items() if g.get("table", RUNS) == RUNS}
    _add_measures(experiment, tables, of_runs, stored)
    for name, given in experiment.tables.items():
        derive = _derivation(experiment, "tables", name, given, TABLES)
        made = Rows(tables.get(RUNS, runs), stored)
        tables[name] = _called(experiment, name, derive, experiment.folder, made, **_rest(given))
    choices = pl.DataFrame(schema=["run_id", "sweep", "key", "at_end"])
    if experiment.tune is not None and RUNS in tables:
        tables[RUNS], choices = _tuned(tables[RUNS], experiment.tune, keys)
    others = {n: g for n, g in experiment.measures.items() if n not in of_runs}
    _add_measures(experiment, tables, others, stored)
    histories = [source.history for source in stored]
    found = trained.findings(tables[RUNS], choices, histories) if RUNS in tables else []
    return Observed(experiment, tables, keys, choices, found)


def _runs(sources: Mapping[Path, Runs], sweeps: Mapping[Path, tuple[str, Sweep]]) -> pl.DataFrame:
    frames = [
        _current(sources[folder], sweep).with_columns(sweep=pl.lit(name))
        for folder, (name, sweep) in sweeps.items()
    ]
    return pl.concat(frames, how="diagonal_relaxed").sort("run_id") if frames else pl.DataFrame()


def _current(stored: Runs, sweep: Sweep) -> pl.DataFrame:
    """A sweep's runs under the current numerics, the latest where data changed under them."""
    keys = keys_of(stored)
    runs = as_labels(stored.runs, keys).filter(pl.col(sweep.vary) < sweep.seeds)
    runs = _under_current_numerics(runs).sort("created", "run_id")
    return runs.unique(keys, keep="last")


def _under_current_numerics(runs: pl.DataFrame) -> pl.DataFrame:
    """Those that would be computed now as they were then."""
    columns = {group: f"{group}.name" for group in NAMED if f"{group}.name" in runs.columns}
    kinds = runs.select(numerics="numerics", **columns).unique()
    is_current = [row.pop("numerics") == numerics_named(row) for row in kinds.iter_rows(named=True)]
    current = kinds.filter(is_current).rename(columns)
    return runs.join(current, on=current.columns, how="semi", nulls_equal=True)


def starting_points(folder: Path, sweep: Sweep) -> list[str]:
    """The runs of a trained sweep, as `init.params` names them."""
    return [f"{folder}/{run_id}" for run_id in sorted(_current(load(folder), sweep)["run_id"])]


def _tuned(
    runs: pl.DataFrame, tune: Tune, keys: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The runs of the configurations that validation chooses, for each sweep by itself.

    And what they chose (`trained.choices`), with the sweep.
    """
    tuned, choices = [], []
    for rows in runs.partition_by("sweep", maintain_order=True):
        labelled = label_runs(rows, keys=keys, tuned=tune.keys)
        chosen = chosen_runs(labelled, metric=tune.by, sign=tune.sign)
        tuned.append(chosen)
        of_sweep = trained.choices(labelled, chosen, keys=keys, tuned=tune.keys)
        choices.append(of_sweep.with_columns(sweep=pl.lit(rows["sweep"][0])))
    whole = pl.concat(tuned, how="diagonal_relaxed").sort("run_id", "sweep")
    return whole, pl.concat(choices)


def _add_measures(
    experiment: Experiment,
    tables: dict[str, pl.DataFrame],
    measures: Mapping[str, Mapping[str, Any]],
    stored: tuple[Runs, ...],
) -> None:
    for name, given in measures.items():
        derive = _derivation(experiment, "measures", name, given, known_measures())
        on = given.get("table", RUNS)
        if on not in tables:
            raise UserError(f"{experiment.name}: measures.{name}: no table {on!r}")
        column = _called(experiment, name, derive, Rows(tables[on], stored), **_rest(given))
        tables[on] = tables[on].with_columns(column.alias(name))


def _derivation(
    experiment: Experiment, kind: str, name: str, given: Mapping[str, Any], known: Mapping[str, Any]
) -> Any:
    asked = given.get("derive")
    if not isinstance(asked, str) or asked not in known:
        raise UserError(
            f"{experiment.name}: {kind}.{name}.derive: one of {', '.join(known)}, got {asked!r}"
        )
    return known[asked]


def _rest(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key not in {"derive", "table"}}


def _called(experiment: Experiment, name: str, derive: Any, *arguments: Any, **given: Any) -> Any:
    try:
        return derive(*arguments, **given)
    except (TypeError, KeyError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{experiment.name}: {name}: {first_line(error)}") from error
