"""Samplers against imbalanced-learn called directly, and what they may see, make and refuse."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from imblearn import combine, over_sampling, under_sampling
from sklearn.preprocessing import StandardScaler
from threadpoolctl import ThreadpoolController

from harness.data import sampler
from harness.data.dataset import Dataset
from harness.data.sampler import SAMPLERS, Resampled, TrainingPart
from harness.data.sources import Sklearn
from harness.data.streams import Purpose, legacy_seed
from harness.data.synthetic import TwoGaussians
from harness.errors import UserError
from tests.runs import config, prepared

SEED = 5
DRAWN = legacy_seed(SEED, Purpose.SAMPLER)
COMMON: dict[str, Any] = {"sampling_strategy": 0.8, "random_state": DRAWN}
UNDER: dict[str, Any] = {"sampling_strategy": 0.8}

# Ours and, made here with their own defaults, theirs.
PAIRS = {
    "random_over": (
        sampler.RandomOversampler(ratio=0.8), over_sampling.RandomOverSampler(**COMMON)
    ),
    "random_under": (
        sampler.RandomUndersampler(ratio=0.8), under_sampling.RandomUnderSampler(**COMMON)
    ),
    "smote": (sampler.SMOTE(ratio=0.8), over_sampling.SMOTE(**COMMON)),
    "smote k": (
        sampler.SMOTE(ratio=0.8, k_neighbors=3), over_sampling.SMOTE(**COMMON, k_neighbors=3)
    ),
    "borderline 1": (sampler.BorderlineSMOTE(ratio=0.8), over_sampling.BorderlineSMOTE(**COMMON)),
    "borderline 2": (
        sampler.BorderlineSMOTE(ratio=0.8, kind="borderline-2", m_neighbors=7),
        over_sampling.BorderlineSMOTE(**COMMON, kind="borderline-2", m_neighbors=7),
    ),
    "svm": (
        sampler.SVMSMOTE(ratio=0.8, out_step=0.3), over_sampling.SVMSMOTE(**COMMON, out_step=0.3)
    ),
    "kmeans": (
        sampler.KMeansSMOTE(ratio=0.8, num_clusters=4, min_share=0.1),
        over_sampling.KMeansSMOTE(**COMMON, kmeans_estimator=4, cluster_balance_threshold=0.1),
    ),
    "adasyn": (
        sampler.ADASYN(ratio=0.8, k_neighbors=4), over_sampling.ADASYN(**COMMON, n_neighbors=4)
    ),
    "tomek": (sampler.TomekLinks(), under_sampling.TomekLinks()),
    "tomek both": (
        sampler.TomekLinks(drop="both"), under_sampling.TomekLinks(sampling_strategy="all")
    ),
    "edited": (sampler.EditedNearestNeighbours(), under_sampling.EditedNearestNeighbours()),
    "edited mode": (
        sampler.EditedNearestNeighbours(drop="both", k_neighbors=5, agreement="mode"),
        under_sampling.EditedNearestNeighbours(
            sampling_strategy="all", n_neighbors=5, kind_sel="mode"
        ),
    ),
    "near miss 1": (sampler.NearMiss(ratio=0.8), under_sampling.NearMiss(**UNDER)),
    "near miss 2": (
        sampler.NearMiss(ratio=0.8, version=2, k_neighbors=4),
        under_sampling.NearMiss(**UNDER, version=2, n_neighbors=4),
    ),
    "near miss 3": (
        sampler.NearMiss(ratio=0.8, version=3, num_candidates=8),
        under_sampling.NearMiss(**UNDER, version=3, n_neighbors_ver3=8),
    ),
    "smote tomek": (sampler.SMOTETomek(ratio=0.8), combine.SMOTETomek(**COMMON)),
    "smote enn": (sampler.SMOTEENN(ratio=0.8), combine.SMOTEENN(**COMMON)),
}  # fmt: skip
# Each at settings that suit `GAUSSIANS` and the digits.
ONE_OF_EACH = {kind().name: kind() for kind in SAMPLERS}
MAKING = {name: one for name, one in ONE_OF_EACH.items() if one.makes_rows}

GAUSSIANS = TwoGaussians(rows=800, num_features=6, distance=1.5, positive_rate=0.2, seed=1)


def part_of(
    dataset: Dataset, rows: np.ndarray | None = None, cardinalities: tuple[int, ...] = ()
) -> TrainingPart:
    rows = np.arange(dataset.num_rows, dtype=np.int32) if rows is None else rows
    features = dataset.features[rows]
    mean, deviation = features.mean(0), features.std(0)
    codes = slice(features.shape[1] - len(cardinalities), None)
    mean[codes], deviation[codes] = 0, 1
    scale = 1 / np.where(deviation > 0, deviation, 1)
    return TrainingPart(rows, dataset.labels[rows], features, mean, scale, cardinalities)


def some_rows(dataset: Dataset, size: int) -> np.ndarray:
    drawn = np.random.default_rng(0).choice(dataset.num_rows, size, replace=False)
    return np.sort(drawn).astype(np.int32)


def features_of(resampled: Resampled, dataset: Dataset) -> np.ndarray:
    return np.vstack([dataset.features[resampled.rows], resampled.synthetic])


def labelled(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows with their label in front, in the order of both: cleaning lets classes change places."""
    table = np.column_stack([labels, features])
    return table[np.lexsort((table[:, 1].round(7), labels))]


def same(one: Resampled, other: Resampled) -> bool:
    return all(
        getattr(one, field).tobytes() == getattr(other, field).tobytes()
        for field in ("rows", "labels", "synthetic", "synthetic_labels")
    )


def test_every_sampler_is_compared():
    assert {type(ours) for ours, _ in PAIRS.values()} == set(SAMPLERS) - {sampler.NoSampler}


@pytest.mark.filterwarnings("ignore:The number of the samples to be selected")  # near miss 3
@pytest.mark.parametrize(("ours", "theirs"), PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("flipped", [False, True], ids=["positives rare", "negatives rare"])
def test_rows_are_imbalanced_learns(ours, theirs, flipped):
    dataset = GAUSSIANS.load()
    if flipped:
        dataset = replace(dataset, labels=1 - dataset.labels)
    rows = some_rows(dataset, 500)
    resampled = ours.resample(part_of(dataset, rows), seed=SEED)
    scaler = StandardScaler().fit(dataset.features[rows].astype(np.float64))
    expected, labels = theirs.fit_resample(
        scaler.transform(dataset.features[rows].astype(np.float64)), dataset.labels[rows]
    )
    _, all_labels = resampled.visited()
    ours_sorted = labelled(scaler.transform(features_of(resampled, dataset)), all_labels)
    np.testing.assert_allclose(ours_sorted, labelled(expected, labels), atol=1e-5)
    assert len(resampled.rows) < len(rows) or ours.makes_rows or len(labels) > len(rows)


def test_no_sampler_leaves_the_rows_alone():
    dataset = GAUSSIANS.load()
    rows = some_rows(dataset, 100)
    resampled = sampler.NoSampler().resample(part_of(dataset, rows), seed=0)
    np.testing.assert_array_equal(resampled.rows, rows)
    assert resampled.synthetic.shape == (0, 6)


@pytest.mark.parametrize("one", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_rows_follow_the_seed_and_carry_their_labels(one):
    dataset = GAUSSIANS.load()
    part = part_of(dataset, some_rows(dataset, 500))
    first, again, other = (one.resample(part, seed=seed) for seed in (0, 0, 1))
    assert same(first, again)
    drawn = one.makes_rows or one.name.startswith("random")
    assert same(first, other) != drawn
    np.testing.assert_array_equal(first.labels, dataset.labels[first.rows])
    assert first.rows.dtype == np.int32 and first.synthetic.dtype == np.float32
    assert (len(first.synthetic) > 0) == one.makes_rows
    visited, labels = first.visited()
    numbers = -1 - np.arange(len(first.synthetic))
    np.testing.assert_array_equal(visited[len(first.rows) :], numbers)
    assert len(labels) == len(visited)
    assert (first.synthetic_labels == 1).all()  # the rarer class here


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_rows_outside_training_decide_nothing(name):
    """Whatever the validation and test rows hold, training is the same to the bit."""
    one = config(
        dataset={"kind": "sklearn", "name": "digits", "positive": "8"},
        sampler={"name": name},
        model={"name": "logistic"},
    )
    dataset = one.dataset.load()
    ready = prepared(one, dataset)
    held_out = np.concatenate([ready.data.split.validation, ready.data.split.test])
    features = dataset.features.copy()
    features[held_out] = np.random.default_rng(0).normal(size=features[held_out].shape) * 1e3
    changed = prepared(one, replace(dataset, features=features))
    for field in ("batch_rows", "synthetic", "synthetic_labels", "center", "scale"):
        before, after = (getattr(run.lane, field) for run in (ready, changed))
        assert np.asarray(before).tobytes() == np.asarray(after).tobytes()
    drawn = ready.lane.batch_rows >= 0
    assert set(ready.lane.batch_rows[drawn]) <= set(ready.data.split.train)
    made = -1 - ready.lane.batch_rows[~drawn]
    assert made.size == 0 or made.max() < len(ready.data.synthetic)


def with_codes(num_numeric: int) -> tuple[Dataset, tuple[int, ...]]:
    """`GAUSSIANS` with three columns of codes that lean to the label."""
    dataset = GAUSSIANS.load()
    rng = np.random.default_rng(3)
    cardinalities = (3, 4, 2)
    codes = np.stack(
        [(rng.integers(0, k, 800) + dataset.labels) % k for k in cardinalities], axis=1
    )
    features = np.hstack([dataset.features[:, :num_numeric], codes.astype(np.float32)])
    names = tuple("abcdefghi"[: features.shape[1]])
    return replace(dataset, features=features, feature_names=names), cardinalities


@pytest.mark.parametrize("num_numeric", [6, 0], ids=["SMOTE-NC", "SMOTE-N"])
def test_categories_are_made_by_the_variants_for_them(num_numeric):
    dataset, cardinalities = with_codes(num_numeric)
    part = part_of(dataset, some_rows(dataset, 500), cardinalities)
    resampled = sampler.SMOTE(ratio=0.8).resample(part, seed=SEED)
    numeric = dataset.features[part.rows].astype(np.float64)
    if num_numeric:
        numeric[:, :num_numeric] = StandardScaler().fit_transform(numeric[:, :num_numeric])
        theirs = over_sampling.SMOTENC([6, 7, 8], **COMMON)
    else:
        theirs = over_sampling.SMOTEN(**COMMON)
    expected, _ = theirs.fit_resample(numeric, part.labels)
    made, expected = resampled.synthetic[:, num_numeric:], expected[500:, num_numeric:]
    np.testing.assert_array_equal(made, expected)
    for column, k in zip(made.T, cardinalities, strict=True):
        assert set(column) <= set(range(k))


@pytest.mark.parametrize("name", ["tomek_links", "edited_nn", "near_miss"])
def test_neighbours_do_not_depend_on_how_categories_are_numbered(name):
    dataset, cardinalities = with_codes(6)
    order = [2, 0, 3, 1]  # of the four codes of column 7
    features = dataset.features.copy()
    features[:, 7] = np.array(order)[features[:, 7].astype(int)]
    rows = some_rows(dataset, 500)
    one, other = (
        ONE_OF_EACH[name].resample(part_of(data, rows, cardinalities), seed=0)
        for data in (dataset, replace(dataset, features=features))
    )
    np.testing.assert_array_equal(one.rows, other.rows)
    assert len(one.rows) < len(rows)


def test_threads_do_not_choose_the_neighbours():
    """Equal distances abound here, and scikit-learn breaks ties by the number of its threads."""
    rng = np.random.default_rng(0)
    features = rng.integers(0, 3, size=(6000, 20)).astype(np.float32)
    labels = (rng.random(6000) < 0.05).astype(np.int8)
    rows = np.arange(6000, dtype=np.int32)
    # Unscaled: columns of different scales would have no ties.
    part = TrainingPart(rows, labels, features, np.zeros(20, "f4"), np.ones(20, "f4"))
    threads = ThreadpoolController()
    made = []
    for limit in (1, 2, 4):
        with threads.limit(limits=limit):
            made.append(sampler.SMOTE().resample(part, seed=0))
    assert same(made[0], made[1]) and same(made[0], made[2])


def test_ratio_is_met_exactly_or_left_alone():
    dataset = GAUSSIANS.load()
    part = part_of(dataset)
    rarer, commoner = part.counts
    for ratio in (0.3, 0.5, 1.0):
        for one in (sampler.RandomOversampler(ratio=ratio), sampler.SMOTE(ratio=ratio)):
            _, labels = one.resample(part, seed=0).visited()
            assert (labels.sum(), (labels == 0).sum()) == (int(ratio * commoner), commoner)
        _, labels = sampler.RandomUndersampler(ratio=ratio).resample(part, seed=0).visited()
        assert (labels.sum(), (labels == 0).sum()) == (rarer, int(rarer / ratio))
    even = part_of(dataset, np.concatenate([part.rows[part.labels == k][:150] for k in (0, 1)]))
    for name in ("random_over", "random_under", "near_miss", *MAKING):
        if name in ("smote_tomek", "smote_enn"):
            continue
        resampled = ONE_OF_EACH[name].resample(even, seed=0)
        assert sorted(resampled.rows) == sorted(even.rows) and len(resampled.synthetic) == 0


def test_smote_is_no_exact_change_of_the_prior():
    """Repeating rows leaves a class's distribution as it was. SMOTE draws it together: between two
    rows the variance of their difference is (1-t)^2 + t^2 of what it was, 2/3 on average."""
    wide = TwoGaussians(rows=4000, num_features=30, distance=2.0, positive_rate=0.1, seed=0).load()
    part = part_of(wide)
    real = part.standardised[part.labels == 1].var(axis=0).sum()
    repeated = sampler.RandomOversampler().resample(part, seed=0)
    again = part.standardised[repeated.rows[repeated.labels == 1]].var(axis=0).sum()
    made = sampler.SMOTE().resample(part, seed=0).synthetic
    drawn_together = ((made - part.center) * part.scale).var(axis=0).sum()
    assert again == pytest.approx(real, rel=0.02)
    assert 0.6 * real < drawn_together < 0.85 * real


def few(positives: int) -> TrainingPart:
    dataset = GAUSSIANS.load()
    rows = np.flatnonzero(dataset.labels == 0), np.flatnonzero(dataset.labels)[:positives]
    return part_of(dataset, np.concatenate(rows).astype(np.int32))


def apart() -> TrainingPart:
    """Classes so far apart that none is near the other."""
    classes = TwoGaussians(rows=300, num_features=2, distance=60.0, positive_rate=0.2, seed=0)
    return part_of(classes.load())


def lone_positives() -> TrainingPart:
    """Two positives in the midst of negatives."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 2)).astype(np.float32)
    labels = np.zeros(60, np.int8)
    labels[np.argsort((features**2).sum(1))[:2]] = 1
    features[labels == 1] = [[0.01, 0], [-1.0, 0]]
    return part_of(Dataset("lone", features, labels, ("a", "b"), "1", "here", "none"))


REFUSED = {
    "neighbours": (sampler.SMOTE(), few(3), r"k_neighbors 5 needs 6 .* has 3: lower .* at most 2"),
    "one positive": (sampler.SMOTEENN(), few(1), "which has 1: raise imbalance.positive_rate"),
    "adasyn": (sampler.ADASYN(), few(5), "has 5: lower sampler.k_neighbors to at most 4"),
    "ratio": (sampler.SMOTE(ratio=0.1), few(100), r"sampler\.ratio 0\.1 is below"),
    "ratio over": (sampler.RandomOversampler(ratio=0.1), few(100), "is below the training part's"),
    "ratio under": (sampler.RandomUndersampler(ratio=0.1), few(100), "use sampler=none"),
    "ratio near": (sampler.NearMiss(ratio=0.1), few(100), "is below the training part's"),
    "one class": (sampler.RandomOversampler(), few(0), "holds one class"),
    "one class cleaned": (sampler.TomekLinks(), few(0), "holds one class"),
    "no border": (sampler.BorderlineSMOTE(), apart(), "change sampler.m_neighbors or use"),
    "no mixture": (sampler.ADASYN(), apart(), "sampler adasyn: .*: use sampler=smote"),
    "no cluster": (sampler.KMeansSMOTE(min_share=1.0), few(20), "lower sampler.min_share"),
    "noise": (sampler.SVMSMOTE(k_neighbors=1), lone_positives(), "change sampler.m_neighbors"),
    "none left": (
        sampler.EditedNearestNeighbours(drop="both"), lone_positives(), "would leave no positive"
    ),
    "few candidates": (sampler.NearMiss(k_neighbors=9), few(5), "lower sampler.k_neighbors"),
    "codes": (sampler.BorderlineSMOTE(), None, "3 columns are categorical: use sampler=smote"),
}  # fmt: skip


@pytest.mark.parametrize(("one", "part", "message"), REFUSED.values(), ids=REFUSED)
def test_samplers_refuse_in_one_line(one, part, message):
    if part is None:
        dataset, cardinalities = with_codes(6)
        part = part_of(dataset, cardinalities=cardinalities)
    with pytest.raises(UserError, match=message) as refused:
        one.resample(part, seed=0)
    assert "\n" not in str(refused.value)


def test_digits_suit_every_sampler_at_its_defaults():
    dataset = Sklearn(name="digits", positive="8").load()
    for one in ONE_OF_EACH.values():
        resampled = one.resample(part_of(dataset, some_rows(dataset, 1000)), seed=0)
        assert 0 < resampled.visited()[1].mean() < 1
