"""`engine=processes`: workers of this machine, each a process that is sent a unit a line."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress

from harness.config.engines import Processes
from harness.engines.units import refusal

COMMAND = [sys.executable, "-P", "-m", "harness.engines.worker"]
SECONDS_TO_STORE = 30.0  # for a worker that is stopped to store what has finished


def run(units: Sequence[str], engine: Processes) -> Generator[tuple[int, str]]:
    """Each unit's place and its answer, as they come. Closed early, it stops the workers."""
    crew = _Crew(engine.retries)
    threads = ThreadPoolExecutor(min(engine.workers, len(units)))
    try:
        places = {threads.submit(crew.ask, unit): place for place, unit in enumerate(units)}
        for done in as_completed(places):
            yield places[done], done.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        crew.stop()


class _Lost(Exception):
    """A worker ended without an answer."""


class _Crew:
    """A worker a thread, started when it is asked and again where it was lost."""

    def __init__(self, retries: int):
        self._retries = retries
        self._own = threading.local()
        self._lock = threading.Lock()
        self._all: set[_Worker] = set()
        self._stopped = False

    def ask(self, unit: str) -> str:
        """Its answer, of this thread's worker."""
        for left in reversed(range(self._retries + 1)):
            try:
                return self._worker().ask(unit)
            except _Lost as error:
                self._dismiss()
                if self._stopped or not left:
                    return refusal(f"{self._retries + 1} workers were lost: {error}")
        raise AssertionError

    def _worker(self) -> "_Worker":
        worker: _Worker | None = getattr(self._own, "worker", None)
        if worker is None:
            with self._lock:
                if self._stopped:
                    raise _Lost("the sweep was stopped")
                self._own.worker = worker = _Worker()
                self._all.add(worker)
        return worker

    def _dismiss(self) -> None:
        with self._lock:
            self._all.discard(getattr(self._own, "worker", None))
        self._own.worker = None

    def stop(self) -> None:
        """Has all workers store what has finished, and waits for their ends."""
        with self._lock:
            self._stopped = True
            workers = list(self._all)
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.end()


class _Worker:
    """A process of its own session: Ctrl-C reaches it by whoever started it."""

    def __init__(self) -> None:
        self._ending = threading.Lock()
        self._last_words = ""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            encoding="utf-8",
            start_new_session=True,
        )

    def ask(self, unit: str) -> str:
        """The answer; raises `_Lost`, and the worker has ended then."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError, ValueError):  # dead, or ended and closed by who stops all
            self._process.stdin.write(f"{unit}\n")
            self._process.stdin.flush()
            if answer := self._process.stdout.readline():
                return answer
        raise _Lost(self.end())

    def stop(self) -> None:
        """Has it store what has finished, and end."""
        self._process.terminate()

    def end(self) -> str:
        """Waits for its end, not for ever, whoever else does; its last words."""
        with self._ending:
            self._last_words = self._last_words or self._end()
        return self._last_words

    def _end(self) -> str:
        try:
            code = self._process.wait(SECONDS_TO_STORE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what was written to one that is dead
                pipe.close()  # type: ignore[union-attr]
        with self._said as said:
            said.seek(max(0, said.seek(0, os.SEEK_END) - 2000))
            lines = said.read().decode(errors="replace").strip().splitlines()
        ended = f"by signal {-code}" if code < 0 else f"with {code}"
        return f"the last ended {ended}{', saying ' + lines[-1] if lines else ''}"
