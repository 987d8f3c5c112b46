"""`hydra/launcher=fused`: hands all jobs of a sweep to the task at once.

Kept thin and light: Hydra imports every module of this package whenever an application starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class FusedLauncher(Launcher):
    """Trains a sweep as lanes of a few programs.

    A task takes part by having a ``sweep`` attribute, called with the list of job configurations.
    Any other task runs job by job, as under Hydra's basic launcher.
    """

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        from harness.sweep import launch

        self._launch = launch.setup(hydra_context, task_function, config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        return self._launch(job_overrides, initial_job_idx)


@dataclass
class FusedConf:
    """The launcher's own configuration: none. Devices are chosen before JAX starts."""

    _target_: str = "hydra_plugins.harness_fused.fused.FusedLauncher"


ConfigStore.instance().store(
    group="hydra/launcher", name="fused", node=FusedConf, provider="harness"
)
