"""Sixty-odd malformed or odd tables: each gives the right data, or one clear line."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from harness.data.dataset import Dataset
from harness.data.table import Table
from harness.errors import UserError

HEAD = "a,b,y\n"
ROWS = "1,2.5,0\n2,3.5,1\n3,1.5,0\n"
GOOD = HEAD + ROWS


@dataclass(frozen=True)
class Case:
    """A file (bytes, text or a function that makes it) and what loading it says or gives."""

    content: bytes | str | pl.DataFrame | Callable[[Path], None]
    refused: tuple[str, ...] = ()  # parts of the one line
    gives: Callable[[Dataset], object] | None = None  # true of the data
    file: str = "data.csv"
    config: tuple[tuple[str, object], ...] = ()


def refused(content, *parts, file="data.csv", **config):
    return Case(content, refused=parts, file=file, config=tuple(config.items()))


def gives(content, check, file="data.csv", **config):
    return Case(content, gives=check, file=file, config=tuple(config.items()))


def raw(dataset: Dataset) -> np.ndarray:
    """The features in the table's own units."""
    return dataset.features.astype(np.float64) * dataset.raw.std + dataset.raw.mean


def same(dataset: Dataset, expected) -> bool:
    np.testing.assert_allclose(raw(dataset), expected, rtol=1e-5, atol=1e-6)
    return True


def good(dataset: Dataset) -> bool:
    return same(dataset, [[1, 2.5], [2, 3.5], [3, 1.5]]) and dataset.labels.tolist() == [0, 1, 0]


def column(values, dtype=None) -> pl.DataFrame:
    labels = [index % 2 for index in range(len(values))]
    return pl.DataFrame({"a": range(len(values)), "c": pl.Series(values, dtype=dtype), "y": labels})


def csv_of(values) -> str:
    return "c,y\n" + "".join(f"{value},{index % 2}\n" for index, value in enumerate(values))


def parquet(frame, cut=lambda content: content):
    def write(path: Path) -> None:
        frame.write_parquet(path)
        path.write_bytes(cut(path.read_bytes()))

    return write


def ipc(frame, cut=lambda content: content):
    def write(path: Path) -> None:
        frame.write_ipc(path)
        path.write_bytes(cut(path.read_bytes()))

    return write


def wide(columns: int) -> str:
    header = ",".join(f"x{index}" for index in range(columns))
    rows = "".join(
        ",".join(str((row + 1) * column % 7) for column in range(columns)) + f",{row % 2}\n"
        for row in range(4)
    )
    return f"{header},y\n{rows}"


def sparse(path: Path) -> None:
    """A header and two gigabytes without a line end, which take no room on the disk."""
    path.write_text(HEAD)
    os.truncate(path, 2 * 2**30)


def broken_link(path: Path) -> None:
    path.symlink_to(path.parent / "gone.csv")


def loop(path: Path) -> None:
    path.symlink_to(path)


FRAME = pl.DataFrame({"a": [1, 2, 3], "b": [2.5, 3.5, 1.5], "y": [0, 1, 0]})
BIG = pl.DataFrame({"a": range(1000), "y": [0, 1] * 500})
IDS = "id,a,y\n" + "".join(f"id{row},{row % 7}.5,{row % 2}\n" for row in range(40))


CASES = {
    # Lines
    "long row": refused(HEAD + "1,2,0\n1,2,3,1\n", "line 3 has 4 fields", "header has 3"),
    "long row, only first columns kept": refused(
        HEAD + "1,2,0\n1,2,1,9\n", "line 3 has 4 fields", drop=("b",)
    ),
    "short row": refused(HEAD + "1,2,0\n1,2\n", "line 3 has 2 fields"),
    "short row that ends in a feature": refused(
        "y,a,b\n0,1,2\n1,3\n0,2,1\n", "line 3 has 2 fields"
    ),
    "blank row": refused(HEAD + "1,2,0\n\n1,3,1\n", "line 3 is blank"),
    "blank last rows": gives(GOOD + "\n\r\n\n", good),
    "blank first rows": gives("\n\r\n" + GOOD, good),
    "CRLF": gives(GOOD.replace("\n", "\r\n"), good),
    "CR": refused(GOOD.replace("\n", "\r"), "CR alone"),
    "no last line end": gives(GOOD.rstrip("\n"), good),
    "trailing delimiter": gives(GOOD.replace("\n", ",\n"), good),
    "open quote": refused(HEAD + '1,2,0\n1,"3,1\n2,4,0\n', "line 3"),
    "open quote in the header": refused('a,"b,y\n1,2,0\n', "its header cannot be read"),
    "text after a quote": refused(HEAD + '"1"x,2,0\n3,2,1\n', "'a'", "check its quotes"),
    "quoted numbers": gives(GOOD.replace("2.5", '"2.5"'), good),
    "delimiters in quotes": gives(
        'a,c,y\n1,"p,q",0\n2,"r,s",1\n', lambda d: d.feature_names == ("a", "c=r,s")
    ),
    "quotes in quotes": gives(
        'a,c,y\n1,"say ""a"", b",0\n2,r,1\n', lambda d: d.feature_names[1] == 'c=say "a", b'
    ),
    "line breaks in quotes": gives(
        'a,c,y\n1,"p\nq",0\n2,"r\ns",1\n', lambda d: d.feature_names[1] == "c=r\ns"
    ),
    "one endless line": refused(sparse, "a line is longer than 64 MB"),
    # Headers
    "empty": refused("", "the file is empty"),
    "only a mark": refused("\ufeff", "blank lines"),
    "only blanks": refused("\n\n\n", "blank lines"),
    "only a header": refused(HEAD, "no rows"),
    "duplicate names": refused("a,a,y\n1,2,0\n", "'a' stands twice", "columns 1 and 2"),
    "byte order mark": gives(GOOD.encode("utf-8-sig"), good),
    "unicode names": gives(
        "größe,名前,y\n1,2,0\n2,3,1\n", lambda d: d.feature_names == ("größe", "名前")
    ),
    "names of markup and formulas": gives(
        "[red]<b>,=1+1,y\n1,2,0\n2,3,1\n", lambda d: d.feature_names == ("[red]<b>", "=1+1")
    ),
    "pandas' index": gives(
        ",a,b,y\n0,1,2.5,0\n1,2,3.5,1\n2,3,1.5,0\n",
        lambda d: good(d) and d.columns[-1].kind == "dropped",
    ),
    "wrong delimiter": refused(GOOD.replace(",", ":"), "no column 'y'", "dataset.delimiter"),
    "misspelt target": refused("a,label,y\n1,0,0\n", "did you mean 'label'?", target="lable"),
    "column of two roles": refused(GOOD, "'b' is both dataset.group and dataset.drop",
                                   drop=("b",), group="b"),
    # Encodings and bytes
    "latin-1": refused("a,c,y\n1,é,0\n2,e,1\n".encode("latin-1"), "line 2 is not UTF-8", "0xe9",
                       "dataset.encoding"),
    "latin-1, as said": gives("a,c,y\n1,é,0\n2,f,1\n".encode("latin-1"),
                              lambda d: d.feature_names[1] == "c=é", encoding="latin-1"),
    "utf-16": refused(GOOD.encode("utf-16"), "line 1 is not UTF-8"),
    "utf-16, as said": gives(GOOD.encode("utf-16"), good, encoding="utf-16"),
    "not what was said": refused("a,y\n1,\x81\n".encode("latin-1"), "line 2 is not cp1252",
                                 encoding="cp1252"),
    "unknown encoding": refused(GOOD, "'latin-9000' is not one", encoding="latin-9000"),
    "no text encoding": refused(GOOD, "'zlib' is not one", encoding="zlib"),
    "NUL in the header": refused(b"a\0,b,y\n1,2,0\n", "line 1 is not text"),
    "NUL in a number": refused(b"a,y\n1,0\n2\0,1\n3,0\n", "'a', line 3"),
    "NUL in text": gives(b"a,c,y\n1,p\0,0\n2,q,1\n", lambda d: d.feature_names[1] == "c=q"),
    "gzip": refused(b"\x1f\x8b\x08\0\0\n\0\0", "line 1"),
    "zip": refused(b"PK\x03\x04\x14\0\0\0", "line 1"),
    # Numbers
    "1e308": gives(csv_of(["1e308", "-1e308", "1", "2"]),
                   lambda d: np.isfinite(d.features).all() and d.features[0] > d.features[1]),
    "1e999": refused(csv_of(["1", "1e999"]), "'c' has 1 infinite value", "line 3"),
    "inf": refused(csv_of(["1", "-inf", "2"]), "'c' has 1 infinite value", "line 3"),
    "beyond 2^53": gives(csv_of([2**53, 2**62, -(2**62), 2**63]), lambda d: np.allclose(
        raw(d)[:, 0], [2**53, 2**62, -(2**62), 2**63], rtol=1e-6, atol=1e12)),
    "beyond any integer": gives(csv_of([10**40, 0, -(10**40)]), lambda d: np.allclose(
        raw(d)[:, 0], [1e40, 0, -1e40], atol=1e34)),
    "negative nought": gives(
        csv_of(["-0.0", "0", "0", "-0", "1"]),
        lambda d: len({row.tobytes() for row in d.features}) == 2,
    ),
    "signs, blanks, exponents": gives(
        csv_of(["+1", " 2 ", "3e0", "4."]), lambda d: same(d, [[1], [2], [3], [4]])
    ),
    "numbers that turn fractions late": gives(
        csv_of(["1"] * 20_000 + ["0.5"]),
        lambda d: np.isclose(raw(d)[-1, 0], 0.5, atol=1e-3),
    ),
    "numbers that turn text late": refused(csv_of(["1"] * 20_000 + ["x"]), "'c', line 20002",
                                           "'x'"),
    "mixed types": refused(csv_of(["1", "2", "three", "4"]), "'three' is not a number",
                           "dataset.categorical"),
    "mixed types, named": gives(csv_of(["1", "2", "three", "4"]),
                                lambda d: d.num_features == 4, categorical=("c",)),
    "thousands": refused("c;y\n1,234;0\n5,678;1\n", "looks like a number", "dataset.decimal",
                         delimiter=";"),
    "decimal comma": gives("c;y\n1,5;0\n2,5;1\n0;0\n", lambda d: same(d, [[1.5], [2.5], [0]]),
                           decimal=","),
    "decimal comma and thousands": refused("c;y\n1.234,5;0\n2.345,5;1\n", "looks like a number",
                                           decimal=","),
    "percents": refused(csv_of(["12%", "13%", "40%"]), "'12%' looks like a number"),
    "currency": refused(csv_of(["$12", "$13.50", "$4"]), "'$12' looks like a number"),
    "dates": gives(csv_of(["1970-01-02", "1970-01-11", "1969-12-31"]),
                   lambda d: same(d, [[1], [10], [-1]])),
    "times of day": gives(csv_of(["1970-01-01T12:00:00", "1970-01-02T00:00:00"]),
                          lambda d: same(d, [[0.5], [1]])),
    "dates of several orders": refused(csv_of(["31/12/1970", "01/02/1970", "03/04/1971"]),
                                       "looks like a date", "dataset.date_format"),
    "dates, as said": gives(csv_of(["02/01/1970", "01/02/1970"]),
                            lambda d: same(d, [[1], [31]]), date_format="%d/%m/%Y"),
    "an impossible date": refused(csv_of(["2020-01-01", "2020-02-31", "2020-03-01"]),
                                  "'2020-02-31' is not a date"),
    # Missing values
    "missing marks": gives(
        csv_of(["1", "NA", "", "?", "nan", "null", "-", "2"]),
        lambda d: np.isnan(d.features[:, 0]).tolist() == [False, *[True] * 6, False],
    ),
    "a column without a value": gives("a,e,y\n1,,0\n2,,1\n", lambda d: d.feature_names == ("a",)),
    "no column with a value": refused("e,y\n,0\n,1\n", "every other column was left out", "'e'"),
    "missing in a category": gives("c,y\np,0\n,1\nq,0\n",
                                   lambda d: d.feature_names == ("c=p", "c=q", "c=(missing)")),
    # Categories
    "formula text": gives(
        "a,c,y\n1,=SUM(A1:A9),0\n2,=cmd|'/C calc'!A0,1\n",
        lambda d: d.feature_names == ("a", "c==cmd|'/C calc'!A0")
        or d.feature_names == ("a", "c==SUM(A1:A9)"),
    ),
    "ids": gives(
        IDS, lambda d: d.feature_names == ("a",) and d.columns[-1].name == "id",
    ),
    "many levels": gives(csv_of([f"c{index % 30:02}" for index in range(300)] + ["c00"]),
                         lambda d: d.num_features == 5 and d.feature_names[-1] == "c=(other)",
                         max_levels=5),
    # Targets and sizes
    "three values": refused("a,y\n1,0\n2,1\n3,2\n", "'y' has 3 values", "exactly two"),
    "one class": refused("a,y\n1,0\n2,0\n", "'y' has 1 value ('0')"),
    "one row": refused("a,y\n1,0\n", "'y' has 1 value"),
    "target with a hole": refused("a,y\n1,0\n2,\n3,1\n", "'y' has 1 missing value", "line 3"),
    "labels called none": gives("a,y\n1,none\n2,ill\n3,none\n", lambda d: d.num_positives == 1),
    "target in two spellings": refused("a,y\n1,yes\n2,Yes\n3,no\n", "3 values"),
    "no features": refused("y\n0\n1\n", "no features", "'y'"),
    "constant": refused("a,b,y\n1,2,0\n1,2,1\n", "all 2 features are constant"),
    "the same row with both labels": gives(
        "a,y\n1,0\n1,1\n2,0\n", lambda d: d.labels.tolist() == [0, 1, 0]
    ),
    "10,000 columns": gives(wide(10_000), lambda d: d.features.shape == (4, 10_000)),
    # Parquet and Arrow
    "Parquet cut in half": refused(parquet(BIG, lambda c: c[: len(c) // 2]), "Parquet file",
                                   file="d.parquet"),
    "Parquet with a lost footer": refused(
        parquet(BIG, lambda c: c[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1"), "Parquet file",
        file="d.parquet"),
    "Parquet that is CSV": refused(GOOD, "Parquet file", file="d.parquet"),
    "CSV that is Parquet": refused(parquet(BIG), "line 1"),
    "nested": refused(parquet(column([[1], [2]])), "'c' is List", file="d.parquet"),
    "nested, dropped": gives(parquet(column([[1], [2]])), lambda d: d.feature_names == ("a",),
                             file="d.parquet", drop=("c",)),
    "nested target": refused(parquet(column([[1], [2]])), "holds List", file="d.parquet",
                             target="c"),
    "bytes": refused(parquet(column([b"1", b"2"])), "'c' is Binary", file="d.parquet"),
    "decimals": gives(parquet(column(["1.5", "2.5"]).cast({"c": pl.Decimal(9, 2)})),
                      lambda d: same(d, [[0, 1.5], [1, 2.5]]), file="d.parquet"),
    "durations and nulls": gives(
        parquet(column([86_400_000_000, None, 0], pl.Int64).cast({"c": pl.Duration("us")})),
        lambda d: np.isnan(raw(d)[1, 1]) and np.isclose(raw(d)[0, 1], 1), file="d.parquet"),
    "no rows in Parquet": refused(parquet(FRAME.head(0)), "no rows", file="d.parquet"),
    "Arrow": gives(ipc(FRAME), good, file="d.arrow"),
    "Arrow cut in half": refused(ipc(BIG, lambda c: c[: len(c) // 2]), "Arrow file",
                                 file="d.feather"),
    "Arrow that is CSV": refused(GOOD, "Arrow file", file="d.arrow"),
    "Arrow stream": gives(lambda path: FRAME.write_ipc_stream(path), good, file="d.arrow"),
    # Files that are none
    "directory": refused(lambda path: path.mkdir(), "is a directory"),
    "broken link": refused(broken_link, "no such file"),
    "link to itself": refused(loop, "cannot be read"),
    "named pipe": refused(lambda path: os.mkfifo(path), "no regular file"),
    "no such extension": refused(GOOD, "extension '.xlsx'", file="data.xlsx"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_right_data_or_one_clear_line(name, tmp_path):
    case = CASES[name]
    path = tmp_path / case.file
    if isinstance(case.content, str | bytes):
        content = case.content
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    else:
        case.content(path)
    config = Table(path=str(path), **({"target": "y"} | dict(case.config)))
    if case.gives is not None:
        assert case.gives(config.load())
        return
    with pytest.raises(UserError) as caught:
        config.load()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500 and str(path) in message
    for part in case.refused:
        assert part in message


def test_there_are_sixty_and_more():
    assert len(CASES) >= 60


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "nul\0byte.csv", "~nobody_/x.csv",
                                  "x" * 5000 + ".csv", ""])  # fmt: skip
def test_paths_that_are_no_files(path):
    with pytest.raises(UserError) as caught:
        Table(path=path, target="y").load()
    assert "\n" not in str(caught.value)


def test_a_file_nobody_may_read(tmp_path, monkeypatch):
    """Root may read any file, so the refusal is played."""
    path = tmp_path / "data.csv"
    path.write_text(GOOD)

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        Table(path=str(path), target="y").load()
