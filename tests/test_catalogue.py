"""`harness data list` and `fetch`, and suites of data sets in a sweep."""

import pytest
from pydantic import TypeAdapter

from harness.config.composing import Composer
from harness.data.named import Catalogue
from harness.data.sources import AnySource
from harness.files import conf_dir
from harness.overrides.expanding import group_choices
from tests.conftest import TINY
from tests.packages import everything, use_index

CATALOGUE = Catalogue(conf_dir())


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache and an index that has nothing."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "cache"))
    use_index(tmp_path / "index", monkeypatch)
    return tmp_path / "cache"


@pytest.fixture
def kept(request, monkeypatch):
    """The real packages, downloaded once a checkout."""
    monkeypatch.setenv("HARNESS_DATA", str(request.config.cache.mkdir("packages")))


def test_listing_needs_no_download(harness, offline):
    said = harness("data", "list")
    assert said.code == 0 and said.err == ""
    listed = [line.split("│")[1].strip() for line in said.out.splitlines() if "│" in line]
    assert [name for name in listed if name] == CATALOGUE.names()
    assert everything(offline) == {}
    caravan = next(line for line in said.out.splitlines() if " caravan " in line)
    for shown in ("5,822", "85", "348", "0.0598", "purchase prediction", "not stated", "no"):
        assert shown in caravan


def test_a_list_can_be_narrowed_by_name_or_application(harness, offline):
    assert harness("data", "list", "keel/yeast?").out.count("keel/") == 5
    said = harness("data", "list", "fraud").out
    assert "openml/creditcard" in said and "pima" not in said


def overview(name):
    ((_, one),) = CATALOGUE.overviews(name)
    return one


def test_counts_are_those_of_the_data(offline):
    digits = overview("digits")
    assert (digits.rows, digits.features, digits.positives) == (1797, 64, 174)
    drawn = overview("synthetic/linear")
    assert (drawn.rows, drawn.positives, drawn.fetched) == (10_000, None, None)
    cells = overview("synthetic/cells")
    assert (cells.rows, cells.features, cells.positives) == (10_000, 10, None)
    assert overview("synthetic/fraud_like").positives == 492


def test_every_named_set_shows_what_it_has(offline):
    for name, one in CATALOGUE.overviews():
        values = CATALOGUE.config(name)
        if "???" in values.values():
            assert one.rows is None and one.licence, name
            continue
        assert one.rows and one.features and one.source and one.licence and one.application, name
        assert (one.fetched is None) == (values["kind"] not in {"wheel", "openml"}), name
        if values["kind"] in {"wheel", "openml"}:
            continue
        loaded = TypeAdapter(AnySource).validate_python(values).load()
        assert (one.rows, one.features) == (loaded.num_rows, loaded.num_features), name
        assert one.positives in (None, loaded.num_positives), name
        said = (one.source, one.licence, one.application)
        assert said == (loaded.source, loaded.licence, loaded.application), name


def test_fetching_a_suite_says_what_it_holds(harness, kept):
    said = harness("data", "fetch", "tiny", "smarket", "digits")
    assert said.code == 0
    assert [line.split(":")[0] for line in said.out.splitlines()] == [
        "[1/4] breast_cancer", "[2/4] digits", "[3/4] two_gaussians", "[4/4] smarket",
    ]  # fmt: skip
    assert "1,250 x 6, 648 positive" in said.out
    assert "yes" in harness("data", "list", "smarket").out


@pytest.mark.parametrize(("name", "message"), [
    ("nothing", "neither a data set (`harness data list`) nor a suite: one of applications"),
    ("spambase", "cannot be fetched"),
    ("table", "Missing mandatory value"),
])  # fmt: skip
def test_what_cannot_be_fetched_is_one_error(name, message, harness, offline):
    said = harness("data", "fetch", name)
    assert said.code == 2 and message in said.err and "Traceback" not in said.err
    assert everything(offline) == {}


def test_a_suite_expands_in_a_sweep(harness, offline):
    said = harness("plan", "-m", "dataset_suite=tiny", "loss=bce,focal", *TINY)
    assert said.code == 0, said.err
    for name in CATALOGUE.members("tiny"):
        assert name in said.out
    assert "6 jobs" in said.out


def test_a_suite_is_no_single_job(harness, offline):
    said = harness("train", "dataset_suite=tiny")
    assert said.code == 2 and "add -m" in said.err
    said = harness("train", "-m", "dataset_suite=tiny,keel")
    assert said.code == 2 and "choose one suite" in said.err
    assert harness("train", "-m", "dataset_suite=nope").code == 2


def test_globs_reach_into_folders(hydra_sweep):
    assert sorted(group_choices("dataset", hydra_sweep.loader)) == CATALOGUE.names()


def test_a_sweep_trains_on_a_glob_of_packaged_sets(harness, kept):
    sweep = ("train", "-m", "dataset=glob(keel/iris?)", "loss=bce,focal", *TINY)
    said = harness(*sweep)
    assert said.code == 0 and "2 trained, 0 already stored, 0 failed" in said.out, said.err
    assert "0 trained, 2 already stored" in harness(*sweep).out


def test_every_suite_composes(hydra_sweep):
    """Each data set of a suite is a choice that Hydra finds; one of each kind of name is made."""
    composer = Composer(hydra_sweep.loader, hydra_sweep.config)
    for suite in CATALOGUE.suites():
        name = CATALOGUE.members(suite)[-1]
        assert composer.job([f"dataset={name}"])["dataset"]["name"] == name
