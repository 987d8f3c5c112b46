"""What the `fused` Hydra launcher does: all jobs of a sweep to the task in one call."""

import atexit
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from harness.config.composing import Composer
from harness.sweep.timings import timed

Launch = Callable[[Sequence[Sequence[str]], int], Sequence[JobReturn]]


def setup(context: HydraContext, task_function: TaskFunction, config: DictConfig) -> Launch:
    """The function that launches batches of jobs of ``task_function``."""
    sweep = getattr(task_function, "sweep", None)
    if sweep is None:
        basic = BasicLauncher()
        basic.setup(hydra_context=context, task_function=task_function, config=config)
        return basic.launch
    atexit.register(_forget_unused, *_before(Path(config.hydra.sweep.dir).absolute()))
    composer = Composer(context.config_loader, config)
    if config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        context.config_loader = _ValidatingLoader(context.config_loader, composer)  # type: ignore
    return _Fused(sweep, composer)


_SWEEP_RECORD = "multirun.yaml"


def _before(folder: Path) -> tuple[Path, bool, list[Path]]:
    """(folder, whether a sweep is recorded there, those of it and its parents yet to be made)."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    return folder, (folder / _SWEEP_RECORD).exists(), missing


def _forget_unused(folder: Path, had_record: bool, missing: Sequence[Path]) -> None:
    """Removes the record Hydra writes of a sweep before it knows whether the sweep is sound."""
    if had_record or (folder / "shards").exists():
        return
    (folder / _SWEEP_RECORD).unlink(missing_ok=True)
    with suppress(OSError):  # not empty: someone else's
        for path in missing:
            path.rmdir()


@dataclass(frozen=True)
class _Fused:
    sweep: Callable[[list[Mapping[str, Any]]], Sequence[Any]]
    composer: Composer

    def __call__(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        setup_globals()
        with timed("compose"):
            configs = [self.composer.job(overrides) for overrides in job_overrides]
        outcomes = self.sweep(configs)
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


class _ValidatingLoader:
    """Hydra's configuration loader, but that it composes a sweep's jobs our way, and finds choices
    in folders of a group.

    For Hydra's basic sweeper alone, which composes every job to see that it can and drops the
    result: none is built.
    """

    def __init__(self, loader: ConfigLoader, composer: Composer):
        self._loader = loader
        self._composer = composer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def get_group_options(
        self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG, **given: Any
    ) -> list[str]:
        """What `dataset=glob(keel/*)` chooses from: Hydra itself looks at no deeper folder."""
        names = self._loader.get_group_options(group_name, results_filter, **given)
        if results_filter is ObjectType.CONFIG:
            for folder in self._loader.get_group_options(group_name, ObjectType.GROUP, **given):
                inner = self.get_group_options(f"{group_name}/{folder}", results_filter, **given)
                names = [*names, *(f"{folder}/{name}" for name in inner)]
        return names

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        with timed("compose"):
            self._composer.job(sweep_overrides)
        return master_config
