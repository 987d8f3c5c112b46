"""Whatever a file holds, loading it gives a Dataset or a UserError of one line: no traceback."""

from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing.parametric import dataframes

from harness.data.dataset import Dataset, check
from harness.data.table import Table
from harness.errors import UserError

# A few seconds by default; the long search is `make slow`.
QUICK = settings(
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LONG = settings(QUICK, max_examples=5000)

CELLS = st.one_of(
    st.sampled_from(["", "0", "1", "NA", "nan", "inf", "-1e308", "1,5", '"', "2020-01-01", "true",
                     "12%", "1/2/2020", " 7 ", "=A1", "\0", "é", "99999999999999999999", "x"]),
    st.text(max_size=4),
    st.floats().map(str),
)  # fmt: skip
ROWS = st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=8)


def outcome(path: Path, **config) -> Dataset | UserError:
    """What loading gives, checked; any other exception fails the test."""
    try:
        dataset = Table(path=str(path), **({"target": "y"} | config)).load()
    except UserError as error:
        assert "\n" not in str(error)
        return error
    check(
        name="fuzzed",
        features=dataset.features,
        labels=dataset.labels,
        feature_names=dataset.feature_names,
        cardinalities=dataset.cardinalities,
    )
    assert len(dataset.columns) and sum(c.num_features for c in dataset.columns) == len(
        dataset.feature_names
    )
    return dataset


def as_csv(rows: list[list[str]], *, delimiter: str, end: str, quoted: bool) -> str:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if quoted else text

    return end.join(delimiter.join(map(cell, row)) for row in rows)


def any_bytes(tmp_path, content, extension, encoding):
    path = tmp_path / f"fuzz{extension}"
    path.write_bytes(content)
    outcome(path, encoding=encoding)


BYTES = given(
    content=st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda b: b"a,y\n" + b)),
    extension=st.sampled_from([".csv", ".tsv", ".parquet", ".arrow"]),
    encoding=st.sampled_from(["utf-8", "latin-1", "utf-16", "cp1252", "idna", "nonsense"]),
)


@QUICK
@BYTES
def test_any_bytes(tmp_path, content, extension, encoding):
    any_bytes(tmp_path, content, extension, encoding)


@pytest.mark.slow
@LONG
@BYTES
def test_any_bytes_at_length(tmp_path, content, extension, encoding):
    any_bytes(tmp_path, content, extension, encoding)


def any_rows(tmp_path, rows, names, delimiter, end, quoted, encode):
    path = tmp_path / "fuzz.csv"
    text = as_csv([[*names, "y"], *rows], delimiter=delimiter, end=end, quoted=quoted)
    path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    outcome(path, delimiter=delimiter, encode=encode, indicator=quoted)


TABLES = given(
    rows=ROWS,
    names=st.lists(st.text(max_size=3), max_size=4),
    delimiter=st.sampled_from([",", ";", "\t", " ", "|", "\x01", "."]),
    end=st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    quoted=st.booleans(),
    encode=st.sampled_from(["one_hot", "embed"]),
)


@QUICK
@TABLES
def test_any_rows(tmp_path, rows, names, delimiter, end, quoted, encode):
    any_rows(tmp_path, rows, names, delimiter, end, quoted, encode)


@pytest.mark.slow
@LONG
@TABLES
def test_any_rows_at_length(tmp_path, rows, names, delimiter, end, quoted, encode):
    any_rows(tmp_path, rows, names, delimiter, end, quoted, encode)


@QUICK
@given(
    values=st.lists(CELLS, min_size=4, max_size=12),
    missing=st.integers(0, 3),
)
def test_well_formed_columns_load_or_are_refused_for_their_values(tmp_path, values, missing):
    """The same column through CSV, Parquet and Arrow says the same, but for the place."""
    values = ["" if index < missing else value for index, value in enumerate(values)]
    frame = pl.DataFrame(
        {"a": np.arange(len(values)), "c": values, "y": np.arange(len(values)) % 2},
        schema_overrides={"c": pl.String},
    )
    found = []
    for extension, write in ((".parquet", frame.write_parquet), (".arrow", frame.write_ipc)):
        path = tmp_path / f"fuzz{extension}"
        write(path)
        found.append(outcome(path))
    one, other = found
    if isinstance(one, Dataset) and isinstance(other, Dataset):
        assert one.fingerprint == other.fingerprint
    else:
        assert str(one).replace("parquet", "arrow") == str(other)


@settings(QUICK, max_examples=50)
@given(frame=dataframes(max_cols=5, max_size=8, allow_null=True), cut=st.integers(0, 40))
def test_any_parquet(tmp_path, frame, cut):
    content = BytesIO()
    try:
        frame.write_parquet(content)
    except pl.exceptions.PolarsError:
        return  # no Parquet file can hold it
    path = tmp_path / "fuzz.parquet"
    whole = content.getvalue()
    path.write_bytes(whole[: len(whole) - cut if cut > 20 else None])
    outcome(path, target=frame.columns[0] if frame.columns else "y")
