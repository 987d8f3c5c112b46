"""Data sets made from the same rows count as one; false verdicts are rare in nulls."""

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.false_verdicts import KINDS, rates
from harness.analyze import Question, answer, load
from harness.analyze.groups import families
from harness.data.named import Catalogue
from harness.files import conf_dir
from harness.reproduce.claims import Claim, Experiment, Side
from harness.reproduce.observed import Observed
from tests.fabricated import Sweep, fabricate

NAMES = ("keel/ecoli1", "keel/ecoli2", "pima", "a", "b", "c", "d", "e")


def test_the_catalogue_says_which_sets_are_kin():
    catalogue = Catalogue(conf_dir())
    found = catalogue.families(catalogue.names())
    assert min(Counter(found.values()).values()) >= 2  # a family of one says nothing
    for name in ("ecoli", "yeast", "glass", "abalone", "winequality"):
        members = {one for one in catalogue.names() if one.startswith(f"keel/{name}")}
        assert {one for one, family in found.items() if family == name} == members
    assert found["pima"] == found["keel/pima"] == found["openml/diabetes"]
    assert "keel/haberman" not in found and catalogue.families(["../config"]) == {}


@pytest.mark.slow
def test_kin_count_as_one_over_data_sets(tmp_path):
    sweep = Sweep({"bce": 0.0, "focal": 0.3, "brier": 0.0}, NAMES, seeds=range(3), num_rows=100)
    analysis = answer(load(fabricate(tmp_path / "s", sweep)), Question())
    assert set(analysis.datasets["num_datasets"]) == {7}
    assert analysis.rank_test["num_datasets"] == 7
    assert any("keel/ecoli1, keel/ecoli2: made from the same rows" in n for n in analysis.notes)
    of_ecoli = analysis.differences.filter(
        pl.col("dataset").str.starts_with("keel/"), metric="auroc", method="focal"
    )
    whole = analysis.differences.filter(metric="auroc", method="focal")
    others = whole.filter(~pl.col("dataset").str.starts_with("keel/"))["difference"].to_list()
    units = np.array([of_ecoli["difference"].mean(), *others])
    walsh = (units[:, None] + units)[np.triu_indices(7)] / 2
    (row,) = analysis.datasets.filter(metric="auroc", method="focal").to_dicts()
    assert row["difference"] == pytest.approx(np.median(walsh))


def test_a_run_says_itself_what_its_data_are_kin_to():
    runs = pl.DataFrame(
        {
            "dataset": ["mine", "mine", "yours", "pima"],
            "dataset.name": ["mine", "mine", "yours", "pima"],
            "dataset.family": [None, "wards", "wards", ""],  # the first stored before
        }
    )
    found = dict(families(runs).iter_rows())
    assert found == {"mine": "wards", "yours": "wards", "pima": "pima"}


def test_a_claim_counts_kin_once_and_knows_the_noise_of_its_splits():
    rng = np.random.default_rng(0)
    rows = [
        {"dataset.name": name, "loss": loss, "seed": seed, "score": rng.normal()}
        for name in NAMES
        for loss in ("bce", "focal")
        for seed in range(3)
    ]
    runs = pl.DataFrame(rows)
    claim = Claim(
        name="one", says=".", of=Side(where="loss = focal", measure="score"),
        than=Side(where="loss = bce"), expect="higher", test="datasets", unit=("dataset.name",),
    )  # fmt: skip
    experiment = Experiment(question="?", source=".", claims=(claim,), folder=Path())
    pairs = Observed(experiment, {"runs": runs}, ["dataset.name", "loss", "seed"]).pairs(claim)
    wide = runs.pivot("loss", index=["dataset.name", "seed"], values="score")
    wide = wide.with_columns(d=pl.col("focal") - pl.col("bce"))
    means = dict(wide.group_by("dataset.name").agg(pl.col("d").mean()).iter_rows())
    ecoli = (means.pop("keel/ecoli1") + means.pop("keel/ecoli2")) / 2
    np.testing.assert_allclose(sorted(pairs.differences), sorted([ecoli, *means.values()]))
    variance = wide.group_by("dataset.name").agg(pl.col("d").var() / 3)["d"].mean()
    assert pairs.num_splits == 3 and pairs.split_variance == pytest.approx(variance)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_false_verdicts_are_at_most_5_percent(kind):
    """Of 400 draws (40 where a number is compared with), within three standard errors."""
    draws = 400
    count = draws // 10 if KINDS[kind][2] else draws
    limit = 0.05 + 3 * np.sqrt(0.05 * 0.95 / count)
    wrong = [(said, share) for _, said, share in rates(draws, [kind]) if share > limit]
    assert wrong == []
