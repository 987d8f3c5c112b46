"""Splits, induced imbalance, resampling and batch order: invariants, over drawn cases."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.data.batches import batch_rows
from harness.data.imbalance import PARTS, induce_positive_rate
from harness.data.sources import Sklearn
from harness.data.splits import Split, part_size, stratified_split
from harness.data.streams import Purpose, generator
from harness.data.synthetic import TwoGaussians
from harness.errors import UserError


def drawn_labels(num_negatives: int, num_positives: int) -> np.ndarray:
    labels = np.array([0] * num_negatives + [1] * num_positives, np.int8)
    return np.random.default_rng(len(labels)).permutation(labels)


def parts(split: Split) -> list[np.ndarray]:
    return [getattr(split, part) for part in PARTS]


BUILT_IN = [
    Sklearn(name="breast_cancer", positive="malignant"),
    Sklearn(name="digits", positive="8"),
    TwoGaussians(rows=10_000, num_features=2, distance=2.0, positive_rate=0.05, seed=0),
]


@pytest.mark.parametrize("config", BUILT_IN, ids=lambda config: config.name)
@pytest.mark.parametrize("seed", range(3))
def test_splits_are_stratified_within_a_row(config, seed):
    dataset = config.load()
    split = stratified_split(labels=dataset.labels, validation=0.2, test=0.2, seed=seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts(split))), range(dataset.num_rows))
    for rows in parts(split):
        assert rows.dtype == np.int32
        assert abs(dataset.labels[rows].sum() - len(rows) * dataset.positive_rate) <= 1


@settings(max_examples=60)
@given(
    num_negatives=st.integers(10, 300), num_positives=st.integers(10, 300),
    validation=st.one_of(st.floats(0.15, 0.4), st.integers(15, 60)),
    test=st.one_of(st.floats(0.15, 0.4), st.integers(15, 60)),
    seed=st.integers(0, 2**40),
)  # fmt: skip
def test_split_invariants(num_negatives, num_positives, validation, test, seed):
    labels = drawn_labels(num_negatives, num_positives)
    try:
        split = stratified_split(labels=labels, validation=validation, test=test, seed=seed)
    except UserError:
        # Only where the data is too small or too lopsided for the sizes asked for.
        assert len(labels) < 140 or min(num_positives, num_negatives) < 0.15 * len(labels)
        return
    np.testing.assert_array_equal(np.sort(np.concatenate(parts(split))), range(len(labels)))
    for part, size in (("validation", validation), ("test", test)):
        assert len(getattr(split, part)) == part_size(part, size, len(labels))
        assert abs(len(getattr(split, part)) - (size if size >= 1 else size * len(labels))) <= 0.5
    for rows, slack in ((split.test, 1), (split.validation, 2), (split.train, 2)):
        assert (np.diff(rows) > 0).all()
        assert abs(labels[rows].sum() - len(rows) * labels.mean()) < slack + 1e-9
        assert 0 < labels[rows].sum() < len(rows)


def test_split_follows_its_seed_and_test_ignores_validation():
    labels = drawn_labels(150, 50)
    base = stratified_split(labels=labels, validation=0.2, test=0.2, seed=0)
    again = stratified_split(labels=labels, validation=0.2, test=0.2, seed=0)
    other = stratified_split(labels=labels, validation=0.2, test=0.2, seed=1)
    wider = stratified_split(labels=labels, validation=0.3, test=0.2, seed=0)
    for part in PARTS:
        np.testing.assert_array_equal(getattr(base, part), getattr(again, part))
        assert not np.array_equal(getattr(base, part), getattr(other, part))
    np.testing.assert_array_equal(base.test, wider.test)


def test_every_row_is_tested_as_often():
    labels = drawn_labels(80, 20)
    counts = np.zeros(100)
    for seed in range(400):
        counts[stratified_split(labels=labels, validation=0.2, test=0.2, seed=seed).test] += 1
    # Binomial(400, .2): mean 80, sd 8; five sd for the extremes of 100 rows.
    assert np.abs(counts - 80).max() < 40


@pytest.mark.parametrize(("negatives", "positives", "validation", "test", "expected"), [
    (100, 2, 0.2, 0.2, ["2 positives", "100 negatives"]),
    (100, 1, 0.2, 0.2, ["test part", "1 positives", "split.test"]),
    (2, 100, 0.2, 0.2, ["2 negatives"]),
    (100, 5, 0.05, 0.2, ["validation part", "no positive"]),
    (200, 4, 90, 102, ["training part (12 rows)", "no positive", "4 positives and 200"]),
    (50, 50, 0.5, 0.5, ["leave no training row of 100"]),
    (50, 50, 80, 30, ["validation 80 and test 30"]),
    (50, 50, 0.2, 1, ["test part of 1 rows"]),
    (50, 50, 0, 0.2, ["split.validation", "got 0"]),
    (50, 50, 0.2, 1.5, ["split.test", "got 1.5"]),
    (50, 50, 0.2, -3, ["split.test", "got -3"]),
    (50, 50, 0.2, float("nan"), ["split.test", "got nan"]),
    (50, 50, 0.2, float("inf"), ["split.test", "got inf"]),
])  # fmt: skip
def test_split_refuses(negatives, positives, validation, test, expected):
    labels = drawn_labels(negatives, positives)
    with pytest.raises(UserError) as caught:
        stratified_split(labels=labels, validation=validation, test=test, seed=0)
    for part in expected:
        assert part in str(caught.value), caught.value
    with pytest.raises(UserError, match="seed must be 0 or more, got -1"):
        stratified_split(labels=drawn_labels(50, 50), validation=0.2, test=0.2, seed=-1)


def induced(labels, rate, where="train", seed=0):
    split = stratified_split(labels=labels, validation=0.25, test=0.25, seed=seed)
    return split, induce_positive_rate(
        split=split, labels=labels, positive_rate=rate, where=where, seed=seed
    )


@settings(max_examples=80)
@given(
    num_negatives=st.integers(40, 300), num_positives=st.integers(40, 300),
    rates=st.lists(st.floats(0.02, 0.98), min_size=2, max_size=4, unique=True),
    where=st.sampled_from(["train", "all"]), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_induced_rates_are_reached_and_nested(num_negatives, num_positives, rates, where, seed):
    labels = drawn_labels(num_negatives, num_positives)
    try:
        splits = [induced(labels, rate, where, seed) for rate in sorted(rates)]
    except UserError as error:
        assert "would keep no" in str(error)
        assume(False)
    for rate, (natural, split) in zip(sorted(rates), splits, strict=True):
        for part, before, after in zip(PARTS, parts(natural), parts(split), strict=True):
            if part != "train" and where == "train":
                np.testing.assert_array_equal(before, after)
                continue
            assert set(after) <= set(before) and len(set(after)) == len(after)
            # One row more or less of the class that was thinned would be further off.
            positives, size = int(labels[after].sum()), len(after)
            odds = rate / (1 - rate)
            thinned_off = abs(positives - odds * (size - positives))
            assert min(thinned_off, thinned_off / odds) <= 0.5 + 1e-9
            # One class is whole: no row is dropped without need.
            lost = [np.sum(labels[before] == c) - np.sum(labels[after] == c) for c in (0, 1)]
            assert min(lost) == 0
    for (_, lower), (_, higher) in pairwise(splits):
        for low, high in zip(parts(lower), parts(higher), strict=True):
            assert set(low[labels[low] == 1]) <= set(high[labels[high] == 1])
            assert set(high[labels[high] == 0]) <= set(low[labels[low] == 0])


def test_imbalance_follows_its_seed_and_none_is_natural():
    labels = drawn_labels(300, 100)
    split, low = induced(labels, 0.05)
    _, again = induced(labels, 0.05)
    np.testing.assert_array_equal(low.train, again.train)
    other = induce_positive_rate(
        split=split, labels=labels, positive_rate=0.05, where="train", seed=1
    )
    assert set(other.train) != set(low.train)
    high = [
        induce_positive_rate(split=split, labels=labels, positive_rate=0.6, where="train", seed=s)
        for s in range(2)
    ]
    assert set(high[0].train) != set(high[1].train)  # negatives are drawn too
    assert induced(labels, None)[1].train.tolist() == split.train.tolist()


@pytest.mark.parametrize(("rate", "where", "message"), [
    (0.001, "train", "positive_rate 0.001: the train part .* no positive: raise"),
    (0.999, "train", "positive_rate 0.999: the train part .* no negative: lower"),
    (0.008, "all", "the validation part .* no positive"),
    (1.5, "train", r"must be in \(0, 1\), got 1.5"),
    (0.1, "test", "'train' or 'all', got 'test'"),
])  # fmt: skip
def test_imbalance_refuses(rate, where, message):
    with pytest.raises(UserError, match=message):
        induced(drawn_labels(200, 100), rate, where)


@given(
    num_rows=st.integers(1, 50), batch_size=st.integers(1, 70), num_steps=st.integers(1, 20),
    seed=st.integers(0, 2**40),
)  # fmt: skip
def test_every_row_is_visited_once_a_pass(num_rows, batch_size, num_steps, seed):
    rows = np.arange(100, 100 + num_rows, dtype=np.int32)
    batches = batch_rows(rows=rows, batch_size=batch_size, num_steps=num_steps, seed=seed)
    assert batches.shape == (num_steps, batch_size) and batches.dtype == np.int32
    stream = batches.reshape(-1)
    for start in range(0, len(stream), num_rows):
        visited = stream[start : start + num_rows]
        assert len(set(visited)) == len(visited) and set(visited) <= set(rows)
    longer = batch_rows(rows=rows, batch_size=batch_size, num_steps=num_steps + 7, seed=seed)
    np.testing.assert_array_equal(longer[:num_steps], batches)


def test_passes_are_shuffled_uniformly_and_independently():
    rows = np.arange(4, dtype=np.int32)
    order = batch_rows(rows=rows, batch_size=4, num_steps=24_000, seed=0)
    codes = order @ np.array([64, 16, 4, 1])
    counts = np.unique(codes, return_counts=True)[1]
    # 24 orders, 1,000 each expected, sd 31: five sd.
    assert len(counts) == 24 and np.abs(counts - 1000).max() < 155
    # The last row of a pass says nothing of the next pass's first: equal in 1 of 4, sd 67.
    assert abs((order[:-1, -1] == order[1:, 0]).sum() - 6000) < 335


def test_batch_order_follows_its_seed_and_is_fast():
    rows = np.arange(3000, dtype=np.int32)
    batches = [batch_rows(rows=rows, batch_size=256, num_steps=500, seed=s) for s in (0, 0, 1)]
    np.testing.assert_array_equal(batches[0], batches[1])
    assert not np.array_equal(batches[0], batches[2])
    seconds = []
    for seed in range(10):
        start = time.perf_counter()
        batch_rows(rows=rows, batch_size=256, num_steps=500, seed=seed)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.01  # 2 ms measured; a thousand runs must not wait for their batches


@pytest.mark.parametrize("sizes", [(0, 1, 1), (3, 0, 1), (3, 1, 0)])
def test_batches_refuse_nothing_to_do(sizes):
    num_rows, batch_size, num_steps = sizes
    with pytest.raises(UserError, match=f"got {num_rows} rows, num_steps {num_steps}"):
        batch_rows(
            rows=np.arange(num_rows, dtype=np.int32),
            batch_size=batch_size,
            num_steps=num_steps,
            seed=0,
        )


def test_purposes_draw_from_different_streams():
    draws = {generator(0, purpose).integers(2**62) for purpose in Purpose}
    assert len(draws) == len(Purpose) == len(set(Purpose))
