"""The `harness` command. Imports what a command needs only when it runs: help is instant."""

import os
import sys
from collections.abc import Callable

USAGE = """\
harness: which loss should train my binary classifier, and how sure can I be?

  harness train  [overrides]            one run; `harness train --help` lists what can be set
  harness train  -m loss=bce,focal 'seed=range(10)'
                                        a sweep, trained as lanes of a few programs
  harness plan   -m ...                 its groups, compilations, memory and time; runs nothing
  harness verify -m ...                 trains a sample fused and alone, and compares the bits
  harness reproduce NAME... | all       a verdict for each claim of an experiment
  harness analyze SOURCE...             tables and a report from logged runs
  harness sync   FOLDER...              sends W&B what its mirror still lacks
  harness data   list | describe NAME | fetch NAME
                                        the data sets

Every command takes --help. HARNESS_DEBUG=1 shows tracebacks.
"""


def main() -> None:
    """Runs one command. Exit codes: 0 done, 1 an anchor fails, 2 bad input, 130 interrupted."""
    command, arguments = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    if command in {"--help", "-h", "help"}:
        print(USAGE, end="")
        return
    if command == "--version":
        from harness import __version__

        print(__version__)
        return
    runner = _COMMANDS.get(command)
    if runner is None:
        _fail(f"harness {command}: no such command; one of {', '.join(_COMMANDS)}")
    else:
        _run(runner, arguments)


def _run(runner: Callable[[list[str]], None], arguments: list[str]) -> None:
    from harness.errors import UserError

    try:
        runner(arguments)
    except UserError as error:
        if "HARNESS_DEBUG" in os.environ:
            raise
        _fail(str(error))
    except OSError as error:
        if "HARNESS_DEBUG" in os.environ or error.strerror is None:
            raise
        _fail(f"{error.filename or 'writing'}: {error.strerror}; nothing stored so far is lost")
    except KeyboardInterrupt:
        print("\nStopped. Finished runs are stored; the same command trains the rest.")
        sys.exit(130)


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _train(arguments: list[str]) -> None:
    from harness import app

    app.run("train", arguments)


def _plan(arguments: list[str]) -> None:
    from harness import app

    app.run("plan", arguments)


def _verify(arguments: list[str]) -> None:
    from harness import app

    app.run("verify", arguments)


def _analyze(arguments: list[str]) -> None:
    from harness.commands.analyze import analyze

    analyze(arguments)


def _reproduce(arguments: list[str]) -> None:
    from harness.commands.reproduce import reproduce

    reproduce(arguments)


def _sync(arguments: list[str]) -> None:
    from harness.commands.sync import sync

    sync(arguments)


def _data(arguments: list[str]) -> None:
    from harness.commands.data import data

    data(arguments)


_COMMANDS = {
    "train": _train,
    "plan": _plan,
    "verify": _verify,
    "reproduce": _reproduce,
    "analyze": _analyze,
    "sync": _sync,
    "data": _data,
}
