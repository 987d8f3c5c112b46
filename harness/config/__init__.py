"""What a run is told: the typed schema of conf/, and how the jobs of a sweep are composed.

The schema is here; `harness.config.composing`, which alone of it needs Hydra, is imported by
those who compose.
"""

from harness.config.schema import (
    UNRECORDED,
    AnyDataset,
    AnyLoss,
    AnyModel,
    AnyOptimizer,
    AnySampler,
    AnySchedule,
    AnySplit,
    Config,
    Init,
    Training,
    Wandb,
    config_keys,
    dump,
    folder_of,
    objective,
    parse,
    parse_as,
)

__all__ = [
    "UNRECORDED",
    "AnyDataset",
    "AnyLoss",
    "AnyModel",
    "AnyOptimizer",
    "AnySampler",
    "AnySchedule",
    "AnySplit",
    "Config",
    "Init",
    "Training",
    "Wandb",
    "config_keys",
    "dump",
    "folder_of",
    "objective",
    "parse",
    "parse_as",
]
