"""The Hydra applications: `train`, `plan` and `verify` over one configuration."""

import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import devices

devices.configure()  # before anything imports jax

import hydra  # noqa: E402
from hydra.errors import HydraException  # noqa: E402
from omegaconf import DictConfig, OmegaConf  # noqa: E402
from omegaconf.errors import OmegaConfBaseException  # noqa: E402
from rich.console import Console  # noqa: E402

from harness.errors import UserError  # noqa: E402

Sweep = Callable[[list[Mapping[str, Any]]], Sequence[Any]]


def conf_dir() -> Path:
    """The configuration folder: beside the package in a checkout, inside it when installed."""
    here = Path(__file__).resolve().parent
    beside = here.parent / "conf"
    return beside if beside.is_dir() else here / "conf"


def run(command: str, arguments: list[str]) -> None:
    """Runs a Hydra application on command-line ``arguments``.

    Raises:
      UserError: for anything wrong with the arguments or the configuration.
    """
    # Hydra's parser wants its flags before the overrides.
    flags = [text for text in arguments if text in {"-m", "--multirun"}]
    _check_suite(arguments, multirun=bool(flags))
    sys.argv = [f"harness {command}", *flags, *(text for text in arguments if text not in flags)]
    # Hydra prints tracebacks for errors in tasks; we print one line instead (see `cli`).
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    task = _task(_SWEEPS[command])
    decorated = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(
        task
    )
    try:
        decorated()
    except _Refused as refused:
        raise refused.error from None
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_one_line(error)) from error


def _check_suite(arguments: Sequence[str], *, multirun: bool) -> None:
    """A suite is what a sweep runs over: as a choice of a single job it would change nothing."""
    for text in arguments:
        key, _, value = text.partition("=")
        if key != "dataset_suite" or value == "null":
            continue
        if not multirun:
            raise UserError(f"{text} names several data sets: add -m to run them all")
        if "," in value or "(" in value:
            raise UserError(f"{text}: choose one suite, or list data sets with dataset=...,...")


class _Refused(BaseException):
    """Carries a `UserError` past Hydra, which would print a line of its own above ours."""

    def __init__(self, error: UserError):
        self.error = error


def _task(sweep: Sweep) -> Callable[[DictConfig], Any]:
    """A Hydra task for one configuration, which the fused launcher can give many at once."""

    def task(config: DictConfig) -> Any:
        try:
            (outcome,) = sweep([OmegaConf.to_container(config, resolve=True)])  # type: ignore
        except UserError as error:
            raise _Refused(error) from None
        except OmegaConfBaseException as error:
            raise _Refused(UserError(_one_line(error))) from None
        if isinstance(outcome, UserError):
            raise _Refused(outcome)
        return outcome

    task.sweep = sweep  # type: ignore[attr-defined]
    return task


def _train(configs: list[Mapping[str, Any]]) -> list[Any]:
    from harness.config import folder_of, objective, parse
    from harness.sweep.engine import run_sweep
    from harness.sweep.progress import Progress
    from harness.sweep.timings import timed, write_profile

    console = Console(stderr=True)
    with timed("compose"):
        parsed = [parse(config) for config in configs]
    _check_some(parsed)
    results = run_sweep(parsed, progress=Progress(console))
    write_profile()
    # A run asked for twice is one.
    by_place = zip(map(folder_of, parsed), results, strict=True)
    runs = {(folder, result.run_id): result for folder, result in by_place}.values()
    failed = sum(result.error is not None for result in runs)
    kept = sum(result.was_stored for result in runs)
    folders = ", ".join(sorted({str(folder_of(config)) for config in parsed}))
    trained = len(runs) - kept - failed
    if len(runs) > failed or len(runs) > 1:  # of a single run that failed, the error says all
        said = f"{trained} trained, {kept} already stored, {failed} failed: {folders}"
        Console().print(said, soft_wrap=True)
    return [
        result.error or _sortable(result.objectives[objective(config)], config)
        for result, config in zip(results, parsed, strict=True)
    ]


def _check_some(configs: Sequence[Any]) -> None:
    if not configs:
        raise UserError(
            "the sweep is empty: an override names no value, such as seed=range(0), or a "
            "dataset=glob(...) that matches none"
        )


def _sortable(value: float | None, config: Any) -> float:
    """What a search gets back: worse than any value for a run that diverged.

    Hydra's Optuna sweeper ends a search at the first NaN.
    """
    worst = math.inf if config.evaluation.minimises else -math.inf
    return worst if value is None or math.isnan(value) else value


def _plan(configs: list[Mapping[str, Any]]) -> list[Any]:
    from harness.config import parse
    from harness.sweep.estimate import show_plan

    _check_some(configs)
    show_plan([parse(config) for config in configs], console=Console())
    return [None] * len(configs)


def _verify(configs: list[Mapping[str, Any]]) -> list[Any]:
    from harness.config import parse
    from harness.sweep.verify import verify

    _check_some(configs)
    verify([parse(config) for config in configs], console=Console())
    return [None] * len(configs)


_SWEEPS: dict[str, Sweep] = {"train": _train, "plan": _plan, "verify": _verify}


def _one_line(error: BaseException) -> str:
    """Hydra's message, with that of its cause, on one line."""
    if wrong := re.search(r"Could not override '([^'.]+\.[^']+)'\.", str(error)):
        return f"{wrong[1]}: no such key; `harness train --cfg job` lists them"
    texts = [str(error)]
    if error.__cause__ is not None:
        texts.append(str(error.__cause__))
    # Hydra ends with its search path: many lines that name no remedy.
    texts = [text.split("Config search path")[0] for text in texts]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("object_type", "full_key"))]
    message = " ".join(dict.fromkeys(kept))
    key = getattr(error, "full_key", None)  # where an interpolation fails
    return f"{key}: {message}" if key and key not in message else message
