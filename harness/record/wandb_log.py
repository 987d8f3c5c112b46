"""What the log of one Weights & Biases run says, whoever writes or reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np

from harness.record.charts import Chart

STEP, RUNTIME, TIMESTAMP = "_step", "_runtime", "_timestamp"
EPOCH = datetime.fromtimestamp(0, UTC)

Columns = Mapping[str, Sequence[Any] | np.ndarray]
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class RunLog:
    """What the log of one W&B run says.

    Attributes:
      history: rows, or columns of one length (several times faster to write). A column `_step`
        numbers the rows, increasing; without it they count from 0.
      exit_code: None where the log ends before the run did.
      started: with a time zone.
      seconds: the run's length; the rows are spread evenly over it.
      charts: by key; none of a log that was read, and none are written by `write_log`.
    """

    run_id: str
    name: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    history: Rows | Columns = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    exit_code: int | None = None
    started: datetime = EPOCH
    seconds: float = 0.0
    project: str = ""
    entity: str = ""
    group: str = ""
    charts: Mapping[str, Chart] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history as rows, whichever way it was given."""
        if not isinstance(self.history, Mapping):
            return [dict(row) for row in self.history]
        columns = zip(*self.history.values(), strict=True)
        return [dict(zip(self.history, values, strict=True)) for values in columns]


def row_times(run: RunLog, num_rows: int) -> dict[str, np.ndarray]:
    """Each row's `_runtime` (seconds from the start) and `_timestamp` (Unix), evenly spread."""
    since = run.seconds * np.arange(1, num_rows + 1) / max(num_rows, 1)
    return {RUNTIME: since, TIMESTAMP: run.started.timestamp() + since}


@cache
def proto() -> Any:
    """The client's record types. Imported late: wandb takes half a second."""
    from wandb.proto import wandb_internal_pb2

    return wandb_internal_pb2
