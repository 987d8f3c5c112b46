"""A sweep by its engine: what is missing is cut into units and handed out, its answers gathered."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from harness import devices
from harness.config import Config, folder_of
from harness.config.engines import Local, Processes, Ray, Submitit
from harness.data.in_memory import Memory
from harness.engines import processes
from harness.engines.parcels import Parcels, Unsent
from harness.engines.units import Unit, answered, units
from harness.errors import UserError
from harness.record.live import session
from harness.run import Key, Run
from harness.sweep import engine as here
from harness.sweep import plan
from harness.sweep.engine import Result, objective_columns, stored_results
from harness.sweep.progress import Progress
from harness.sweep.recorder import Recorder
from harness.sweep.timings import timed

# Units for each worker, and the most runs of one: so that there is something to share out where
# some take longer, and progress to show. A job of Slurm's begins with imports, and so is one unit.
SHARES, MOST_RUNS = 4, 1024


def train(configs: Sequence[Config], *, progress: Progress) -> list[Result]:
    """As `run_sweep`, by the engine that all of ``configs`` name.

    Raises:
      UserError: as `run_sweep`; or jobs name several engines, or one cannot be had or has no use of
        data in this process' memory; or an address of shards cannot be used.
    """
    engine = _engine(configs)
    if isinstance(engine, Local):
        return here.run_sweep(configs, progress=progress)
    recorder = Recorder(configs)
    columns = objective_columns(configs)
    parcels = _parcels(configs, engine)
    with timed("identify"):
        runs = plan.resolved(configs)
        recorder.plan(runs)
    results: dict[Key, Result] = {}

    def hand_out(part: Sequence[Run]) -> None:
        _hand_out(part, engine, parcels, columns, results, recorder, progress)

    with closing(_missing(runs, columns, results, parcels)) as missing, session() as shown:
        for part in missing:
            recorder.show(runs, results, shown)
            if part:
                _share(part, hand_out, results, tries=engine.retries + 1)
    recorder.finish()
    return [results[run.key] for run in runs]


def _parcels(configs: Sequence[Config], engine: Any) -> Parcels | None:
    """Where workers send their shards; None where they write to the sweep's folder. What was sent
    to a sweep that was killed is fetched."""
    if not isinstance(engine, Ray) or engine.shards is None:
        return None
    if len(roots := sorted({config.root for config in configs})) > 1:
        raise UserError(
            f"engine.shards={engine.shards}: root is {' and '.join(roots)}: give one root to all "
            "jobs whose shards are sent to one address"
        )
    for params in sorted({config.init.params or "" for config in configs}):
        if params and Path(params).name == params:
            raise UserError(
                f"init.params={params}: a worker that sends its shards (engine.shards) has no "
                "sweep's folder to look in: give the model's own, such as runs/NAME/models/ID"
            )
    parcels = Parcels(engine.shards)
    parcels.check()
    parcels.fetch({folder_of(config) for config in configs}, set())
    return parcels


def _missing(
    runs: Sequence[Run],
    columns: Sequence[str],
    results: dict[Key, Result],
    parcels: Parcels | None,
) -> Generator[list[Run]]:
    """What is to be trained; what is stored is added to ``results``."""
    if parcels:  # workers cannot claim in a folder that they do not see
        yield from here.claimed(runs, columns, results)
        return
    with timed("identify"):
        results |= stored_results(runs, columns)
    yield [run for run in runs if run.key not in results]


def _engine(configs: Sequence[Config]) -> Any:
    engines = {config.engine for config in configs}
    if len(engines) > 1:
        names = ", ".join(sorted(engine.name for engine in engines))
        raise UserError(f"engine={names}: a sweep has one engine: give one, with the same keys")
    (engine,) = engines
    if not isinstance(engine, Local) and any(isinstance(one.dataset, Memory) for one in configs):
        raise UserError(
            f"engine={engine.name}: other processes cannot see data in this one's memory: write "
            "the table to a file and give its path, or leave engine=local"
        )
    return engine


def _share(
    runs: Sequence[Run],
    hand_out: Callable[[Sequence[Run]], None],
    results: dict[Key, Result],
    *,
    tries: int,
) -> None:
    """Hands out ``runs`` until all have arrived: what has not is as lost as a worker, and is tried
    as often."""
    for _ in range(tries):
        hand_out(runs)
        runs = [run for run in runs if isinstance(results[run.key].error, Unsent)]
        if not runs:
            return


def _hand_out(
    runs: Sequence[Run],
    engine: Any,
    parcels: Parcels | None,
    columns: list[str],
    results: dict[Key, Result],
    recorder: Recorder,
    progress: Progress,
) -> None:
    """Has workers train and store ``runs``, and adds what became of each to ``results``."""
    awaited = {run.key for run in runs}
    folders = {run.folder for run in runs}
    with timed("identify"):
        by_job = isinstance(engine, Submitit)
        number = engine.workers * (1 if by_job else SHARES)
        waiting = dict(
            enumerate(units(runs, number=number, most=len(runs) if by_job else MOST_RUNS))
        )
        texts = [
            Unit.of(
                unit,
                devices=_devices(engine),
                recorder=recorder,
                columns=columns,
                shards=parcels.address if parcels else None,
            ).text()
            for unit in waiting.values()
        ]
    handed_out = _run(texts, engine, runs[0].folder)
    with progress.training(sum(map(len, waiting.values()))) as advance:
        try:
            for place, text in handed_out:
                unit = waiting.pop(place)
                found = {run.key: one for run, one in zip(unit, answered(unit, text), strict=True)}
                if parcels:
                    parcels.fetch(folders, awaited)
                    found |= _not_arrived(found, awaited, parcels)
                results |= _taken(unit, found, columns, recorder)
                advance(len(unit))
        finally:
            handed_out.close()
            if parcels and waiting:
                with suppress(Unsent):  # it stays there
                    parcels.fetch(folders, awaited)
            # Of units without an answer, as where the user stops the sweep.
            left = [run for unit in waiting.values() for run in unit]
            stored = stored_results(left, columns)
            recorder.took([run for run in left if run.key in stored])


def _not_arrived(
    found: dict[Key, Result], awaited: set[Key], parcels: Parcels
) -> dict[Key, Result]:
    lost = Unsent(f"engine.shards={parcels.address}: what a worker sent there has not arrived")
    return {
        key: Result(one.run_id, error=lost)
        for key, one in found.items()
        if key in awaited and not one.error
    }


def _taken(
    unit: Sequence[Run], found: dict[Key, Result], columns: Sequence[str], recorder: Recorder
) -> dict[Key, Result]:
    if any(one.error for one in found.values()):  # what a worker stored before it was lost
        found |= stored_results([run for run in unit if found[run.key].error], columns)
    recorder.took([run for run in unit if not found[run.key].error])
    return found


def _devices(engine: Any) -> int:
    if engine.cpus is not None:
        return engine.cpus
    return max(1, devices.available_cores() // engine.workers)


def _run(texts: Sequence[str], engine: Any, folder: Path) -> Generator[tuple[int, str]]:
    """The engine at work: each unit's place and its answer, as they come. Closed, it stops."""
    match engine:
        case Processes():
            return processes.run(texts, engine)
        case Submitit():
            from harness.engines import submitted

            return submitted.run(texts, engine, folder)
        case Ray():
            from harness.engines import cluster

            return cluster.run(texts, engine)
    raise AssertionError(engine)
