"""`harness verify`: do a run's numbers depend on what is trained beside it?

A sample of runs is trained alone in their program, together in another order, and by the plain
loop without lanes. The first two must agree to the bit; the last differs by rounding, and is
reported as a tolerance.
"""

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from harness.config import Config
from harness.data import library
from harness.data.dataset import Dataset
from harness.errors import UserError
from harness.padding import trimmed
from harness.run import Run
from harness.sweep import lanes, plan
from harness.training import Outcome
from harness.watching import scored

SAMPLE = 4  # runs of each program and data set


def verify(configs: Sequence[Config], *, console: Console) -> None:
    """Trains up to `SAMPLE` runs of each program and data set in three ways and prints how they
    compare.

    Raises:
      UserError: a run's bits changed with what was trained beside it, or a run cannot be trained.
    """
    table = Table("run", "alone", "reordered", "plain loop: largest difference of a logit")
    changed = []
    trainer: lanes.Trainer | None = None
    for group in plan.groups(plan.resolved(configs)):
        if trainer is None or trainer.program != group[0].program:
            trainer = lanes.Trainer(group[0].program)
        for run_id, same_alone, same_reordered, difference in compare(group, trainer):
            table.add_row(run_id, _word(same_alone), _word(same_reordered), f"{difference:.2g}")
            if not (same_alone and same_reordered):
                changed.append(run_id)
    console.print(table)
    if changed:
        raise UserError(
            f"runs changed with what was trained beside them: {', '.join(changed)}; "
            "please report it"
        )
    console.print("The same bits however they were run.")


def compare(group: Sequence[Run], trainer: lanes.Trainer) -> list[tuple[str, bool, bool, float]]:
    """(run id, bits equal alone, bits equal reordered, largest logit difference unfused).

    ``group``: runs of one program on one data set.
    """
    dataset = library.datasets.get(group[0].config.dataset)
    batch = [group[i] for i in _spread(len(group), trainer.width)]
    train = partial(train_batch, trainer=trainer, dataset=dataset)
    together = train(batch)
    reordered = train(batch[::-1])[::-1]
    rows = []
    for i in _spread(len(batch), SAMPLE):
        (alone,) = train([batch[i]])
        plain = scored(lanes.train_alone(batch[i], dataset), batch[i])
        difference = np.abs(np.asarray(plain.test_logits) - together[i].test_logits).max()
        same = same_bits(alone, together[i]), same_bits(reordered[i], together[i])
        rows.append((batch[i].run_id, *same, float(difference)))
    return rows


def train_batch(runs: Sequence[Run], *, trainer: lanes.Trainer, dataset: Dataset) -> list[Outcome]:
    """The outcome of each of ``runs``, trained side by side."""
    stacked = lanes.stacked([run.lane(dataset) for run in runs], trainer.program)
    outcome = jax.tree.map(np.asarray, trainer(stacked, lanes.put(dataset, trainer.program)))
    own = scored(trimmed(outcome, trainer.program, runs[0].sizes), runs[0])
    return [jax.tree.map(lambda leaf, i=i: leaf[i], own) for i in range(len(runs))]


def same_bits(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes agree to the last bit, NaN included."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def _spread(total: int, wanted: int) -> list[int]:
    """At most ``wanted`` of ``range(total)``, evenly spread."""
    return sorted({round(i) for i in np.linspace(0, total - 1, min(total, wanted))})


def _word(same: bool) -> str:
    return "same bits" if same else "DIFFERENT"
