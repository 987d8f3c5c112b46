"""Reading logged runs from any number of sources, joined by run_id."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from harness.analyze.beside import beside
from harness.analyze.checked import checked
from harness.analyze.runs import HISTORY_SCHEMA, INCOMPLETE, Runs, Scale
from harness.analyze.sources.logged import gather
from harness.analyze.sources.offline import log_files, read_offline
from harness.data.table_file import ARROW, DELIMITERS, PARQUET
from harness.errors import UserError
from harness.metrics import own_calibrator
from harness.metrics.own import add_logged
from harness.record.store import (
    Shards,
    findings,
    flat_runs,
    planned,
    planned_objective,
    scan,
    shards,
    sweeps_in,
    union,
)
from harness.record.wandb_client import served_runs

__all__ = ["HISTORY_SCHEMA", "INCOMPLETE", "Runs", "complete", "join", "load"]

OBJECTIVE = "evaluation.objective"
EXTRA_METRICS, CALIBRATORS = "extra_metrics", "evaluation.calibrators"
RANKS = ("_incomplete", "_bare")  # by which a run that several sources have is chosen


def load(*sources: Path | str, scores: Scale = "auto") -> Runs:
    """The runs of all sources; one that several have is taken from where most is known of it.

    Args:
        sources: a sweep folder; W&B's offline folders (one run's, or a folder `wandb` of many);
            `entity/project[/group]` on W&B's service; or a table of anybody's scores (CSV, Parquet,
            Arrow: see `harness.analyze.sources.scores`), which is set beside the runs of the rest.
        scores: what the numbers in such tables are.

    Raises:
        UserError: a source is none of these, cannot be read or holds no runs.
    """
    tables = [Path(source) for source in sources if _is_table(Path(source))]
    trained = [checked(_read(source)) for source in sources if Path(source) not in tables]
    return join([*trained, *beside(_scored(tables, scores), trained)])


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in (*DELIMITERS, *PARQUET, *ARROW) and not path.is_dir()


def _scored(tables: Sequence[Path], scale: Scale) -> list[Runs]:
    if not tables:
        return []
    # It loads scikit-learn, which nobody waits for who has a sweep.
    from harness.analyze.sources.scores import read_scores

    return [checked(read_scores(path, scale=scale)) for path in tables]


def join(parts: Sequence[Runs]) -> Runs:
    """One row a run_id: complete before incomplete, with predictions before without, then latest.

    Where W&B itself was set to log is no setting of a run and left out.
    """
    runs, columns = union([(_ranked(part), part.columns) for part in parts])
    runs = _first_of_each(runs, *RANKS, "created", "shard", descending=[False, False, True, True])
    if EXTRA_METRICS in runs.columns:
        add_logged(runs[EXTRA_METRICS].explode().drop_nulls().unique(maintain_order=True).to_list())
    if runs.schema.get(CALIBRATORS) == pl.List(pl.String):
        named = runs[CALIBRATORS].explode().drop_nulls().unique(maintain_order=True)
        own_calibrator.add_logged(named.to_list())
    logging = [name for name in columns.config if name.partition(".")[0] == "wandb"]
    notes = [*(note for part in parts for note in part.notes), *_lacks(runs)]
    return Runs(
        name=" + ".join(dict.fromkeys(part.name for part in parts)),
        runs=runs.drop(*RANKS, *logging),
        history=pl.concat([part.history for part in parts], how="diagonal_relaxed"),
        predictions=tuple(frame for part in parts for frame in part.predictions),
        columns=columns.without(logging),
        notes=tuple(notes),
        found={name: lines for part in parts for name, lines in part.found.items()},
        baseline=next((part.baseline for part in parts if part.baseline), ""),
        keep=tuple(part.keep for part in parts),
    )


def _first_of_each(table: pl.DataFrame, *by: str, descending: list[bool]) -> pl.DataFrame:
    """The first row of each run in that order, sorted by run_id: shards come in the order they were
    trained, and no table may depend on it.

    The table is wide, and copied but once.
    """
    keys = table.select("run_id", *by).with_row_index("_row")
    first = keys.sort(*by, descending=descending, nulls_last=True).unique("run_id", keep="first")
    return table[first.sort("run_id")["_row"]]


def _ranked(part: Runs) -> pl.DataFrame:
    incomplete = pl.col("status").eq_missing(INCOMPLETE)
    ranks = (incomplete, pl.lit(not part.predictions))
    return part.runs.with_columns(rank.alias(name) for name, rank in zip(RANKS, ranks, strict=True))


def _lacks(ranked: pl.DataFrame) -> Iterator[str]:
    """Sentences on the runs of which less than all is known."""
    incomplete, bare = (int(ranked[name].sum()) for name in RANKS)
    if incomplete:
        yield f"{incomplete} of {ranked.height} runs are incomplete: their logs end too soon."
    if bare:
        yield (
            f"{bare} of {ranked.height} runs come without predictions, which W&B does not keep: "
            "figures drawn from predictions leave them out."
        )


def complete(runs: Runs) -> Runs:
    """Without the incomplete runs, which have no scores to compare.

    Raises:
        UserError: there are no others.
    """
    kept = runs.runs.filter(pl.col("status").ne_missing(INCOMPLETE))
    if kept.is_empty():
        raise UserError(f"all {runs.runs.height} runs of {runs.name} are incomplete; train them")
    return replace(runs, runs=kept)


def _read(source: Path | str) -> Runs:
    path = Path(source)
    if (path / "shards").is_dir():
        return _read_store(path)
    if log_files(path):
        return read_offline(path)
    if not path.exists() and isinstance(source, str) and _is_service(source):
        return _read_service(source)
    if path.is_file():
        raise UserError(
            f"{path} is neither a W&B log (.wandb) nor a table of scores (.csv, .parquet); give a "
            "sweep folder such as runs/NAME"
        )
    return _read_store(path)  # which says what it lacks


def _read_store(folder: Path) -> Runs:
    """Read `folder/shards/*/{runs,history,predictions}.parquet`; damaged shards are left out.

    Raises:
        UserError: no such folder, or no whole shard in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give a sweep folder such as runs/NAME")
    found = shards(folder)
    rows, columns = flat_runs(found)
    damaged = [f"{shard} is damaged ({told}): left out." for shard, told in found.damaged.items()]
    if not rows.height:
        if not damaged and (sweeps := sweeps_in(folder)):
            raise UserError(f"{folder} is no sweep but holds some: give one, such as {sweeps[0]}")
        why = damaged[0] if damaged else "no rows in shards/*/runs.parquet"
        raise UserError(f"{folder} holds no runs ({why}); train some")
    latest = _first_of_each(rows, "created", "shard", descending=[True, True])
    del rows  # hundreds of megabytes of many runs
    if OBJECTIVE in latest.columns and (objective := planned_objective(folder)):
        # It is beside a run: one that an earlier sweep stored tells what that one was asked for.
        latest = latest.with_columns(pl.lit(objective).alias(OBJECTIVE))
    history = list(_scan(found, "history")) or [pl.LazyFrame(schema=HISTORY_SCHEMA)]
    return Runs(
        name=folder.resolve().name,
        runs=latest,
        columns=columns,
        history=pl.concat(history, how="diagonal_relaxed"),
        predictions=tuple(_scan(found, "predictions")),
        notes=(*damaged, *_unfinished(folder, latest.height)),
        found=findings(folder),
        keep=found,
    )


def _unfinished(folder: Path, num_runs: int) -> Iterator[str]:
    total = planned(folder)
    if total is not None and num_runs < total:
        yield (
            f"{folder.resolve().name}: {num_runs} of {total} runs so far. The same command again "
            "trains those that are missing."
        )


def _scan(found: Shards, table: str) -> Iterator[pl.LazyFrame]:
    for path in found.paths(table):
        yield scan(path).with_columns(pl.lit(path.parent.name).alias("shard"))


def _is_service(source: str) -> bool:
    """Whether a source that is no file here could be a project, or a group of one, on W&B.

    >>> [_is_service(s) for s in ("me/loss/demo", "me/loss", "demo", "./me/loss", "a//b")]
    [True, True, False, False, False]
    """
    parts = source.split("/")
    return len(parts) in (2, 3) and all(part.strip(". ") for part in parts)


def _read_service(source: str) -> Runs:
    """The runs of `entity/project[/group]`.

    Raises:
        UserError: no key, no answer, no such project, or no run of this harness in it.
    """
    entity, project, group = [*source.split("/"), None][:3]
    assert entity and project
    logs = ((source, log) for log in served_runs(entity, project, group))
    return gather(logs, name=group or project, place=source)
