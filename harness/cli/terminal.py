"""What commands share: how they read their arguments and where they write."""

import argparse
from typing import NoReturn

from rich.console import Console

from harness.errors import UserError


class Parser(argparse.ArgumentParser):
    """Whose errors are one line, as all of ours."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}; see `{self.prog} --help`")


def wide_console(width: int = 160) -> Console:
    """The terminal, or room for whole tables where the output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=width)
