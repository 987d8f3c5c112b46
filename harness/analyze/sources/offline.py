"""Reading W&B's offline folders: those of this harness and those of the client."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness.analyze.runs import Runs
from harness.analyze.sources.logged import gather
from harness.errors import UserError
from harness.record.wandb_log import RunLog
from harness.record.wandb_read import read_log


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
    unreadable: list[str] = []
    runs = gather(_logs(files, unreadable), name=name, place=str(path))
    if not unreadable:
        return runs
    note = f"{path}: {len(unreadable)} logs cannot be read, such as {unreadable[0]}."
    return replace(runs, notes=(*runs.notes, note))


def _logs(files: list[Path], unreadable: list[str]) -> Iterator[tuple[str, RunLog]]:
    for file in files:
        try:
            yield file.parent.name, read_log(file)
        except UserError as error:
            unreadable.append(str(error))
