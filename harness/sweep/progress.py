"""Progress for people: runs done, rate, time left. Silent where nobody looks."""

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
    """Shows work on ``console`` when that is a terminal."""

    console: Console

    @contextmanager
    def training(self, total: int) -> Iterator[Callable[[int], None]]:
        """A bar of ``total`` runs; yields what to call with the number just done."""
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
