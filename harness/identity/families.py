"""Which code a run goes through: the roots of its family's hash.

A root is a function or class that numbers pass on their way from the data to the stored metrics.
What it uses by name is found (`harness.identity.code`); what is called on an object is not, so the
class of every object that calls pass by is a root too. tests/test_identity.py trains runs and fails
where code ran that no root leads to.
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from harness import plugins
from harness.config import Config
from harness.data import batches, imbalance, sampler, splitters
from harness.identity.code import closure, code_hash, forget
from harness.losses import LOSSES
from harness.losses.catalogue import OF_A_BATCH, POINTWISE
from harness.metrics.settings import Evaluation
from harness.models import MODELS
from harness.optimizers import OPTIMIZERS, SCHEDULES

# Every run's way, in its order.
EVERY_RUN = (
    "harness.data.dataset.Dataset",
    "harness.run.resolve",
    "harness.run.Run",
    "harness.padding.stack",
    "harness.padding.trimmed",
    "harness.sweep.lanes.Trainer",
    "harness.sweep.lanes.stacked",
    "harness.sweep.lanes.put",
    "harness.watching.watched",
    "harness.training.train_run",
    "harness.watching.scored",
    "harness.record.collect._corrected",
    "harness.record.collect._shift",
    "harness.record.collect._evaluate",
    "harness.record.collect._posterior_excess",
    "harness.metrics.evaluate.Scored",
    "harness.metrics.ranked_rows.Ranking",
)
# A compiled program holds one family of losses and no other's arithmetic.
LOSS_FAMILIES: Mapping[str, Any] = {
    "harness.losses.catalogue.POINTWISE": POINTWISE,
    "harness.losses.catalogue.OF_A_BATCH": OF_A_BATCH,
    "harness.losses.catalogue.STATEFUL": (),  # each has a program of its own
}
# What a choice that is not ours passes besides its own code, by its group.
OWN = {
    "loss": "harness.losses.own.as_loss",
    "model": "harness.models.own.as_model",
    "optimizer": "harness.optimizers.own.as_optimizer",
    "sampler": "harness.data.sampler.own.as_sampler",
    "split": "harness.data.own_splitter.as_splitter",
    "schedule": "harness.optimizers.own_schedule.as_schedule",
}
# What only checks, says, times or keeps something: no number follows from it.
NOT_FOLLOWED = frozenset(
    {
        "harness.data.dataset.check",
        "harness.identity",
        "harness.plugins",
        "harness.sweep.compiled.compiled",
        "harness.sweep.timings",
    }
)

# The groups of a configuration whose classes hold arithmetic, with their choices.
CHOICES: Mapping[str, tuple[Any, ...]] = {
    "split": splitters.SPLITTERS,
    "imbalance": (imbalance.Imbalance,),
    "sampler": sampler.SAMPLERS,
    "batching": batches.BATCHINGS,
    "model": MODELS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "evaluation": (Evaluation,),
}
# Those of them that a name chooses.
NAMED = tuple(group for group, choices in CHOICES.items() if len(choices) > 1)

Family = tuple[Any, ...]  # the class chosen in each group of `CHOICES`


def family_of(config: Config) -> Family:
    """The family of a run: all that are of one share the code they are computed by."""
    return tuple(type(getattr(config, group)) for group in CHOICES)


def family_named(names: Mapping[str, str]) -> Family:
    """The same of ``names``, the choice in each group of `NAMED`.

    Raises:
      KeyError: there is no such choice (any more).
    """
    return tuple(
        ({choice.name: choice for choice in choices} | {**plugins.plugged(group)})[names[group]]
        if group in NAMED
        else choices[0]
        for group, choices in CHOICES.items()
    )


@cache
def family_hash(family: Family) -> str:
    """12 hexadecimal digits of the code that runs of ``family`` are computed by."""
    _read_anew(plugins.generation())
    return code_hash(_roots(family), without=_cut(family))


def covered(family: Family) -> frozenset[str]:
    """The dotted names of the definitions that `family_hash` covers."""
    return closure(_roots(family), without=_cut(family))


def own_hash(*chosen: Any) -> str:
    """The same of the choices that are not ours among ``chosen``; empty where there are none."""
    ours = {choice for choices in CHOICES.values() for choice in choices}
    own = [choice for choice in chosen if choice not in ours]
    return code_hash(own) if own else ""


def source_hash(*given: Any) -> str:
    """The same of functions and classes that are no choice of a group, such as metrics'."""
    return _source_hash(given, plugins.generation())


@lru_cache(maxsize=64)
def _source_hash(given: tuple[Any, ...], generation: int) -> str:
    _read_anew(generation)
    return code_hash(given)


def _roots(family: Family) -> list[str | Any]:
    chosen = zip(CHOICES, family, strict=True)
    own = [OWN[group] for group, choice in chosen if choice not in CHOICES[group]]
    return [*EVERY_RUN, *family, *own]


def _cut(family: Family) -> frozenset[str]:
    others = {name for name, losses in LOSS_FAMILIES.items() if _loss(family) not in losses}
    return NOT_FOLLOWED | others


def _loss(family: Family) -> Any:
    return family[list(CHOICES).index("loss")]


@lru_cache(maxsize=1)
def _read_anew(generation: int) -> None:
    """Forgets sources that were read before a plug-in was added: it may stand in one of them."""
    forget()
