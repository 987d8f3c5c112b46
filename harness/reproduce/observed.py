"""From an experiment's runs and computed tables to the differences that its claims are about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from harness.analyze import load, trained
from harness.analyze.groups import chosen_runs, label_runs
from harness.analyze.keys import as_labels, keys_of, rows_where
from harness.analyze.runs import Runs
from harness.analyze.trained import Finding
from harness.data.synthetic import SYNTHETIC
from harness.errors import UserError
from harness.identity import NAMED, numerics_named
from harness.reproduce.claims import Claim, Experiment, Side, Sweep, Tune
from harness.reproduce.computed import TABLES
from harness.reproduce.judging import Pairs
from harness.reproduce.quantities import MEASURES, Rows

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
    """

    experiment: Experiment
    tables: Mapping[str, pl.DataFrame]
    keys: Sequence[str]
    choices: pl.DataFrame = field(default_factory=pl.DataFrame)
    trained: Sequence[Finding] = ()

    def pairs(self, claim: Claim) -> Pairs:
        """The differences of ``claim``, a unit each.

        Raises:
          UserError: a table, column or condition that is not there, or a side without rows.
        """
        at = f"{self.experiment.name}/{claim.name}"
        first = self._side(claim.of, claim, at)
        ratio = _test_train_ratio(first) if claim.test == "repeats" else 0.0
        if claim.than.value is not None:
            value = claim.than.value
            untrained = self._untrained([claim.of], at)
            return Pairs(first["measured"].to_numpy() - value, ratio, value, untrained)
        second = Side(
            where=claim.than.where,
            measure=claim.than.measure or claim.of.measure,
            table=claim.than.table or claim.of.table,
        )
        other = self._side(second, claim, at).select(*claim.unit, pl.col("measured").alias("other"))
        joined = first.join(other, on=claim.unit, how="full", coalesce=True, nulls_equal=True)
        joined = joined.sort(claim.unit)
        minus = (pl.col("measured") - pl.col("other")).fill_null(np.nan).alias("difference")
        differences = joined.select(minus)["difference"].to_numpy()
        return Pairs(differences, ratio, untrained=self._untrained([claim.of, second], at))

    def rests_on(self, claim: Claim) -> str:
        """`identity` (exact, whatever the data), or `generated` or `real` data."""
        if claim.test == "exact" or RUNS not in self.tables:
            return "identity"
        runs = self.tables[RUNS]
        rows = select(self.tables, claim.of.table or RUNS, claim.of.where, at=claim.name)
        if "dataset.name" in rows.columns:
            runs = runs.join(rows, on="dataset.name", how="semi")
        return "generated" if runs["dataset.kind"].is_in(GENERATED).all() else "real"

    def _untrained(self, sides: Sequence[Side], at: str) -> str:
        """Why the runs of ``sides`` are not to be judged; empty where nothing is against it."""
        of_runs = [side for side in sides if (side.table or RUNS) == RUNS]
        if self.choices.is_empty() or not of_runs:
            return ""
        rows = [select(self.tables, RUNS, side.where, at=at) for side in of_runs]
        members = pl.concat([one.select("run_id", "sweep") for one in rows]).unique()
        found = trained.at_ends(self.choices.join(members, on=["run_id", "sweep"]))
        return "; ".join(one.sentence for one in found if one.is_beyond)

    def _side(self, side: Side, claim: Claim, at: str) -> pl.DataFrame:
        """Rows (unit, measured), one a unit; several of a unit are averaged, but for anchors."""
        rows = select(self.tables, side.table or RUNS, side.where, at=at)
        if missing := [c for c in (side.measure, *claim.unit) if c not in rows.columns]:
            raise UserError(f"{at}: {side.table or RUNS} has no column {missing[0]!r}")
        measured = pl.col(side.measure).cast(pl.Float64).fill_null(np.nan)
        kept = [c for c in ("num_test", "num_train") if c in rows.columns]
        grouped = rows.group_by(claim.unit).agg(measured.mean().alias("measured"), pl.len(), *kept)
        if claim.test == "exact" and grouped["len"].max() != 1:
            units = ", ".join(claim.unit)
            raise UserError(f"{at}: an exact claim needs one row a unit; {units} has several")
        return grouped.sort(claim.unit)


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
        derive = _derivation(experiment, "measures", name, given, MEASURES)
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
        reason = str(error).splitlines()[0]
        raise UserError(f"{experiment.name}: {name}: {reason}") from error


def _test_train_ratio(rows: pl.DataFrame) -> float:
    ratio = rows["num_test"].list.mean() / rows["num_train"].list.mean()
    return float(ratio.mean())  # type: ignore[arg-type]
