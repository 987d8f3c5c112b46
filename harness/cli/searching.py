"""A search over the configuration, as by Hydra's Optuna sweeper: what it is asked is checked first.

A search gets one number a trial: the mean of `evaluation.objective` over the trial's runs.
"""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from harness.data.fetching import say
from harness.errors import UserError, shown
from harness.metrics import names

# Sweepers that run every combination.
_GRIDS = ("FusedSweeper", "BasicSweeper")
_RESOLVER = "harness.direction"


def completed(overrides: Sequence[str]) -> list[str]:
    """The overrides with the direction that the objective has, where Optuna is told none."""
    keys = [text.partition("=")[0].lstrip("+") for text in overrides]
    if "hydra/sweeper=optuna" not in overrides or "hydra.sweeper.direction" in keys:
        return list(overrides)
    OmegaConf.register_new_resolver(_RESOLVER, _direction, replace=True)
    follows = f'hydra.sweeper.direction="${{{_RESOLVER}:${{evaluation.objective}}}}"'
    return [*overrides, follows]


def check(config: DictConfig) -> None:
    """Looks at what a search is asked; says so where its answer is no comparison of losses.

    Raises:
      UserError: it would look for the worst value, or for the luckiest seed.
    """
    sweeper = config.hydra.sweeper
    if str(sweeper._target_).rpartition(".")[2] in _GRIDS:
        return
    objective = str(config.evaluation.objective)
    direction, wanted = OmegaConf.select(sweeper, "direction"), _direction(objective)
    given = str(getattr(direction, "name", direction))
    if direction is not None and wanted and given != wanted:
        raise UserError(
            f"hydra.sweeper.direction={given} would look for the worst {objective}: leave it out, "
            f"or set hydra.sweeper.direction={wanted}"
        )
    searched = {one.get_key_element(): one for one in _searched(config)}
    for key in _replicates(searched):
        text = str(searched[key].input_line)
        raise UserError(
            f"{shown(text)}: a search would look for the luckiest {key}: give it one value, or "
            f"have each trial be the mean over all: 'hydra.launcher.repeats=[\"{text}\"]'"
        )
    if "loss" in searched:
        say(
            "the losses share one search's trials, and the better one gets more of them: its best "
            "trial is no comparison of losses. For one, search each loss by itself"
        )


def _searched(config: DictConfig) -> Iterator[Override]:
    params: Any = OmegaConf.select(config, "hydra.sweeper.params") or {}
    texts = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    for one in OverridesParser.create().parse_overrides(texts):
        if one.is_sweep_override():
            yield one


def _replicates(searched: Any) -> list[str]:
    from harness.analyze.keys import replicates  # polars, which no other command waits for

    return replicates(list(searched))


def _direction(objective: str) -> str:
    """What a search for a metric is to do; empty where there is no such metric."""
    try:
        sign = names.parse(objective).definition.sign
    except ValueError:  # which is said when the configuration is read
        return ""
    return "minimize" if sign < 0 else "maximize"


def mean(outcomes: Sequence[Any]) -> Any:
    """What a job returns: its only run's outcome, or the mean over its runs if none has failed."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if failed or len(outcomes) == 1 or outcomes[0] is None:
        return (failed or outcomes)[0]
    return fmean(outcomes)
