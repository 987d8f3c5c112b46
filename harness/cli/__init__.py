"""The `harness` command. Imports what a command needs only when it runs: help is instant."""

import os
import sys
from collections.abc import Callable

LONGEST = 400  # characters of an error

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
    """Runs one command.

    Exit codes: 0 done, 1 an anchor fails or nobody reads on, 2 bad input, 130 interrupted.
    """
    command, arguments = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    if command in {"--help", "-h", "help"}:
        print(USAGE, end="")
        return
    if command == "--version":
        from harness import __version__

        print(__version__)
        return
    # Hydra's completion scripts call the command alone, whatever is being typed.
    runner = _complete if command in {"-sc", "--shell-completion"} else _COMMANDS.get(command)
    if runner is None:
        _fail(f"harness {command}: no such command; one of {', '.join(_COMMANDS)}")
    else:
        _run(runner, arguments)


def _run(runner: Callable[[list[str]], None], arguments: list[str]) -> None:
    from harness.errors import UserError

    try:
        runner(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
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
    print(f"error: {_one_line(message)}", file=sys.stderr)
    sys.exit(2)


def _one_line(message: str) -> str:
    """Without control characters, which could rewrite what the terminal shows, and not too long."""
    words = " ".join(message.split())
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in words)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 4]} ..."


def _train(arguments: list[str]) -> None:
    from harness.cli import application

    application.run("train", arguments)


def _plan(arguments: list[str]) -> None:
    from harness.cli import application

    application.run("plan", arguments)


def _verify(arguments: list[str]) -> None:
    from harness.cli import application

    application.run("verify", arguments)


def _analyze(arguments: list[str]) -> None:
    from harness.cli.analyze_command import analyze

    analyze(arguments)


def _reproduce(arguments: list[str]) -> None:
    from harness.cli.reproduce_command import reproduce

    reproduce(arguments)


def _sync(arguments: list[str]) -> None:
    from harness.cli.sync_command import sync

    sync(arguments)


def _data(arguments: list[str]) -> None:
    from harness.cli.data_command import data

    data(arguments)


def _complete(arguments: list[str]) -> None:
    from harness.cli.completion import complete

    complete(arguments, list(_COMMANDS))


_COMMANDS = {
    "train": _train,
    "plan": _plan,
    "verify": _verify,
    "reproduce": _reproduce,
    "analyze": _analyze,
    "sync": _sync,
    "data": _data,
}
