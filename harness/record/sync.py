"""Sending W&B what it lacks of a sweep: the store is read again, and each run keeps its id."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.errors import UserError
from harness.record.ledger import Ledger
from harness.record.replay import stored_logs
from harness.record.store import stored
from harness.record.wandb_access import describe, has_key, is_outage
from harness.record.wandb_log import RunLog
from harness.record.wandb_upload import contents_in, upload

TIMEOUT_SECONDS = 30.0
NUM_SENDERS = 8  # a run is mostly waiting for the service


def sweep_folder(source: Path) -> Path:
    """The sweep folder `source` is, or whose `wandb` folder it is.

    Raises:
        UserError: it is neither.
    """
    source = Path(source)
    for folder in (source, source.absolute().parent):
        if (folder / "shards").is_dir():
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
