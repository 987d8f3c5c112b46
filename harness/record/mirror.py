"""The Weights & Biases mirror: one W&B run per training run, and never in training's way.

The store is the truth. What is to be mirrored is written down in `mirror-owed.jsonl` first and
struck out after, so that what failed, or was cut off, can be mirrored again from the store: a run
has one id, and a second time replaces and adds nothing.
"""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.record.charts import Chart
from harness.record.ledger import Ledger
from harness.record.wandb_access import Mode, describe, is_outage, resolve_mode
from harness.record.wandb_log import Columns, Rows, RunLog
from harness.record.wandb_upload import upload
from harness.record.wandb_write import write_log

RETRY_SECONDS = 60.0  # a server that is down is asked again this often

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MirrorRun:
    """One trained run, as W&B is to show it.

    Attributes:
      config: nested.
      history: rows, or columns of one length; `_step`, if given, increases.
      started: with a time zone.
      seconds: how long it took; the rows' times are spread over it.
      charts: by key; only the client can log them, offline too.
    """

    run_id: str
    name: str
    config: Mapping[str, Any]
    history: Rows | Columns
    summary: Mapping[str, Any]
    tags: Sequence[str]
    exit_code: int
    started: datetime
    seconds: float = 0.0
    charts: Mapping[str, Chart] = field(default_factory=dict)


class Mirror:
    """Writes runs to W&B: to offline folders under `folder/wandb`, or to the server.

    Args:
      mode: `auto` follows WANDB_MODE, else is online where an API key is set (WANDB_API_KEY or
        netrc) and offline elsewhere. Another mode wins over WANDB_MODE, as in W&B.
      group: the sweep's name.
      timeout: seconds to wait for the server as a run begins, and again as it ends.
    Raises: UserError, where WANDB_MODE is none of W&B's modes.
    """

    def __init__(
        self,
        *,
        mode: Mode = "auto",
        project: str,
        entity: str | None = None,
        group: str,
        folder: Path,
        timeout: float = 10.0,
    ):
        self.mode = resolve_mode(mode)
        self._labels: dict[str, Any] = {
            "project": project,
            "entity": entity or os.environ.get("WANDB_ENTITY", ""),
            "group": group,
        }
        self._folder = Path(folder)
        self.ledger = Ledger(self._folder)
        self._timeout = timeout
        self._warned = False
        self._asleep_until = 0.0

    def write(self, runs: Sequence[MirrorRun]) -> list[str]:
        """Mirrors runs; never raises. Returns the ids mirrored: the others are owed.

        Time: some 0.8 ms a run offline and 0.1 s online, or with charts. A server that does not
        answer costs `timeout` once, then nothing for a minute: meanwhile all runs are owed.
        """
        if self.mode == "disabled" or not runs:
            return []
        mirrored: list[str] = []
        errors = self.ledger.owe([run.run_id for run in runs])
        for run in runs:
            if time.monotonic() < self._asleep_until:
                continue
            try:
                self._write(run)
                mirrored.append(run.run_id)
            except Exception as error:
                errors.append(error)
                if is_outage(error):
                    self._asleep_until = time.monotonic() + RETRY_SECONDS
        errors += self.ledger.pay(mirrored, to="offline" if self.mode == "offline" else "online")
        if errors:
            self._warn(errors[0], len(runs) - len(mirrored))
        return mirrored

    def owed(self) -> list[str]:
        """Ids that are yet to be mirrored, whoever failed to."""
        standings = self.ledger.standings()
        return [run_id for run_id, standing in standings.items() if standing == "owed"]

    def _write(self, run: MirrorRun) -> None:
        log = RunLog(**vars(run), **self._labels)
        if self.mode == "offline" and not log.charts:
            write_log(log, self._folder)
        else:
            upload(log, self._folder, timeout=self._timeout, offline=self.mode == "offline")

    def _warn(self, error: Exception, num_owed: int) -> None:
        if self._warned:
            return
        self._warned = True
        _log.warning(
            "W&B mirror: %d run(s) not mirrored (%s); training goes on, nothing is lost: "
            "mirror them later with `harness sync %s`",
            num_owed,
            describe(error),
            self._folder,
        )
