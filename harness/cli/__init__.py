"""The `harness` command. Imports what a command needs only when it runs: help is instant."""

import atexit
import gc
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

LONGEST = 400  # characters of an error

USAGE = """\
harness: which loss should train my binary classifier, and how sure can I be?

  harness train  [overrides]            one run; `harness train --help` lists what can be set
  harness train  -m loss=bce,focal 'seed=range(10)'
                                        a sweep, trained as lanes of a few programs
  harness plan   -m ...                 its groups, compilations, memory and time; runs nothing
  harness verify -m ...                 trains a sample fused and alone, and compares the bits
  harness choose FILE --target COLUMN   the whole question: which loss, threshold and cost; a model
  harness reproduce NAME... | all       a verdict for each claim of an experiment
  harness analyze SOURCE...             tables and a report from logged runs
  harness predict MODEL FILE            scores new rows: probability, decision, reason
  harness runs   list | show | diff | export | rm FOLDER ...
                                        the stored runs: find, read, hand on, take out
  harness sync   FOLDER...              sends W&B what its mirror still lacks
  harness check  loss|model|metric|... MODULE:NAME
                                        whether a part of your own is fit to be compared
  harness new    loss|model|metric|project NAME
                                        a file to start from, and its test; or a project of them
  harness data   list | describe NAME | fetch NAME
                                        the data sets

Every command takes --help. HARNESS_DEBUG=1 shows tracebacks.
"""


def main() -> None:
    """Runs one command.

    Exit codes: 0 done, 1 an anchor fails, a check finds a fault or nobody reads on, 2 bad input,
    129, 130 or 143 stopped (hung up, by Ctrl-C, terminated).
    """
    command, arguments = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    if command in {"--help", "-h", "help"}:
        print(USAGE, end="")
        return
    if command == "--version":
        from harness import __version__

        print(__version__)
        return
    _collect_less()
    # Hydra's completion scripts call the command alone, whatever is being typed.
    runner = _complete if command in {"-sc", "--shell-completion"} else _COMMANDS.get(command)
    if runner is None:
        _fail(f"harness {command}: no such command; one of {', '.join(_COMMANDS)}")
    else:
        _run(runner, arguments)


@cache
def _collect_less() -> None:
    """Imports make a million objects and no garbage: going through them again and again, and once
    more as the interpreter ends, takes a fifth of a command's time. Cycles are still found, later.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)


def _run(runner: Callable[[list[str]], None], arguments: list[str]) -> None:
    from harness.errors import UserError

    try:
        with _signals_as_interrupts():
            if damaged := [text for text in arguments if "\0" in text]:
                raise UserError(f"{damaged[0]!r} holds a NUL, which no name has: leave it out")
            runner(arguments)
            sys.stdout.flush()
    except UserError as error:
        if "HARNESS_DEBUG" in os.environ:
            raise
        _fail(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError) and (unread := _unread()):
            for descriptor in unread:  # whoever reads, such as `head`, has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
            sys.exit(1)
        if "HARNESS_DEBUG" in os.environ:
            raise
        _fail(_refused(error))
    except KeyboardInterrupt as stop:
        _say_stopped()
        sys.exit(128 + getattr(stop, "number", signal.SIGINT))


def _unread() -> list[int]:
    """Our own streams that nobody reads on: other pipes break too, such as a worker's."""
    streams = [sys.stdout.fileno(), sys.stderr.fileno()]
    if not hasattr(select, "poll"):  # Windows
        return streams
    poll = select.poll()
    for descriptor in streams:
        poll.register(descriptor, 0)  # it tells of errors and hang-ups whatever it is asked
    return [descriptor for descriptor, _ in poll.poll(0)]


def _refused(error: OSError) -> str:
    """What the system refused, such as room on a disk."""
    place = f"{error.filename}: " if error.filename else ""
    return (
        f"{place}{error.strerror or error}; nothing stored so far is lost: once that is mended, "
        "the same command goes on"
    )


class _Signalled(KeyboardInterrupt):
    """A signal that ends a command as Ctrl-C does."""

    def __init__(self, number: int):
        self.number = number


@contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """A command that is terminated, or whose terminal goes, ends as by Ctrl-C: what has finished is
    stored. Signals that the caller has ignored (`nohup`) stay so."""

    def stop(number: int, _: object) -> None:
        for one in taken:
            signal.signal(one, signal.SIG_IGN)  # once is enough: storing takes a moment
        raise _Signalled(number)

    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    taken = [one for one in known if signal.getsignal(one) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        taken = []  # only there may handlers be set
    try:
        for one in taken:
            signal.signal(one, stop)
        yield
    finally:
        for one in taken:
            signal.signal(one, signal.SIG_DFL)


def _say_stopped() -> None:
    try:
        print("\nStopped. Finished runs are stored; the same command trains the rest.", flush=True)
    except OSError:  # the terminal is gone
        sys.stdout = None  # type: ignore[assignment]


def _fail(message: str) -> None:
    print(f"error: {_one_line(message)}", file=sys.stderr)
    sys.exit(2)


def _one_line(message: str) -> str:
    from harness.errors import printable

    shown = printable(" ".join(message.split()))
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


def _choose(arguments: list[str]) -> None:
    from harness.cli.choose_command import choose

    choose(arguments)


def _reproduce(arguments: list[str]) -> None:
    from harness.cli.reproduce_command import reproduce

    reproduce(arguments)


def _predict(arguments: list[str]) -> None:
    from harness.cli.predict_command import predict

    predict(arguments)


def _runs(arguments: list[str]) -> None:
    from harness.cli.runs_command import runs

    runs(arguments)


def _sync(arguments: list[str]) -> None:
    from harness.cli.sync_command import sync

    sync(arguments)


def _data(arguments: list[str]) -> None:
    from harness.cli.data_command import data

    data(arguments)


def _check(arguments: list[str]) -> None:
    from harness.cli.check_command import check

    check(arguments)


def _new(arguments: list[str]) -> None:
    from harness.cli.new_command import new

    new(arguments)


def _complete(arguments: list[str]) -> None:
    from harness.cli.completion import complete

    complete(arguments, list(_COMMANDS))


_COMMANDS = {
    "train": _train,
    "plan": _plan,
    "choose": _choose,
    "verify": _verify,
    "reproduce": _reproduce,
    "analyze": _analyze,
    "predict": _predict,
    "runs": _runs,
    "sync": _sync,
    "check": _check,
    "new": _new,
    "data": _data,
}
