"""The jobs of a sweep over conf/, and the record of it beside its runs.

The command line composes by the same steps, each called by Hydra: `expand`, then `Composer`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config.composing import Composer
from harness.errors import UserError
from harness.files import conf_dir, whole_file
from harness.overrides import plugging
from harness.overrides.checking import check_overrides, completed, explained
from harness.overrides.expanding import check_some, expand
from harness.overrides.zipping import unzipped

if TYPE_CHECKING:
    from harness.config import Config

HIDDEN = "(not recorded)"


@dataclass(frozen=True, eq=False)
class Jobs:
    """A sweep's jobs: the ``overrides`` of each and its configuration, as plain values."""

    overrides: Sequence[Sequence[str]]
    configs: Sequence[Mapping[str, Any]]
    sweep: DictConfig  # Hydra's own configuration of the sweep


def jobs_of(overrides: Sequence[str]) -> Jobs:
    """Every combination of the values that ``overrides`` name, as `harness train -m` has them.

    Raises:
      UserError: an override that cannot be read or does not compose, or a search.
    """
    given = _checked(overrides)
    with _one_line():
        sweep = _loader().load_configuration("config", given, run_mode=RunMode.MULTIRUN)
        params = sweep.hydra.sweeper.get("params") or {}
        swept = [*(f"{key}={value}" for key, value in params.items()), *given]
        jobs = expand(swept, _loader())
        composer = Composer(_loader(), sweep)
        return Jobs(jobs, check_some([composer.job(job) for job in jobs]), sweep)


def job_of(overrides: Sequence[str]) -> Mapping[str, Any]:
    """One job, of which a process has many: those of the same choices take a millisecond each.

    Raises:
      UserError: as `jobs_of`, or an override that names several values.
    """
    given = _checked(overrides)
    with _one_line():
        if several := [text for text in given if len(expand([text], _loader())) > 1]:
            raise UserError(f"{several[0]} names several values: give one")
        return _composer().job(given)


def _checked(overrides: Sequence[str]) -> list[str]:
    given = completed(plugging.with_plugins(unzipped(overrides)))
    check_overrides("train", given, multirun=True)
    for text in given:
        if text.lstrip("+~").startswith("hydra"):
            raise UserError(f"{text}: Hydra's own settings are the command line's: harness train")
    return given


@contextmanager
def _one_line() -> Iterator[None]:
    """Hydra's errors as ours."""
    setup_globals()
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explained(error)) from error


@cache
def _composer() -> Composer:
    return Composer(_loader(), _loader().load_configuration("config", [], RunMode.MULTIRUN))


@cache
def _loader() -> ConfigLoaderImpl:
    """Hydra's without its application, of which a process, such as a notebook's, may have one."""
    return ConfigLoaderImpl(create_config_search_path(str(conf_dir())))


def parsed(configs: Sequence[Mapping[str, Any]]) -> "list[Config]":
    """The configurations of a sweep's jobs, once their plug-ins are loaded, of which a process may
    have been given nothing else.

    Raises:
      UserError: there are none, one is wrong, or a plug-in cannot be loaded.
    """
    from harness.config import parse  # late: JAX comes with it

    plugging.load_of(check_some(configs))
    return [parse(config) for config in configs]


def record(sweep: DictConfig) -> None:
    """Writes `multirun.yaml`, as Hydra does: it says by what command a folder came to be."""
    folder = Path(str(sweep.hydra.sweep.dir)).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "multirun.yaml") as path:
        OmegaConf.save(_without_secrets(sweep), path)


def _without_secrets(sweep: DictConfig) -> DictConfig:
    """Without the values of `hydra.job.env_set`, which may be keys, wherever Hydra repeats them."""
    plain: Any = OmegaConf.to_container(sweep)
    hydra = plain["hydra"]
    hydra["job"]["env_set"] = dict.fromkeys(hydra["job"]["env_set"], HIDDEN)
    overrides = hydra["overrides"]["hydra"]
    hydra["overrides"]["hydra"] = [
        f"{text.partition('=')[0]}={HIDDEN}" if "env_set" in text else text for text in overrides
    ]
    return OmegaConf.create(plain)
