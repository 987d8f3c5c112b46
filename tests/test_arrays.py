"""Images, token ids and several inputs at once: from arrays to a network, a model, its scores."""

import io
import json
import pickle
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from functools import reduce
from operator import getitem
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from flax import nnx
from rich.console import Console

from harness import plugins
from harness.data.describe import describe
from harness.data.in_memory import Memory, held
from harness.data.library import datasets
from harness.data.table import Table
from harness.errors import UserError
from harness.identity import families
from harness.layout import Layout, Part
from harness.models import OwnInputs
from harness.predict import Model
from harness.predict.description import read
from harness.predict.model import _frame
from harness.sweep import lanes, plan
from harness.sweep.engine import run_sweep
from harness.sweep.progress import Progress
from harness.testing import FAULTS_OF
from tests.runs import config, prepared
from tests.stored import stored_tables
from tests.test_own_kinds import DIGITS

pytestmark = pytest.mark.usefixtures("nothing_stays")

PAGE = Path(plugins.__file__).parents[1] / "docs" / "how-to" / "images-and-text.md"
ROWS = 60
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, size=(ROWS, 3, 2, 2)).astype(np.uint8)
TEXT = RNG.integers(0, 9, size=(ROWS, 5))
TEXT[0, 0] = 11
AGE = RNG.normal(size=ROWS)
PLAN = np.array(["a", "b", "c"])[RNG.integers(0, 3, size=ROWS)]
LABEL = np.arange(ROWS) % 3 == 0
ALL = {"image": IMAGE, "plan": PLAN, "text": TEXT, "age": AGE}


def source(data=None, target=LABEL, **described):
    """Its configuration, and what is to be held."""
    frame, column = held(ALL if data is None else data, target)
    return {"kind": "memory", "contents": frame.contents, "target": column,
            "name": "arrays", **described}, frame  # fmt: skip


def loaded(data=None, target=LABEL, **described):
    values, frame = source(data, target, **described)
    del values["kind"]
    dataset = Memory(**values).load()
    del frame
    return dataset


def test_a_row_holds_its_arrays_and_says_where():
    dataset = loaded(encode="embed")
    image, text = Part("image", (3, 2, 2), 0), Part("text", (5,), 14, vocabulary=12)
    # Codes are last, in the order of the columns.
    assert dataset.cardinalities == Layout((4, *[12] * 5), [image, text])
    assert dataset.features.shape == (ROWS, 12 + 1 + 1 + 5)
    np.testing.assert_array_equal(dataset.features[:, :12].reshape(IMAGE.shape), IMAGE)
    np.testing.assert_array_equal(dataset.features[:, 14:], TEXT)
    assert dataset.feature_names[3] == "image[0,1,1]" and dataset.feature_names[15] == "text[1]"
    assert {c.name: c.kind for c in dataset.columns} == {
        "image": "array", "plan": "code", "text": "tokens", "age": "number",
    }  # fmt: skip
    inputs = OwnInputs(dataset.num_features, dataset.cardinalities)
    assert inputs.shapes == {"image": (3, 2, 2), "text": (5,), "table": (2,)}
    assert inputs.table.cardinalities == (4,) and inputs.vocabularies == {"text": 12}
    rows = jnp.asarray(dataset.features)
    np.testing.assert_array_equal(inputs.array("table", rows), rows[:, [12, 13]])
    described = {column.name: column for column in describe(dataset).columns}
    pixel, word = (described[name] for name in described if "[" in name)
    assert pixel.kind == "array" and dataset.feature_names[word.features.start] == word.name
    assert word.note == "5 token ids a row, of a vocabulary of 12"


def test_a_layout_is_compared_whole():
    one, plain = Layout((3,), [Part("text", (1,), 0, vocabulary=3)]), (3,)
    assert one != plain and plain != one and len({one, plain}) == 2
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != Layout((3,), [Part("words", (1,), 0, vocabulary=3)])


def test_the_same_values_in_another_shape_are_other_data():
    prints = [
        loaded({"image": IMAGE.reshape(shape)}).fingerprint
        for shape in ((ROWS, 3, 2, 2), (ROWS, 2, 3, 2), (ROWS, 3, 4))
    ]
    prints.append(loaded({"image": IMAGE.astype(float)}).fingerprint)
    prints.append(loaded({"picture": IMAGE}).fingerprint)
    assert prints[0] == prints[3] == loaded(IMAGE).fingerprint
    assert len({prints[0], prints[1], prints[2], prints[4]}) == 4
    lists = ([0, 1], [None, 1], [1, 1])
    images = [pl.Series([values] * 2, dtype=pl.Array(pl.Int64, 2)) for values in lists]
    assert len({held({"image": image}, [0, 1])[0].contents for image in images}) == 3


def test_digits_are_images_and_what_they_were():
    dataset = datasets.get(config(dataset=DIGITS).dataset)
    assert dataset.cardinalities.parts == (Part("image", (8, 8, 1), 0),)
    assert not dataset.cardinalities and dataset.fingerprint.startswith("912df027de9e926c")


def test_lists_and_arrays_of_a_file_are_arrays(tmp_path):
    here = loaded()
    frame = pl.DataFrame({
        "image": pl.Series(IMAGE), "plan": PLAN, "text": TEXT.tolist(), "age": AGE,
        "target": LABEL,
    })  # fmt: skip
    frame.write_parquet(tmp_path / "all.parquet")
    frame.write_ipc(tmp_path / "all.arrow")
    np.savez(tmp_path / "all.npz", **ALL, target=LABEL)
    for name in ("all.parquet", "all.arrow", "all.npz"):
        there = Table(path=str(tmp_path / name), target="target").load()
        assert there.fingerprint == here.fingerprint and there.columns == here.columns


def _damaged() -> bytes:
    """An archive whose array says what it is in brackets that do not close."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        one = io.BytesIO()
        np.save(one, AGE)
        archive.writestr("age.npy", one.getvalue().replace(b"}", b"("))
    return content.getvalue()


NO_ARRAYS = {
    "no archive": (b"not a file of NumPy's", "cannot be read"),
    "one array": ({"array": AGE}, "write arrays of numbers and texts by numpy.savez"),
    "objects": ({"age": np.array([{1}, {2}])}, "Object arrays cannot be loaded"),
    "a damaged header": (_damaged(), "cannot be read"),
    "a number": ({"rows": np.array(3)}, "rows has shape (): give one value a row"),
    "other rows": ({"image": IMAGE, "age": AGE[:5]}, "columns of different lengths"),
}


@pytest.mark.parametrize(("arrays", "said"), NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_a_file_that_is_none_of_arrays_is_one_line(arrays, said, tmp_path):
    path = tmp_path / "rows.npz"
    if isinstance(arrays, bytes):
        path.write_bytes(arrays)
    elif "array" in arrays:
        with path.open("wb") as file:
            np.save(file, arrays["array"])
    else:
        np.savez(path, **arrays)
    with pytest.raises(UserError, match=re.escape(said)) as refused:
        Table(path=str(path), target="age").load()
    assert "\n" not in str(refused.value) and "rows.npz" in str(refused.value)


def changed(array, place, value):
    array = array.astype(type(value))
    array[place] = value
    return array


MISTAKES = {
    "ragged texts": ({"text": [[1, 2], [3]]}, "text: its rows are of different lengths"),
    "ragged lists": (
        {"text": pl.Series([[1, 2], [3]])},
        "column 'text', row 2: 1 values, and 2 in row 1: give rows of one length",
    ),
    "no list": ({"text": pl.Series([[1, 2], None])}, "column 'text', row 2: 0 values, and 2"),
    "below 0": ({"text": changed(TEXT, (3, 1), -1)}, "column 'text' holds id -1: token ids are"),
    "beyond float32": (
        {"text": changed(TEXT, (3, 1), 2**24)},
        "holds id 16777216: token ids are whole numbers from 0 to 16,777,215",
    ),
    "NaN": (
        {"image": changed(IMAGE, (4, 0, 0, 0), float("nan"))},
        "column 'image', row 5: a value is missing, infinite or beyond",
    ),
    "too large": ({"image": changed(AGE.reshape(-1, 2), (2, 1), 1e300)}, "column 'image', row 3"),
    "nulls": ({"image": pl.Series([[1.0, 2.0], [1.0, None]])}, "column 'image', row 2: a value is"),
    "words": ({"text": [["a", "b"], ["c", "d"]]}, "text has shape (2, 2) of <U1: arrays hold num"),
    "lists of words": (
        {"text": pl.Series([["a"], ["b"]])},
        "List(String): an array holds several numbers a row",
    ),
    "its name": ({"table": IMAGE}, "column 'table' holds arrays: rename it"),
    "one column twice": ({"x1": AGE, "table": TEXT}, "data: two columns of one name"),
    "other rows": ({"image": IMAGE, "age": AGE[:5]}, "columns of different lengths"),
}


@pytest.mark.parametrize(("data", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(data, said):
    rows = len(next(iter(data.values())))
    with pytest.raises(UserError, match=re.escape(said)) as refused:
        loaded(data, np.arange(rows) % 2)
    assert "\n" not in str(refused.value)


def test_ids_are_exact_as_far_as_float32_is():
    dataset = loaded({"text": changed(TEXT, (3, 1), 2**24 - 1)})
    assert dataset.features[3, 1] == 16_777_215 and dataset.cardinalities[0] == 2**24


def test_arrays_come_in_many_containers(tmp_path):
    np.savez(tmp_path / "all.npz", **ALL, label=LABEL)
    cells = np.empty(ROWS, object)
    cells[:] = list(TEXT)
    same = [
        (np.load(tmp_path / "all.npz"), "label"),
        ({**ALL, "text": TEXT.tolist()}, LABEL),
        ({**ALL, "text": cells}, LABEL),
        ({"image": IMAGE, "table": pl.DataFrame({"plan": PLAN, "age": AGE}), "text": TEXT}, LABEL),
    ]
    assert {loaded(data, target).fingerprint for data, target in same} == {loaded().fingerprint}
    assert (
        loaded({"table": AGE.reshape(-1, 2)[:30], "text": TEXT[:30]}, LABEL[:30]).num_features == 7
    )


def test_labels_are_no_arrays():
    with pytest.raises(UserError, match=r"target has shape \(60, 5\): give one value a row"):
        held({"image": IMAGE}, TEXT)


class Both(nnx.Module):
    def __init__(self, inputs, *, units: int = 4, rngs):
        self.ids = nnx.Embed(inputs.vocabularies["text"], units, rngs=rngs)
        self.dense = nnx.Linear(units + 12 + inputs.table.num_features, units, rngs=rngs)

    def __call__(self, table, image, text):
        assert text.dtype == jnp.int32 and image.shape[1:] == (3, 2, 2)
        parts = [table, image.reshape(len(image), -1), self.ids(text).mean(1)]
        return nnx.relu(self.dense(jnp.concatenate(parts, axis=1)))


class Unknown(Both):
    def __call__(self, table, picture):
        return table


class Features(nnx.Module):
    def __init__(self, inputs, *, rngs):
        self.dense = nnx.Linear(inputs.num_features, 2, rngs=rngs)

    def __call__(self, x):
        return self.dense(x)


def test_a_network_is_called_with_what_its_parameters_are_named_after():
    for made in (Both, Unknown, Features):
        plugins.model(made)
    data, frame = source()
    small, large = (
        prepared(config(dataset=data, model={"name": "Both", "units": units})).program
        for units in (4, 4096)
    )
    named = families.covered(families.family_of(config(dataset=data, model={"name": "Both"})))
    assert {"harness.models.own.OwnInputs", "harness.layout.places_of"} <= named
    assert lanes.lanes_per_device(small) == 8 and lanes.lanes_per_device(large) == 1
    assert prepared(config(dataset=data, model={"name": "Features"}))
    wanted = "takes 'picture', and a row has image 3 x 2 x 2, text 5, table 4: name its"
    with pytest.raises(UserError, match=wanted):
        prepared(config(dataset=data, model={"name": "Unknown"}))
    plain, other = source({"age": AGE})
    with pytest.raises(UserError, match="takes 'image', and a row has 1 features"):
        prepared(config(dataset=plain, model={"name": "Both"}))
    del frame, other


def test_a_sampler_that_measures_distances_is_refused():
    data, frame = source()
    for name in ("smote", "adasyn", "smote_enn", "tomek_links", "near_miss"):
        one = config(dataset=data, sampler={"name": name})
        with pytest.raises(UserError, match=rf"sampler={name} goes by distances.*\(image, text\)"):
            plan.resolved([one])
    plan.resolved([config(dataset=data, sampler={"name": "random_over"})])
    plan.resolved([config(dataset=DIGITS, sampler={"name": "smote"})])
    del frame


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The sweep folder of a network of three inputs, and its model's."""
    root = tmp_path_factory.mktemp("arrays")
    before = dict(plugins._PLUGGED["model"])
    plugins.model(Both)
    data, frame = source()
    few = {"num_epochs": 1, "steps_per_epoch": 2, "batch_size": 8, "save_model": True}
    one = replace(config(dataset=data, model={"name": "Both"}, training=few), root=str(root))
    (done,) = run_sweep([one], progress=Progress(Console(quiet=True)))
    assert done.error is None, done.error
    del frame
    plugins._PLUGGED["model"] = before
    return root / one.name, root / one.name / "models" / done.run_id


def test_a_saved_model_predicts_from_arrays(trained, tmp_path, harness):
    plugins.model(Both)
    folder, kept = trained
    model = Model.load(kept)
    assert model.columns == ("image", "plan", "age", "text")
    found = model.predict_proba(ALL)
    stored = stored_tables(folder)["predictions"].filter(split="test")
    (there,) = stored.iter_rows(named=True)
    logits = np.array(there["logits"], np.float32)
    assert model.logits(ALL)[there["rows"]].tobytes() == logits.tobytes()
    assert found.shape == (ROWS, 2) and np.ptp(found[:, 1]) > 0
    new = {name: values[:4] for name, values in ALL.items()}
    assert model.predict_proba(new).tobytes() == found[:4].tobytes()
    assert _frame(IMAGE, model.description.columns[:1])["image"].dtype.shape == (3, 2, 2)
    with pytest.raises(
        UserError, match="row 1: column 'image': a value is missing, infinite or be"
    ):
        model.predict_proba({**new, "image": changed(IMAGE[:4], (1, 0, 0, 0), float("nan"))})
    new["text"] = changed(TEXT[:4], (2, 1), 12)
    with pytest.raises(UserError, match="row 2: column 'text': 12 is no id of training: ids are 0"):
        model.predict_proba(new)
    for name, wrong, said in (
        ("image", IMAGE[:4, :2], "column 'image' holds arrays of 2 x 2 x 2: give 3 x 2 x 2, as tr"),
        ("text", TEXT[:4] * 1.0, "give token ids, which are whole numbers"),
        ("image", ["a"] * 4, "column 'image' is String, and the model takes arrays of 3 x 2 x 2"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            model.predict_proba({**new, name: wrong})


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (("parts", 0, "start"), 40, "its arrays are none of its features"),
        (("parts", 1, "start"), 3, "its arrays are none of its features"),
        (("parts", 1, "name"), "table", "its arrays are none of its features"),
        (("parts", 1, "shape"), [-5], "its arrays are none of its features"),
        (("columns", 0, "shape"), [3, 2], "its columns do not give its"),
        (("columns", 3, "vocabulary"), 2**40, "column 'text' is described in parts that do not"),
        (("columns", 3, "shape"), [], "column 'text' is described in parts that do not fit"),
        (("columns", 2, "shape"), [1], "column 'age' is described in parts that do not fit"),
        (("columns", 0, "kind"), "number", "column 'image' is described in parts that do not fit"),
    ],
)
def test_what_a_folder_says_of_arrays_is_not_believed(trained, at, value, said, tmp_path):
    plugins.model(Both)
    _, kept = trained
    described = json.loads((kept / "model.json").read_text())
    *path, last = at
    reduce(getitem, path, described)[last] = value
    with pytest.raises(UserError, match=re.escape(said)):
        read(json.dumps(described).encode(), place="model")


def test_a_file_of_arrays_is_scored(trained, harness):
    plugins.model(Both)
    _, kept = trained
    frame = held(ALL, LABEL)[0].table
    frame.write_parquet("new.parquet")
    said = harness("predict", str(kept), "new.parquet", "--output", "scores.csv")
    assert said.code == 0, said
    assert pl.read_csv("scores.csv").height == ROWS
    frame.with_columns(image=pl.lit("0 1"), text=pl.lit("3 4")).write_csv("new.csv")
    said = harness("predict", str(kept), "new.csv")
    assert said.code == 2 and len(said.err.splitlines()) == 1
    assert "which no CSV file holds: give Parquet, Arrow, or arrays in Python" in said.err


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The blocks of the page, the first of which is `my_networks.py`."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    (tmp_path / "my_networks.py").write_text(blocks[0])
    return blocks


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Transformer", "ImageBesideTable"])
def test_the_networks_of_the_page_have_no_fault(name, page, harness):
    said = harness("check", "model", f"my_networks.py:{name}")
    assert said.code == 0, said


class Leaky(nnx.Module):
    def __init__(self, inputs, *, rngs):
        self.ids = nnx.Embed(inputs.vocabularies["text"] - 1, 4, rngs=rngs)

    def __call__(self, text):
        return self.ids(text).mean(1)


class Narrow(nnx.Module):
    def __init__(self, inputs, *, rngs):
        self.dense = nnx.Linear(5, 4, rngs=rngs)

    def __call__(self, image, text):
        return self.dense(text)


FAULTS = {
    "too few ids": (Leaky, "not finite on ordinary rows"),
    "fits none": (Narrow, "nor does it take any of 35 other kinds of rows"),
}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param(*FAULTS["too few ids"], marks=pytest.mark.slow, id="too few ids"),
        pytest.param(*FAULTS["fits none"], id="fits none"),
    ],
)
def test_a_fault_is_found_with_arrays(given, told):
    assert any(told in fault for fault in FAULTS_OF["model"](given))


@pytest.mark.slow
def test_networks_of_the_page_learn_what_no_part_of_a_row_tells(page):
    shown = "print(runs.table()['test/auroc'].to_list())\n"
    script = "".join(block + shown for block in page[1:])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    texts, stripes = map(json.loads, done.stdout.splitlines())
    assert min(texts) > 0.9 and min(stripes) > 0.9
