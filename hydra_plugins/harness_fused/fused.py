"""`hydra/launcher=fused` and `hydra/sweeper=fused`: all jobs of a sweep at once to the task.

Kept thin and light: Hydra imports every module of this package whenever an application starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class FusedLauncher(Launcher):
    """Trains a sweep as lanes of a few programs.

    A task takes part by having a method ``sweep``, called with the list of job configurations.
    Any other task runs job by job, as under Hydra's basic launcher.

    Args:
        repeats: overrides that name several values, such as `seed=range(3)`: each job is run with
            all of them, and returns the mean.
    """

    def __init__(self, repeats: Sequence[str] = ()):
        self._repeats = list(repeats)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        from harness.cli import launching

        task: Any = task_function
        self.task = task if hasattr(task, "sweep") else None  # where it takes all jobs at once
        if self.task is None:
            self._launch = launching.basic_launch(hydra_context, task, config)
        else:
            self._launch = launching.fused_launch(hydra_context, task, config, self._repeats)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        return self._launch(job_overrides, initial_job_idx)


class FusedSweeper(Sweeper):
    """Every combination of the values that overrides name, in one batch."""

    def __init__(self, params: Mapping[str, str] | None = None):
        self._params = dict(params or {})

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        from harness.cli import launching

        params = [f"{key}={value}" for key, value in self._params.items()]
        return launching.run_grid(self, [*params, *arguments])


@dataclass
class FusedLauncherConf:
    """The launcher's own configuration: what each job is run with, for a search to get the mean."""

    _target_: str = "hydra_plugins.harness_fused.fused.FusedLauncher"
    repeats: list[str] = field(default_factory=list)


@dataclass
class FusedSweeperConf:
    """The sweeper's own configuration: ``params`` are swept over beside the command line's."""

    _target_: str = "hydra_plugins.harness_fused.fused.FusedSweeper"
    params: dict[str, str] | None = None


for _group, _conf in (("launcher", FusedLauncherConf), ("sweeper", FusedSweeperConf)):
    ConfigStore.instance().store(
        group=f"hydra/{_group}", name="fused", node=_conf, provider="harness"
    )
