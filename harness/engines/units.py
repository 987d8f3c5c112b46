"""Units of work as text: what a worker is sent, and what it answers."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil
from typing import Any

from harness.config import dump
from harness.engines.parcels import Unsent
from harness.errors import UserError
from harness.run import Run
from harness.sweep import plan
from harness.sweep.engine import Result
from harness.sweep.recorder import Recorder


def units(runs: Iterable[Run], *, number: int, most: int) -> list[list[Run]]:
    """``runs`` in about ``number`` units of whole batches, of at most ``most`` runs and a batch.

    Raises:
      UserError: as `plan.batches`.
    """
    batches = list(chain.from_iterable(of for _, of in plan.batches(runs)))
    wanted = min(most, ceil(sum(map(len, batches)) / number))
    found: list[list[Run]] = []
    for batch in batches:
        if not found or len(found[-1]) >= wanted:
            found.append([])
        found[-1] += batch
    return found


@dataclass(frozen=True)
class Unit:
    """What a worker is sent.

    Attributes:
      folder: in which paths of the configurations are meant.
      devices: of a worker on CPUs.
      flags: XLA_FLAGS.
      run_ids: by which the worker tells that its runs are those that are meant.
      configs: as plain values.
      columns: the `objective_columns` of the whole sweep.
      shards: the address to which they are sent; None where the worker sees the sweep's folder.
    """

    folder: str
    devices: int
    flags: str
    run_ids: list[str]
    configs: list[dict[str, Any]]
    columns: list[str]
    shards: str | None

    @classmethod
    def of(
        cls,
        runs: Sequence[Run],
        *,
        devices: int,
        recorder: Recorder,
        columns: list[str],
        shards: str | None = None,
    ) -> "Unit":
        """``recorder``: of the sweep."""
        return cls(
            folder=os.getcwd(),
            devices=devices,
            flags=os.environ.get("XLA_FLAGS", ""),
            run_ids=[run.run_id for run in runs],
            configs=[dump(recorder.recorded(run.config)) for run in runs],
            columns=columns,
            shards=shards,
        )

    def text(self) -> str:
        """A line of JSON."""
        return json.dumps(vars(self))


def answer(results: Iterable[Result]) -> str:
    """What became of a unit's runs, as a line of JSON; where all were refused, `refusal`."""
    said = [{**vars(one), "error": one.error and str(one.error)} for one in results]
    return json.dumps({"results": said})


def refusal(error: Exception | str) -> str:
    """That nothing became of a unit's runs, and why; of `Unsent`, that it is to be done again."""
    kind = "unsent" if isinstance(error, Unsent) else "refused"
    return json.dumps({kind: str(error)})


def answered(runs: Sequence[Run], text: str) -> Iterator[Result]:
    """What `answer` or `refusal` says of a unit's runs."""
    said = json.loads(text)
    for kind, error in (("refused", UserError), ("unsent", Unsent)):
        if kind in said:
            yield from (Result(run.run_id, error=error(said[kind])) for run in runs)
            return
    for one in said["results"]:
        yield Result(**{**one, "error": one["error"] and UserError(one["error"])})
