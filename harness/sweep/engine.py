"""Runs a sweep on this machine: resolve, compile, train, evaluate, record.

Devices train one batch of lanes while the host evaluates and records the batch before, and the
next programs compile while this one trains, as many side by side as memory allows.
"""

import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from itertools import chain
from typing import Any

import jax
import numpy as np

from harness.config import Config, objective
from harness.data import library
from harness.data.dataset import Dataset
from harness.data.fetching import say
from harness.data.run_data import RunData
from harness.errors import UserError
from harness.padding import trimmed
from harness.predict import Model, model_of
from harness.record.collect import collect
from harness.record.live import session
from harness.record.schema import Record
from harness.run import Key, Run
from harness.sweep import compiled, halving, lanes, plan
from harness.sweep.claims import Claims
from harness.sweep.failures import caught, is_out_of_memory
from harness.sweep.plan import Batch
from harness.sweep.progress import Progress
from harness.sweep.recorder import Part, Recorder
from harness.sweep.timings import timed
from harness.training import Lane, Outcome, Program
from harness.watching import scored


@dataclass(frozen=True)
class Result:
    """What became of one run: the metrics a search may ask for, or its error."""

    run_id: str
    objectives: Mapping[str, float] = field(default_factory=dict)  # by stored column
    error: UserError | None = None
    was_stored: bool = False
    has_diverged: bool = False


@dataclass(frozen=True, eq=False)
class _Ready:
    """A batch whose arrays are made."""

    runs: Batch
    data: Sequence[RunData]
    stacked: Lane | MemoryError
    dataset: Dataset


@dataclass(frozen=True, eq=False)
class _Started:
    """A batch in training."""

    runs: Batch
    data: Sequence[RunData]
    outcome: Future[tuple[Outcome, float]]  # and the wall seconds that training took
    dataset: Dataset


Finished = tuple[Run, Record, Model | None]
_TRAINING = "training and scoring a job"
_one_trains = threading.Lock()  # two batches at once would need the memory of two


def run_sweep(
    configs: Sequence[Config], *, progress: Progress, part: Part | None = None
) -> list[Result]:
    """Trains every run that is not stored yet and returns one result a config, in order.

    ``part``: what is to be known where they are a worker's part of a sweep.

    A job whose data cannot give what it asks, or that a library refuses, fails alone, with its
    `UserError` in its result. A program that cannot be compiled or trained fails its jobs.

    Raises:
      UserError: as `plan.resolved` does, before anything is trained.
    """
    recorder = Recorder(configs, part=part)
    with timed("identify"):
        runs = plan.resolved(configs)
        recorder.plan(runs)
    columns = objective_columns(configs) if part is None else part.columns
    results: dict[Key, Result] = {}
    with closing(claimed(runs, columns, results)) as claims, session() as shown:
        for free in claims:
            recorder.show(runs, results, shown)
            if free:
                _train_all(free, columns, results, recorder, progress)
    recorder.finish()
    return [results[run.key] for run in runs]


def claimed(
    runs: Sequence[Run], columns: Sequence[str], results: dict[Key, Result]
) -> Generator[list[Run]]:
    """Those of ``runs`` to be trained now, claimed until the next are asked for; ends when each has
    a result.

    What is stored, by then or by other sweeps meanwhile, is added to ``results``; what became of
    those yielded is to be.
    """
    waited = False
    with Claims() as claims:
        while left := [run for run in runs if run.key not in results]:
            with timed("identify"), claims.deciding(left):
                results |= stored_results(left, columns)
                left = [run for run in left if run.key not in results]
                free = claims.take(left)
            yield free
            if free:
                claims.release()
            elif left:
                if not waited:
                    say(f"another sweep is training {len(left):,} of these runs: waiting for it")
                    waited = True
                claims.wait(left)


def objective_columns(configs: Sequence[Config]) -> list[str]:
    """What the jobs of a sweep may be asked for: the stored column of each objective."""
    return sorted({objective(config) for config in configs})


def stored_results(runs: Sequence[Run], columns: Sequence[str]) -> dict[Key, Result]:
    """Of those of ``runs`` that are stored."""
    return {
        key: _result(key[1], row["status"], row, columns, was_stored=True)
        for key, row in plan.stored_runs(runs, ["status", *columns]).items()
    }


def _train_all(
    runs: Sequence[Run],
    columns: Sequence[str],
    results: dict[Key, Result],
    recorder: Recorder,
    progress: Progress,
) -> None:
    """Trains and stores ``runs``, and adds what became of each to ``results``."""
    with timed("identify"):
        programs = list(plan.batches(runs))
    total = sum(len(batch) for _, batches in programs for batch in batches)
    # Held here: a sweep that is stopped stores what has finished before it leaves what has not.
    batches = _one_ahead(_start(programs, results, recorder))
    with progress.training(total) as advance:
        try:
            for started in batches:
                with timed("wait for training"):
                    _wait_for(started.outcome, recorder)
                finished = _finished_or_halved(started, results)
                for run, record, model in finished:
                    status = record.facts["status"]
                    results[run.key] = _result(run.run_id, status, record.metrics, columns)
                    recorder.add(record, run.config, model=model)
                for run, *_ in finished:
                    recorder.describe(started.dataset, run.config)
                advance(len(started.runs))
        finally:
            recorder.flush()


def _result(
    run_id: str,
    status: str,
    values: Mapping[str, Any],
    columns: Sequence[str],
    *,
    was_stored: bool = False,
) -> Result:
    """With what searches may ask for: a job's own objective, and what else there is of others'."""
    found = ((column, values.get(column)) for column in columns)
    told = {column: value for column, value in found if value is not None}
    return Result(run_id, told, was_stored=was_stored, has_diverged=status == "diverged")


def _start(
    programs: Sequence[tuple[Program, Sequence[Batch]]],
    results: dict[Key, Result],
    recorder: Recorder,
) -> Iterator[_Started]:
    """Starts batch after batch; each is training when it is yielded."""
    # XLA compiles and runs without Python's lock, on threads of their own.
    ahead = compiled.at_once()
    with _workers(ahead) as compilers, _workers(1) as devices:
        compiling = deque(compilers.submit(_compile, program) for program, _ in programs[:ahead])
        for number, (program, batches) in enumerate(programs):
            first = _prepared(batches[0], program, results)  # while the program compiles
            current = compiling.popleft()
            with timed("wait for compiler"):
                _wait_for(current, recorder)
            for following, _ in programs[number + ahead : number + ahead + 1]:
                compiling.append(compilers.submit(_compile, following))
            try:
                trainer = _compiled(current, compiling, program)
            except Exception as error:
                for batch in batches:
                    _fail(batch, error, "compiling a job's program", results)
                continue
            rest = (_prepared(batch, program, results) for batch in batches[1:])
            for ready in chain([first], rest):
                if ready is not None:
                    yield _started(ready, trainer, devices)
            first = ready = None  # let go of their arrays


@contextmanager
def _workers(number: int) -> Iterator[ThreadPoolExecutor]:
    """Threads not waited for: whoever stops a sweep has its finished runs stored first."""
    pool, stopped = ThreadPoolExecutor(number), True
    try:
        yield pool
        stopped = False
    finally:
        pool.shutdown(wait=False, cancel_futures=stopped)


def _wait_for(future: Future[Any], recorder: Recorder) -> None:
    """Waits for it; what has finished before is stored in time."""
    while wait([future], timeout=recorder.seconds_left()).not_done:
        recorder.flush_if_due()


def _fail(runs: Batch, error: Exception, doing: str, results: dict[Key, Result]) -> None:
    for run in runs:
        results[run.key] = Result(run.run_id, error=caught(error, run.config, doing=doing))


def _compiled(
    current: Future[lanes.Trainer], others: Iterable[Future[lanes.Trainer]], program: Program
) -> lanes.Trainer:
    """What compiled beside ``others``; alone and once more where memory did not hold them all."""
    try:
        return current.result()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    wait(others)
    return _compile(program)


def _compile(program: Program) -> lanes.Trainer:
    with timed("compile"):
        return _kept(program) if compiled.keeping else lanes.Trainer(program)


# A search, and a worker, ask for the same programs at each of their batches of jobs.
_kept = lru_cache(maxsize=4)(lanes.Trainer)


def _prepared(batch: Batch, program: Program, results: dict[Key, Result]) -> _Ready | None:
    """The batch's arrays, without the runs whose data cannot give what they ask."""
    with timed("prepare"):
        dataset = library.datasets.get(batch[0].config.dataset)
        ready: dict[Run, Lane] = {}
        for run in batch:
            try:
                ready[run] = run.lane(dataset)
            except Exception as error:
                failure = caught(error, run.config, doing="preparing a job")
                results[run.key] = Result(run.run_id, error=failure)
        if not ready:
            return None
        data = [run.data(dataset) for run in ready]
        return _Ready(list(ready), data, _stacked(list(ready.values()), program), dataset)


def _stacked(of: Sequence[Lane], program: Program) -> Lane | MemoryError:
    """The batch's arrays, or the error with which it will have failed to train."""
    try:
        return lanes.stacked(of, program)
    except MemoryError as error:
        return error.with_traceback(None)  # which holds what was made of them


def _started(ready: _Ready, trainer: lanes.Trainer, devices: ThreadPoolExecutor) -> _Started:
    outcome = devices.submit(_train, trainer, ready.stacked, ready.dataset, ready.runs[0])
    return _Started(ready.runs, ready.data, outcome, ready.dataset)


def _train(
    trainer: lanes.Trainer, stacked: Lane | MemoryError, dataset: Dataset, one: Run
) -> tuple[Outcome, float]:
    if isinstance(stacked, MemoryError):
        raise stacked
    with _one_trains:
        begun = time.perf_counter()
        with timed("train"):
            outcome = trainer(stacked, lanes.put(dataset, trainer.program))
            own = trimmed(jax.tree.map(np.asarray, outcome), trainer.program, one.sizes)
            own = scored(own, one)
        return own, time.perf_counter() - begun


def _one_ahead(items: Iterator[_Started]) -> Iterator[_Started]:
    """The same items, each held back until the next has started."""
    held: list[_Started] = []
    for item in items:
        yield from held
        held = [item]
    yield from held


def _finished_or_halved(started: _Started, results: dict[Key, Result]) -> list[Finished]:
    """The records of a batch, trained in halves where memory does not hold it; what fails is in
    ``results``."""
    try:
        return _records(started, *started.outcome.result())
    except Exception as error:
        if not is_out_of_memory(error):
            _fail(started.runs, error, _TRAINING, results)
            return []
        cause = error.with_traceback(None)  # which holds the arrays of the batch
    return _in_halves(started, cause, 1, results)


def _in_halves(
    started: _Started, cause: Exception, halvings: int, results: dict[Key, Result]
) -> list[Finished]:
    """The records of a batch that memory did not hold, for which ``cause`` speaks."""
    program = started.runs[0].program
    shape = halving.halved(program, halvings)
    if shape is None:
        _fail(started.runs, cause, _TRAINING, results)
        return []
    trainer = halving.trainer(program, *shape)
    _say_halved(trainer.num_lanes, trainer.numerics)
    finished: list[Finished] = []
    for at in range(0, len(started.runs), trainer.num_lanes):
        part = slice(at, at + trainer.num_lanes)
        half = replace(started, runs=started.runs[part], data=started.data[part])
        try:
            trained = _train_halved(trainer, half)
            finished += _records(half, *trained, numerics=trainer.numerics)
            continue
        except Exception as error:
            if not is_out_of_memory(error):
                _fail(half.runs, error, _TRAINING, results)
                continue
            again = error.with_traceback(None)
        finished += _in_halves(half, again, halvings + 1, results)
    return finished


def _train_halved(trainer: halving.Halved, half: _Started) -> tuple[Outcome, float]:
    with _one_trains:
        begun = time.perf_counter()
        with timed("train"):
            own = scored(trainer(half.runs, half.dataset), half.runs[0])
        return own, time.perf_counter() - begun


@cache
def _say_halved(num_lanes: int, numerics: str) -> None:
    """Once a process, however many batches are."""
    how = f"with other rounding, as numerics says ({numerics})" if numerics else "to the same bits"
    say(f"memory did not hold a batch: its runs are trained {num_lanes} at a time, {how}")


def _records(
    started: _Started, outcome: Outcome, seconds: float, *, numerics: str = ""
) -> list[Finished]:
    """The records of a batch that has trained, and the models that are to be kept.

    ``numerics``: what is to be added to this fact of theirs.
    """
    with timed("evaluate"):
        records = collect(
            runs=started.runs,
            data=started.data,
            outcome=outcome,
            dataset=started.dataset,
            seconds=seconds / len(started.runs),
        )
        if numerics:
            records = [_with_numerics(record, numerics) for record in records]
        models = [
            model_of(
                run,
                started.dataset,
                {name: np.asarray(values[i]) for name, values in outcome.params.items()},
                record,
            )
            if run.config.training.save_model and outcome.best_epoch[i] > 0
            else None
            for i, (run, record) in enumerate(zip(started.runs, records, strict=True))
        ]
    return list(zip(started.runs, records, models, strict=True))


def _with_numerics(record: Record, more: str) -> Record:
    return replace(record, facts={**record.facts, "numerics": f"{record.facts['numerics']};{more}"})
