"""Gathers finished runs and writes them a shard at a time: to the store, then to its mirror."""

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from harness.config import Config, Wandb, folder_of
from harness.record import store
from harness.record.tables import Record, tables
from harness.sweep.timings import Timings

# A shard is written when this many runs wait or this many seconds have passed.
RUNS_PER_SHARD = 64
SECONDS_PER_SHARD = 20.0


class Recorder:
    """The only writer of a sweep in this process."""

    def __init__(self, timings: Timings):
        self._timings = timings
        self._waiting: dict[Path, list[tuple[Record, Wandb]]] = defaultdict(list)
        self._mirrors: dict[tuple[Path, Wandb], Any] = {}
        self._last_flush = time.perf_counter()

    def add(self, record: Record, config: Config) -> None:
        """Takes one finished run; it is on disk after the next `flush` at the latest."""
        self._waiting[folder_of(config)].append((record, config.wandb))
        waiting = sum(map(len, self._waiting.values()))
        if waiting >= RUNS_PER_SHARD or time.perf_counter() - self._last_flush > SECONDS_PER_SHARD:
            self.flush()

    def flush(self) -> None:
        """Writes everything that waits."""
        for folder, waiting in self._waiting.items():
            with self._timings.of("store"):
                store.write_shard(folder, tables([record for record, _ in waiting]))
            with self._timings.of("mirror"):
                self._mirror(folder, waiting)
        self._waiting.clear()
        self._last_flush = time.perf_counter()

    def _mirror(self, folder: Path, waiting: list[tuple[Record, Wandb]]) -> None:
        by_settings = defaultdict(list)
        for record, settings in waiting:
            if settings.mode != "disabled":
                by_settings[settings].append(record)
        for settings, records in by_settings.items():
            from harness.record.mirrored import mirror_run

            runs = [mirror_run(record, tags=settings.tags) for record in records]
            self._mirror_of(folder, settings).write(runs)

    def _mirror_of(self, folder: Path, settings: Wandb) -> Any:
        from harness.record.mirror import Mirror  # the W&B client loads only where it is wanted

        key = (folder, settings)
        if key not in self._mirrors:
            self._mirrors[key] = Mirror(
                mode=settings.mode,
                project=settings.project,
                entity=settings.entity,
                group=folder.name,
                folder=folder,
            )
        return self._mirrors[key]
