"""Which code a run goes through: the roots of its family's hash.

A root is a function or class that numbers pass on their way from the data to the stored metrics.
What it uses by name is found (`harness.identity.code`); what is called on an object is not, so the
class of every object that calls pass by is a root too. tests/test_identity.py trains runs and fails
where code ran that no root leads to.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from harness.config import Config
from harness.data import batches, imbalance, sampler, splitters
from harness.identity.code import closure, code_hash
from harness.losses import LOSSES
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
    "harness.train.train_run",
    "harness.record.collect._corrected",
    "harness.record.collect._shift",
    "harness.record.collect._evaluate",
    "harness.record.collect._posterior_excess",
    "harness.metrics.evaluate.Scored",
    "harness.metrics.ranked_rows.Ranking",
)
# A compiled program holds one family of losses and none of the other's arithmetic.
OTHER_FAMILY = {
    False: "harness.losses.catalogue.OF_A_BATCH",
    True: "harness.losses.catalogue.POINTWISE",
}
# What only checks, says, times or keeps something: no number follows from it.
NOT_FOLLOWED = frozenset(
    {
        "harness.data.dataset.check",
        "harness.identity",
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
        {choice.name: choice for choice in choices}[names[group]] if group in NAMED else choices[0]
        for group, choices in CHOICES.items()
    )


@cache
def family_hash(family: Family) -> str:
    """12 hexadecimal digits of the code that runs of ``family`` are computed by."""
    return code_hash(_roots(family), without=_cut(family))


def covered(family: Family) -> frozenset[str]:
    """The dotted names of the definitions that `family_hash` covers."""
    return closure(_roots(family), without=_cut(family))


def _roots(family: Family) -> list[str | Any]:
    return [*EVERY_RUN, *family]


def _cut(family: Family) -> frozenset[str]:
    of_a_batch = family[list(CHOICES).index("loss")].of_a_batch
    return NOT_FOLLOWED | {OTHER_FAMILY[of_a_batch]}
