"""Kinds of faults that other tools had reported: what is right here, one section a kind."""

from pathlib import Path

import polars as pl
import pytest

from harness.data.packages import Wheel
from harness.data.reading import open_reader
from harness.data.sources import Table
from harness.data.table_file import CsvFormat, table_in
from harness.data.target import labels_of
from harness.record import store
from tests.conftest import TINY


def rows_of(labels, header="a,b,y"):
    """A table of two columns of numbers beside ``labels``."""
    lines = [f"{i * 37 % 41},{i * i % 17},{label}" for i, label in enumerate(labels)]
    return "\n".join([header, *lines]) + "\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the content to a file of a fresh working folder; its name."""
    monkeypatch.chdir(tmp_path)

    def written(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return written


def train(harness, *arguments, code=0):
    """One call of `harness train` on t.csv, and what it answered."""
    given = ("dataset=table", "dataset.path=t.csv", "dataset.target=y", *arguments)
    answer = harness("train", *TINY, *given)
    assert answer.code == code, answer
    return answer


# A. What the user calls positive is never guessed in silence.


@pytest.mark.parametrize(("negative", "positive"), [
    ("0", "1"), ("0.0", "1.0"), ("-1", "1"), ("false", "true"), ("FALSE", "TRUE"), ("f", "t"),
    ("No", "Yes"), ("n", "Y"), ("nein", "ja"), ("Negative", "positive"), ("neg", "pos"),
    ("absent", "present"), ("off", "on"), ("not fraud", "fraud"), ("no_default", "default"),
])  # fmt: skip
def test_labels_with_a_usual_meaning_have_it_however_frequent(write, negative, positive):
    path = write(rows_of([negative] * 2 + [positive] * 4))
    dataset = Table(path=path, target="y").load()
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert dataset.positive_reason.startswith("by convention")


@pytest.mark.parametrize(("labels", "positive", "reason"), [
    (["b", "a", "b"], "a", "the rarer"),
    (["1", "2", "2"], "1", "the rarer"),
    (["b", "a"], "b", "of two as frequent the last in order"),
])  # fmt: skip
def test_other_labels_are_told_by_their_number(write, labels, positive, reason):
    dataset = Table(path=write(rows_of(labels)), target="y").load()
    assert (dataset.positive_label, dataset.positive_reason) == (positive, reason)


def test_a_parquet_table_and_one_in_csv_agree_on_the_positive_label(write):
    values = pl.DataFrame({"a": [1.0, 2, 3], "b": [2.0, 1, 3], "y": ["1.0", "0.0", "1.0"]})
    values.write_parquet("t.parquet")
    assert Table(path="t.parquet", target="y").load().labels.tolist() == [1, 0, 1]


def test_published_data_sets_keep_the_rarer_label():
    content = rows_of(["positive"] * 3 + ["negative"]).encode()
    table = table_in(content, "t.csv", place="t", format=CsvFormat())
    target = open_reader(table, marks=()).column("y")
    asked = {"positive": None, "table": table, "by_convention": Wheel.by_convention}
    assert labels_of(target, **asked).positive == "negative"


def test_the_positive_label_is_said_and_stored(harness, write):
    write(rows_of(["yes", "yes", "no"] * 20))
    said = train(harness).err
    assert "positive: 'yes' of 'y' (by convention, against 'no'), 40 rows (0.667)" in said
    planned = harness("plan", *TINY, "dataset=table", "dataset.path=t.csv", "dataset.target=y")
    assert "positive: 'yes'" in planned.err
    described = harness("data", "describe", "table", "path=t.csv", "target=y").out
    assert "yes (by convention, against 'no')" in described
    (shard,) = Path("runs").glob("*/shards/*")
    row = store.runs(shard.parents[1])[0].to_dicts()[0]
    assert row["positive_label"] == "yes" and "convention" in row["positive_reason"]
    assert row["data_positive_rate"] == pytest.approx(2 / 3)


# K. What `data describe` would warn of, a run says too.


@pytest.mark.parametrize(("header", "values", "said"), [
    ("id,y", lambda i: (i, int(i % 3 == 0)), "'id': numbers the rows"),
    ("id,y", lambda i: (i * 7919 % 100_003, int(i % 3 == 0)), "different whole numbers"),
    ("answer,y", lambda i: (i % 3 == 0, int(i % 3 == 0)), "'answer' alone tells the classes"),
    ("a,y", lambda i: (i % 9, int(i % 3 == 0)), "test rows also stand in training"),
])  # fmt: skip
def test_a_run_says_what_describe_would_warn_of(harness, write, header, values, said):
    lines = [",".join(map(str, values(i))) for i in range(1200)]
    write("\n".join([header, *lines]) + "\n")
    assert said in train(harness).err
    described = harness("data", "describe", "table", "path=t.csv", "target=y").out
    assert said in " ".join(described.split())


def test_numbers_that_are_no_ids_are_not_called_so(write):
    rows = "".join(f"{i / 7},{i % 100},{i % 2}\n" for i in range(3000))
    dataset = Table(path=write(f"a,b,y\n{rows}"), target="y").load()
    assert [column.note for column in dataset.columns] == ["", ""]
