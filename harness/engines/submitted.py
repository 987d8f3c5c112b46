"""`engine=submitit`: units as jobs of Slurm's, or of processes that stand in for it.

Submitit hands jobs over as pickles, in a folder beside the runs that only its owner may enter, and
which goes with the sweep.
"""

import signal
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from harness.config.engines import Submitit
from harness.engines.units import refusal
from harness.engines.worker import stop, work
from harness.errors import UserError

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_STORE = 30.0  # for jobs that are cancelled to store what has finished


class Job:
    """What a job calls. One that is out of time or room is queued again, as submitit does where
    there is a `checkpoint`; what is stored by then is not trained again."""

    def __call__(self, unit: str) -> str:
        signal.signal(signal.SIGTERM, stop)  # which submitit would pass over
        return work(unit)

    def checkpoint(self, unit: str) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, unit)


def run(units: Sequence[str], engine: Submitit, folder: Path) -> Generator[tuple[int, str]]:
    """Each unit's place and its answer, as they come. Closed before its end, it cancels the jobs.

    Args:
      folder: of a sweep, in which the jobs' own is made.

    Raises:
      UserError: submitit or Slurm cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=".jobs-", dir=folder.absolute(), ignore_cleanup_errors=True
    ) as place:
        yield from _answers(_executor(engine, place), units, engine.retries)


def _answers(executor: Any, units: Sequence[str], retries: int) -> Generator[tuple[int, str]]:
    with executor.batch():  # one array of jobs
        jobs = [executor.submit(Job(), unit) for unit in units]
    running = {place: (job, retries) for place, job in enumerate(jobs)}
    try:
        while running:
            for place, (job, left) in list(running.items()):
                if not job.done():
                    continue
                answer, said = _result(job)
                if answer is None and left:
                    running[place] = executor.submit(Job(), units[place]), left - 1
                    continue
                del running[place]
                lost = f"{retries + 1} jobs were lost: {said}"
                yield place, refusal(lost) if answer is None else answer
            time.sleep(SECONDS_BETWEEN_LOOKS)
    finally:
        _cancel([job for job, _ in running.values()])


def _result(job: Any) -> tuple[str | None, str]:
    """A job's answer, or what is known of its end."""
    from submitit.core.utils import UncompletedJobError

    try:
        return job.result(), ""
    except UncompletedJobError as error:
        return None, (str(error).strip().splitlines() or ["it says nothing"])[-1]


def _cancel(jobs: Sequence[Any]) -> None:
    for job in jobs:
        job.cancel(check=False)
    until = time.monotonic() + SECONDS_TO_STORE
    while any(not job.done() for job in jobs) and time.monotonic() < until:
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _executor(engine: Submitit, place: str) -> Any:
    try:
        import submitit
    except ImportError:
        raise UserError(
            "engine=submitit needs submitit: pip install 'bce-harness[slurm]'"
        ) from None
    try:
        executor = submitit.AutoExecutor(
            folder=place, cluster=engine.executor, slurm_max_num_timeout=10_000
        )
    except RuntimeError:
        raise UserError(
            "engine.executor=slurm: there is no srun here: start the sweep on a node of the "
            "cluster, or give engine.executor=local"
        ) from None
    given = {"gpus_per_node": engine.gpus} if engine.gpus else {}
    named = {"slurm_partition": engine.partition, "slurm_account": engine.account}
    executor.update_parameters(
        name="harness",
        timeout_min=engine.minutes,
        cpus_per_task=engine.cpus,
        mem_gb=engine.memory_gb,
        slurm_array_parallelism=engine.workers,
        **given,
        **{key: value for key, value in named.items() if value is not None},
    )
    return executor
