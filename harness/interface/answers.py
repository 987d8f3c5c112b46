"""The answer to a sweep as a value: what a terminal prints and a notebook shows."""

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO

import polars as pl
from rich.console import Console

from harness.analyze import Analysis, export, overview
from harness.analyze.trained import Finding

_WIDTH = 160
CHARTS = ("differences", "learning")
"""What a notebook shows below the tables, of the first data set."""


@dataclass(frozen=True, eq=False)
class Answer:
    """Each loss beside the baseline, and which to use: first what it says, then its tables.

    Attributes:
      analysis: all that was computed.
    """

    analysis: Analysis

    @property
    def advice(self) -> str:
        """A sentence or two on what to use; empty where nothing was compared."""
        return overview.advice(self.analysis)

    @property
    def recommended(self) -> str:
        """The loss that `advice` says to use; the baseline where it says none."""
        return overview.recommended(self.analysis) or self.analysis.baseline

    @property
    def verdicts(self) -> Sequence[overview.Overview]:
        """Better, same, worse, differs or open, in each thing that a user wants of a loss."""
        return overview.tables(self.analysis)

    @property
    def tables(self) -> Mapping[str, pl.DataFrame]:
        """Every table of `harness analyze` with all its columns, by the name of its file."""
        return export.frames(self.analysis)

    @property
    def notes(self) -> Sequence[str]:
        """What the sources lack, and which runs do not count."""
        return self.analysis.notes

    @property
    def trained(self) -> Sequence[Finding]:
        """What is known of whether the runs were trained to the end, what is beyond its limit
        first."""
        return self.analysis.trained

    def __str__(self) -> str:
        console = Console(width=_WIDTH, file=StringIO(), color_system=None)
        with console.capture() as captured:
            export.print_tables(console, self.analysis)
        return captured.get()

    def _repr_html_(self) -> str:
        return "".join(self._parts())

    def _parts(self) -> Iterator[str]:
        if advice := self.advice:
            yield f"<p><b>{html.escape(advice)}</b></p>"
        for finding in self.trained:
            said = html.escape(str(finding))
            yield f'<p style="color: red">{said}</p>' if finding.is_beyond else f"<p>{said}</p>"
        for table in export.overview_tables(self.analysis):
            yield _html(table)
        yield _html(export.leaderboard_table(self.analysis, self.analysis.metrics))
        yield "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        from harness.analyze import drawing  # Altair, which only a notebook waits for

        yield from drawing.pictures(self.analysis, CHARTS)


def _html(table: export.TextTable) -> str:
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in table.headings)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows[: export.MAX_ROWS])
    return (
        f"<table><caption>{html.escape(table.title)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _cell(text: str) -> str:
    return f"<td>{html.escape(text).replace(chr(10), '<br>')}</td>"
