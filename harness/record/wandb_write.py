"""Writing the log of a Weights & Biases run: `run-<id>.wandb`.

The public API writes some 30 offline runs a second, dearer than training them. This writes what
that client writes (0.31, lean settings, offline), without the client: its protobuf records in its
framing. `wandb sync` and `wandb leet inspect` read the result, which the tests hold it to.
"""

import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import compress, count
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.fetching import say
from harness.files import whole_file
from harness.record.wandb_log import STEP, RunLog, pack, proto, row_times

PROVEN = "0.31."
"""How the versions begin whose form this is: tests hold it to their own writer and readers."""

OLDEST_READER = "0.70.0"  # as this client writes it
_PLAIN = {float, int, bool, type(None)}
Row = tuple[Sequence[str], Sequence[str]]  # keys, JSON values


def write_log(run: RunLog, folder: Path) -> Path:
    """Writes `folder/wandb/offline-run-<time>-<id>/run-<id>.wandb`, whole or not at all.

    Returns: the run's folder. A run written again with the same start replaces its log.
    Raises: ValueError (an id that is no file name, columns of unequal length), TypeError, OSError.
    """
    if not run.run_id or set(run.run_id) & set('/\\:;,#?%"\0') or run.run_id.startswith("."):
        raise ValueError(f"run_id must be usable as a file name, got {run.run_id!r}")
    content = pack(_records(run))
    stamp = run.started.astimezone().strftime("%Y%m%d_%H%M%S")  # local time, as the client's
    place = Path(folder, "wandb", f"offline-run-{stamp}-{run.run_id}")
    (place / "files").mkdir(parents=True, exist_ok=True)
    # The store has the run: what a power cut takes from its mirror is sent from there.
    with whole_file(place / f"run-{run.run_id}.wandb", durable=False) as partial:
        partial.write_bytes(content)
    return place


def _records(run: RunLog) -> Iterator[bytes]:
    """The records in the client's order: header, run, history, summary, exit."""
    pb = proto()
    numbers = count(1)

    def record(**content: Any) -> bytes:
        return pb.Record(num=next(numbers), **content).SerializeToString()

    version = pb.VersionInfo(producer=_version(), min_consumer=OLDEST_READER)
    yield record(header=pb.HeaderRecord(version_info=version))
    yield record(run=_run_record(run))
    latest: dict[str, str] = {}
    yield from _history(_rows(run), numbers, latest)
    summary = pb.SummaryRecord()
    # The client counts each key's last value as summary; what is set by name wins.
    for key, text in latest.items():
        summary.update.add(nested_key=[key], value_json=text)
    texts = _texts([_without_nan(value) for value in run.summary.values()])
    for key, text in zip(run.summary, texts, strict=True):
        summary.update.add(key=key, value_json=text)
    runtime = str(int(run.seconds))
    summary.update.add(nested_key=["_wandb", "runtime"], value_json=runtime)
    yield record(summary=summary)
    if run.exit_code is not None:
        yield record(exit=pb.RunExitRecord(exit_code=run.exit_code))


def _run_record(run: RunLog) -> Any:
    pb = proto()
    content = pb.RunRecord(
        run_id=run.run_id,
        entity=run.entity,
        project=run.project,
        run_group=run.group,
        job_type=run.job_type,
        notes=run.notes,
        sweep_id=run.sweep_id,
        display_name=run.name,
        tags=run.tags,
    )
    content.telemetry.feature.offline = True
    content.telemetry.python_version = platform.python_version()
    content.telemetry.cli_version = _version()
    content.start_time.FromDatetime(run.started)
    content.config.update.add(key="_wandb", value_json="{}")
    for key, value in run.config.items():
        content.config.update.add(key=str(key), value_json=_text(_without_nan(value)))
    return content


def _history(
    rows: Iterable[Row], numbers: Iterator[int], latest: dict[str, str]
) -> Iterator[bytes]:
    """The rows' records, and each key's last value that is not null in `latest`.

    Rows of the same keys reuse one record: setting its values is cheap, building it is not.
    """
    pb = proto()
    keys: Sequence[str] = ()
    record = pb.Record()
    for row_keys, texts in rows:
        if row_keys != keys:
            keys = row_keys
            items = [pb.HistoryItem(nested_key=[key]) for key in keys]
            record = pb.Record(history=pb.HistoryRecord(item=items, step=pb.HistoryStep()))
            slots = list(record.history.item)
        for slot, text in zip(slots, texts, strict=True):
            slot.value_json = text
        record.num = next(numbers)
        record.history.step.num = int(texts[keys.index(STEP)])
        pairs = zip(keys, texts, strict=True)
        if "null" in texts:
            latest.update(pair for pair in pairs if pair[1] != "null")
        else:
            latest.update(pairs)
        yield record.SerializeToString()


def _rows(run: RunLog) -> Iterator[Row]:
    """Each row's keys and JSON values, with the client's own three."""
    if isinstance(run.history, Mapping):
        num_rows = len(next(iter(run.history.values()), ()))
        columns = {STEP: range(num_rows), **row_times(run, num_rows), **run.history}
        keys = tuple(columns)
        yield from ((keys, texts) for texts in zip(*map(_texts, columns.values()), strict=True))
        return
    times = row_times(run, len(run.history))
    for i, row in enumerate(run.history):
        whole = {STEP: i} | {key: times[key][i] for key in times} | dict(row)
        yield tuple(whole), [_text(value) for value in whole.values()]


def _texts(column: Sequence[Any] | np.ndarray) -> list[str]:
    """Each value's JSON; one call for all numbers, whose JSON holds no comma of its own."""
    values = column.tolist() if isinstance(column, np.ndarray) else list(column)
    is_plain = [type(value) in _PLAIN for value in values]
    numbers = iter(_text(list(compress(values, is_plain)))[1:-1].split(", "))
    return [
        next(numbers) if plain else _text(value)
        for value, plain in zip(values, is_plain, strict=True)
    ]


def _jsonable(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


# JSON with bare NaN and Infinity, as the client writes them.
_text = json.JSONEncoder(default=_jsonable).encode


def _without_nan(value: Any) -> Any:
    """The client writes NaN as null in config and summary (not in history); infinity it keeps."""
    if type(value) in _PLAIN:
        return None if value != value else value
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def is_proven() -> bool:
    """Whether the client that is installed has the form that this writes."""
    return _version().startswith(PROVEN)


@cache
def say_unproven() -> None:
    """Says once what another client costs."""
    say(
        f"wandb {_version()} is not the {PROVEN}x whose files are written here: offline runs go "
        "through its own API, some 40 ms each (`wandb=disabled` for none)"
    )


@cache
def _version() -> str:
    import wandb

    return wandb.__version__
