"""What our Hydra plugins do: a sweep's jobs are expanded, composed once and trained together.

`FusedLauncher` composes all jobs it is given and hands them to the task in one call, whichever
sweeper asks. `FusedSweeper` expands a grid and hands it all to the launcher, whichever that is; it
records a sweep beside its runs once it was sound.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from harness.cli import searching
from harness.config.composing import Composer
from harness.data.fetching import say
from harness.errors import UserError
from harness.overrides.expanding import expand
from harness.overrides.jobs import record
from harness.sweep.failures import reasons
from harness.sweep.timings import timed

Launch = Callable[[Sequence[Sequence[str]], int], Sequence[JobReturn]]


class SweepTask(Protocol):
    """A task that takes part in fused sweeps."""

    stores_runs: bool  # whether its sweeps leave runs in the sweep folder

    def __call__(self, config: DictConfig) -> Any:
        """One job."""

    def sweep(self, configs: list[Mapping[str, Any]]) -> Sequence[Any]:
        """All jobs: what each returns, or the error it ended with."""


def fused_launch(
    context: HydraContext, task: SweepTask, config: DictConfig, repeats: Sequence[str] = ()
) -> Launch:
    """Composes batches of jobs and hands each batch to the task in one call.

    Each job is run with every combination of the values of ``repeats``, overrides such as
    `seed=range(3)`, and returns their mean: so a search's trial is all its seeds.
    """
    searching.check(config)
    composer = Composer(context.config_loader, config)
    repeated = expand(repeats, context.config_loader)

    def launch(jobs: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        setup_globals()
        with timed("compose"):
            configs = [composer.job([*job, *more]) for job in jobs for more in repeated]
        outcomes, size = task.sweep(configs), len(repeated)
        of_a_job = [outcomes[start : start + size] for start in range(0, len(outcomes), size)]
        pairs = zip(jobs, of_a_job, strict=True)
        return [FusedReturn(composer, job, searching.mean(own)) for job, own in pairs]

    return launch


def basic_launch(context: HydraContext, task: TaskFunction, config: DictConfig) -> Launch:
    """Runs job after job, as Hydra's basic launcher does: for tasks that know no sweeps."""
    found: Any = Plugins.instance().discover(Launcher)
    launcher = next(one for one in found if one.__name__ == "BasicLauncher")()
    launcher.setup(hydra_context=context, task_function=task, config=config)
    return launcher.launch


class FusedReturn(JobReturn):
    """A job's return whose configuration is built when asked for: sweeps have many jobs."""

    def __init__(self, composer: Composer, overrides: Sequence[str], outcome: Any):
        self._compose = lambda: OmegaConf.create(dict(composer.job(overrides)))
        failed = isinstance(outcome, Exception)
        super().__init__(
            overrides=list(filter_overrides(overrides)),
            status=JobStatus.FAILED if failed else JobStatus.COMPLETED,
        )
        self.return_value = outcome

    @property  # type: ignore[override]
    def cfg(self) -> DictConfig:
        return self._compose()

    @cfg.setter
    def cfg(self, value: DictConfig | None) -> None:
        """The dataclass's constructor sets the field; there is nothing to keep."""

    @property
    def return_value(self) -> Any:
        """What the job returned. Raises what it failed with, and prints nothing of its own."""
        if self.status == JobStatus.FAILED:
            raise self._return_value
        return self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


def run_grid(sweeper: Sweeper, arguments: Sequence[str]) -> list[Sequence[JobReturn]]:
    """Launches every combination of the swept values in one batch.

    The sweep is recorded in its folder as Hydra records it (`multirun.yaml`, which says by what
    command a folder came to be), but once it is sound, so that a refused sweep leaves nothing.
    Under the fused launcher that is as its jobs return, or as the user stops them: it composes them
    itself, once, and its task may refuse them still. Another launcher gets jobs that Hydra composed
    before.

    Raises:
      Exception: what jobs failed with, after all have run.
    """
    context, config, launcher = sweeper.hydra_context, sweeper.config, sweeper.launcher
    assert context is not None and config is not None and launcher is not None
    jobs = expand(arguments, context.config_loader)
    fused = getattr(launcher, "task", None)
    if fused is None:
        sweeper.validate_batch_is_legal(jobs)
        record(config)
    try:
        returns = launcher.launch(jobs, initial_job_idx=0)
    except KeyboardInterrupt:
        _record_of(fused, config)
        raise
    if any(one.status == JobStatus.COMPLETED for one in returns):
        _record_of(fused, config)
    _raise_reasons(jobs, returns)
    return [returns]


def _raise_reasons(jobs: Sequence[Sequence[str]], returns: Sequence[JobReturn]) -> None:
    """Raises what jobs failed for; of several reasons each is a line on standard error."""
    errors = [_error(one) for one in returns]
    for error in errors:
        if error is not None and not isinstance(error, UserError):
            raise error
    if failed := reasons(jobs, errors):
        lines, last = failed
        for line in lines:
            say(line)
        raise last


def _error(job: JobReturn) -> Exception | None:
    try:
        _ = job.return_value  # raises where the job failed
    except Exception as error:
        return error
    return None


def _record_of(task: SweepTask | None, config: DictConfig) -> None:
    if task is not None and task.stores_runs:
        record(config)
