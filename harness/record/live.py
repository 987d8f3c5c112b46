"""A sweep as a Weights & Biases run of its own, while it trains: how far it is, and how it ended.

A thread looks every few seconds at what has become of the sweep's runs. Training tells it nothing
and waits for it only as it ends, out of the same `Patience` that the mirror of the runs has.

Started by W&B's sweep agent, a command has a run given by the agent: that run is this one, and gets
what the search asks for, the mean objective of the runs that were trained.
"""

import logging
import math
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime
from statistics import fmean
from typing import Any, Protocol

from harness.record.mirror import Mirror
from harness.record.wandb_access import Labels, agent_run, describe
from harness.record.wandb_client import begun
from harness.record.wandb_form import ORIGIN, SWEEP
from harness.record.wandb_log import RUNTIME, TIMESTAMP, RunLog
from harness.record.wandb_write import is_proven, write_log

JOB_TYPE = "sweep"
LOOK_SECONDS = 10.0  # from one look to the next; later a hundredth of the time so far
EXIT_CODES = {"finished": 0, "failed": 1, "stopped": 130}

_log = logging.getLogger(__name__)


class Became(Protocol):
    """What became of a run."""

    @property
    def error(self) -> Exception | None: ...

    @property
    def objectives(self) -> Mapping[str, float]: ...


Results = Mapping[Any, Became]


class Session:
    """The sweeps of one command, each with its live run. A search trains one in many batches."""

    def __init__(self) -> None:
        self._shown: dict[Any, _Shown] = {}

    def show(self, mirror: Mirror, labels: Labels, keys: Collection[Any], results: Results) -> None:
        """Shows a sweep of more than one run of which something is to be trained.

        Args:
          mirror: of the sweep's runs.
          labels: under what the sweep is kept.
          keys: all of its runs.
          results: what has become of them, by key; it is looked at as it fills.
        """
        if mirror.mode == "disabled":
            return
        shown = self._shown.get(mirror.folder) or _Shown(mirror, labels)
        if shown.is_agents or any(key not in results for key in keys):
            self._shown[mirror.folder] = shown
            shown.add(keys, results)

    def end(self, status: str) -> None:
        """Ends the live runs, ``status`` being finished, stopped or failed; waits, but not long."""
        for shown in self._shown.values():
            shown.end(status)
        for shown in self._shown.values():
            shown.wait()


_current: ContextVar[Session | None] = ContextVar("session", default=None)


@contextmanager
def session() -> Iterator[Session]:
    """The session of the outermost such block, which ends as that block does."""
    if (outer := _current.get()) is not None:
        yield outer
        return
    own, status = Session(), "failed"
    token = _current.set(own)
    try:
        yield own
        status = "finished"
    except KeyboardInterrupt:
        status = "stopped"
        raise
    finally:
        _current.reset(token)
        own.end(status)


class _Shown:
    """The live run of one sweep, and the thread that tells it."""

    def __init__(self, mirror: Mirror, labels: Labels):
        self._mirror, self._agent = mirror, agent_run()
        self._runs: dict[Any, Results] = {}  # where what becomes of each is found, by key
        self._stored, self._status = 0, ""
        self._over = threading.Event()
        # A daemon: a service that does not answer keeps no process alive.
        self._thread = threading.Thread(target=self._tell, name="wandb-live", daemon=True)
        self._begun = time.monotonic()
        self._run = RunLog(
            run_id=f"sweep-{uuid.uuid4().hex[:12]}",
            name=f"{mirror.folder.name}: sweep",
            config={ORIGIN: {"format": SWEEP}},
            started=datetime.now(UTC),
            **{**vars(labels), "job_type": JOB_TYPE},
        )
        if self._agent is not None:
            config = {**self._agent.config, **self._run.config}
            own = {key: value for key, value in vars(self._agent).items() if key != "config"}
            self._run = replace(self._run, name="", config=config, **own)

    @property
    def is_agents(self) -> bool:
        return self._agent is not None

    def add(self, keys: Collection[Any], results: Results) -> None:
        """More runs of the sweep; the second run begins to show it."""
        self._stored += sum(key in results for key in keys if key not in self._runs)
        self._runs |= dict.fromkeys(keys, results)
        if (len(self._runs) > 1 or self.is_agents) and self._thread.ident is None:
            self._thread.start()

    def end(self, status: str) -> None:
        self._status = status
        self._over.set()

    def wait(self) -> None:
        if self._thread.ident is None:
            return
        before, patience = time.monotonic(), self._mirror.patience
        self._thread.join(max(0.0, min(self._mirror.timeout, patience.left)))
        patience.left -= time.monotonic() - before

    def _tell(self) -> None:
        try:
            run = _opened(self._run, self._mirror)
            run.show(self._row(), {"status": "training"})
            while not self._over.wait(max(LOOK_SECONDS, self._seconds() / 100)):
                run.show(self._row(), {})
            row = self._row()
            status = "failed" if row["failed"] and self._status == "finished" else self._status
            run.show(row, {"status": status, **self._objectives()})
            run.end(EXIT_CODES[status])
        except Exception as error:
            _log.warning("W&B: the sweep is not shown (%s); training goes on", describe(error))

    def _seconds(self) -> float:
        return time.monotonic() - self._begun

    def _became(self) -> list[Became]:
        """Of the runs of which something has."""
        every = [results.get(key) for key, results in self._runs.copy().items()]
        return [one for one in every if one is not None]

    def _row(self) -> dict[str, Any]:
        became, seconds = self._became(), self._seconds()
        total = len(self._runs)
        rate = (len(became) - self._stored) / seconds if seconds else 0.0
        row = {
            "done": len(became),
            "total": total,
            "failed": sum(one.error is not None for one in became),
            "runs_per_second": rate,
        }
        return row | ({"seconds_left": (total - len(became)) / rate} if rate else {})

    def _objectives(self) -> dict[str, float]:
        """What the agent's search asks for: the means of what all of its runs have.

        Nothing of a run that failed or diverged, which a search takes for a failed trial.
        """
        became = self._became() if self.is_agents else []
        columns = became[0].objectives if became else ()
        means = {
            column: fmean(one.objectives.get(column, math.nan) for one in became)
            for column in columns
        }
        return {column: mean for column, mean in means.items() if math.isfinite(mean)}


def _opened(run: RunLog, mirror: Mirror) -> "_File | _Client":
    if mirror.mode == "offline" and is_proven():
        return _File(run, mirror)
    return _Client(run, mirror)


class _Client:
    """A run that W&B's client keeps, online or, where the form of its files is not proven, off."""

    def __init__(self, run: RunLog, mirror: Mirror):
        offline = mirror.mode == "offline"
        self._live = begun(run, mirror.folder, timeout=mirror.timeout, offline=offline)

    def show(self, row: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        self._live.log(dict(row))
        self._live.summary.update(dict(summary))

    def end(self, exit_code: int) -> None:
        self._live.finish(exit_code=exit_code)


class _File:
    """A run whose offline log is written anew, whole, at each look."""

    def __init__(self, run: RunLog, mirror: Mirror):
        self._run, self._folder = run, mirror.folder
        self._rows: list[dict[str, Any]] = []
        self._summary: dict[str, Any] = {}

    def show(self, row: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        now = datetime.now(UTC).timestamp()
        since = now - self._run.started.timestamp()
        self._rows.append({RUNTIME: since, TIMESTAMP: now, **row})
        self._summary |= summary
        self._write(seconds=since)

    def end(self, exit_code: int) -> None:
        self._write(seconds=self._rows[-1][RUNTIME], exit_code=exit_code)

    def _write(self, **changes: Any) -> None:
        log = replace(self._run, history=self._rows, summary=self._summary, **changes)
        write_log(log, self._folder)
