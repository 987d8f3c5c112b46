"""Arrays and data frames become data sets by the road of a table file, named by their contents."""

import io

import numpy as np
import polars as pl
import pytest

from harness.data.in_memory import Memory, held
from harness.data.pairs import unpaired
from harness.data.table import Table
from harness.errors import UserError
from harness.interface.sweeps import with_data
from harness.sweep import plan
from tests.runs import config

COLUMNS = {
    "age": [31.5, None, 48.0, 22.0, 67.0, 54.0] * 4,
    "plan": ["a", "b", None, "a", "?", "b"] * 4,
    "since": ["2024-01-31", "2023-12-01", "2020-02-29", None, "2021-05-05", "2022-02-02"] * 4,
    "member": [True, False, True, True, False, False] * 4,
    "nothing": [None] * 24,
    "left": ["no", "no", "yes", "no", "no", "yes"] * 4,
}


def memory(data, target, **described):
    """The data set, and what keeps its frame alive."""
    frame, name = held(data, target)
    return Memory(name="data", contents=frame.contents, target=name, **described).load(), frame


def loaded(data, target="left", **described):
    return memory(data, target, **described)[0]


def test_a_frame_is_read_as_its_file_is(tmp_path):
    frame = pl.DataFrame(COLUMNS)
    frame.write_csv(tmp_path / "data.csv")
    frame.write_parquet(tmp_path / "data.parquet")
    here = loaded(frame)
    for name in ("data.csv", "data.parquet"):
        there = Table(path=str(tmp_path / name), target="left").load()
        assert there.fingerprint == here.fingerprint
        assert there.columns == here.columns
        assert (there.positive_label, there.positive_reason) == ("yes", here.positive_reason)
    assert {column.name: column.kind for column in here.columns} == {
        "age": "number", "plan": "category", "since": "date", "member": "boolean",
        "nothing": "dropped",
    }  # fmt: skip


def test_numbers_and_a_column_of_categories_of_the_same_values_are_other_data():
    """SMOTE gives a row one level of a category, and what lies between of a number."""
    frame = pl.DataFrame(COLUMNS).select("member", "left", size=range(24))
    numbers = frame.with_columns(pl.col("member").cast(pl.Int64))
    one, other = loaded(frame), loaded(numbers)
    assert np.array_equal(one.features, other.features)
    assert one.fingerprint != other.fingerprint


def test_all_kinds_of_frames_are_one():
    frame = pl.DataFrame(COLUMNS).drop("nothing")
    features, labels = frame.drop("left"), frame["left"]
    same = [
        (frame.lazy(), "left"),
        ({name: COLUMNS[name] for name in frame.columns}, "left"),
        ({name: np.array(COLUMNS[name], object) for name in frame.columns}, "left"),
        (features, labels),
        (features, labels.to_list()),
        (features, np.array(labels.to_list())),
    ]
    prints = {loaded(data, target).fingerprint for data, target in same}
    assert prints == {loaded(frame).fingerprint}


@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_frames_of_other_libraries(library):
    module = pytest.importorskip(library)
    make = module.DataFrame if library == "pandas" else module.table
    assert loaded(make(COLUMNS)).fingerprint == loaded(pl.DataFrame(COLUMNS)).fingerprint


def test_an_array_has_columns_by_number():
    values = np.random.default_rng(0).normal(size=(20, 3))
    values[2, 1] = np.nan
    dataset = loaded(values, np.arange(20) % 2 == 1)
    assert dataset.feature_names == ("x1", "x2", "x3") and dataset.has_missing
    assert dataset.labels.tolist() == [0, 1] * 10 and dataset.positive_label == "true"


def test_contents_are_values_and_not_how_they_lie():
    frame = pl.DataFrame(COLUMNS)
    rechunked = pl.concat([frame.head(5), frame.slice(5)], rechunk=False)
    copied = pl.read_ipc(io.BytesIO(frame.write_ipc(None).getvalue()))
    one = held(frame, "left")[0]
    assert all(held(other, "left")[0] is one for other in (rechunked, copied))
    for other in (
        frame.reverse(),
        frame.rename({"age": "years"}),
        frame.with_columns(pl.col("age").fill_null(0.0)),
        frame.with_columns(pl.col("plan").fill_null("")),
        frame.with_columns(pl.col("age").cast(pl.Float32)),
    ):
        assert held(other, "left")[0].contents != one.contents


def test_what_is_gone_is_said_in_one_line():
    dataset, frame = memory(pl.DataFrame(COLUMNS).reverse(), "left")
    source = Memory(name="churn", contents=frame.contents, target="left")
    assert source.load().fingerprint == dataset.fingerprint
    del frame
    with pytest.raises(UserError, match=r"'churn' lived in the memory of a Python session: give"):
        source.load()


@pytest.mark.parametrize(
    ("data", "target", "said"),
    [
        ([[1, 2]], "y", "data: a list: give a data frame"),
        (np.zeros(3), "y", "shape .3,.: give .rows, columns."),
        (np.zeros((3, 2)), [0, 1], "2 labels and data 3 rows"),
        ({"a": [1, 2], "b": [1]}, "b", "columns of different lengths"),
        ({"a": [[1], [2]], "y": [0, 1]}, "y", "a has shape"),
        ({"target": [1.0, 2.0]}, [0, 1], "drop it, or name it"),
        ({"age": [1.0, 2.0], "y": [0, 1]}, "agee", "no column 'agee'"),
        ({"age": [1.0, 2.0], "y": [0, 0]}, "y", "a binary target needs exactly two"),
    ],
)
def test_mistakes_are_one_line(data, target, said):
    with pytest.raises(UserError, match=said):
        loaded(data, target)


def test_a_sweep_says_what_it_does_with_a_frame(capsys):
    frame, _ = held(COLUMNS, "left")
    source = {"kind": "memory", "name": "churn", "contents": frame.contents, "target": "left"}
    plan.resolved([config(dataset=source)])
    assert "churn: 24 rows, 4 columns" in capsys.readouterr().err


class Torch:
    """What a map-style data set of PyTorch has."""

    def __init__(self, rows, labels):
        self.rows, self.labels = rows, labels

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, at):
        return self.rows[at], self.labels[at]


class Tf:
    """What a data set of tf.data has."""

    def __init__(self, items, cardinality=-2):
        self.items, self.number = items, cardinality

    def cardinality(self):
        return np.int64(self.number)

    def as_numpy_iterator(self):
        return iter(self.items)


def test_pairs_of_other_libraries_are_arrays():
    random = np.random.default_rng(0)
    rows, labels = random.normal(size=(40, 3)).astype("f4"), np.arange(40) % 2
    batches = [(rows[at : at + 16], labels[at : at + 16]) for at in (0, 16, 32)]
    for data in (Torch(rows, labels), Tf(list(zip(rows, labels, strict=True))), Tf(batches)):
        asked, frame = with_data([], data, None, None, {})
        wanted, other = with_data([], rows, labels, None, {})
        assert asked == wanted and frame is other
    assert unpaired(pl.DataFrame({"a": [1]})) is unpaired(rows) is unpaired({"a": rows}) is None
    for bad, said in (
        (Tf([], 0), "data is empty"),
        (Tf([], -1), "repeats without end"),
        (Tf([(rows[0], 1, 2.0)]), "gives a tuple, and is to give pairs"),
        (Torch([rows[0], rows[1, :2]], [0, 1]), "rows of several shapes"),
    ):
        with pytest.raises(UserError, match=said):
            unpaired(bad)
    with pytest.raises(UserError, match="leave target out"):
        with_data([], Torch(rows, labels), "y", None, {})
