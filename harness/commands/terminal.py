"""Where commands write."""

from rich.console import Console


def wide_console(width: int = 160) -> Console:
    """The terminal, or room for whole tables where the output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=width)
