"""Sending W&B what it lacks of a sweep: the store is read again, and each run keeps its id."""

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from harness.errors import UserError
from harness.record.config_struct import own_keys, types_of_empty
from harness.record.mirror import Ledger
from harness.record.run_charts import Chart, charts
from harness.record.schema import FACTS, SCORES, Predictions
from harness.record.shard import table_path
from harness.record.store import read_runs, scan, shards, stored
from harness.record.wandb_access import LABELS, describe, has_key, is_outage, labels
from harness.record.wandb_client import contents_in, upload
from harness.record.wandb_form import as_wandb
from harness.record.wandb_log import RunLog

TIMEOUT_SECONDS = 30.0
NUM_SENDERS = 8  # a run is mostly waiting for the service


def sweep_folder(source: Path) -> Path:
    """The sweep folder `source` is, or whose `wandb` folder it is.

    Raises:
        UserError: it is neither, or nothing of it can be read.
    """
    source = Path(source)
    for folder in (source, source.absolute().parent):
        if (folder / "shards").is_dir():
            found = shards(folder)
            if found.damaged and not found.whole:
                shard, told = next(iter(found.damaged.items()))
                raise UserError(
                    f"{folder} has no whole shard: {shard.name} is damaged ({told}); `harness "
                    "train` trains its runs again"
                )
            return folder
    if logs := _offline_logs(source):
        more = " and so on" if len(logs) > 1 else ""
        raise UserError(
            f"{source} holds {len(logs)} offline W&B runs but no store is beside them (no "
            f"shards/) from which to send; send them with `wandb sync {logs[0].parent}`{more}"
        )
    raise UserError(f"{source} is no sweep folder (it has no shards/); give one such as runs/NAME")


def _offline_logs(source: Path) -> list[Path]:
    """At a run's folder, a folder `wandb`, or one that has it."""
    patterns = ("*.wandb", "offline-run-*/*.wandb", "wandb/offline-run-*/*.wandb")
    return sorted(log for pattern in patterns for log in source.glob(pattern))


@dataclass(frozen=True)
class Sync:
    """What is to be sent of a sweep folder.

    Attributes:
        everything: also what the service has already, and what is not to be mirrored.
    """

    folder: Path
    everything: bool = False

    def unsent(self) -> list[str]:
        """Stored runs the service lacks: those that are to be mirrored, and that were not sent, or
        trained again since."""
        known = stored(self.folder, ["wandb.mode"])
        if self.everything:
            return sorted(known)
        sent = Ledger(self.folder).sent()
        return [
            run_id
            for run_id, row in known.items()
            if row["wandb.mode"] != "disabled"
            and (run_id not in sent or sent[run_id] < row["created"])
        ]

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
                for run_id, error in _in_order(pool, sender, StoredLogs(self.folder)(unsent)):
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
        self.ledger.note_sent([run])
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


def _need_key(folder: Path, num_unsent: int) -> None:
    if not has_key():
        raise UserError(
            f"{num_unsent} runs of {folder} are yet to be sent, but no W&B API key is set: run "
            "`wandb login` or set WANDB_API_KEY"
        )


def _failed(folder: Path, error: Exception) -> str:
    left = len(Sync(folder).unsent())
    return (
        f"W&B does not take the runs of {folder} ({describe(error)}); {left} are still to be sent: "
        "run the same command again later"
    )


class StoredLogs:
    """The runs of a store as the mirror had them. Asked again it looks into new shards alone."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._seen: set[str] = set()
        self._latest: dict[str, tuple[datetime, Path]] = {}

    def __call__(self, run_ids: Iterable[str]) -> Iterator[RunLog]:
        """Those of these runs that are stored, a shard of them in memory at a time."""
        found = shards(self._folder, but=self._seen)  # held while they are read
        for shard in found.whole:
            self._seen.add(shard.name)
            rows = scan(table_path(shard, "runs")).select("run_id", "created").collect()
            for run_id, created in rows.drop_nulls().iter_rows():
                known = self._latest.get(run_id)
                if known is None or known[0] <= created:
                    self._latest[run_id] = created, shard
        wanted: dict[Path, set[str]] = defaultdict(set)
        for run_id in run_ids:
            if run_id in self._latest:
                wanted[self._latest[run_id][1]].add(run_id)
        for shard in sorted(wanted):
            if shard.is_dir():  # else set aside since: owed once it is trained again
                yield from self._logs(shard, wanted[shard])

    def _logs(self, shard: Path, run_ids: set[str]) -> Iterator[RunLog]:
        path = table_path(shard, "runs")
        history = _curves(path)
        rows = read_runs(path).filter(pl.col("run_id").is_in(run_ids))
        for row in rows.unique("run_id", keep="last", maintain_order=True).iter_rows(named=True):
            yield _log(path, row, history.get((row["run_id"],)))


def _curves(path: Path) -> dict[Any, pl.DataFrame]:
    frame = scan(path.with_name("history.parquet")).collect()
    return frame.sort("epoch").partition_by("run_id", as_dict=True, include_key=False)


def _log(path: Path, row: Mapping[str, Any], curves: pl.DataFrame | None) -> RunLog:
    config = own_keys(row["config"])
    settings = config.get("wandb", {})
    run = as_wandb(
        run_id=row["run_id"],
        config=config,
        types=types_of_empty(config),
        facts={name: row[name] for name in FACTS if name in row},
        chosen=_measured(row.get("chosen")),
        metrics=_measured(row.get("metrics")),
        history={} if curves is None else {name: curves[name].to_list() for name in curves.columns},
        created=row["created"],
        charts=_charts(path, row) if settings.get("charts") else {},
    )
    return replace(
        run,
        **vars(
            labels(
                **{key: settings.get(key) for key in LABELS},
                sweep=path.parents[2].resolve().name,
            )
        ),
    )


def _measured(values: Mapping[str, float | None] | None) -> dict[str, float]:
    """Without what other runs of the shard were measured by alone."""
    return {name: value for name, value in (values or {}).items() if value is not None}


def _charts(path: Path, row: Mapping[str, Any]) -> dict[str, Chart]:
    """Drawn from the run's stored predictions."""
    frame = scan(path.with_name("predictions.parquet")).filter(run_id=row["run_id"]).collect()
    cut = row.get("threshold_logit")
    return charts(
        predictions={part["split"]: _predictions(part) for part in frame.to_dicts()},
        threshold_logit=math.nan if cut is None else cut,
    )


def _predictions(part: Mapping[str, Any]) -> Predictions:
    scores = {name: part.get(name) for name in SCORES}
    arrays: dict[str, Any] = {
        name: None if values is None else np.array(values, np.float32)
        for name, values in scores.items()
    }
    return Predictions(rows=np.array(part["rows"]), labels=np.array(part["labels"]), **arrays)
