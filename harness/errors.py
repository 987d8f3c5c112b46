"""What is the user's to mend, said in one line: the value, its place and the remedy."""

import difflib
import re
import shlex
from collections.abc import Sequence
from typing import Any


class UserError(ValueError):
    """Bad input. The command line prints the message alone and exits with code 2."""


def cut(text: str, longest: int = 60) -> str:
    """What an error repeats of a text that may have any length."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def shown(value: Any) -> str:
    """A value for a message: whole where it is short."""
    return cut(repr(value))


def printable(text: str) -> str:
    """Without control characters, which could rewrite what the terminal shows.

    >>> print(printable("a\\x1b[2J"))
    a\\x1b[2J
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def first_line(error: BaseException) -> str:
    """What an exception says first, for a terminal; its type where it says nothing.

    >>> print(first_line(ValueError("no such row\\n  at 3")), first_line(TypeError()))
    no such row TypeError
    """
    lines = (line.strip() for line in str(error).splitlines())
    return printable(next(filter(None, lines), type(error).__name__))


def override(key: str, value: str) -> str:
    """How a text is given on the command line, in the quotes that it needs.

    >>> print(override("dataset.positive", "yes"), override("dataset.positive", ">50K"))
    dataset.positive=yes 'dataset.positive=">50K"'
    """
    if re.fullmatch(_PLAIN, value, re.ASCII) and value.lower() not in _NO_TEXT:
        return f"{key}={value}"
    inner = re.sub(r'(\\*)"', r'\1\1\\"', value)
    return shlex.quote(f'{key}="{inner}"')


# What Hydra reads as the text it is: words, and whole numbers without a leading 0.
_PLAIN = r"[A-Za-z_][\w./-]*|0|[1-9]\d*"
_NO_TEXT = frozenset({"null", "true", "false", "nan", "inf"})


def none_of(given: str, known: Sequence[str]) -> str:
    """How to say that ``given`` is not among ``known``: what is near it, or what there is."""
    near = [name for name in known if given and given.lower() in name.lower()]
    near += difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    if near:
        meant = ", ".join(list(dict.fromkeys(near))[:3])
        return f"none of {len(known)} choices: did you mean {meant}?"
    return f"none of {listed(known)}"


def listed(names: Sequence[str], most: int = 12) -> str:
    """The names, or some of them and how many there are beside.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
