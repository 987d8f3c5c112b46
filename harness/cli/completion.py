"""Tab completion: what Hydra's scripts ask of the command at every TAB.

    eval "$(harness -sc install=bash)"    # or fish, zsh; so does `harness train -sc install=bash`

The scripts know one program without commands: they run `harness -sc query=SHELL` with the line
typed so far in COMP_LINE. Here the command is taken off that line and Hydra completes the rest.
"""

import os
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO

from harness.errors import UserError
from harness.overrides.checking import choices
from harness.overrides.plugging import load_named
from harness.plugins import GROUPS

SHELLS = ("bash", "fish", "zsh")
HYDRA_COMMANDS = ("train", "plan", "verify")


def complete(arguments: list[str], commands: list[str]) -> None:
    """Prints the script that installs completion, or what may follow what has been typed.

    Raises:
      UserError: neither install=SHELL, uninstall=SHELL nor query=SHELL is asked.
    """
    asked = dict(text.partition("=")[::2] for text in arguments)
    known = {"install", "uninstall", "query"}
    if len(asked) != 1 or not asked.keys() <= known or not {*asked.values()} <= {*SHELLS}:
        raise UserError(
            "harness -sc takes install=bash, uninstall=bash or query=bash (or fish, zsh)"
        )
    if "query" in asked:
        _query(asked["query"], commands)
    else:
        _hydra(arguments)


def _query(shell: str, commands: list[str]) -> None:
    words, typed = _typed(os.environ.get("COMP_LINE", ""))
    group, chosen, name = typed.partition("=")
    if not words:
        _offer(one for one in commands if one.startswith(typed))
    elif words[0] in HYDRA_COMMANDS and chosen and (names := _choices(group, words)):
        # Hydra itself looks into no deeper folder, such as that of dataset=keel/yeast4.
        _offer(f"{group}={one}" for one in names if one.startswith(name))
    elif words[0] in HYDRA_COMMANDS:
        # Flags take no part, and those that Hydra does not know would end its parser.
        overrides = [word for word in words[1:] if not word.startswith("-") and "=" in word]
        multirun = ["-m"] if {"-m", "--multirun"} & {*words} else []
        os.environ["COMP_LINE"] = " ".join(["harness", *multirun, *overrides, typed])
        # A TAB prints choices alone: what is not finished may well be wrong.
        with redirect_stderr(StringIO()), suppress(UserError):
            _hydra([f"query={shell}"])


def _choices(group: str, words: Iterable[str]) -> list[str]:
    """The choices of a group, plugged ones among them."""
    if group in GROUPS:
        with redirect_stderr(StringIO()), redirect_stdout(StringIO()), suppress(UserError):
            load_named(words)
    return choices(group)


def _offer(words: Iterable[str]) -> None:
    print("\n".join(words))  # bash takes any space between them, fish lines alone


def _typed(line: str) -> tuple[list[str], str]:
    """The finished words after the program's name, and the one that is being typed."""
    words = line.split()[1:]
    return (words, "") if not words or line.endswith(" ") else (words[:-1], words[-1])


def _hydra(arguments: list[str]) -> None:
    from harness.cli import application

    application.run("train", ["-sc", *arguments])
