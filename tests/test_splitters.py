"""Folds, groups and times: against scikit-learn, and what each promises, over drawn cases."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit

from harness.analyze.groups import label_runs
from harness.config import dump, parse
from harness.data.dataset import Dataset
from harness.data.imbalance import PARTS
from harness.data.run_data import held_out_sizes
from harness.data.splits import Split, stratified_split
from harness.data.splitters import (
    SPLITTERS,
    GroupHoldout,
    GroupKFold,
    Holdout,
    KFold,
    TimeSplit,
)
from harness.data.streams import Purpose, legacy_seed
from harness.errors import UserError
from harness.files import conf_dir
from tests.conftest import TINY
from tests.runs import config, prepared
from tests.stored import stored_tables


def drawn(num_rows=200, rate=0.3, *, groups=None, times=None, seed=0) -> Dataset:
    """A data set of `num_rows`, with row `i` in group ``groups[i]`` at time ``times[i]``."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_rows) < round(rate * num_rows)).astype(np.int8)
    return Dataset(
        name="drawn",
        features=rng.standard_normal((num_rows, 3)).astype(np.float32),
        labels=labels,
        feature_names=("a", "b", "c"),
        positive_label="1",
        source="drawn",
        licence="none needed",
        groups=None if groups is None else np.asarray(groups, np.int32),
        times=None if times is None else np.asarray(times, np.float64),
    )


def parts(split: Split) -> list[np.ndarray]:
    return [getattr(split, part) for part in PARTS]


def assert_partition(split: Split, num_rows: int) -> None:
    """Every row in one part; each part ascending int32."""
    np.testing.assert_array_equal(np.sort(np.concatenate(parts(split))), np.arange(num_rows))
    for rows in parts(split):
        assert rows.dtype == np.int32 and (np.diff(rows) > 0).all()


def in_groups(num_rows=200, num_groups=20, seed=1):
    return drawn(num_rows, groups=np.random.default_rng(seed).integers(0, num_groups, num_rows))


# --- Folds ---


@settings(max_examples=25)
@given(
    num_rows=st.integers(60, 203), rate=st.floats(0.2, 0.8), folds=st.integers(2, 7),
    repeat=st.integers(0, 3), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_folds_test_every_row_once(num_rows, rate, folds, repeat, seed):
    dataset = drawn(num_rows, rate)
    splits = [
        KFold(folds=folds, fold=fold, repeat=repeat, validation=0.15).split(dataset, seed=seed)
        for fold in range(folds)
    ]
    tested = np.concatenate([split.test for split in splits])
    np.testing.assert_array_equal(np.sort(tested), np.arange(num_rows))
    positives = [int(dataset.labels[split.test].sum()) for split in splits]
    assert max(positives) - min(positives) <= 1
    for split in splits:
        assert_partition(split, num_rows)
        assert len(split.validation) == round(0.15 * num_rows)
        assert 0 <= -(-num_rows // folds) - len(split.test) <= 1


def test_folds_are_scikit_learns():
    dataset = drawn()
    for repeat in (0, 1):
        state = legacy_seed(5, Purpose.SPLIT, 2, repeat)
        theirs = StratifiedKFold(4, shuffle=True, random_state=state)
        for fold, (_, test) in enumerate(theirs.split(dataset.features, dataset.labels)):
            ours = KFold(folds=4, fold=fold, repeat=repeat).split(dataset, seed=5)
            np.testing.assert_array_equal(ours.test, test)


def test_repeats_and_seeds_deal_anew():
    dataset = drawn()
    tested = {
        KFold(repeat=repeat).split(dataset, seed=seed).test.tobytes()
        for repeat in range(3)
        for seed in range(3)
    }
    assert len(tested) == 9


# --- Groups ---


@settings(max_examples=40)
@given(
    num_groups=st.integers(8, 60), seed=st.integers(0, 2**32 - 1),
    splitter=st.sampled_from([GroupHoldout(), GroupHoldout(validation=2, test=3), GroupKFold()]),
    deal=st.integers(0, 10_000),
)  # fmt: skip
def test_no_group_is_in_two_parts(num_groups, seed, splitter, deal):
    dataset = in_groups(num_groups=num_groups, seed=deal)
    try:
        split = splitter.split(dataset, seed=seed)
    except UserError as error:  # only where a part drew groups of one class
        assert "would hold no" in str(error)
        return
    assert_partition(split, dataset.num_rows)
    train, validation, test = (set(dataset.groups[rows].tolist()) for rows in parts(split))
    assert not (train & validation or train & test or validation & test)


def test_group_shares_are_shares_of_the_groups():
    dataset = in_groups(num_groups=20)
    split = GroupHoldout(validation=0.1, test=0.25).split(dataset, seed=0)
    assert [len(np.unique(dataset.groups[rows])) for rows in parts(split)] == [13, 2, 5]


def test_group_folds_are_scikit_learns_and_test_every_row_once():
    dataset = in_groups()
    splits = [GroupKFold(fold=fold).split(dataset, seed=3) for fold in range(5)]
    theirs = StratifiedGroupKFold(
        5, shuffle=True, random_state=legacy_seed(3, Purpose.SPLIT, 2, 0)
    ).split(dataset.features, dataset.labels, dataset.groups)
    for fold, (_, test) in enumerate(theirs):
        np.testing.assert_array_equal(splits[fold].test, test)
        np.testing.assert_array_equal(splits[fold - 1].validation, test)
    tested = np.concatenate([split.test for split in splits])
    np.testing.assert_array_equal(np.sort(tested), np.arange(dataset.num_rows))


# --- Time ---


@settings(max_examples=40)
@given(
    days=st.integers(6, 400), validation=st.floats(0.1, 0.3), test=st.floats(0.1, 0.3),
    deal=st.integers(0, 10_000),
)  # fmt: skip
def test_training_comes_before_validation_before_test(days, validation, test, deal):
    dataset = drawn(times=np.random.default_rng(deal).integers(0, days, 200))
    try:
        split = TimeSplit(validation=validation, test=test).split(dataset, seed=0)
    except UserError as error:
        assert "would hold no" in str(error) or "before the test part" in str(error)
        return
    assert_partition(split, 200)
    train, middle, last = (dataset.times[rows] for rows in parts(split))
    assert train.max() < middle.min() and middle.max() < last.min()
    # Larger than asked for by less than the rows of one time.
    for times, share in ((middle, validation), (last, test)):
        assert 0 <= len(times) - round(share * 200) < np.sum(dataset.times == times.min())


def test_distinct_times_are_cut_as_scikit_learn_cuts_a_series():
    times = np.random.default_rng(2).permutation(200) * 0.5
    dataset = drawn(times=times)
    split = TimeSplit(validation=40, test=40).split(dataset, seed=0)
    earlier, later = TimeSeriesSplit(n_splits=2, test_size=40).split(times)
    order = np.argsort(times)
    np.testing.assert_array_equal(split.train, np.sort(order[earlier[0]]))
    np.testing.assert_array_equal(split.validation, np.sort(order[earlier[1]]))
    np.testing.assert_array_equal(split.test, np.sort(order[later[1]]))


# --- All of them ---


REFUSED = {
    "more folds than positives": (
        KFold(folds=9), drawn(rate=0.04), ["split.folds 9", "8 rows", "lower split.folds"]),
    "a fold past the last": (KFold(fold=5), drawn(), ["split.fold", "fold 5 of 5"]),
    "a group fold past the last": (GroupKFold(fold=7), in_groups(), ["fold 7 of 5"]),
    "a fold leaves no training row": (KFold(folds=2, validation=0.6), drawn(), ["validation"]),
    "no groups": (GroupHoldout(), drawn(), ["split=group", "'drawn'", "dataset.group"]),
    "no groups to fold": (GroupKFold(), drawn(), ["split=group_kfold", "dataset.group"]),
    "all groups held out": (
        GroupHoldout(validation=4, test=0.8), in_groups(num_groups=20), ["4", "16", "of 20"]),
    "one group": (GroupHoldout(), drawn(groups=np.zeros(200)), ["0 validation", "of 1 "]),
    "fewer groups than folds": (
        GroupKFold(), drawn(groups=np.arange(200) % 4), ["split.folds 5", "4 groups"]),
    "groups of one class": (
        GroupHoldout(validation=1, test=1),
        drawn(groups=np.where(drawn().labels, 9, np.arange(200) % 9)),
        ["would hold no positive"]),
    "no times": (TimeSplit(), drawn(), ["split=time", "'drawn'", "dataset.time"]),
    "one time": (TimeSplit(), drawn(times=np.zeros(200)), ["0 rows lie before"]),
    "parts too large": (TimeSplit(test=0.9), drawn(times=np.arange(200)), ["no training row"]),
    "a class that ends early": (
        TimeSplit(),
        replace(drawn(times=np.arange(200)), labels=np.repeat([1, 0], 100).astype("i1")),
        ["validation part", "no positive"]),
}  # fmt: skip


@pytest.mark.parametrize(("splitter", "dataset", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_split_is_refused(splitter, dataset, said):
    with pytest.raises(UserError) as caught:
        splitter.sizes(dataset)
        splitter.split(dataset, seed=0)
    for text in said:
        assert text in str(caught.value)


@pytest.mark.parametrize("kind", SPLITTERS, ids=lambda kind: kind().name)
def test_each_has_a_config_whose_values_are_its_defaults(kind):
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(OmegaConf.load(conf_dir() / "split" / f"{kind().name}.yaml"))
    assert config(split=values).split == kind()


def test_a_split_without_a_name_is_the_holdout_it_always_was():
    one = config(split={"validation": 0.3, "test": 50})
    assert one.split == Holdout(validation=0.3, test=50)
    dataset = one.dataset.load()
    expected = stratified_split(labels=dataset.labels, validation=0.3, test=50, seed=one.seed)
    split = prepared(one, dataset).data.split
    for rows, same in zip(parts(split), parts(expected), strict=True):
        np.testing.assert_array_equal(rows, same)
    assert parse(dump(one)) == one


@pytest.mark.parametrize("dataset", [in_groups(seed=7), in_groups(num_groups=90, seed=8)])
@pytest.mark.parametrize(
    "splitter",
    [KFold(folds=7), KFold(folds=3, validation=37), GroupHoldout(), GroupKFold(folds=4)],
    ids=str,
)
def test_lanes_have_room_for_every_fold_and_seed(splitter, dataset):
    """Whatever the draw, the held-out parts fit; the sizes lanes are padded to are few."""
    rooms = set()
    for fold in range(getattr(splitter, "folds", 1)):
        for seed in range(8):
            cut = replace(splitter, fold=fold) if hasattr(splitter, "fold") else splitter
            room = held_out_sizes(dataset, cut, seed=seed)
            split = cut.split(dataset, seed=seed)
            assert len(split.validation) <= room[0] and len(split.test) <= room[1]
            rooms.add(room)
    assert len(rooms) == 1 if isinstance(splitter, KFold) else len(rooms) <= 3


def test_a_fold_holds_the_same_rows_whatever_the_loss():
    dataset = drawn()
    base = config(split={"name": "kfold", "fold": 2}, training__batch_size=16)
    other = replace(base, loss=config(loss={"name": "focal"}).loss)
    elsewhere = replace(base, split=KFold(fold=3))
    one, same, different = (prepared(c, dataset).data for c in (base, other, elsewhere))
    assert one is same  # one cached object: the very arrays
    again = prepared(other, replace(dataset)).data
    assert one is not again
    for data, is_same in ((again, True), (different, False)):
        assert (one.batch_rows.tobytes() == data.batch_rows.tobytes()) == is_same
        for rows, others in zip(parts(one.split), parts(data.split), strict=True):
            assert (rows.tobytes() == others.tobytes()) == is_same
    centers = (data.scaling.center.tobytes() for data in (one, again, different))
    assert next(centers) == next(centers) != next(centers)


def test_groups_and_times_enter_the_fingerprint():
    plain, grouped, timed = drawn(), drawn(groups=np.arange(200)), drawn(times=np.arange(200))
    other = drawn(groups=np.arange(200)[::-1])
    prints = {one.fingerprint for one in (plain, grouped, timed, other)}
    assert len(prints) == 4 and drawn().fingerprint == plain.fingerprint


def test_folds_and_repeats_are_replicates_not_settings():
    frame = pl.DataFrame(
        {
            "run_id": list("abcdefgh"),
            "created": list(range(8)),
            "loss.name": ["bce", "focal"] * 4,
            "split.fold": [0, 0, 1, 1] * 2,
            "split.repeat": [0, 0, 0, 0, 1, 1, 1, 1],
            "split.folds": [2] * 8,
        }
    )
    labelled = label_runs(frame, keys=frame.columns[2:])
    assert labelled["settings"].unique().to_list() == [""]
    for _, runs in labelled.group_by("method"):
        assert runs["replicate"].n_unique() == 4
    paired = labelled.group_by("replicate").agg(pl.col("method").n_unique())
    assert paired["method"].to_list() == [2] * 4


def test_folds_train_in_one_program_and_test_every_row_once(harness, tmp_path):
    sweep = ["train", "-m", *TINY, "split=kfold", "split.fold=range(4)", "split.folds=4"]
    assert "in 1 compilation" in harness("plan", *sweep[1:], "loss=bce,focal").out
    assert harness(*sweep, "loss=bce,focal").out.startswith("8 trained")
    tables = stored_tables(tmp_path / "runs" / "default")
    tested = tables["predictions"].filter(pl.col("split") == "test")
    for loss in ("bce", "focal"):
        runs = tables["runs"].filter(pl.col("loss.name") == loss)["run_id"].to_list()
        rows = tested.filter(pl.col("run_id").is_in(runs))["rows"].explode().sort()
        assert rows.to_list() == list(range(569))
    said = harness(*sweep[:4], "split=kfold", "split.fold=5")
    assert said.code == 2 and "split.fold" in said.err and "fold 5 of 5" in said.err
    said = harness("train", *TINY, "split=time")
    assert said.code == 2 and "dataset.time" in said.err and "breast_cancer" in said.err
    said = harness("train", *TINY, "split=kfold", "split.tset=0.3")
    assert said.code == 2 and "split.tset" in said.err
