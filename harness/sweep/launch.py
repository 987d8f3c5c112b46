"""What the `fused` Hydra launcher does: all jobs of a sweep to the task in one call."""

import atexit
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from harness.sweep.compose import Composer

Launch = Callable[[Sequence[Sequence[str]], int], Sequence[JobReturn]]


def setup(context: HydraContext, task_function: TaskFunction, config: DictConfig) -> Launch:
    """The function that launches batches of jobs of ``task_function``."""
    sweep = getattr(task_function, "sweep", None)
    if sweep is None:
        basic = BasicLauncher()
        basic.setup(hydra_context=context, task_function=task_function, config=config)
        return basic.launch
    atexit.register(_forget_unused, Path(config.hydra.sweep.dir), _has_record(config))
    composer = Composer(context.config_loader, config)
    # The sweeper composes every job too, to see that it can: let it use the same composer.
    context.config_loader = _ComposingLoader(context.config_loader, composer)  # type: ignore
    return _Fused(sweep, composer, context, config)


_SWEEP_RECORD = "multirun.yaml"


def _has_record(config: DictConfig) -> bool:
    return (Path(config.hydra.sweep.dir) / _SWEEP_RECORD).exists()


def _forget_unused(folder: Path, was_there: bool) -> None:
    """Removes the record Hydra writes of a sweep before it knows whether the sweep is sound."""
    if was_there or (folder / "shards").exists():
        return
    (folder / _SWEEP_RECORD).unlink(missing_ok=True)
    with suppress(OSError):  # not empty: someone else's
        folder.rmdir()


@dataclass(frozen=True)
class _Fused:
    sweep: Callable[[list[Mapping[str, Any]]], Sequence[Any]]
    composer: Composer
    context: HydraContext
    config: DictConfig

    def __call__(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        setup_globals()
        outcomes = self.sweep([self.composer.job(overrides) for overrides in job_overrides])
        return [
            self._returned(overrides, outcome)
            for overrides, outcome in zip(job_overrides, outcomes, strict=True)
        ]

    def _returned(self, overrides: Sequence[str], outcome: Any) -> JobReturn:
        failed = isinstance(outcome, Exception)
        job = _LazyJobReturn(
            overrides=list(filter_overrides(overrides)),
            status=JobStatus.FAILED if failed else JobStatus.COMPLETED,
        )
        job.return_value = outcome
        job.compose = lambda: OmegaConf.create(dict(self.composer.job(overrides)))
        return job


class _LazyJobReturn(JobReturn):
    """A job's return whose configuration is built when asked for: sweeps have many jobs."""

    compose: Callable[[], DictConfig]

    @property  # type: ignore[override]
    def cfg(self) -> DictConfig:
        return self.compose()

    @cfg.setter
    def cfg(self, value: DictConfig | None) -> None:
        """The dataclass's constructor sets the field; there is nothing to keep."""


class _ComposingLoader:
    """Hydra's configuration loader, but for the composing of a sweep's jobs."""

    def __init__(self, loader: ConfigLoader, composer: Composer):
        self._loader = loader
        self._composer = composer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        return OmegaConf.create(dict(self._composer.job(sweep_overrides)))
