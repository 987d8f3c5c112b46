"""Every config key that a sweep can vary is one that can be asked about."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.analyze import Question, answer, load
from harness.analyze.comparisons import differences
from harness.analyze.groups import label_runs
from harness.analyze.keys import filtered, replicates
from harness.analyze.report import settings
from harness.analyze.runs import Runs
from harness.config import UNRECORDED, parse
from harness.keys import BESIDE_A_RUN, is_beside
from harness.record.schema import Columns
from tests import every_key
from tests.conftest import TINY
from tests.every_key import NOT_VARIED, SWEPT


@dataclass(frozen=True)
class Swept:
    """A store with two runs of each key, and which they are."""

    runs: Runs
    ids: Mapping[str, list[str]]

    def of(self, key: str) -> Runs:
        """The runs of one key."""
        is_its = pl.col("run_id").is_in(self.ids[key])
        return replace(self.runs, runs=self.runs.runs.filter(is_its))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Written by the recorder, not trained."""
    folder = tmp_path_factory.mktemp("sweeps") / "recorded"
    configs = [config for key in SWEPT for config in every_key.pair(key, folder)]
    return swept(folder, list(SWEPT), every_key.record(configs, folder))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    folder = tmp_path_factory.mktemp("sweeps")
    every_key.write_patients(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        keys = every_key.trainable()
        configs = [c for key in keys for c in every_key.pair(key, folder / "trained")]
        yield swept(folder / "trained", keys, every_key.train(configs))


def swept(folder: Path, keys: list[str], ids: list[str]) -> Swept:
    pairs = zip(keys, zip(ids[::2], ids[1::2], strict=True), strict=True)
    return Swept(load(folder), {key: list(pair) for key, pair in pairs})


def test_every_key_of_the_schema_is_swept_here():
    keys = {key for key in every_key.known_keys() if not key.startswith("wandb.")}
    assert keys - NOT_VARIED - UNRECORDED == SWEPT.keys(), (
        "say in tests/every_key.py two values of it"
    )


@pytest.mark.parametrize("key", SWEPT)
def test_a_key_is_asked_about(recorded, key):
    check(recorded, key)


@pytest.mark.slow
@pytest.mark.parametrize("key", every_key.trainable())
def test_a_key_of_trained_runs_is_asked_about(trained, key):
    check(trained, key)


def check(swept: Swept, key: str) -> None:
    runs = swept.of(key)
    first, second = (shown(value, key) for value in SWEPT[key][1:])
    asked = answer(runs, Question(by=(key,)))
    assert asked.board.height == 2
    # Of losses that leave the level alone a note says so; no run is left out, whatever is swept.
    assert all("by the order of rows alone" in note for note in asked.notes)
    assert asked.board["method"].n_unique() == 2
    varied = {name for name, _, varies in settings(asked.labelled, asked.keys) if varies}
    assert key in varied
    plain = answer(runs, Question())
    told_apart = ["method", "dataset", "positive_rate", "settings", "tuning", "replicate"]
    if not key.startswith("dataset."):  # of these the fingerprint may tell
        assert plain.labelled.select(told_apart).n_unique() == 2
    found = [filtered(plain.labelled, f"{key} {value}")["run_id"] for value in (first, second)]
    assert [ids.to_list() for ids in found] == [[run_id] for run_id in swept.ids[key]]


def shown(value: Any, key: str) -> str:
    """The rest of a filter that asks for a value."""
    value = value[key.rpartition(".")[2]] if isinstance(value, Mapping) else value
    if value is None:
        return "is null"
    if isinstance(value, list):
        return f"= '{','.join(map(str, value))}'"
    return f"= {str(value).lower()}" if isinstance(value, bool | int | float) else f"= '{value}'"


@pytest.mark.slow
def test_how_missing_values_are_filled_is_a_setting_like_any_other(harness, tmp_path):
    every_key.write_patients(tmp_path)
    data = ("dataset=table", "dataset.path=patients.csv", "dataset.target=ill", "dataset.drop=old")
    said = harness("train", "-m", *TINY, *data, "impute=median,mean", "seed=0,1")
    assert said.out.startswith("4 trained")
    runs = load(tmp_path / "runs" / "patients")
    analysis = answer(runs, Question(by=("impute",)))
    assert analysis.labelled.height == 4 and not analysis.notes
    assert analysis.board["method"].sort().to_list() == ["impute=mean", "impute=median"]
    assert analysis.differences["num_pairs"].unique().to_list() == [2]
    assert set(answer(runs, Question()).board["settings"]) == {"impute=mean", "impute=median"}


def test_what_is_no_part_of_a_run_is_no_setting(tmp_path):
    """Two folders in one report, logged to different projects and told to different searches."""
    configs = []
    for name, seeds in {"a": (0, 1), "b": (2, 3)}.items():
        for seed in seeds:
            values = {**every_key.BASE, "seed": seed, "name": name, "root": f"elsewhere/{name}"}
            values |= {"wandb": {"project": name}, "rerun": name == "b"}
            values |= {"evaluation": {"objective": "auroc" if name == "b" else "brier"}}
            values["training"] = {**values["training"], "save_model": name == "b"}
            values["dataset"] = {**every_key.SKLEARN, "family": "wdbc" if name == "b" else ""}
            configs.append(parse(values))
    every_key.record(configs, tmp_path / "both")
    analysis = answer(load(tmp_path / "both"), Question())
    assert analysis.board["settings"].to_list() == [""]
    assert analysis.board["num_seeds"].to_list() == [4]
    beside = {key for key in NOT_VARIED if not key.startswith("loss.")} - {"dataset.contents"}
    assert beside | {"wandb"} == BESIDE_A_RUN
    assert is_beside("training.save_params")  # as stores of before call it


def test_what_draws_the_data_is_a_replicate():
    assert replicates(sorted(SWEPT)) == [
        "dataset.flip_seed", "dataset.seed", "seed", "split.fold", "split.repeat", "split.seed",
    ]  # fmt: skip


def test_runs_whose_data_are_the_same_make_pairs_whatever_seed_drew_them():
    """At a flip rate of 0 the runs of all flip seeds are one, stored under the first that came."""
    config = ("loss.name", "dataset.flip_positives", "dataset.flip_seed", "seed")
    rows = [
        dict(zip(config, (loss, rate, flips, seed), strict=True))
        | {"data_fingerprint": f"{rate} {flips if rate else 'any'}"}
        for loss in ("bce", "focal")
        for rate in (0.0, 0.2)
        for flips in ((0, 1) if rate else (0 if loss == "bce" else 1,))
        for seed in (0, 1)
    ]
    scores = {"num_test": 1, "num_train": 3, "test/auroc": 0.5, "num_configurations": 1}
    runs = pl.DataFrame([row | scores for row in rows]).with_row_index("run_id")
    labelled = label_runs(runs, keys=config)
    assert set(labelled["settings"]) == {"flip_positives=0.0", "flip_positives=0.2"}
    found = differences(labelled).select("settings", "num_pairs").sort("settings")
    assert found.rows() == [("flip_positives=0.0", 2), ("flip_positives=0.2", 4)]


def versions(*runs: tuple[str, str, int]) -> Runs:
    """Runs of two losses and two seeds for each (path, version of the data, day)."""
    config = ("dataset.name", "dataset.path", "split.test", "loss.name", "seed")
    rows = [
        dict(zip(config, ("data", path, test, loss, seed), strict=True))
        | {"data_fingerprint": version, "created": datetime(2026, 1, day, tzinfo=UTC)}
        | {"validation/loss": 0.5, "test/auroc": 0.9 if version == "new" else 0.1}
        | {f"num_{part}": 9 for part in ("train", "validation", "test")}
        | {f"num_{part}_positives": 3 for part in ("train", "validation", "test")}
        | {"diverged_step": None, "status": "finished"}
        for path, version, day in runs
        for test in (0.2, 0.3)  # of one version, however it is split
        for loss in ("bce", "focal")
        for seed in (0, 1)
    ]
    table = pl.DataFrame(rows).with_row_index("run_id").cast({"run_id": pl.String})
    metrics = ("validation/loss", "test/auroc")
    facts = ("data_fingerprint", "diverged_step", "status")
    columns = Columns(config=config, facts=facts, metrics=metrics)
    return Runs("sweep", table, pl.LazyFrame(), (), columns)


ASKED = Question(selection="validation/loss")


def test_the_newest_version_of_a_data_set_counts_alone():
    runs = versions(("data.csv", "old", 1), ("data.csv", "new", 2))
    found = answer(runs, ASKED)
    assert found.board["num_seeds"].unique().to_list() == [2]
    assert found.chosen["test/auroc"].unique().to_list() == [0.9]
    (note,) = found.notes
    assert note.startswith("8 of 16 runs are set aside") and "such as data." in note
    (asked,) = re.findall(r'--where "(.*)" asks', note)
    assert "'old%'" in asked
    older = answer(runs, replace(ASKED, where=asked))
    assert older.chosen["test/auroc"].unique().to_list() == [0.1] and not older.notes


def test_files_of_one_name_are_two_data_sets():
    found = answer(versions(("a/data.csv", "new", 1), ("b/data.csv", "old", 2)), ASKED)
    assert not found.notes
    assert set(found.board["dataset"]) == {"a/data.csv", "b/data.csv"}
    assert set(found.board["settings"]) == {"test=0.2", "test=0.3"}
    named = replace(ASKED, where="dataset = data")
    assert (
        answer(versions(("a/data.csv", "new", 1)), named).board["dataset"].unique().item() == "data"
    )
