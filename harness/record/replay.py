"""Stored runs as W&B is to have them: what the mirror was given, read again from the store."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from harness.config import Config
from harness.record.charts import Chart, charts
from harness.record.mirrored import as_wandb
from harness.record.store import shard_paths, stored
from harness.record.tables import MENDED
from harness.record.wandb_log import RunLog

CONFIG_KEYS = frozenset(field.name for field in fields(Config))


def stored_logs(folder: Path, run_ids: list[str]) -> Iterator[RunLog]:
    """These runs of the store as W&B is to have them, a shard of them in memory at a time."""
    latest = {one: row["created"] for one, row in stored(folder, []).items()}
    wanted = set(run_ids)
    for path in shard_paths(folder, "runs"):
        runs = pl.read_parquet(path, glob=False)
        # A column is null where other losses of the shard have it, or throughout where it is None.
        nulls = {name for name in runs.columns if runs[name].null_count() == runs.height}
        history: dict[Any, pl.DataFrame] | None = None
        for row in runs.iter_rows(named=True):
            if row["run_id"] in wanted and row["created"] == latest[row["run_id"]]:
                wanted.remove(row["run_id"])
                history = _curves(path) if history is None else history
                drawn = _charts(path, row) if row.get("wandb.charts") else {}
                yield _log(row, nulls, history, drawn, group=folder.resolve().name)


def _curves(path: Path) -> dict[Any, pl.DataFrame]:
    frame = pl.read_parquet(path.with_name("history.parquet"), glob=False)
    return frame.sort("epoch").partition_by("run_id", as_dict=True, include_key=False)


def _charts(path: Path, row: Mapping[str, Any]) -> dict[str, Chart]:
    """Drawn from the run's stored predictions."""
    frame = pl.scan_parquet(path.with_name("predictions.parquet"), glob=False)
    parts = frame.filter(run_id=row["run_id"]).collect().to_dicts()
    versions = [name for name in MENDED if name in frame.collect_schema()]
    return charts(
        predictions={
            part["split"]: (
                np.array(part["rows"]),
                np.array(part["logits"], np.float32),
                np.array(part["labels"]),
            )
            for part in parts
        },
        mended={
            part["split"]: {
                name: np.array(part[name], np.float32) for name in versions if part[name]
            }
            for part in parts
        },
        threshold_logit=math.nan if (cut := row.get("threshold_logit")) is None else cut,
    )


def _log(
    row: Mapping[str, Any],
    nulls: set[str],
    curves: Mapping[Any, pl.DataFrame],
    drawn: Mapping[str, Chart],
    *,
    group: str,
) -> RunLog:
    config = {k: v for k, v in row.items() if _is_config(k) and (v is not None or k in nulls)}
    own = curves.get((row["run_id"],))
    tags = row.get("wandb.tags") or ""
    run = as_wandb(
        run_id=row["run_id"],
        config=nested(config),
        facts={
            k: v for k, v in row.items() if "/" not in k and not _is_config(k) and k not in KEYS
        },
        metrics={k: v for k, v in row.items() if "/" in k and v is not None},
        history={} if own is None else {name: own[name].to_list() for name in own.columns},
        tags=tags.split(",") if tags else [],
        created=row["created"],
        charts=drawn,
    )
    project, entity = row.get("wandb.project") or "bce-harness", row.get("wandb.entity") or ""
    return RunLog(**vars(run), project=project, entity=entity, group=group)


KEYS = frozenset({"run_id", "created"})


def _is_config(column: str) -> bool:
    return "/" not in column and column.partition(".")[0] in CONFIG_KEYS


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested ones; `harness.record.tables.flatten` undone.

    >>> nested({"loss.name": "focal", "loss.gamma": 2.0, "seed": 0})
    {'loss': {'name': 'focal', 'gamma': 2.0}, 'seed': 0}
    """
    deep: dict[str, Any] = {}
    for column, value in flat.items():
        *path, last = column.split(".")
        inner = deep
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return deep
