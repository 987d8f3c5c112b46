"""Where a sweep's host time goes, by what it was spent on.

One clock for the process: phases add up over threads and batches. ``HARNESS_PROFILE=file.json``
writes it out when a command ends.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS: dict[str, float] = defaultdict(float)


@contextmanager
def timed(phase: str) -> Iterator[None]:
    """Adds the time spent inside to ``SECONDS[phase]``."""
    start = time.perf_counter()
    try:
        yield
    finally:
        SECONDS[phase] += time.perf_counter() - start


def write_profile() -> None:
    """Writes the phases to the file that ``HARNESS_PROFILE`` names, if it names one."""
    if path := os.environ.get("HARNESS_PROFILE"):
        Path(path).write_text(json.dumps(SECONDS))
