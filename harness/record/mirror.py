"""The Weights & Biases mirror: one W&B run per training run, and never in training's way.

The store is the truth: every run in it is owed to W&B whose stored `wandb.mode` is not `disabled`.
What the service was sent is noted, and only that, so that a lost note costs no more than sending a
run twice: a run has one id, and a second time replaces and adds nothing.
"""

import json
import logging
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.data.fetching import say
from harness.record.config_struct import typed, types_of_empty
from harness.record.run_charts import charts
from harness.record.schema import FACTS, Record
from harness.record.wandb_access import (
    Labels,
    Mode,
    agent_run,
    check_labels,
    describe,
    is_outage,
    resolve_mode,
)
from harness.record.wandb_client import upload
from harness.record.wandb_form import as_wandb
from harness.record.wandb_log import RunLog
from harness.record.wandb_write import is_proven, say_unproven, write_log

LEDGER_FILE = "mirror-owed.jsonl"  # beside the store, added to by any number of writers
RETRY_SECONDS = 60.0  # a server that is down is asked again this often
WAIT_SECONDS = 60.0  # that training waits for the service, in all

_ANY_TIME = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Ledger:
    """Which runs of a sweep folder W&B's service has. The last line that names a run counts."""

    folder: Path

    def note_sent(self, runs: Iterable[RunLog]) -> list[Exception]:
        """Notes that the service has these; returns what went wrong."""
        return self._append({"sent": {run.run_id: run.started.isoformat() for run in runs}})

    def note_removed(self, run_ids: Iterable[str]) -> list[Exception]:
        """Notes that these left the store: of one that is stored again, nothing was sent."""
        return self._append({"removed": sorted(run_ids)})

    def sent(self) -> dict[str, datetime]:
        """When the run that the service has was made, by run_id. A torn line is passed over.

        A file that cannot be read says that nothing was sent.
        """
        sent: dict[str, datetime] = {}
        try:
            lines = (self.folder / LEDGER_FILE).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return {}
        except OSError as error:
            say(f"{self.folder / LEDGER_FILE}: {error.strerror}: what W&B has is sent again")
            return {}
        for line in lines.splitlines():
            try:
                _read(json.loads(line), sent)
            except (ValueError, TypeError, AttributeError, RecursionError):
                continue  # of a killed writer
        return sent

    def _append(self, entry: dict[str, Any]) -> list[Exception]:
        """Adds a line in one write, so that lines of many writers do not mix."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / LEDGER_FILE, "ab", buffering=0) as file:
                # The line before may be torn: begin a new one.
                file.write(f"\n{json.dumps(entry)}\n".encode())
        except OSError as error:
            return [error]
        return []


def _read(entry: dict[str, Any], sent: dict[str, datetime]) -> None:
    """Adds what a line says; earlier versions also noted what was owed, and no times."""
    for run_id, created in entry.get("sent", {}).items():
        sent[run_id] = datetime.fromisoformat(created).astimezone(UTC)
    for run_id in (*entry.get("owed", ()), *entry.get("removed", ())):
        sent.pop(run_id, None)
    if entry.get("to") == "online":
        sent.update(dict.fromkeys(entry.get("paid", ()), _ANY_TIME))


@dataclass
class Patience:
    """The seconds that training may yet wait for the service: one for all mirrors of a process."""

    left: float = WAIT_SECONDS


_log = logging.getLogger(__name__)


def mirror_run(record: Record, *, with_charts: bool = False) -> RunLog:
    """The W&B run of ``record``: same id, its config, curves and summary, as the store has them."""
    config = typed(record.config)
    history = {
        "epoch": list(record.epochs),
        "step": [epoch * record.steps_per_epoch for epoch in record.epochs],
        **{shown: values.tolist() for shown, values in record.curves.items()},
    }
    drawn = {}
    if with_charts:
        cut = record.facts["threshold_logit"]
        drawn = charts(predictions=record.predictions, threshold_logit=cut)
    return as_wandb(
        run_id=record.run_id,
        config=config,
        types=types_of_empty(config),
        facts={name: record.facts.get(name) for name in FACTS},
        chosen=record.chosen,
        metrics=record.metrics,
        history=history,
        created=record.created,
        charts=drawn,
    )


class Mirror:
    """Writes runs to W&B: to offline folders under `folder/wandb`, or to the server.

    Args:
      mode: `auto` follows WANDB_MODE, else is online where an API key is set (WANDB_API_KEY or
        netrc) and offline elsewhere. Another mode wins over WANDB_MODE, as in W&B.
      labels: under what its runs are kept.
      timeout: seconds to wait for the server as a run begins, and again as it ends.
      patience: what is left of `WAIT_SECONDS`; a run is sent only where all of its waiting fits.
    Raises: UserError, where WANDB_MODE is none of W&B's modes, or W&B would not take the labels.
    """

    def __init__(
        self,
        *,
        mode: Mode = "auto",
        labels: Labels,
        folder: Path,
        timeout: float = 10.0,
        patience: Patience | None = None,
    ):
        self.mode = resolve_mode(mode)
        self.labels = labels
        self.folder = Path(folder)
        if self.mode != "disabled":
            check_labels(labels)
        if self.mode != "disabled" and os.environ.get("WANDB_DIR") and agent_run() is None:
            say(f"WANDB_DIR is not used: W&B's files are kept in {self.folder / 'wandb'}")
        self.ledger = Ledger(self.folder)
        self.timeout = timeout
        self.patience = patience or Patience()
        self._warned = False
        self._asleep_until = 0.0

    def write(self, runs: Sequence[RunLog]) -> list[str]:
        """Mirrors runs; never raises. Returns the ids mirrored: the others are yet to be.

        Time: some 0.8 ms a run offline and 0.1 s online, or with charts. A server that does not
        answer costs `timeout` once, then nothing for a minute; one that is slow costs no more than
        `WAIT_SECONDS` in all. Meanwhile none is mirrored.
        """
        if self.mode == "disabled" or not runs:
            return []
        mirrored: list[RunLog] = []
        errors: list[Exception] = []
        for run in runs:
            if time.monotonic() < self._asleep_until:
                continue
            try:
                self._write(run)
                mirrored.append(run)
            except Exception as error:
                errors.append(error)
                if is_outage(error):
                    self._asleep_until = time.monotonic() + RETRY_SECONDS
        if mirrored and self.mode == "online":
            errors += self.ledger.note_sent(mirrored)
        if errors:
            self._warn(errors[0], len(runs) - len(mirrored))
        return [run.run_id for run in mirrored]

    def _write(self, run: RunLog) -> None:
        log = replace(run, **vars(self.labels))
        if self.mode == "online":
            self._send(log)
        elif log.charts or not is_proven():
            if not is_proven():
                say_unproven()
            upload(log, self.folder, timeout=self.timeout, offline=True)
        else:
            write_log(log, self.folder)

    def _send(self, log: RunLog) -> None:
        if self.patience.left < 2 * self.timeout:
            raise TimeoutError(f"training waits {WAIT_SECONDS:g} s for W&B and no longer")
        begun = time.monotonic()
        try:
            upload(log, self.folder, timeout=self.timeout)
        finally:
            self.patience.left -= time.monotonic() - begun

    def _warn(self, error: Exception, num_unsent: int) -> None:
        if self._warned:
            return
        self._warned = True
        _log.warning(
            "W&B mirror: %d run(s) not mirrored (%s); training goes on, nothing is lost: "
            "mirror them later with `harness sync %s`",
            num_unsent,
            describe(error),
            self.folder,
        )
