"""Data sources of the user's own: configured, listed, shared and trained on as ours are."""

import importlib
import sys
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from harness import plugins
from harness.data.library import datasets
from harness.data.table import TableDescription
from harness.errors import UserError
from harness.identity import run_id
from harness.overrides import jobs
from tests.conftest import TINY
from tests.runs import config, prepared
from tests.stored import stored_tables

pytestmark = pytest.mark.usefixtures("nothing_stays")

SOURCES = '''
import numpy as np
import polars as pl

from harness.plugins import source


def noise(rng, rows):
    return rng.normal(size=rows)


@source(target="ill", group="ward", drop=["id"], generated=True, licence="CC0", application="care")
def clinic(rows=200, effect=1.5, region="north", seed=0):
    """Patients of wards."""
    rng = np.random.default_rng(seed)
    dose = rng.normal(size=rows) + (region == "south")
    ill = effect * dose + noise(rng, rows) > 0
    return pl.DataFrame({
        "id": np.arange(rows), "dose": dose, "sex": rng.choice(["f", "m"], rows),
        "ward": np.arange(rows) // 10, "ill": np.where(ill, "yes", "no"),
    })


def arrays(rows=60):
    X = np.random.default_rng(0).normal(size=(rows, 3))
    return X, pl.Series("above", (X[:, 0] > 0).astype(int))


def twins(rows=30):
    X, above = arrays(rows)
    return np.concatenate([X, X]), pl.concat([above, above])
'''
HOSTILE = "raise SystemExit('imported')"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(SOURCES)
    return tmp_path / "mine.py"


def of(**keys) -> dict:
    return {"kind": "clinic", **keys}


def test_it_is_a_table_with_settings_of_its_own(mine):
    plugins.load("mine.py")
    source = config(dataset=of(rows=120, region="south")).dataset
    dataset = datasets.get(source)
    assert (source.name, dataset.num_rows, dataset.positive_label) == ("clinic", 120, "yes")
    assert dataset.feature_names[0] == "dose" and "id" not in dataset.feature_names
    assert len(np.unique(dataset.groups)) == 12 and dataset.licence == "CC0"
    assert isinstance(source, TableDescription) and source.generated
    embedded = datasets.get(config(dataset=of(encode="embed", group=None)).dataset)
    assert embedded.cardinalities and embedded.groups is None
    # One owner: equal settings are one data set.
    assert datasets.get(config(dataset=of(rows=120, region="south")).dataset) is dataset
    assert datasets.get(config(dataset=of(rows=120)).dataset) is not dataset
    one = prepared(config(dataset=of(), split={"name": "group"}))
    groups = [set(one.dataset.groups[rows]) for rows in (one.data.split.train, one.data.split.test)]
    assert not groups[0] & groups[1]


def test_arrays_are_taken_and_need_no_decorator(mine):
    chosen = plugins.load("dataset=mine.py:arrays").chosen
    dataset = datasets.get(config(dataset={"kind": chosen, "rows": 50}).dataset)
    assert (dataset.num_rows, dataset.feature_names) == (50, ("x1", "x2", "x3"))
    # A count that a function takes is what it means by it; others are checked.
    chosen = plugins.load("dataset=mine.py:twins").chosen
    assert datasets.get(config(dataset={"kind": chosen, "rows": 50}).dataset).num_rows == 100
    with pytest.raises(UserError, match="has 3 features where dataset twins says 4"):
        datasets.get(config(dataset={"kind": chosen, "features": 4}).dataset)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"rows": "many"}, "dataset.rows: should be a valid integer"),
        ({"regoin": "north"}, "dataset.regoin: no such key"),
        ({"target": "il"}, "no column 'il'"),
        ({"kind": "clinics"}, "'clinics' is none of"),
        ({"rows": -1}, r"dataset=clinic fails \(ValueError: negative dimensions.*\): change its"),
        ({"rows": 1}, "clinic: target 'ill' has 1 value"),
    ],
    ids=["type", "key", "target", "kind", "fails", "one row"],
)
def test_a_mistake_in_one_is_one_line(keys, told, mine):
    plugins.load("mine.py")
    with pytest.raises(UserError, match=told) as refused:
        datasets.get(config(dataset=of(**keys)).dataset)
    assert "\n" not in str(refused.value)


HEAD = "from harness.plugins import source\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("@source\ndef f(rows): pass", "rows has no default: write def f(number=default)"),
        ("@source(targt='y')\ndef f(): pass", "@source(targt=...) is none of"),
        ("@source(seed=1)\ndef f(seed=0): pass", "@source(seed=...) is none of"),
        ("@source\ndef f(encode='x'): pass", "encode is a key of all such choices"),
        ("@source\ndef f(load=1): pass", "load is a key of all such choices"),
        ("@source\nclass f: pass", "give a function that returns a table"),
        ("@source\ndef pima(): pass", "dataset=pima is one of ours"),
        ("@source\ndef table(): pass", "dataset=table is one of ours"),
        ("@source\ndef f(): return 3", "dataset=f returned no table: data: a int: give"),
        ("@source\ndef f(): raise SystemExit(3)", "dataset=f fails (SystemExit: 3): change"),
        ("@source\ndef f(): raise KeyError", "dataset=f fails (KeyError): change"),
        (
            "@source\ndef f(): return {'a': [1, 2]}, [1, 0, 1]",
            "dataset=f returned no table: target",
        ),
    ],
)
def test_what_is_no_source_is_one_line(text, told, tmp_path):
    (tmp_path / "mine.py").write_text(f"{HEAD}{text}\n")
    with pytest.raises(UserError) as refused:
        plugins.load(str(tmp_path / "mine.py"))
        datasets.get(config(dataset={"kind": "f"}).dataset)
    assert told in str(refused.value) and "\n" not in str(refused.value)


def test_a_run_is_of_its_contents(mine):
    def id_of(**keys):
        one = config(dataset=of(**keys))
        return run_id(one, data_fingerprint=datasets.get(one.dataset).fingerprint)

    plugins.load("mine.py")
    before = id_of(), id_of(effect=3.0)
    plain = run_id(config(), data_fingerprint="d")
    for old, new, moves in (
        ('"""Patients of wards."""', '"""Patients."""', False),
        ("return rng.normal(size=rows)", "return 2 * rng.normal(size=rows)", True),
    ):
        mine.write_text(mine.read_text().replace(old, new))
        importlib.reload(sys.modules["mine"])
        after = id_of(), id_of(effect=3.0)
        assert (after[0] != before[0], after[1] != before[1]) == (moves, moves)
    assert run_id(config(), data_fingerprint="d") == plain


@pytest.mark.slow
def test_it_is_trained_on_listed_and_analysed(harness, mine):
    sweep = (
        *TINY,
        "plugins=[mine.py]",
        "dataset=clinic,mine.py:arrays",
        "training.save_model=true",
    )
    said = harness("train", "-m", *sweep)
    assert said.out.startswith("2 trained"), said.err
    assert harness("train", "-m", *sweep).out.startswith("0 trained, 2 already stored")
    runs = stored_tables(Path("runs/default"))["runs"]
    assert set(runs["dataset.name"]) == {"clinic", "arrays"} == set(runs["dataset.kind"])
    (theirs,) = runs.filter(pl.col("dataset.kind") == "clinic").rows(named=True)
    assert (theirs["dataset.region"], theirs["dataset.effect"]) == ("north", 1.5)
    listed = harness("data", "list", "clinic*", "plugins=[mine.py]").out
    assert "care" in listed and "CC0" in listed and "pima" not in listed
    assert "200" in harness("data", "describe", "mine.py:clinic", "region=south").out
    assert "no such key" in harness("data", "describe", "mine.py:clinic", "regoin=south").err
    (mine.parent / "rows.csv").write_text("dose,sex,unused\n2.0,f,1\n-2.0,m,1\n")
    model = f"runs/default/models/{theirs['run_id']}"
    mine.write_text(HOSTILE)
    assert harness("predict", model, "rows.csv").code == 0
    said = harness("analyze", "runs/default")
    assert said.code == 0 and "clinic" in said.out, said


def test_it_is_completed_where_nothing_is_loaded_yet(harness, mine, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "harness train plugins=[mine.py] dataset=cli")
    assert harness("-sc", "query=bash").out.split() == ["dataset=clinic"]
    monkeypatch.setenv("COMP_LINE", "harness train plugins=[gone.py] dataset=pim")
    said = harness("-sc", "query=bash")
    assert (said.out.split(), said.err) == (["dataset=pima"], "")


def test_a_projects_own_files_are_listed_too(harness, mine, monkeypatch):
    for name in ("_loader", "_composer"):  # of this folder, and of the fixture's Hydra
        monkeypatch.setattr(jobs, name, cache(getattr(jobs, name).__wrapped__))
    Path("pyproject.toml").write_text(
        '[tool.bce_harness]\nplugins = ["mine.py"]\nconf = "my_conf"\n'
    )
    folder = Path("my_conf/dataset")
    folder.mkdir(parents=True)
    (folder / "loans.yaml").write_text(
        "kind: table\npath: loans.csv\ntarget: paid\nlicence: theirs\nrows: 1234\n"
    )
    (folder / "south.yaml").write_text("defaults: [clinic]\nregion: south\n")
    listed = harness("data", "list").out
    assert "1,234" in listed and "theirs" in listed and "pima" in listed
    assert all(f" {name} " in listed for name in ("clinic", "loans", "south"))
    assert "positive" in harness("data", "fetch", "south", "clinic").out
    assert "300" in harness("data", "describe", "south", "rows=300").out
