"""The Weights & Biases mirror: one W&B run per training run, and never in training's way.

The store is the truth. What is to be mirrored is written down first and struck out after, so that
what failed, or was cut off, can be mirrored again from the store: a run has one id, and a second
time replaces and adds nothing.
"""

import json
import logging
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness.data.fetching import say
from harness.record.config_struct import typed, types_of_empty
from harness.record.run_charts import charts
from harness.record.schema import FACTS, Record
from harness.record.wandb_access import (
    Labels,
    Mode,
    check_labels,
    describe,
    is_outage,
    resolve_mode,
)
from harness.record.wandb_client import upload
from harness.record.wandb_form import as_wandb
from harness.record.wandb_log import RunLog
from harness.record.wandb_write import write_log

LEDGER_FILE = "mirror-owed.jsonl"  # beside the store, added to by any number of writers
RETRY_SECONDS = 60.0  # a server that is down is asked again this often

Standing = Literal["unsent", "offline", "online"]


@dataclass(frozen=True)
class Ledger:
    """How each run of a sweep folder stands with W&B. The last line that names a run counts."""

    folder: Path

    def note_unsent(self, run_ids: Sequence[str]) -> list[Exception]:
        """Notes that these are to be mirrored; returns what went wrong."""
        return self._append({"owed": list(run_ids)})

    def note_sent(
        self, run_ids: Sequence[str], *, to: Literal["offline", "online"]
    ) -> list[Exception]:
        """Notes that these were mirrored; returns what went wrong."""
        return self._append({"paid": list(run_ids), "to": to})

    def standings(self) -> dict[str, Standing]:
        """By run_id, in the order in which they were first noted. A torn line is passed over."""
        standings: dict[str, Standing] = {}
        try:
            lines = (self.folder / LEDGER_FILE).read_text(encoding="utf-8").splitlines()
        except OSError:
            return {}
        for line in lines:
            try:
                entry = json.loads(line)
                standings |= {run_id: "unsent" for run_id in _ids(entry.get("owed", ()))}
                to: Standing = "online" if entry.get("to") == "online" else "offline"
                standings |= {run_id: to for run_id in _ids(entry.get("paid", ()))}
            except (ValueError, TypeError, AttributeError):
                continue  # of a killed writer
        return standings

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


def _ids(values: Iterable[Any]) -> list[str]:
    return [str(value) for value in values]


_log = logging.getLogger(__name__)


def mirror_run(record: Record, *, with_charts: bool = False) -> RunLog:
    """The W&B run of ``record``: same id, its config, curves and summary, as the store has them."""
    config = typed(record.config)
    epochs = range(1, record.num_epochs + 1)
    history = {
        "epoch": list(epochs),
        "step": [epoch * record.steps_per_epoch for epoch in epochs],
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
    Raises: UserError, where WANDB_MODE is none of W&B's modes, or W&B would not take the labels.
    """

    def __init__(
        self,
        *,
        mode: Mode = "auto",
        labels: Labels,
        folder: Path,
        timeout: float = 10.0,
    ):
        self.mode = resolve_mode(mode)
        self._labels = vars(labels)
        self._folder = Path(folder)
        if self.mode != "disabled":
            check_labels(labels)
        if self.mode != "disabled" and os.environ.get("WANDB_DIR"):
            say(f"WANDB_DIR is not used: W&B's files are kept in {self._folder / 'wandb'}")
        self.ledger = Ledger(self._folder)
        self._timeout = timeout
        self._warned = False
        self._asleep_until = 0.0

    def write(self, runs: Sequence[RunLog]) -> list[str]:
        """Mirrors runs; never raises. Returns the ids mirrored: the others are yet to be.

        Time: some 0.8 ms a run offline and 0.1 s online, or with charts. A server that does not
        answer costs `timeout` once, then nothing for a minute: meanwhile none is mirrored.
        """
        if self.mode == "disabled" or not runs:
            return []
        mirrored: list[str] = []
        errors = self.ledger.note_unsent([run.run_id for run in runs])
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
        errors += self.ledger.note_sent(
            mirrored, to="offline" if self.mode == "offline" else "online"
        )
        if errors:
            self._warn(errors[0], len(runs) - len(mirrored))
        return mirrored

    def unsent(self) -> list[str]:
        """Ids that are yet to be mirrored, whoever failed to."""
        standings = self.ledger.standings()
        return [run_id for run_id, standing in standings.items() if standing == "unsent"]

    def _write(self, run: RunLog) -> None:
        log = replace(run, **self._labels)
        if self.mode == "offline" and not log.charts:
            write_log(log, self._folder)
        else:
            upload(log, self._folder, timeout=self._timeout, offline=self.mode == "offline")

    def _warn(self, error: Exception, num_unsent: int) -> None:
        if self._warned:
            return
        self._warned = True
        _log.warning(
            "W&B mirror: %d run(s) not mirrored (%s); training goes on, nothing is lost: "
            "mirror them later with `harness sync %s`",
            num_unsent,
            describe(error),
            self._folder,
        )
