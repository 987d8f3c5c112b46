"""Reading the log of a Weights & Biases run, as far as it goes."""

import json
from collections.abc import Iterable
from datetime import UTC
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.record.wandb_framing import MAGIC, unpack
from harness.record.wandb_log import RUNTIME, STEP, RunLog, proto


def read_log(path: Path) -> RunLog:
    """Reads a run's log, as far as it goes: the log of a killed run ends anywhere.

    Args:
      path: a `.wandb` file, or the run's folder that holds it.
    Returns: history as rows with `_step`, `_runtime` and `_timestamp`; nested keys nested.
    Raises: UserError where the file is absent or is no W&B log.
    """
    path = Path(path)
    try:
        file = next(iter(sorted(path.glob("*.wandb"))), path) if path.is_dir() else path
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); give a .wandb file") from error
    if not MAGIC.startswith(data[: len(MAGIC)]):
        raise UserError(f"{file} is not a W&B run log; give a run-<id>.wandb file or its folder")
    try:
        return _fold(map(proto().Record.FromString, unpack(data)), file.stem.removeprefix("run-"))
    except (ValueError, OverflowError, RecursionError, _decode_error()) as error:
        raise UserError(f"{file} holds a record that cannot be read ({error}); skip it") from error


def _fold(records: Iterable[Any], run_id: str) -> RunLog:
    known: dict[str, Any] = {"run_id": run_id}
    config: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    for record in records:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            known |= _run_fields(record.run)
            _apply(config, record.run.config)
        elif kind == "config":
            _apply(config, record.config)
        elif kind == "history":
            row: dict[str, Any] = {STEP: record.history.step.num}
            _set(row, record.history.item)
            history.append(row)
        elif kind == "summary":
            _apply(summary, record.summary)
        elif kind == "exit":
            known["exit_code"] = record.exit.exit_code
    config.pop("_wandb", None)
    last = history[-1].get(RUNTIME) if history else None
    known["seconds"] = last if isinstance(last, int | float) else 0.0
    return RunLog(**known, config=config, history=history, summary=summary)


def _run_fields(run: Any) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.display_name,
        "tags": tuple(run.tags),
        "started": run.start_time.ToDatetime(UTC),
        "project": run.project,
        "entity": run.entity,
        "group": run.run_group,
    }


def _apply(target: dict[str, Any], changes: Any) -> None:
    _set(target, changes.update)
    for item in changes.remove:
        *path, last = item.nested_key or [item.key]
        _inner(target, path).pop(last, None)


def _set(target: dict[str, Any], items: Iterable[Any]) -> None:
    for item in items:
        *path, last = item.nested_key or [item.key]
        _inner(target, path)[last] = json.loads(item.value_json)


def _inner(target: dict[str, Any], path: Iterable[str]) -> dict[str, Any]:
    for key in path:
        if not isinstance(target.get(key), dict):
            target[key] = {}
        target = target[key]
    return target


def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError

    return DecodeError
