"""`harness verify`: do a sweep's numbers depend on the company its runs keep?

A sample of runs is trained alone in their program, together in another order, and by the plain
loop without lanes. The first two must agree to the bit; the last differs by rounding, and is
reported as a tolerance.
"""

from collections.abc import Sequence
from itertools import chain

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from harness.config import Config
from harness.errors import UserError
from harness.prepare import Prepared, prepare
from harness.sweep import lanes, plan
from harness.sweep.plan import Group
from harness.train import Outcome

SAMPLE = 4  # runs of each group


def verify(configs: Sequence[Config], *, console: Console) -> None:
    """Trains up to `SAMPLE` runs of each group in three ways and prints how they compare.

    Raises:
      UserError: a run's bits changed with its company.
    """
    table = Table("run", "alone", "reordered", "plain loop: largest difference of a logit")
    changed = []
    for groups in plan.programs(plan.group(plan.make_jobs(configs))):
        trainer = groups[0].compile([_first(groups[0]).lane])
        for run_id, same_alone, same_reordered, difference in chain(
            *(compare(group, trainer) for group in groups)
        ):
            table.add_row(run_id, _word(same_alone), _word(same_reordered), f"{difference:.2g}")
            if not (same_alone and same_reordered):
                changed.append(run_id)
    console.print(table)
    if changed:
        raise UserError(f"runs changed with their company: {', '.join(changed)}; please report it")
    console.print("The same bits however they were run.")


def compare(group: Group, trainer: lanes.Trainer) -> list[tuple[str, bool, bool, float]]:
    """(run id, bits equal alone, bits equal reordered, largest logit difference unfused)."""
    jobs = [group.jobs[i] for i in _spread(len(group.jobs), group.width)]
    prepared = [prepare(job.config, group.dataset) for job in jobs]
    data = group.put()

    def train(runs: Sequence[Prepared]) -> list[Outcome]:
        stacked = group.stack([run.lane for run in runs])
        outcome = group.trimmed(jax.tree.map(np.asarray, trainer(stacked, data)))
        return [jax.tree.map(lambda leaf, i=i: leaf[i], outcome) for i in range(len(runs))]

    together = train(prepared)
    reordered = train(prepared[::-1])[::-1]
    rows = []
    for i in _spread(len(jobs), SAMPLE):
        (alone,) = train([prepared[i]])
        plain = lanes.train_alone(group.signature.program, prepared[i].lane, group.dataset)
        difference = np.abs(np.asarray(plain.test_logits) - together[i].test_logits).max()
        same = same_bits(alone, together[i]), same_bits(reordered[i], together[i])
        rows.append((jobs[i].run_id, *same, float(difference)))
    return rows


def _first(group: Group) -> Prepared:
    return prepare(group.jobs[0].config, group.dataset)


def same_bits(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes agree to the last bit, NaN included."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def _spread(total: int, wanted: int) -> list[int]:
    """At most ``wanted`` of ``range(total)``, evenly spread."""
    return sorted({round(i) for i in np.linspace(0, total - 1, min(total, wanted))})


def _word(same: bool) -> str:
    return "same bits" if same else "DIFFERENT"
