"""`harness sync`."""

from pathlib import Path

from rich.progress import track

from harness.cli.terminal import Parser, wide_console


def sync(arguments: list[str]) -> None:
    """`harness sync FOLDER...`: sends W&B what its mirror of a sweep still lacks.

    Run by run from the store, with the same ids: what was sent is not sent again.
    """
    parser = Parser(prog="harness sync", description=sync.__doc__)
    parser.add_argument("source", nargs="+", type=Path, help="a sweep folder, such as runs/demo")
    everything = "also runs that were sent, or never meant to be mirrored"
    parser.add_argument("--all", action="store_true", help=everything)
    given = parser.parse_args(arguments)

    from harness.record.replay import Sync, sweep_folder

    console = wide_console()
    folders = [sweep_folder(source) for source in given.source]
    for folder in folders:
        job = Sync(folder, everything=given.all)
        total = len(job.unsent())
        shown = track(
            job.send(), "sending", total=total, console=console, disable=not console.is_terminal
        )
        done = f"{sum(1 for _ in shown)} sent" if total else "nothing to send"
        console.print(f"{folder}: {done}", markup=False, highlight=False, soft_wrap=True)
