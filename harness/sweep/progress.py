"""Progress for people: runs done, rate, time left. Silent where nobody looks."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich import progress as rich_progress
from rich.console import Console


class _Rate(rich_progress.ProgressColumn):
    def render(self, task: rich_progress.Task) -> str:
        return f"{task.finished_speed or task.speed or 0.0:.1f} runs/s"


@dataclass(frozen=True)
class Progress:
    """Shows work on ``console`` when that is a terminal or a notebook's."""

    console: Console

    @contextmanager
    def training(self, total: int) -> Iterator[Callable[[int], None]]:
        """A bar of ``total`` runs; yields what to call with the number just done."""
        if self.console.is_jupyter and total:
            yield _in_notebook(total)
            return
        bar = rich_progress.Progress(
            rich_progress.TextColumn("training"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            _Rate(),
            rich_progress.TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal or total == 0,
        )
        with bar:
            task = bar.add_task("training", total=total)
            yield lambda done: bar.advance(task, done)


def _in_notebook(total: int) -> Callable[[int], None]:
    """A line below the cell, written anew at most twice a second.

    Rich's own bar takes widgets there, which few notebooks have.
    """
    from IPython.display import HTML, display  # a notebook has it

    begun, done, shown = time.monotonic(), 0, 0.0
    line = display(HTML(f"training: 0 of {total:,} runs"), display_id=True)

    def advance(number: int) -> None:
        nonlocal done, shown
        done, now = done + number, time.monotonic()
        if done < total and now < shown + 0.5:
            return
        shown, left = now, (now - begun) * (total - done) / max(1, done)
        bar = f"<progress max={total} value={done}></progress>"
        line.update(HTML(f"{bar} {done:,} of {total:,} runs, {left:.0f} s left"))

    return advance
