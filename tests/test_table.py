"""The user's table: what loads, and one clear line for each way it can be wrong."""

import time

import numpy as np
import polars as pl
import pytest
from sklearn.preprocessing import OneHotEncoder

from harness.data.sources import Table
from harness.data.standardise import standardised
from harness.errors import UserError
from harness.sweep import lanes
from tests.runs import config, prepared

GOOD = "a,b,y\n1,2.5,0\n2,3.5,1\n3,1.5,0\n"


@pytest.fixture
def load(tmp_path):
    """Write the content, load it with target y."""

    def write_and_load(content, name="data.csv", **config):
        path = tmp_path / name
        if isinstance(content, pl.DataFrame):
            content.write_parquet(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return Table(path=str(path), **({"target": "y"} | config)).load()

    return write_and_load


def refusal(load, *args, **config):
    with pytest.raises(UserError) as caught:
        load(*args, **config)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


def test_csv_loads_numbers_and_booleans(load):
    dataset = load("a,flag,y\n1,true,0\n2,false,1\n4,true,0\n")
    assert dataset.feature_names == ("a", "flag")
    np.testing.assert_array_equal(dataset.labels, [0, 1, 0])
    raw = dataset.features * dataset.raw.std + dataset.raw.mean
    np.testing.assert_allclose(raw, [[1, 1], [2, 0], [4, 1]], rtol=1e-6, atol=1e-6)
    assert (dataset.positive_label, dataset.source) == ("1", "data.csv")


@pytest.mark.parametrize(("content", "name", "config"), [
    (GOOD.replace(",", "\t"), "data.tsv", {}),
    (GOOD.replace(",", ";"), "data.csv", {"delimiter": ";"}),
    (GOOD.replace("\n", "\r\n"), "data.csv", {}),
    (GOOD.encode("utf-8-sig"), "data.csv", {}),
    (GOOD + "\n\n", "data.csv", {}),
    (GOOD.rstrip(), "data.CSV", {}),
    (GOOD.replace(",2.5", ", 2.5"), "data.csv", {}),
    (GOOD, "data[1]*.csv", {}),
    (pl.DataFrame({"a": [1, 2, 3], "b": [2.5, 3.5, 1.5], "y": ["n", "p", "n"]}), "d.parquet", {}),
    (pl.DataFrame({"a": [1, 2, 3], "b": [2.5, 3.5, 1.5], "y": [False, True, False]}),
     "[d].parquet", {"positive": "true"}),
])  # fmt: skip
def test_the_same_table_in_other_clothes(load, content, name, config):
    assert load(content, name, **config).fingerprint == load(GOOD, "good.csv").fingerprint


@pytest.mark.parametrize(("values", "positive", "expected"), [
    ("0110", None, "1"),  # a tie: the larger
    ("0001", None, "1"),
    ("1110", None, "1"),  # by convention, however frequent
    ("2221", None, "1"),  # the rarer
    ("1110", "1", "1"),
    (["b", "a", "b", "b"], None, "a"),
    (["1.0", "0.0", "1.0", "1.0"], "1", "1"),
    (["True", "False", "True", "True"], "true", "true"),
])  # fmt: skip
def test_positive_label(load, values, positive, expected):
    rows = "".join(f"{index},{value}\n" for index, value in enumerate(values))
    dataset = load("a,y\n" + rows, positive=positive)
    assert dataset.positive_label == expected
    shown = [value.lower().removesuffix(".0") == expected for value in values]
    np.testing.assert_array_equal(dataset.labels, shown)


def bad(number, old, new):
    """Ten good rows with one line (counted as an editor does) changed."""
    lines = ["a,b,y", *(f"{i},{i / 2},{i % 2}" for i in range(10))]
    lines[number - 1] = lines[number - 1].replace(old, new)
    return "\n".join(lines) + "\n"


LATE = "a,b,y\n" + "1,2,0\n" * 15_000 + "x7,2,1\n" + "3,2,1\n"
MULTILINE = 'a,note,y\n1,"two\nlines",0\n2,3,1\n'

BAD_CSV = {
    "empty": ("", ["empty"]),
    "blank": ("\n\n", ["blank lines"]),
    "no rows": ("a,b,y\n", ["no rows"]),
    "no target": ("a,b,yy\n1,2,0\n", ["no column 'y'", "'yy'", "dataset.target"]),
    "delimiter": (GOOD.replace(",", ":"), ["no column 'y'", "dataset.delimiter"]),
    "three classes": (bad(3, ",1", ",2"), ["'y' has 3 values", "'0'", "'2'"]),
    "one class": ("a,y\n1,0\n2,0\n", ["'y' has 1 value ('0')"]),
    "constant": ("a,b,y\n1,2,0\n1,2,1\n", ["all 2 features are constant"]),
    "no features": ("y\n0\n1\n", ["no features", "'y'"]),
    "text in numbers": (bad(4, "2,1.0", "2,oops"), ["'b'", "line 4", "'oops'", "1 of 10"]),
    "late text": (LATE, ["'a'", "line 15002", "'x7'"]),
    "infinite": (bad(7, "5,2.5", "5,-inf"), ["'b' has 1 infinite value", "line 7"]),
    "overflow": (bad(7, "5,2.5", "5,1e999"), ["'b' has 1 infinite value", "line 7"]),
    "null target": ("a,y\n1,0\n2,\n3,1\n", ["'y' has 1 missing value", "line 3"]),
    "duplicate names": ("a,b,a,y\n1,2,3,0\n4,5,6,1\n", ["'a'", "twice", "columns 1 and 3"]),
    "duplicate after a mark": ("a,a,y\n1,2,0\n".encode("utf-8-sig"), ["'a'", "twice"]),
    "latin-1 name": ("a,\xe9,y\n1,2,0\n".encode("latin-1"), ["line 1", "0xe9", "UTF-8"]),
    "latin-1 value": ("a,c,y\n1,2,0\n1,\xe9,1\n".encode("latin-1"), ["line 3", "0xe9", "UTF-8"]),
    "utf-16": (GOOD.encode("utf-16"), ["line 1", "UTF-8"]),
    "binary": (b"PK\x03\x04\x00\x00,\x01\n\x00\x00", ["line 1", "not text"]),
    "long line": (bad(8, "6,3.0", "6,3.0,9"), ["line 8 has 4 fields", "header has 3"]),
    "short line": (bad(8, "6,3.0,0", "6,3.0"), ["line 8 has 2 fields", "header has 3"]),
    "blank line": (bad(8, "6,3.0,0", ""), ["line 8 is blank"]),
    "open quote": (bad(9, "7,", '"7,'), ["line 9 has 1 field,"]),
    "line after a quoted break": (MULTILINE + "3,,\n", ["'y'", "line 5"]),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv_is_one_line(load, case):
    content, expected = BAD_CSV[case]
    message = refusal(load, content)
    for part in ("data.csv", *expected):
        assert part in message, message


def test_lines_are_counted_past_quoted_breaks_and_leading_blanks(load):
    content = '\n\nkind,a,y\n"1",2,"no\nno"\n3,inf,yes\n'
    message = refusal(load, content)
    assert "'a' has 1 infinite value, the first at line 6" in message


@pytest.mark.parametrize(("column", "expected"), [
    ([1.0, 2.0, float("inf")], "'c' has 1 infinite value, the first at row 3"),
    ([[1], [2], [3]], "'c' is List(Int64): an array holds several numbers"),
    ([["1", "2"]] * 3, "'c' is List(String): an array holds several numbers"),
    ([{"k": 1}, {"k": 2}, {"k": 3}], "'c' is Struct"),
    ([b"1", b"2", b"3"], "'c' is Binary"),
    (["1", "2", "p"], "'c', row 3: 'p' is not a number"),
])  # fmt: skip
def test_bad_parquet_columns(load, column, expected):
    frame = pl.DataFrame({"a": [1, 2, 3], "c": column, "y": [0, 1, 0]})
    assert expected in refusal(load, frame, "data.parquet")


def test_an_enum_target_sorts_as_text(load):
    target = pl.Series(["b", "a"], dtype=pl.Enum(["b", "a"]))
    assert load(pl.DataFrame({"a": [1, 2], "y": target}), "data.parquet").positive_label == "b"


def test_damaged_parquet(load, tmp_path):
    frame = pl.DataFrame({"a": range(1000), "y": [0, 1] * 500})
    load(frame, "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:3], GOOD.encode()):
        message = refusal(load, content, "half.parquet")
        assert "half.parquet" in message and "not a complete Parquet file" in message


def test_bad_paths(load, tmp_path):
    cases = {
        tmp_path / "absent.csv": "no such file",
        tmp_path: "is a directory",
        tmp_path / "data.xlsx": "extension '.xlsx' is not one of .csv, .dat, .tsv, .parquet",
    }
    for path, expected in cases.items():
        with pytest.raises(UserError, match=expected) as caught:
            Table(path=str(path), target="y").load()
        assert str(path) in str(caught.value)


def test_bad_settings(load):
    message = refusal(load, GOOD, positive="2")
    assert "'2'" in message and "'0', '1'" in message and "dataset.positive" in message
    assert "dataset.delimiter" in refusal(load, GOOD, delimiter="||")
    wide = "age,income,outcome\n1,2,0\n2,3,1\n"
    assert "did you mean 'outcome'?" in refusal(load, wide, target="outcomes")


def test_a_changed_file_is_read_again(load):
    first = load(GOOD)
    assert load(GOOD + "9,9.5,1\n").num_rows == first.num_rows + 1


def test_large_csv_is_fast(load):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(rng.standard_normal((100_000, 20)).round(4))
    content = frame.with_columns(y=pl.Series(rng.integers(0, 2, 100_000))).write_csv()
    start = time.perf_counter()
    assert load(content).num_rows == 100_000
    # 0.3 s on two cores; Python's own csv module needs 4 s and more.
    assert time.perf_counter() - start < 3


MIXED = "colour,when,n,who,y\n" + "".join(
    f"{'' if row % 9 == 4 else 'rgb'[row % 3]},2024-01-{row % 28 + 1:02},"
    f"{'' if row % 5 == 3 else row},p{row % 7},{row % 2}\n"
    for row in range(60)
)


def test_codes_groups_and_times(load):
    dataset = load(MIXED, encode="embed", group="who", time="when", indicator=True)
    assert dataset.feature_names == ("n", "n is missing", "colour")
    assert dataset.cardinalities == (4,)
    expected = [0 if row % 9 == 4 else 1 + "bgr".index("rgb"[row % 3]) for row in range(60)]
    np.testing.assert_array_equal(dataset.features[:, 2], expected)
    np.testing.assert_array_equal(dataset.groups, [row % 7 for row in range(60)])
    np.testing.assert_array_equal(dataset.times, [19723 + row % 28 for row in range(60)])
    np.testing.assert_array_equal(dataset.features[:, 1] > 0, np.isnan(dataset.features[:, 0]))


def test_one_hot_is_scikit_learns(load):
    dataset = load(MIXED, drop=("who", "when"))
    text = pl.read_csv(MIXED.encode())["colour"].fill_null("(missing)").to_numpy()[:, None]
    expected = OneHotEncoder(sparse_output=False).fit_transform(text.astype(object))
    raw = dataset.features[:, :4] * dataset.raw.std[:4] + dataset.raw.mean[:4]
    names = [name.removeprefix("colour=") for name in dataset.feature_names[:4]]
    order = [sorted(names).index(name) for name in names]
    np.testing.assert_allclose(raw, expected[:, order], atol=1e-6)
    _, summary = standardised(expected[:, order])
    np.testing.assert_allclose(dataset.raw.std[:4], summary.std, rtol=1e-12)


def test_columns_read_in_pieces_are_the_same(load, monkeypatch):
    whole = load(MIXED)
    monkeypatch.setattr("harness.data.reading._READ_BYTES", 1)
    assert load(MIXED, "again.csv").fingerprint == whole.fingerprint


@pytest.mark.slow
@pytest.mark.parametrize("model", ["logistic", "mlp"])
def test_a_table_with_holes_trains(load, tmp_path, model):
    load(MIXED)
    table = {"kind": "table", "path": str(tmp_path / "data.csv"), "target": "y", "drop": ["who"]}
    one = config(dataset=table, model={"name": model})
    dataset = one.dataset.load()
    ready = prepared(one, dataset)
    outcome = lanes.train_alone(ready.run, dataset)
    assert ready.program.has_missing and int(outcome.diverged_step) == 0
    assert np.isfinite(np.asarray(outcome.test_logits)).all()
