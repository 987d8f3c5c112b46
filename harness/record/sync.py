"""Sending W&B what it lacks of a sweep: the store is read again, and each run keeps its id."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from harness.config import Config
from harness.errors import UserError
from harness.record.charts import Chart, charts
from harness.record.ledger import Ledger
from harness.record.mirrored import as_wandb
from harness.record.store import shard_paths, stored
from harness.record.tables import MENDED
from harness.record.wandb_access import describe, has_key, is_outage
from harness.record.wandb_log import RunLog
from harness.record.wandb_upload import contents_in, upload

TIMEOUT_SECONDS = 30.0
NUM_SENDERS = 8  # a run is mostly waiting for the service
CONFIG_KEYS = frozenset(field.name for field in fields(Config))


def sweep_folder(source: Path) -> Path:
    """The sweep folder `source` is, or whose `wandb` folder it is.

    Raises:
        UserError: it is neither.
    """
    source = Path(source)
    for folder in (source, source.absolute().parent):
        if (folder / "shards").is_dir():
            return folder
    raise UserError(
        f"{source} is no sweep folder (it has no shards/); give one such as runs/NAME, or send "
        f"W&B's own offline folders with `wandb sync {source}`"
    )


@dataclass(frozen=True)
class Sync:
    """What is to be sent of a sweep folder.

    Attributes:
        everything: also what the service has already, and what was never to be mirrored.
    """

    folder: Path
    everything: bool = False

    def unsent(self) -> list[str]:
        """Stored runs the service lacks: owed, or mirrored to an offline folder only."""
        known = stored(self.folder, [])
        if self.everything:
            return sorted(known)
        standings = Ledger(self.folder).standings()
        return [one for one, standing in standings.items() if one in known and standing != "online"]

    def send(self, *, timeout: float | None = None) -> Iterator[str]:
        """Sends what is unsent, `NUM_SENDERS` runs at a time; yields each id once sent and noted.

        In the order of the store. A run that was sent as the process was killed may be sent again,
        which changes nothing.

        Raises:
            UserError: no key, no service, or runs that it refused. What was sent is noted: a second
                call sends the rest.
        """
        if not (unsent := self.unsent()):
            return
        _need_key(self.folder, len(unsent))
        refused: list[str] = []
        with TemporaryDirectory(prefix="harness-sync-", ignore_cleanup_errors=True) as place:
            sender = _Sender(Ledger(self.folder), Path(place), timeout or TIMEOUT_SECONDS)
            with contents_in(Path(place)), ThreadPoolExecutor(NUM_SENDERS) as pool:
                for run_id, error in _in_order(pool, sender, stored_logs(self.folder, unsent)):
                    if error is None:
                        yield run_id
                        continue
                    if is_outage(error):
                        pool.shutdown(cancel_futures=True)  # what is on its way may arrive
                        raise UserError(_failed(self.folder, error)) from error
                    refused.append(f"{run_id}: {describe(error)}")
        if refused:
            raise UserError(f"W&B refused {len(refused)} runs, such as {refused[0]}; sync again")


@dataclass(frozen=True)
class _Sender:
    """Sends a run and notes it, in whichever thread."""

    ledger: Ledger
    place: Path
    timeout: float

    def __call__(self, run: RunLog) -> tuple[str, Exception | None]:
        try:
            upload(run, self.place, timeout=self.timeout)
        except Exception as error:
            return run.run_id, error
        self.ledger.pay([run.run_id], to="online")
        return run.run_id, None


def _in_order(
    pool: ThreadPoolExecutor, sender: _Sender, runs: Iterable[RunLog]
) -> Iterator[tuple[str, Exception | None]]:
    """What came of each run. No more are read than are being sent, and one."""
    waiting: deque[Future[tuple[str, Exception | None]]] = deque()
    for run in runs:
        waiting.append(pool.submit(sender, run))
        if len(waiting) > NUM_SENDERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


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


def _need_key(folder: Path, num_unsent: int) -> None:
    if not has_key():
        raise UserError(
            f"{num_unsent} runs of {folder} are yet to be sent, but no W&B API key is set: run "
            "`wandb login` or set WANDB_API_KEY"
        )


def _failed(folder: Path, error: Exception) -> str:
    left = len(Sync(folder).unsent())
    return (
        f"W&B does not take the runs of {folder} ({describe(error)}); {left} are still owed: "
        "run the same command again later"
    )
