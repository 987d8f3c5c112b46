"""The same content gives the same data, whether a user's file, a package or OpenML brought it."""

import csv
import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data import openml
from harness.data.dataset import Dataset
from harness.data.describe import describe
from harness.data.openml import OpenML
from harness.data.packages import Wheel
from harness.data.table import Table
from harness.errors import UserError
from tests.packages import write_wheel

QUICK = settings(
    max_examples=100,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NAME = st.text("abc xé_", min_size=1, max_size=3).map(str.strip).filter(bool)
CELL = st.one_of(
    st.sampled_from(["", "?", "NA", "<null>", " none", "-", "1", "2.50", " 7 ", "1e3", "true", "b",
                     "B", "red, or blue", "2020-01-01", "12%", "inf", "-0", "007"]),
    st.text("ab \"'é", max_size=3),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
)  # fmt: skip
LABEL = st.sampled_from(["no", "yes", " yes", "none"])


@st.composite
def tables(draw) -> str:
    """A CSV file with a target `y`."""
    names = draw(st.lists(NAME, min_size=1, max_size=4, unique=True))
    rows = draw(st.integers(2, 12))
    kinds = [
        draw(st.sampled_from([CELL, st.integers(-3, 3).map(str), st.sampled_from(["p", "q", ""])]))
        for _ in names
    ]
    body = [[draw(cell) for cell in kinds] + [draw(LABEL)] for _ in range(rows)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[*names, "y"], *body])
    return text.getvalue()


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "cache"))
    return tmp_path


def packaged(content: bytes, file: str, folder: Path, **described) -> Wheel:
    """A source of ``content`` in a wheel that is already fetched."""
    path, sha256 = write_wheel(folder / "elsewhere", {f"tiny_data/{file}": content})
    source = Wheel(
        name="it", package="tiny-data", version="1.0", sha256=sha256, member=f"tiny_data/{file}",
        **described,
    )  # fmt: skip
    source.pinned.path.parent.mkdir(parents=True, exist_ok=True)
    source.pinned.path.write_bytes(path.read_bytes())
    return source


def own(content: bytes, file: str, folder: Path, **described) -> Table:
    path = folder / file
    path.write_bytes(content)
    return Table(name="it", path=str(path), **described)


def outcome(source) -> tuple:
    """All that loading gives but where it is from; or what the one line says, but for the place."""
    try:
        one: Dataset = source.load()
    except UserError as error:
        return (str(error).split(".csv: ")[-1].split(".parquet: ")[-1],)
    return (
        one.fingerprint, one.feature_names, one.positive_label, one.columns, one.notes,
        one.cardinalities, np.array(vars(one.raw).get("std")).tobytes(),
    )  # fmt: skip


@QUICK
@given(content=tables(), encode=st.sampled_from(["one_hot", "embed"]), positive=LABEL)
def test_a_package_and_a_file_of_ones_own(kept, content, encode, positive):
    described = {"target": "y", "encode": encode, "positive": positive.strip()}
    one = outcome(own(content.encode(), "data.csv", kept, **described))
    assert one == outcome(packaged(content.encode(), "data.csv", kept, **described))


@pytest.mark.parametrize(("file", "content", "described"), [
    ("data.csv", b"1,p,0\n2,q,1\n?,p,0\n", {"header": False, "target": "class"}),
    ("data.dat", b"1, p, negative\n2, q, positive\n3, p, negative\n",
     {"header": False, "target": "class", "drop": ("x1",)}),
    ("data.tsv", b"a\ty\n1,5\tx\n2,5\tz\n", {"target": "y", "decimal": ","}),
    ("data.csv", "a,y\né,x\nü,z\n".encode("cp1252"), {"target": "y", "encoding": "cp1252"}),
    ("data.csv", b"a,c,y\n1,3,x\n2,3,z\n", {"target": "y"}),  # a text and a number that never vary
    ("data.csv", b"a,c,y\n1,k,x\n2,k,z\n", {"target": "y"}),
    ("data.csv", b"a,y\n1,x\n-9,z\n3,x\n", {"target": "y", "missing": ("-9",)}),
    ("data.csv", b"a,y\n1,x\n2,z\n3,w\n", {"target": "y", "positive": "z"}),
])  # fmt: skip
def test_however_it_is_described(file, content, described, kept):
    one = outcome(own(content, file, kept, **described))
    assert len(one) > 1, one
    assert one == outcome(packaged(content, file, kept, **described))


@pytest.mark.parametrize("extension", ["parquet", "arrow"])
def test_formats_with_types_of_their_own(extension, kept):
    frame = pl.DataFrame(
        {
            "a": [1.5, None, 3.0],
            "c": ["p", "?", "q"],
            "d": ["1", "2", "1"],
            "y": [True, False, False],
        }
    ).with_columns(pl.col("d").cast(pl.Categorical))
    content = io.BytesIO()
    (frame.write_parquet if extension == "parquet" else frame.write_ipc)(content)
    one = outcome(own(content.getvalue(), f"data.{extension}", kept, target="y"))
    assert one == outcome(packaged(content.getvalue(), f"data.{extension}", kept, target="y"))
    assert one[1] == ("a", "c=p", "c=q", "c=(missing)", "d=2")
    text = b"a,c,d,y\n1.5,p,1,true\n,?,2,false\n3.0,q,1,false\n"
    assert one == outcome(own(text, "data.csv", kept, target="y", categorical=("d",)))


@QUICK
@given(
    numbers=st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=3, max_size=9),
    levels=st.lists(st.sampled_from(["none", "a", "1", "?", "zz"]), min_size=3, max_size=9),
    encode=st.sampled_from(["one_hot", "embed"]),
)
def test_openml_and_a_file_of_ones_own(kept, numbers, levels, encode):
    rows = min(len(numbers), len(levels))
    known = sorted(set(levels))
    table = openml._Table(
        values=np.column_stack(
            [numbers[:rows], [known.index(level) for level in levels[:rows]]]
        ),
        target=np.array(["no", *["yes", "no"] * rows][:rows]),
        names=["number", "level"],
        levels={"level": known},
        target_name="play",
        version=1,
    )  # fmt: skip
    described = OpenML(name="it", id=61, target="default", encode=encode)
    openml._write(table, described._path)
    written = [["number", "level", "play"]]
    written += [
        ["" if np.isnan(number) else repr(number), level, label]
        for number, level, label in zip(numbers, levels, table.target, strict=False)
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(written)
    mine = own(
        text.getvalue().encode(), "data.csv", kept, target="play", encode=encode,
        categorical=("level",), missing=(),
    )  # fmt: skip
    one, other = outcome(described), outcome(mine)
    if len(one) == 1:
        assert one[0].removeprefix("OpenML 61: ") == other[0]
    else:
        assert one == other


def test_one_label_against_all_others_is_said(kept, caplog):
    dataset = own(b"a,y\n1,x\n2,z\n3,w\n", "data.csv", kept, target="y", positive="z").load()
    assert dataset.labels.tolist() == [0, 1, 0]
    assert dataset.notes == ("target 'y': 'z' against 'w', 'x'",)
    assert "'z' against 'w', 'x'" in caplog.text


def test_names_and_labels_have_no_blanks_around_them(kept):
    dataset = own(b" a , y\n1, x\n2, z \n3, x\n", "data.csv", kept, target="y").load()
    assert (dataset.feature_names, dataset.positive_label) == (("a",), "z")


def test_marks_are_the_users_to_choose(kept):
    content = b"a,c,y\n1,none,x\n-9,p,z\n3,none,x\n"
    usual = own(content, "data.csv", kept, target="y").load()
    assert usual.feature_names == ("a", "c=(missing)") and not usual.has_missing
    chosen = own(content, "data.csv", kept, target="y", missing=("-9",)).load()
    assert chosen.feature_names == ("a", "c=p")
    assert np.isnan(chosen.features[:, 0]).tolist() == [False, True, False]


def test_published_counts_can_be_checked_of_any_table(kept):
    with pytest.raises(UserError, match=r"has 2 rows where dataset it says 3: .*rows=null"):
        own(b"a,y\n1,x\n2,z\n", "data.csv", kept, target="y", rows=3).load()


def test_a_text_that_never_varies_is_a_feature_that_never_varies(kept):
    dataset = own(b"a,c,y\n1,k,x\n2,k,z\n3,k,x\n", "data.csv", kept, target="y").load()
    assert dataset.feature_names == ("a", "c=k") and not dataset.features[:, 1].any()
    _, constant = describe(dataset).columns
    assert (constant.levels, constant.auroc) == ((("k", 1.0),), 0.5)
