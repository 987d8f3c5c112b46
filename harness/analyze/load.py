"""Reading logged runs from any number of sources, joined by run_id."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from harness.analyze.runs import HISTORY_SCHEMA, INCOMPLETE, Runs
from harness.analyze.sources.offline import log_files, read_offline
from harness.analyze.sources.service import is_path, read_service
from harness.analyze.sources.store import read_store
from harness.errors import UserError

__all__ = ["HISTORY_SCHEMA", "INCOMPLETE", "Runs", "load"]


def load(*sources: Path | str) -> Runs:
    """The runs of all sources; one that several have is taken from where most is known of it.

    Args:
        sources: a sweep folder; W&B's offline folders (one run's, or a folder `wandb` of many); or
            `entity/project[/group]` on W&B's service.

    Raises:
        UserError: a source is none of these, cannot be read or holds no runs.
    """
    return join([_read(source) for source in sources])


def join(parts: Sequence[Runs]) -> Runs:
    """One row a run_id: complete before incomplete, with predictions before without, then latest.

    Where W&B itself was set to log is no setting of a run and left out.
    """
    ranked = [
        part.runs.with_columns(
            pl.lit(not part.predictions).alias("_bare"),
            (pl.col("status") == INCOMPLETE if "status" in part.runs.columns else pl.lit(False))
            .fill_null(False)
            .alias("_incomplete"),
        )
        for part in parts
    ]
    runs = pl.concat(ranked, how="diagonal_relaxed")
    best = runs.sort(
        "_incomplete", "_bare", "created", "shard", descending=[False, False, True, True]
    )
    unique = best.unique("run_id", keep="first").drop("_bare", "_incomplete")
    incomplete = int((unique["status"] == INCOMPLETE).sum()) if "status" in unique.columns else 0
    notes = [note for part in parts for note in part.notes]
    if incomplete:
        notes.append(f"{incomplete} runs are incomplete: their logs end before they did.")
    names = dict.fromkeys(part.name for part in parts)
    return Runs(
        name=" + ".join(names),
        # Shards come in the order they were trained; no table may depend on it.
        runs=unique.select(pl.exclude(r"^wandb\..*$")).sort("run_id"),
        history=pl.concat([part.history for part in parts], how="diagonal_relaxed"),
        predictions=tuple(frame for part in parts for frame in part.predictions),
        notes=tuple(notes),
        keep=tuple(part.keep for part in parts),
    )


def complete(runs: Runs) -> Runs:
    """Without the incomplete runs, which have no scores to compare."""
    if "status" not in runs.runs.columns:
        return runs
    return replace(runs, runs=runs.runs.filter(pl.col("status").ne_missing(INCOMPLETE)))


def _read(source: Path | str) -> Runs:
    path = Path(source)
    if (path / "shards").is_dir():
        return read_store(path)
    if log_files(path):
        return read_offline(path)
    if not path.exists() and isinstance(source, str) and is_path(source):
        return read_service(source)
    if path.is_file():
        raise UserError(f"{path} is no W&B log (.wandb); give a sweep folder such as runs/NAME")
    return read_store(path)  # which says what it lacks
