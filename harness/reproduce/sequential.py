"""Adding seeds until the claims are decided, without adding wrong verdicts.

Whoever looks after every batch and stops at the first p below the level errs more often than the
level says. So look k may spend only level / (k (k + 1)) of it: the shares sum to the level however
many looks follow (Bonferroni over looks). A claim keeps the verdict of the look that decided it.
"""

from collections.abc import Callable
from dataclasses import replace

from harness.reproduce.judge import Verdict

Look = Callable[[int, float], list[Verdict]]
"""Verdicts on the first so many seeds of each sweep, at a level."""


def level(alpha: float, look: int) -> float:
    """What the ``look``-th look, from 1, may spend of ``alpha``.

    >>> sum(level(0.05, k) for k in range(1, 100_000)) <= 0.05
    True
    """
    return alpha / (look * (look + 1))


def until_decided(at: Look, *, batch: int, budget: int, alpha: float) -> tuple[list[Verdict], int]:
    """Looks after every ``batch`` seeds until all is decided or ``budget`` seeds are spent.

    Returns:
      The verdicts, each with the look that decided it, and the number of seeds used.
    """
    verdicts: list[Verdict] = []
    seeds = look = 0
    while seeds < budget:
        look, seeds = look + 1, min(seeds + batch, budget)
        fresh = [replace(verdict, look=look) for verdict in at(seeds, level(alpha, look))]
        kept = verdicts or fresh
        verdicts = [
            old if old.word != "undecided" else new for old, new in zip(kept, fresh, strict=True)
        ]
        if all(verdict.word != "undecided" for verdict in verdicts):
            break
    return verdicts, seeds
