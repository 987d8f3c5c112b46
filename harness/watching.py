"""How often training looks at the validation part, and at how much of it.

By default at all of it after each epoch: of a million rows that costs many times the training.
With `evaluation.curve_points` a run looks that often, after as many epochs each time, and with
`evaluation.curve_rows` at that many rows, the same each time. Its epoch is chosen among these
points by these rows; what is stored of the part is scored on all of it, once, at the end.

To the program a point is an epoch of more steps, and rows that are scored once are test rows: the
arithmetic knows nothing of it.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from harness.data.dataset import Dataset
from harness.errors import UserError
from harness.run import Run
from harness.training import Lane, Outcome


@dataclass(frozen=True, eq=False)
class Watched(Run):
    """A run that looks at validation less often, or at less of it.

    Attributes:
      held_out: rows of its validation and its test part.
    """

    held_out: tuple[int, int]

    def lane(self, dataset: Dataset) -> Lane:
        """As `Run.lane`; patience, in epochs, is told in points."""
        lane = Run.lane(self, dataset)
        stride = epochs_a_point(self)
        lane = lane._replace(
            patience=_up(lane.patience, stride),
            plateau=lane.plateau._replace(
                patience=_up(lane.plateau.patience, stride),
                cooldown=_up(lane.plateau.cooldown, stride),
            ),
        )
        if not is_sampled(self):
            return lane
        chosen = sample(dataset.labels[lane.validation_rows], self.sizes.validation)
        once = zip((lane.test_rows, lane.validation_rows), self.held_out[::-1], strict=True)
        arrays: dict[str, Any] = {
            "validation_rows": np.asarray(lane.validation_rows)[chosen],
            "validation_weights": np.asarray(lane.validation_weights)[chosen],
            "test_rows": np.concatenate(
                [np.pad(rows, (0, size - len(rows)), mode="edge") for rows, size in once]
            ),
        }
        return lane._replace(**arrays)


def watched(run: Run) -> Run:
    """``run`` as its configuration has it looked at; itself where it says nothing.

    Raises:
      UserError: the points do not divide its epochs.
    """
    asked, num_epochs = run.config.evaluation, run.config.training.num_epochs
    points, rows = asked.curve_points or num_epochs, asked.curve_rows or run.sizes.validation
    if num_epochs % points:
        fitting = [n for n in range(1, num_epochs + 1) if num_epochs % n == 0]
        nearest = min(fitting, key=lambda n: (abs(n - points), n))
        raise UserError(
            f"evaluation.curve_points={points} must divide training.num_epochs={num_epochs}, so "
            f"that points lie as many epochs apart: {nearest} does"
        )
    if points == num_epochs and rows >= run.sizes.validation:
        return run
    stride, own, program = num_epochs // points, run.sizes, run.program
    sizes = replace(own, steps_per_epoch=own.steps_per_epoch * stride)
    room = replace(program.sizes, steps_per_epoch=program.sizes.steps_per_epoch * stride)
    if rows < own.validation:
        sizes = replace(sizes, validation=rows, test=own.test + own.validation)
        room = replace(room, validation=rows, test=room.test + room.validation)
    values = {name: getattr(run, name) for name in ("run_id", "config", "fingerprint")}
    return Watched(
        **values,
        program=replace(program, num_epochs=points, sizes=room),
        sizes=sizes,
        held_out=(own.validation, own.test),
    )


def epochs_a_point(run: Run) -> int:
    """Epochs from one point of a run's curves to the next."""
    return run.config.training.num_epochs // run.program.num_epochs


def held_out(run: Run) -> tuple[int, int]:
    """Rows of a run's validation and test part."""
    return run.held_out if isinstance(run, Watched) else (run.sizes.validation, run.sizes.test)


def is_sampled(run: Run) -> bool:
    """Whether training looks at some validation rows only."""
    return held_out(run)[0] > run.sizes.validation


def scored(outcome: Outcome, run: Run) -> Outcome:
    """An ``outcome`` in its runs' own sizes, with the logits of whole parts."""
    if not is_sampled(run):
        return outcome
    num_test = held_out(run)[1]
    return outcome._replace(
        validation_logits=outcome.test_logits[..., num_test:],
        test_logits=outcome.test_logits[..., :num_test],
    )


def sample(labels: np.ndarray, size: int) -> np.ndarray:
    """``size`` of the positions of ``labels``, in order, with its share of positives.

    Evenly spaced among the negatives and the positives, so that nothing is drawn.

    >>> sample(np.array([0, 0, 1, 0, 0, 0, 1, 0, 0]), 3)
    array([1, 2, 5])
    """
    by_label = np.argsort(labels, kind="stable")
    spaced = (np.arange(size) * 2 + 1) * len(labels) // (2 * size)
    return np.sort(by_label[spaced])


def _up(epochs: Any, stride: int) -> Any:
    """Epochs as points, rounded up."""
    return jax.tree.map(lambda number: -(-number // stride), epochs)
