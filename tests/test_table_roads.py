"""A table is read alike by `train`, by `harness data describe` and by Python, or refused alike."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cli import _one_line
from harness.data import library
from harness.data.sources import Table
from harness.errors import UserError, override
from harness.sweep import engine
from tests import test_table_fuzz
from tests.conftest import TINY

QUICK = settings(test_table_fuzz.QUICK, max_examples=12)
LONG = settings(QUICK, max_examples=150)

NAMES = ("age", " dose ", "weight (kg)", "ü", "a.b", "select", "1st", "x=y", "$", "x y")
# What a column's cells may be: numbers, codes, dates, words, marks of what is missing.
COLUMNS = st.sampled_from([
    ("1", "2.5", "-3", "1e3"), ("1", "", "4", "7"), ("NA", "3", "5", "?"), ("007", "12", "0501"),
    ("red", "blue", "NA", ""), ("2024-01-31", "2023-12-01", "2020-02-29"), ("true", "false"),
    ("none", "basic", "full"), ("12%", "7%"), ("1.234,5", "2"), ("", ""), ("é", "ß", "a"),
    ("1", "many", "3", "4"), ("inf", "1", "2"), ("same", "same"),
])  # fmt: skip
LABELS = st.sampled_from([
    ("0", "1"), ("no", "yes"), ("No", "YES "), ("false", "True"), ("-1", "1"), ("1.0", "0.0"),
    ("<=50K", ">50K"), ("survived", "died"), ("2", "1"), ("überlebt", "tot"), ("a", "b"),
    ("yes", "maybe"), ("1", "1"), ("0", ""),
])  # fmt: skip
ENCODINGS = ("utf-8", "utf-8-sig", "latin-1", "utf-16")  # utf-8-sig: with a byte order mark


@st.composite
def tables(draw) -> tuple[bytes, dict[str, Any]]:
    """A file's bytes, and the keys that describe it."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    cells = [draw(COLUMNS) for _ in names]
    labels, delimiter = draw(LABELS), draw(st.sampled_from([",", ";", "\t", "|"]))
    rows = [[*names, draw(st.sampled_from(["y", " y", "target"]))]]
    for row in range(draw(st.sampled_from([12, 40, 41]))):
        rows.append([*(one[row * 7 % len(one)] for one in cells), labels[row % 3 == 0]])
    end, encoding = draw(st.sampled_from(["\n", "\r\n"])), draw(st.sampled_from(ENCODINGS))
    content = end.join(map(delimiter.join, rows)).encode(encoding, errors="replace")
    first = names[0].strip()
    keys = draw(st.sampled_from([
        {}, {"positive": labels[0].strip()}, {"missing": ("?",)}, {"drop": (first,)},
        {"categorical": (first,)}, {"decimal": ","}, {"delimiter": delimiter}, {"header": False},
        {"group": first}, {"indicator": True}, {"encode": "embed"},
    ]))  # fmt: skip
    named = not encoding.startswith("utf-8") and draw(st.booleans())
    return content, {
        "target": rows[0][-1].strip(),
        **keys,
        **({"encoding": encoding} if named else {}),
    }


def by_python(keys: dict[str, Any]) -> str:
    """The fingerprint of what was read, or what is said."""
    try:
        return Table(path="t.csv", **keys).load().fingerprint
    except UserError as error:
        return str(error)


def written(keys: dict[str, Any]) -> list[str]:
    """The keys as they are typed."""
    texts = []
    for key, value in keys.items():
        if isinstance(value, tuple):
            texts.append(f"{key}=[" + ",".join(f'"{item}"' for item in value) + "]")
        elif isinstance(value, bool):
            texts.append(f"{key}={str(value).lower()}")
        else:
            texts += shlex.split(override(key, value))
    return texts


def check_roads(harness, monkeypatch, table: tuple[bytes, dict[str, Any]]) -> None:
    content, keys = table
    Path("t.csv").write_bytes(content)
    expected = by_python(keys)

    def loaded(configs, **_):
        raise UserError(library.datasets.get(configs[0].dataset).fingerprint)

    monkeypatch.setattr(engine, "run_sweep", loaded)
    given = [f"dataset.{text}" for text in written(keys)]
    trained = harness("train", *TINY, "dataset=table", "dataset.path=t.csv", *given)
    described = harness("data", "describe", "table", "path=t.csv", *written(keys))
    shown = f"error: {_one_line(expected)}\n"
    assert (trained.code, trained.err.splitlines(keepends=True)[-1]) == (2, shown)
    if described.code:
        assert described.err == shown
    else:
        assert expected in described.out and expected.isalnum()


@QUICK
@given(table=tables())
def test_a_table_is_read_alike(harness, monkeypatch, table):
    check_roads(harness, monkeypatch, table)


@pytest.mark.slow
@LONG
@given(table=tables())
def test_a_table_is_read_alike_at_length(harness, monkeypatch, table):
    check_roads(harness, monkeypatch, table)
