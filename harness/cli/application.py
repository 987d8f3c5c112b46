"""The Hydra applications: `train`, `plan` and `verify` over one configuration."""

import argparse
import gc
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from harness import devices

devices.configure()  # before anything imports jax

import hydra  # noqa: E402
import yaml  # noqa: E402
from hydra.core.hydra_config import HydraConfig  # noqa: E402
from hydra.errors import HydraException  # noqa: E402
from hydra.types import RunMode  # noqa: E402
from omegaconf import DictConfig, OmegaConf  # noqa: E402
from omegaconf.errors import OmegaConfBaseException  # noqa: E402
from rich.console import Console  # noqa: E402

from harness.cli import searching  # noqa: E402
from harness.cli.terminal import Parser  # noqa: E402
from harness.errors import UserError  # noqa: E402
from harness.files import conf_dir  # noqa: E402
from harness.overrides.checking import check_overrides, completed, explained  # noqa: E402
from harness.overrides.expanding import check_some  # noqa: E402
from harness.overrides.plugging import with_plugins  # noqa: E402
from harness.overrides.zipping import unzipped  # noqa: E402

# Hydra 1.3 asks which version's defaults are meant; later ones have their own and warn of the word.
_BASE = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}

# From so many jobs on, what comes before training is worth a word: so many seconds each.
MANY_JOBS, SECONDS_A_JOB = 10_000, 5e-4

Configs = list[Mapping[str, Any]]

ABOUT = {
    "train": "harness train trains one run; with -m a sweep, as lanes of a few compiled programs. "
    "Runs that are stored already are not trained again. zip(loss=bce,focal; seed=0,1) varies keys "
    "together, overrides_from=jobs.csv takes a job a row. A choice given beside --help shows the "
    "keys it takes: harness train dataset=table --help",
    "plan": "harness plan -m ... trains nothing: it shows what `harness train` with the same "
    "arguments would compile, hold and cost, and how much of it is stored already.",
    "verify": "harness verify -m ... trains a sample of its runs fused, alone and in "
    "another order, and compares the bits. It stores nothing.",
}


def run(command: str, arguments: Sequence[str]) -> None:
    """Runs a Hydra application on command-line ``arguments``.

    Raises:
      UserError: for anything wrong with the arguments or the configuration.
    """
    flags, overrides = _read(command, arguments)
    task = Task(_SWEEPS[command], stores_runs=command == "train")
    if flags.multirun and flags.cfg is not None:
        flags, task = _shown(command, flags)
    overrides = searching.completed(completed(with_plugins(unzipped(overrides))))
    asks_help = flags.help or flags.hydra_help or flags.shell_completion
    if not asks_help:
        number = check_overrides(command, overrides, multirun=flags.multirun)
        if number > MANY_JOBS:
            print(
                f"{number:,} jobs: composing and checking them takes about "
                f"{number * SECONDS_A_JOB:.0f} s before any is trained; fewer values take less",
                file=sys.stderr,
                flush=True,
            )
    about = [f"hydra.help.app_name=harness {command}", f"hydra.help.header='{ABOUT[command]}'"]
    # What completion is installed for has no command in its name.
    program = "harness" if flags.shell_completion else f"harness {command}"
    sys.argv = [program, *_words(flags), *overrides, *(about if flags.help else [])]
    # Hydra prints tracebacks for errors in tasks; we print one line instead (see `harness.cli`).
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    decorated = hydra.main(config_path=str(conf_dir()), config_name="config", **_BASE)(task)
    trains = command == "train" and not (asks_help or flags.cfg or flags.info)
    with _one_session() if trains else nullcontext():
        try:
            decorated()
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explained(error)) from error
        except yaml.YAMLError as error:  # a file of the project's own; it says which, and where
            raise UserError(f"{' '.join(str(error).split())}: mend that file") from error
        if task.refused is not None:
            raise task.refused


def _one_session() -> AbstractContextManager[Any]:
    """All batches of jobs that a search trains are one sweep to W&B."""
    _import_uncollected()
    from harness.record.live import session

    return session()


@cache
def _import_uncollected() -> None:
    """Imports most of what training does: a million objects which stay, and are not gone through
    for garbage, now or later."""
    gc.disable()
    try:
        import harness.record.live  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


# Hydra's own flags, but for `--experimental-rerun`: it unpickles a file, which can run anything.
# Ours is the parser, so that an unknown flag is one line and flags may stand after overrides.
_SWITCHES = {
    "help": ("--help", "-h"),
    "hydra_help": ("--hydra-help",),
    "version": ("--version",),
    "resolve": ("--resolve",),
    "run": ("--run", "-r"),
    "multirun": ("--multirun", "-m"),
    "shell_completion": ("--shell-completion", "-sc"),
}
_OPTIONS = {
    "cfg": ("--cfg", "-c"),
    "package": ("--package", "-p"),
    "config_path": ("--config-path", "-cp"),
    "config_name": ("--config-name", "-cn"),
    "config_dir": ("--config-dir", "-cd"),
    "info": ("--info", "-i"),
}
_TAKES: dict[str, dict[str, Any]] = {
    "cfg": {"choices": ("job", "hydra", "all")},
    "info": {"nargs": "?", "const": "all"},
}


def _read(command: str, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Hydra's flags, and the overrides."""
    parser = Parser(prog=f"harness {command}", add_help=False, allow_abbrev=False)
    for name, spelled in _SWITCHES.items():
        parser.add_argument(*spelled, dest=name, action="store_true")
    for name, spelled in _OPTIONS.items():
        parser.add_argument(*spelled, dest=name, **_TAKES.get(name, {}))
    flags, rest = parser.parse_known_args(arguments)
    for index, text in enumerate(rest):
        if text.startswith("-"):
            following = rest[index + 1] if index + 1 < len(rest) else ""
            raise UserError(f"harness {command}: {_unknown(text, following)}")
    return flags, rest


def _unknown(flag: str, following: str) -> str:
    name, _, value = flag.partition("=")
    if name == "--experimental-rerun":
        return f"{name} would run what a pickle holds: give the run's overrides instead"
    key = name.lstrip("-").replace("-", "_")
    value = value or ("" if "=" in following else following) or "..."
    return f"{flag}: no such option; to set a key, write {key}={value} without dashes"


def _words(flags: argparse.Namespace) -> list[str]:
    """The flags as Hydra reads them."""
    switches = [spelled[0] for name, spelled in _SWITCHES.items() if getattr(flags, name)]
    options = (
        [spelled[0], getattr(flags, name)]
        for name, spelled in _OPTIONS.items()
        if getattr(flags, name) is not None
    )
    return [*switches, *(word for pair in options for word in pair)]


def _shown(command: str, flags: argparse.Namespace) -> tuple[argparse.Namespace, "Task"]:
    """`-m --cfg job`, which Hydra refuses: the configuration of a sweep's first job."""
    if flags.cfg != "job" or flags.package or flags.resolve:
        raise UserError(
            f"harness {command}: with -m, --cfg job shows a sweep's first job and nothing else: "
            "drop -m, and give each key one value"
        )
    return argparse.Namespace(**{**vars(flags), "cfg": None}), Task(_show)


@dataclass
class Task:
    """A Hydra task for one configuration, which the fused launcher gives all of a sweep at once.

    Where Hydra runs it for a single job, what it refuses, or the system refuses it, is kept in
    ``refused``, to be raised once Hydra has returned: an error raised inside is announced by Hydra
    with a line of its own.
    """

    sweep: Callable[[Configs], Sequence[Any]]
    stores_runs: bool = False
    refused: Exception | None = field(default=None, init=False)

    def __call__(self, config: DictConfig) -> Any:
        try:
            return self._one(config)
        except (UserError, OSError) as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:  # a launcher that runs job by job
                raise
            self.refused = error
            return None

    def _one(self, config: DictConfig) -> Any:
        try:
            plain: Any = OmegaConf.to_container(config, resolve=True)
        except OmegaConfBaseException as error:
            raise UserError(explained(error)) from None
        (outcome,) = self.sweep([plain])
        if isinstance(outcome, UserError):
            raise outcome
        return outcome


def _train(configs: Configs) -> list[Any]:
    from harness.config import objective
    from harness.interface.sweeps import trained
    from harness.sweep.timings import write_profile

    done = trained(configs)
    write_profile()
    if len(done.runs) > done.num_failed or len(done.runs) > 1:  # of one that failed, the error says
        Console().print(str(done), soft_wrap=True)
    return [
        result.error or _sortable(result.objectives[objective(config)], config)
        for config, result in zip(done.configs, done.results, strict=True)
    ]


def _sortable(value: float | None, config: Any) -> float:
    """What a search gets back: worse than any value for a run that diverged.

    Hydra's Optuna sweeper ends a search at the first NaN.
    """
    worst = math.inf if config.evaluation.minimises else -math.inf
    return worst if value is None or math.isnan(value) else value


def _plan(configs: Configs) -> list[Any]:
    import psutil

    from harness.interface.sweeps import planned

    # Training starts as this process did.
    found = planned(configs, wall=psutil.Process().create_time(), cpu=0.0)
    Console().print(found, soft_wrap=True)
    return [None] * len(configs)


def _verify(configs: Configs) -> list[Any]:
    from harness.overrides.jobs import parsed
    from harness.sweep.verify import verify

    verify(parsed(configs), console=Console())
    return [None] * len(configs)


def _show(configs: Configs) -> list[Any]:
    check_some(configs)
    first = OmegaConf.to_yaml(OmegaConf.create(dict(configs[0])))
    print(f"# job 1 of {len(configs)}\n{first}", end="")
    return [None] * len(configs)


_SWEEPS: dict[str, Callable[[Configs], Sequence[Any]]] = {
    "train": _train,
    "plan": _plan,
    "verify": _verify,
}
