"""Reading W&B's offline folders: those of this harness and those of the client."""

from dataclasses import replace
from pathlib import Path

from harness.analyze.runs import Runs
from harness.analyze.sources.logged import Parts
from harness.analyze.sources.parallel import read_files


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
    num_foreign, unreadable = read_files(files, parts.folder)
    runs = parts.joined(num_foreign, name=name, place=str(path))
    if not unreadable:
        return runs
    note = f"{path}: {len(unreadable)} logs cannot be read, such as {unreadable[0]}."
    return replace(runs, notes=(*runs.notes, note))
