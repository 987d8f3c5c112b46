"""The Weights & Biases mirror: one W&B run per training run, and never in training's way.

The store is the truth. What is to be mirrored is written down in `mirror-owed.jsonl` first and
struck out after, so that what failed, or was cut off, can be mirrored again from the store: a run
has one id, and a second time replaces and adds nothing.
"""

import json
import logging
import netrc
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from harness.errors import UserError
from harness.record.wandb_log import (
    STEP,
    TIMESTAMP,
    Columns,
    Rows,
    RunLog,
    row_times,
    write_log,
)

Mode = Literal["auto", "online", "offline", "disabled"]

OWED_FILE = "mirror-owed.jsonl"
RETRY_SECONDS = 60.0  # a server that is down is asked again this often
PUBLIC_HOSTS = {"api.wandb.ai", "api.forge.coreweave.com"}  # one service, a key for either serves
# What the client does beside the run's own rows, and what each costs a run, is switched off.
LEAN: dict[str, Any] = {
    "console": "off",
    "disable_git": True,
    "save_code": False,
    "silent": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MirrorRun:
    """One trained run, as W&B is to show it.

    Attributes:
      config: nested.
      history: rows, or columns of one length; `_step`, if given, increases.
      started: with a time zone.
      seconds: how long it took; the rows' times are spread over it.
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
        self._timeout = timeout
        self._warned = False
        self._asleep_until = 0.0

    def write(self, runs: Sequence[MirrorRun]) -> list[str]:
        """Mirrors runs; never raises. Returns the ids mirrored: the others are owed.

        Time: some 0.8 ms a run offline and 0.1 s online. A server that does not answer costs
        `timeout` once, then nothing for a minute: meanwhile all runs are owed.
        """
        if self.mode == "disabled" or not runs:
            return []
        mirrored: list[str] = []
        errors = self._append(owed=[run.run_id for run in runs])
        for run in runs:
            if time.monotonic() < self._asleep_until:
                continue
            try:
                self._write(run)
                mirrored.append(run.run_id)
            except Exception as error:
                errors.append(error)
                if _is_outage(error):
                    self._asleep_until = time.monotonic() + RETRY_SECONDS
        errors += self._append(paid=mirrored)
        if errors:
            self._warn(errors[0], len(runs) - len(mirrored))
        return mirrored

    def owed(self) -> list[str]:
        """Ids that are yet to be mirrored, whoever failed to."""
        owed: dict[str, None] = {}
        try:
            lines = (self._folder / OWED_FILE).read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        for line in lines:
            try:
                entry = json.loads(line)
                owed |= dict.fromkeys(map(str, entry.get("owed", ())))
                for run_id in entry.get("paid", ()):
                    owed.pop(run_id, None)
            except (ValueError, TypeError, AttributeError):
                continue  # the torn line of a killed writer
        return list(owed)

    def _write(self, run: MirrorRun) -> None:
        log = RunLog(**vars(run), **self._labels)
        if self.mode == "offline":
            write_log(log, self._folder)
        else:
            upload(log, self._folder, timeout=self._timeout)

    def _append(self, **entry: list[str]) -> list[Exception]:
        """Adds a line in one write, so that lines of many writers do not mix; what went wrong."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(self._folder / OWED_FILE, "ab", buffering=0) as file:
                # The line before may be torn: begin a new one.
                file.write(f"\n{json.dumps(entry)}\n".encode())
        except OSError as error:
            return [error]
        return []

    def _warn(self, error: Exception, num_owed: int) -> None:
        if self._warned:
            return
        self._warned = True
        _log.warning(
            "W&B mirror: %d run(s) not mirrored (%s); training goes on, nothing is lost: "
            "mirror them later with `harness sync %s`",
            num_owed,
            _describe(error),
            self._folder,
        )


def upload(run: RunLog, folder: Path, *, timeout: float) -> None:
    """Sends one run through the public API. A run of the same id is written over.

    Raises: whatever the client does; ConnectionError where no key is set (the client would ask for
    one) and where the server refuses the rows.
    """
    if not has_key() and not os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        raise ConnectionError("no W&B API key is set: run `wandb login` or set WANDB_API_KEY")
    import wandb

    settings = wandb.Settings(
        **LEAN, init_timeout=timeout, finish_timeout=timeout, finish_timeout_raises=True
    )
    live = wandb.init(
        id=run.run_id,
        name=run.name,
        config=dict(run.config),
        tags=list(run.tags),
        group=run.group,
        project=run.project,
        entity=run.entity or None,
        dir=folder,
        mode="online",
        reinit="create_new",
        settings=settings,
    )
    try:
        for row in _rows(run):
            live.log(row, step=row.pop(STEP), commit=True)
        live.summary.update(dict(run.summary))
    finally:
        live.finish(exit_code=run.exit_code)
    # The client does not raise where the server refuses the rows (4xx): it says so in its log.
    log = live.settings.log_internal
    if "filestream: fatal error" in Path(log).read_text(encoding="utf-8", errors="replace"):
        raise ConnectionError(f"the server refused the run's rows, see {log}")


def resolve_mode(mode: Mode) -> Mode:
    """`online`, `offline` or `disabled`."""
    if mode != "auto":
        return mode
    asked = os.environ.get("WANDB_MODE", "")
    modes: dict[str, Mode] = {
        "online": "online",
        "run": "online",
        "offline": "offline",
        "dryrun": "offline",
        "disabled": "disabled",
        "": "online" if has_key() else "offline",
    }
    if asked not in modes:
        raise UserError(f"WANDB_MODE must be online, offline or disabled, got {asked!r}")
    return modes[asked]


def has_key() -> bool:
    """Whether an API key is set for the server in use. The key itself is not kept."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        entries = netrc.netrc(_netrc_file())
    except (OSError, netrc.NetrcParseError):
        return False
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or _client_base_url()).netloc
    hosts = PUBLIC_HOSTS if host in PUBLIC_HOSTS else {host}
    return any(entries.authenticators(host) for host in hosts)


def _netrc_file() -> Path:
    """Where the client looks."""
    if named := os.environ.get("NETRC"):
        return Path(named).expanduser()
    places = [Path(name).expanduser() for name in ("~/.netrc", "~/_netrc")]
    return next((place for place in places if place.exists()), places[0])


def _client_base_url() -> str:
    """The server `wandb login --host` set, or the public one."""
    import wandb

    return wandb.setup().settings.base_url


def _rows(run: RunLog) -> list[dict[str, Any]]:
    rows = run.rows
    stamps = row_times(run, len(rows))[TIMESTAMP].tolist()
    return [{STEP: i, TIMESTAMP: stamps[i], **row} for i, row in enumerate(rows)]


def _is_outage(error: Exception) -> bool:
    """Whether the next run would fail the same way: no server, no key, a full disk."""
    if isinstance(error, OSError | ImportError):  # timeouts and lost connections are OSErrors
        return True
    import wandb.errors as errors

    return isinstance(error, errors.CommError | errors.AuthenticationError)


def _describe(error: Exception) -> str:
    """One line, without the API key, should the client's message hold it."""
    text = " ".join(str(error).split())[:300]
    if key := os.environ.get("WANDB_API_KEY"):
        text = text.replace(key, "***")
    return f"{type(error).__name__}: {text}"
