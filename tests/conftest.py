"""What tests share: devices chosen before JAX starts, and Hydra without a process of its own."""

# ruff: noqa: E402

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

# Two, so that sharding is tested on every machine. JAX reads it when it is first imported.
os.environ["HARNESS_DEVICES"] = os.environ["JAX_NUM_CPU_DEVICES"] = "2"
os.environ["WANDB_ERROR_REPORTING"] = "false"

from harness import devices

devices.configure()

import pytest
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, setup_globals
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from harness import cli
from harness.cli import launching
from harness.files import conf_dir
from harness.sweep import compiled, plan

pytest_plugins = ["tests.wandb_client"]

# Tests put other code in place of the package's, which a kept program would not show.
compiled.keeping = False

# Found once, before a test's end puts Hydra's singletons back to what they were at its start.
Plugins.instance()

# Two epochs of logistic regression: the least that trains, stores and has a curve.
TINY = ("model=logistic", "training.num_epochs=2", "wandb=disabled")


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


@pytest.fixture
def harness(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    hydra_restore_singletons: None,
) -> Callable[..., Said]:
    """Runs a command line in `tmp_path`, as a process would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it: put back afterwards

    def run(*arguments: str) -> Said:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["harness", *arguments])
            patch.setattr(plan, "ANNOUNCED", WeakSet())
            try:
                cli.main()
                code = 0
            except SystemExit as stopped:
                code = int(stopped.code or 0)
        return Said(code, *capsys.readouterr())

    return run


@dataclass(frozen=True)
class Sweep:
    """Hydra's own objects for a sweep over conf/, without its command line."""

    loader: ConfigLoader
    config: DictConfig

    def launch(self, task: TaskFunction, jobs: Sequence[Sequence[str]]) -> Sequence[JobReturn]:
        """The returns of ``jobs``, lists of overrides, from the fused launcher."""
        context = HydraContext(config_loader=self.loader, callbacks=Callbacks())
        return launching.fused_launch(context, task, self.config)(jobs, 0)

    def compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        """One job as Hydra composes it and hands it to a task, as plain values."""
        chosen = [*self.config.hydra.overrides.hydra, *overrides]
        task = self.loader.load_configuration("config", chosen, run_mode=RunMode.RUN)
        with read_write(task), open_dict(task):
            del task["hydra"]
        plain: Any = OmegaConf.to_container(task, resolve=True)
        return plain


@pytest.fixture(scope="session")
def hydra_sweep() -> Sweep:
    """A `Sweep` over conf/."""
    setup_globals()
    loader = ConfigLoaderImpl(create_config_search_path(str(conf_dir())))
    return Sweep(loader, loader.load_configuration("config", [], RunMode.MULTIRUN))
