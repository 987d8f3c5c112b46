"""Gathers finished runs and writes them a shard at a time: to the store, then to its mirror."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness import checkpoints
from harness.config import Config, Wandb, folder_of
from harness.data.dataset import Dataset
from harness.data.fetching import say
from harness.data.streams import replicate_fields
from harness.data.table import OwnTable
from harness.files import check_folder
from harness.predict import Model
from harness.record import store
from harness.record.live import Became, Session
from harness.record.mirror import Mirror, Patience, mirror_run
from harness.record.replay import StoredLogs
from harness.record.schema import Record
from harness.record.tables import tables
from harness.record.wandb_access import LABELS, labels
from harness.run import Key, Run
from harness.sweep.merging import has_many, merge
from harness.sweep.timings import timed

# A shard is written when this many runs wait, or this much of their scores, or for this long: so
# much of what has finished a killed process loses at most, beside the batches in training.
RUNS_PER_SHARD = 64
BYTES_PER_SHARD = 64 * 2**20
SECONDS_PER_SHARD = 20.0

# Of the process: a search has a recorder for each batch of jobs.
_patience = Patience()


@dataclass(frozen=True)
class Part:
    """A worker's part of a sweep: it writes shards, and whoever handed out the work does the rest,
    the mirror and what the folder is to have.

    Attributes:
      columns: the `objective_columns` of the whole sweep.
      root: the sweep's, which is recorded, where a worker writes to one of its own.
      stored: called with a sweep folder as a shard has been written in it.
    """

    columns: Sequence[str]
    root: str | None = None
    stored: Callable[[Path], None] | None = None


@dataclass
class _Waiting:
    """What is to be one shard, which a stopped `Recorder.flush` may have written already."""

    runs: list[tuple[Record, Wandb]] = field(default_factory=list)
    models: dict[str, Model] = field(default_factory=dict)
    shard: str = field(default_factory=store.new_name)


class Recorder:
    """The only writer of a sweep in this process."""

    def __init__(self, configs: Iterable[Config], *, part: Part | None = None):
        """For runs of ``configs``; raises `UserError` where W&B's settings make no sense."""
        configs = list(configs)
        self._part = part
        is_part = part is not None
        for folder in {folder_of(config) for config in configs}:
            check_folder(
                folder, what=f"cannot store runs in {folder}", remedy="change root or name"
            )
            store.set_aside(folder)
            if not is_part:
                merge(folder)
        self._waiting: dict[Path, _Waiting] = defaultdict(_Waiting)
        keys = set() if is_part else {_mirror_key(one) for one in configs}
        self._mirrors = {key: _mirror(*key) for key in keys}
        self._planned: dict[Path, set[str]] = defaultdict(set)
        self._objectives = {} if is_part else _objectives(configs)
        self._stored_logs = {folder: StoredLogs(folder) for folder in self._objectives}
        self._described: set[tuple[Path, str]] = set()
        self._waiting_since = math.inf

    def plan(self, runs: Iterable[Run]) -> None:
        """Says in each folder, as its first shard is written, how many runs it is to have once
        ``runs`` are trained."""
        for run in () if self._part else runs:
            self._planned[run.folder].add(run.run_id)

    def show(self, runs: Sequence[Run], results: Mapping[Key, Became], shown: Session) -> None:
        """Shows the sweep of ``runs`` on W&B from now on, as ``results`` fills."""
        by_folder = defaultdict(list)
        for run in () if self._part else runs:
            by_folder[run.folder].append(run.key)
        for folder, keys in by_folder.items():
            mirrors = [one for one in self._mirrors.values() if one.folder == folder]
            labels = mirrors[0].labels
            if len(mirrors) > 1:  # made of what its runs differ in
                labels = replace(labels, tags=(), notes="")
            shown.show(mirrors[0], labels, keys, results)

    def recorded(self, config: Config) -> Config:
        """As it is recorded: without a mirror also where WANDB_MODE says so, since what is owed to
        W&B follows from the store."""
        if self._part or self._mirrors[_mirror_key(config)].mode != "disabled":
            return config
        return replace(config, wandb=replace(config.wandb, mode="disabled"))

    def describe(self, dataset: Dataset, config: Config) -> None:
        """Keeps what is found in the data of a run, once a folder.

        Leaks are looked for in tables of the user's alone: those of others were looked at before
        they became named data sets. Of data that seeds draw, and a sweep may draw thousands, there
        is nothing to find.
        """
        place = (folder_of(config), dataset.fingerprint)
        if place in self._described:
            return
        self._described.add(place)
        if replicate_fields(type(config.dataset)) or store.has_findings(*place):
            return
        from harness.data.describe import found_in  # and with it what draws tables

        is_own = isinstance(config.dataset, OwnTable)
        try:
            store.write_findings(*place, found_in(dataset, leaks=is_own))
        except Exception as error:  # the runs are what counts
            say(f"{config.dataset.name}: what is found in it could not be kept ({error})")

    def add(self, record: Record, config: Config, *, model: Model | None = None) -> None:
        """Takes one finished run; it is on disk after the next `flush` at the latest.

        ``model`` is kept beside it.
        """
        settings = {**record.config["wandb"], "mode": self.recorded(config).wandb.mode}
        own = {"root": self._part.root} if self._part and self._part.root is not None else {}
        record = replace(record, config={**record.config, "wandb": settings, **own})
        folder, mirrored = _mirror_key(config)
        self._waiting[folder].runs.append((record, mirrored))
        if model is not None:
            self._waiting[folder].models[record.run_id] = model
        self._waiting_since = min(self._waiting_since, time.monotonic())
        waiting = [one for members in self._waiting.values() for one, _ in members.runs]
        if len(waiting) >= RUNS_PER_SHARD or sum(map(_size, waiting)) >= BYTES_PER_SHARD:
            self.flush()
        self.flush_if_due()

    def seconds_left(self) -> float | None:
        """Until what waits is to be written; None where nothing waits."""
        if self._waiting_since == math.inf:
            return None
        return max(0.0, self._waiting_since + SECONDS_PER_SHARD - time.monotonic())

    def flush_if_due(self) -> None:
        """Writes everything that waits, where it has waited long enough."""
        if self.seconds_left() == 0.0:
            self.flush()

    def flush(self) -> None:
        """Writes everything that waits."""
        while self._waiting:
            folder, waiting = next(iter(self._waiting.items()))
            with timed("store"):
                # Before the runs: a stored run that is to keep its model has it.
                for run_id, model in waiting.models.items():
                    checkpoints.save(folder, run_id, **model.files())
                self._write_plan(folder)
                records = [record for record, _ in waiting.runs]
                store.write_shard(folder, tables(records), name=waiting.shard)
            if self._part and self._part.stored:
                self._part.stored(folder)
            del self._waiting[folder]
            with timed("mirror"):
                by_settings = defaultdict(list)
                for record, settings in () if self._part else waiting.runs:
                    run = mirror_run(record, with_charts=settings.charts)
                    by_settings[settings].append(run)
                for settings, runs in by_settings.items():
                    self._mirrors[folder, settings].write(runs)
        self._waiting_since = math.inf

    def took(self, runs: Sequence[Run]) -> None:
        """Does what `flush` does beside writing shards, for ``runs`` that workers have stored."""
        by_key = defaultdict(list)
        for run in runs:
            by_key[_mirror_key(run.config)].append(run.run_id)
        for key, run_ids in by_key.items():
            with timed("store"):
                self._write_plan(key[0])
            with timed("mirror"):
                if self._mirrors[key].mode != "disabled":
                    self._mirrors[key].write(list(self._stored_logs[key[0]](run_ids)))
            with timed("store"):
                merge(key[0])  # each worker looks at the shards of all others

    def _write_plan(self, folder: Path) -> None:
        if folder in self._planned:
            run_ids = self._planned.pop(folder) | store.stored(folder).keys()
            store.write_plan(folder, len(run_ids), self._objectives[folder])

    def finish(self) -> None:
        """Keeps what the sweep asked its runs for, also where all of them were stored before; and
        merges its shards where there are many."""
        for folder, objective in self._objectives.items():
            if (folder / "shards").is_dir() and store.planned_objective(folder) != objective:
                store.write_plan(folder, store.planned(folder), objective)
            if has_many(folder):
                merge(folder)


def _objectives(configs: Iterable[Config]) -> dict[Path, str | None]:
    """The objective of each folder's jobs; None where they do not agree."""
    by_folder: dict[Path, set[str]] = defaultdict(set)
    for config in configs:
        by_folder[folder_of(config)].add(config.evaluation.objective)
    return {folder: of.pop() if len(of) == 1 else None for folder, of in by_folder.items()}


def _size(record: Record) -> int:
    """Bytes of its scores, beside which all else is small."""
    parts = record.predictions.values()
    return sum(scores.nbytes for part in parts for scores in part.versions.values())


def _mirror_key(config: Config) -> tuple[Path, Wandb]:
    # A run's name may be its own: it shares the patience of all others.
    return folder_of(config), replace(config.wandb, run_name=None)


def _mirror(folder: Path, settings: Wandb) -> Mirror:
    return Mirror(
        mode=settings.mode,
        labels=labels(**{key: getattr(settings, key) for key in LABELS}, sweep=folder.name),
        folder=folder,
        patience=_patience,
    )
