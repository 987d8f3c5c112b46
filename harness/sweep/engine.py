"""Runs a sweep on this machine: plan, compile, train, evaluate, record.

Devices train one batch of lanes while the host evaluates and records the batch before, and the
next program compiles while this one trains.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import jax
import numpy as np

from harness import checkpoints
from harness.config import Config, objective
from harness.errors import UserError
from harness.prepare import Prepared, prepare
from harness.record.collect import collect
from harness.record.tables import Record
from harness.sweep import lanes, plan
from harness.sweep.plan import Group, Job, Key
from harness.sweep.progress import Progress
from harness.sweep.recorder import Recorder
from harness.sweep.stored import stored_runs
from harness.sweep.timings import timed
from harness.train import Lane, Outcome


@dataclass(frozen=True)
class Result:
    """What became of one run: the metrics a search may ask for, or its error."""

    run_id: str
    objectives: Mapping[str, float] = field(default_factory=dict)  # by stored column
    error: UserError | None = None
    was_stored: bool = False


@dataclass(frozen=True, eq=False)
class _Started:
    """A batch in training."""

    jobs: Sequence[Job]
    prepared: Sequence[Prepared]
    outcome: Future
    dataset: Any
    begun: float


def run_sweep(configs: Sequence[Config], *, progress: Progress) -> list[Result]:
    """Trains every run that is not stored yet and returns one result a config, in order.

    A job whose data cannot give what it asks fails alone, with its `UserError` in its result.
    """
    recorder = Recorder(configs)
    with timed("identify"):
        jobs = plan.make_jobs(configs)
        columns = sorted({objective(config) for config in configs})
        results = {
            key: Result(key[1], {column: row[column] for column in columns}, was_stored=True)
            for key, row in stored_runs(jobs, columns).items()
        }
        groups = plan.group(job for job in jobs if job.key not in results)
    total = sum(len(group.jobs) for group in groups)
    with progress.training(total) as advance:
        try:
            for started in _one_ahead(_start(groups, results)):
                records = zip(started.jobs, _finish(started), _params(started), strict=True)
                for job, record, params in records:
                    wanted = {column: record.metrics[column] for column in columns}
                    results[job.key] = Result(job.run_id, wanted)
                    recorder.add(record, job.config, params=params)
                advance(len(started.jobs))
        finally:
            recorder.flush()
    return [results[job.key] for job in jobs]


def _start(groups: Sequence[Group], results: dict[Key, Result]) -> Iterator[_Started]:
    """Starts batch after batch; each is training when it is yielded."""
    # XLA compiles and runs without Python's lock, each on a thread of its own.
    with ThreadPoolExecutor(1) as compiler, ThreadPoolExecutor(1) as devices:
        programs = plan.programs(groups)
        compiling: list[Future] = [compiler.submit(_compile, program) for program in programs[:1]]
        try:
            for program, following in zip_longest(programs, programs[1:]):
                trainer = _wait_for_compiler(compiling.pop())
                if following is not None:  # one program ahead: more would fill the memory
                    compiling.append(compiler.submit(_compile, following))
                for group in program:
                    if trainer is not None:
                        yield from _start_group(group, trainer, results, devices)
                    else:  # every job fails, and says why
                        _prepare(group.jobs, group.dataset, results)
        finally:
            compiler.shutdown(cancel_futures=True)
            devices.shutdown(cancel_futures=True)


def _wait_for_compiler(compiling: Future) -> lanes.Trainer | None:
    with timed("wait for compiler"):
        return compiling.result()


def _start_group(
    group: Group,
    trainer: lanes.Trainer,
    results: dict[Key, Result],
    devices: ThreadPoolExecutor,
) -> Iterator[_Started]:
    data = group.put()
    for batch in group.batches():
        with timed("prepare"):
            jobs, prepared = _prepare(batch, group.dataset, results)
            if not jobs:
                continue
            stacked = group.stack([ready.lane for ready in prepared])
        outcome = devices.submit(_train, group, trainer, stacked, data)
        yield _Started(jobs, prepared, outcome, group.dataset, time.perf_counter())


def _train(group: Group, trainer: lanes.Trainer, stacked: Lane, data: lanes.DeviceData) -> Outcome:
    with timed("train"):
        return group.trimmed(jax.tree.map(np.asarray, trainer(stacked, data)))


def _prepare(batch: Iterable[Job], dataset: Any, results: dict[Key, Result]) -> tuple[list, list]:
    jobs, prepared = [], []
    for job in batch:
        try:
            prepared.append(prepare(job.config, dataset))
            jobs.append(job)
        except UserError as error:
            results[job.key] = Result(job.run_id, error=error)
    return jobs, prepared


def _compile(groups: Sequence[Group]) -> lanes.Trainer | None:
    """The groups' program, from the first job whose data can be prepared."""
    for group in groups:
        for job in group.jobs:
            with suppress(UserError), timed("compile"):  # reported when its batch comes
                return group.compile([prepare(job.config, group.dataset).lane])
    return None


def _one_ahead(items: Iterator[_Started]) -> Iterator[_Started]:
    """The same items, each held back until the next has started."""
    held: list[_Started] = []
    for item in items:
        yield from held
        held = [item]
    yield from held


def _finish(started: _Started) -> list[Record]:
    with timed("wait for training"):
        outcome = started.outcome.result()
    seconds = (time.perf_counter() - started.begun) / len(started.jobs)
    with timed("evaluate"):
        return collect(
            jobs=started.jobs,
            prepared=started.prepared,
            outcome=outcome,
            dataset=started.dataset,
            seconds=seconds,
        )


def _params(started: _Started) -> list[checkpoints.Params | None]:
    """Each run's parameters, where they are to be kept and an epoch gave some."""
    outcome = started.outcome.result()
    return [
        {name: values[i] for name, values in outcome.params.items()}
        if job.config.training.save_params and outcome.best_epoch[i] > 0
        else None
        for i, job in enumerate(started.jobs)
    ]
