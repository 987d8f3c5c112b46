"""Optimizers and learning-rate schedules, from Optax.

An optimizer is a frozen dataclass and a pytree: its name fixes the program, its numbers are array
leaves that differ from lane to lane. Schedules are data: the learning rate of every step, computed
on the host, so that any schedule runs in the same compiled program.
"""

from harness.optimizers.base import Optimizer
from harness.optimizers.beyond import SAM, Muon, SAMAdam, ScheduleFreeAdamW, ScheduleFreeSGD
from harness.optimizers.first_order import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Lion,
    Momentum,
    Nesterov,
    RMSProp,
)
from harness.optimizers.own import as_optimizer
from harness.optimizers.own_schedule import as_schedule
from harness.optimizers.plateau import (
    PlateauRule,
    PlateauState,
    plateau_rule,
    plateau_shapes,
    plateau_start,
    plateau_update,
)
from harness.optimizers.schedules import (
    Constant,
    Exponential,
    Linear,
    OneCycle,
    Plateau,
    Schedule,
    Step,
    WarmupCosine,
    learning_rates,
)

OPTIMIZERS: tuple[type[Optimizer], ...] = (
    SGD,
    Momentum,
    Nesterov,
    Adagrad,
    RMSProp,
    Adam,
    AdamW,
    Lion,
    Muon,
    SAM,
    SAMAdam,
    ScheduleFreeSGD,
    ScheduleFreeAdamW,
)
SCHEDULES = (Constant, WarmupCosine, Linear, Exponential, Step, OneCycle, Plateau)

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "Adam",
    "AdamW",
    "Momentum",
    "Optimizer",
    "Plateau",
    "PlateauRule",
    "PlateauState",
    "RMSProp",
    "Schedule",
    "WarmupCosine",
    "as_optimizer",
    "as_schedule",
    "learning_rates",
    "plateau_rule",
    "plateau_shapes",
    "plateau_start",
    "plateau_update",
]
