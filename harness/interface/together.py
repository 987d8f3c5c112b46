"""Fits that several threads ask for at once, trained as lanes of one batch.

A program trains as many lanes as it is wide, however few are used: a fit takes as long as sixteen.
While a batch trains whoever comes waits, and what then waits and shares its program and data is the
next batch. So nobody waits for company, a fit alone is as quick as ever, and what a fit gives is
the same to the bit in any company.
"""

from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import Any

import jax
import numpy as np

from harness.data.dataset import Dataset
from harness.errors import UserError
from harness.padding import trimmed
from harness.predict import Model, model_of
from harness.record.collect import collect
from harness.run import Run
from harness.sweep import lanes
from harness.watching import held_out, scored


@dataclass(frozen=True, eq=False)
class _Fit:
    """One run to train, and its model once it is."""

    run: Run
    dataset: Dataset
    model: Future[Model] = field(default_factory=Future)

    @property
    def kind(self) -> tuple[Any, ...]:
        """What fits share that can be lanes of one batch."""
        return self.run.program, self.run.sizes, held_out(self.run), self.run.fingerprint


class Together:
    """Trains runs; may be called by any number of threads."""

    def __init__(self) -> None:
        self._waiting: list[_Fit] = []
        self._training = Lock()

    def __call__(self, run: Run, dataset: Dataset) -> Model:
        """The model of ``run``. Raises UserError where its training diverged."""
        own = _Fit(run, dataset)
        self._waiting.append(own)
        try:
            with self._training:
                if not own.model.done():  # else somebody has trained it along
                    _train(self._batch(own))
        finally:
            self._waiting.remove(own)
        return own.model.result()

    def _batch(self, own: _Fit) -> list[_Fit]:
        others = [one for one in [*self._waiting] if one is not own and not one.model.done()]
        alike = [own, *(one for one in others if one.kind == own.kind)]
        return alike[: lanes.width_of(own.run.program)]


def _train(batch: list[_Fit]) -> None:
    try:
        _give_models(batch)
    except Exception as error:
        for one in batch:
            if not one.model.done():
                one.model.set_exception(error)


def _give_models(batch: list[_Fit]) -> None:
    first, runs = batch[0], [one.run for one in batch]
    program = first.run.program
    stacked = lanes.stacked([one.run.lane(one.dataset) for one in batch], program)
    outcome = trainer(program)(stacked, lanes.put(first.dataset, program))
    arrays: Any = jax.tree.map(np.asarray, outcome)
    own: Any = scored(trimmed(arrays, program, first.run.sizes), first.run)
    records = collect(
        runs=runs,
        data=[one.run.data(one.dataset) for one in batch],
        outcome=own,
        dataset=first.dataset,
        seconds=0.0,
    )
    for i, (fit, record) in enumerate(zip(batch, records, strict=True)):
        if own.best_epoch[i] == 0:
            fit.model.set_exception(_diverged(fit.run, int(own.diverged_step[i])))
            continue
        params = {name: values[i] for name, values in own.params.items()}
        fit.model.set_result(model_of(fit.run, fit.dataset, params, record))


def _diverged(run: Run, step: int) -> UserError:
    rate = run.config.optimizer.learning_rate
    return UserError(f"the training diverged in step {step}: lower learning_rate={rate:g}")


@lru_cache(maxsize=16)
def trainer(program: Any) -> lanes.Trainer:
    """Compiled once for all fits of equal shapes: sizes are rounded, as in a sweep."""
    return lanes.Trainer(program)
