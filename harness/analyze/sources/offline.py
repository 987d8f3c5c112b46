"""Reading W&B's offline folders: those of this harness and those of the client.

Many logs are read on all cores, a share in each process. Processes of the standard pools would
import the caller's script again, or fork its threads; these are given file names and write tables,
and share nothing else.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from harness.analyze.runs import Runs
from harness.analyze.sources.logged import Parts, write_parts
from harness.errors import UserError
from harness.record.wandb_log import RunLog
from harness.record.wandb_read import read_log

FILES_PER_PROCESS = 4_000  # a process starts in one or two seconds: fewer are read sooner by one
MAX_PROCESSES = 16

Found = tuple[int, list[str]]  # runs of others; what is wrong with each log that cannot be read


def log_files(path: Path) -> list[Path]:
    """The W&B logs at `path`: a log itself, a run's folder, a `wandb` folder, or one that has it.

    W&B's `latest-run` link names a run a second time and is passed over.
    """
    if path.is_file():
        return [path] if path.suffix == ".wandb" else []
    for pattern in ("*.wandb", "*run-*/*.wandb", "wandb/*run-*/*.wandb"):
        found = [file for file in path.glob(pattern) if not file.parent.is_symlink()]
        if found:
            return sorted(found)
    return []


def read_offline(path: Path) -> Runs:
    """The runs whose logs are at `path`, as far as each log goes.

    Raises:
        UserError: no run of this harness there.
    """
    files = log_files(path)
    name = path.stem if path.is_file() else path.resolve().name
    parts = Parts()
    num_foreign, unreadable = _read_files(files, parts.folder)
    runs = parts.joined(num_foreign, name=name, place=str(path))
    if not unreadable:
        return runs
    note = f"{path}: {len(unreadable)} logs cannot be read, such as {unreadable[0]}."
    return replace(runs, notes=(*runs.notes, note))


def _read_files(files: Sequence[Path], folder: Path) -> Found:
    """Writes the runs of these logs to `folder` as `write_parts` does, in order.

    Raises:
        UserError: a process was killed, or had no memory left.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    num_processes = min(len(files) // FILES_PER_PROCESS, cores or 1, MAX_PROCESSES)
    if num_processes < 2:
        return _read(files, folder, prefix="")
    share = -(-len(files) // num_processes)
    started = []
    for i in range(num_processes):
        process = _start(folder, prefix=f"{i:02d}-")
        started.append(process)
        assert process.stdin
        own = [str(file) for file in files[i * share : (i + 1) * share]]
        with suppress(BrokenPipeError), process.stdin as pipe:  # it died: its code will say so
            json.dump(own, pipe)
    answers = [_answer(process) for process in started]  # of all, before one may be the last
    found = [_found(process.returncode, text) for process, text in answers]
    return sum(part[0] for part in found), [text for part in found for text in part[1]]


def _start(folder: Path, *, prefix: str) -> subprocess.Popen:
    # One thread each: there are as many as cores.
    own = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "POLARS_MAX_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import work; work()", str(folder), prefix],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | own,
        text=True,
    )


def _answer(process: subprocess.Popen) -> tuple[subprocess.Popen, str]:
    assert process.stdout
    with process:
        return process, process.stdout.read()


def _found(code: int, text: str) -> Found:
    if code:
        raise UserError(
            f"a process that read W&B logs ended with code {code}; "
            "free some memory, or give fewer folders at once"
        )
    num_foreign, unreadable = json.loads(text)
    return num_foreign, unreadable


def _read(files: Sequence[Path], folder: Path, *, prefix: str) -> Found:
    unreadable: list[str] = []
    return write_parts(_logs(files, unreadable), folder, prefix=prefix), unreadable


def _logs(files: Sequence[Path], unreadable: list[str]) -> Iterator[tuple[str, RunLog]]:
    for file in files:
        try:
            yield file.parent.name, read_log(file)
        except UserError as error:
            unreadable.append(str(error))


def work() -> None:
    """The whole of a process: reads the files named on standard input."""
    paths = [Path(name) for name in json.load(sys.stdin)]
    print(json.dumps(_read(paths, Path(sys.argv[1]), prefix=sys.argv[2])))
