"""A table of text as Markdown and LaTeX: names in it are text, whatever characters they have."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TextTable:
    """Cells as a reader sees them; untrusted names among them are not yet escaped."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int]  # columns aligned to the right


def markdown(table: TextTable) -> str:
    """A GitHub-flavoured table under its title."""
    rule = ["---:" if i in table.numeric else "---" for i in range(len(table.headings))]
    lines = [
        _cells(table.headings, _markdown_text),
        rule,
        *(_cells(r, _markdown_text) for r in table.rows),
    ]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{_markdown_text(table.title)}\n\n{body}\n"


def latex(table: TextTable) -> str:
    """A booktabs table; what TeX would take for a command is escaped."""
    columns = "".join("r" if i in table.numeric else "l" for i in range(len(table.headings)))
    heads, *rows = (_cells(r, _latex_text) for r in (table.headings, *table.rows))
    body = "\n".join(f"  {' & '.join(row)} \\\\" for row in rows)
    return (
        f"% {_one_line(table.title)}\n\\begin{{tabular}}{{{columns}}}\n  \\toprule\n"
        f"  {' & '.join(heads)} \\\\\n  \\midrule\n{body}\n  \\bottomrule\n\\end{{tabular}}\n"
    )


_TEX: dict[str, Any] = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
}
_MARKDOWN: dict[str, Any] = {c: f"\\{c}" for c in "\\`*_[]|"} | {
    "<": "&lt;",
    ">": "&gt;",
    "&": "&amp;",
}


def _latex_text(text: str) -> str:
    return _one_line(text).translate(str.maketrans(_TEX))


def _markdown_text(text: str) -> str:
    return _one_line(text).translate(str.maketrans(_MARKDOWN))


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _cells(row: Sequence[str], escape: Callable[[str], str]) -> list[str]:
    return [escape(cell) for cell in row]
