"""What a process of its own takes."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

HARNESS = (sys.executable, "-c", "from harness.cli import main; main()")


@dataclass(frozen=True)
class Used:
    """Wall and CPU seconds of a process, MiB at its highest, and what it printed."""

    seconds: float
    cpu: float
    memory: float
    text: str


def used(command: Sequence[str], **environment: str) -> Used:
    """What ``command`` takes, with these variables beside the present ones.

    Raises:
      SystemExit: it failed.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        output.seek(0)
        text = output.read()
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{text}")
    return Used(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)
