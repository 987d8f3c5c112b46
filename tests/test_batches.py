"""Batches of stated composition: their shares, their passes, and the prior they report."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.batches import BATCHINGS, Balanced, Batches, Shuffled, Stratified, batch_rows
from harness.errors import UserError
from tests.runs import config, prepared


def batched(kind, *, negatives=90, positives=10, batch_size=20, num_steps=30, seed=0):
    """Batches of rows 1000, 1001, ... of which the first `negatives` are negative."""
    labels = np.array([0] * negatives + [1] * positives, np.int8)
    rows = np.arange(1000, 1000 + len(labels), dtype=np.int32)
    made: Batches = kind.batches(
        rows=rows, labels=labels, batch_size=batch_size, num_steps=num_steps, seed=seed
    )
    assert made.rows.shape == (num_steps, batch_size) and made.rows.dtype == np.int32
    return made, labels[made.rows - 1000]


def test_shuffled_batches_are_the_plain_stream():
    made, _ = batched(Shuffled())
    rows = np.arange(1000, 1100, dtype=np.int32)
    expected = batch_rows(rows=rows, batch_size=20, num_steps=30, seed=0)
    np.testing.assert_array_equal(made.rows, expected)
    assert (made.num_negatives, made.num_positives) == (90, 10)


@given(
    negatives=st.integers(1, 60), positives=st.integers(1, 60), batch_size=st.integers(2, 40),
    num_steps=st.integers(1, 40), share=st.sampled_from([None, 0.01, 0.3, 0.5, 0.75, 0.99]),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_every_batch_holds_the_share_and_both_classes(
    negatives, positives, batch_size, num_steps, share, seed
):
    kind = Stratified() if share is None else Balanced(positive_share=share)
    made, labels = batched(
        kind,
        negatives=negatives,
        positives=positives,
        batch_size=batch_size,
        num_steps=num_steps,
        seed=seed,
    )
    wanted = Fraction(positives, negatives + positives) if share is None else Fraction(str(share))
    held = min(max(wanted, Fraction(1, batch_size)), Fraction(batch_size - 1, batch_size))
    counts = labels.sum(axis=1)
    assert counts.min() >= 1 and counts.max() < batch_size
    assert np.abs(counts - float(held * batch_size)).max() < 1
    assert abs(counts.sum() - held * labels.size) < 1
    assert Fraction(made.num_positives, made.num_positives + made.num_negatives) == held
    for label, size in ((0, negatives), (1, positives)):  # passes of each class
        visits = made.rows[labels == label]
        for start in range(0, len(visits), size):
            one_pass = visits[start : start + size]
            assert len(set(one_pass)) == len(one_pass)


@pytest.mark.parametrize("kind", [Stratified(), Balanced()])
def test_batches_follow_the_seed_and_more_steps_continue_them(kind):
    made, _ = batched(kind)
    longer, _ = batched(kind, num_steps=50)
    other, _ = batched(kind, seed=1)
    np.testing.assert_array_equal(longer.rows[:30], made.rows)
    assert not np.array_equal(other.rows, made.rows)


def test_reported_counts_are_those_of_the_rows_where_their_share_is_kept():
    made, _ = batched(Stratified(), negatives=93, positives=7, batch_size=30)
    assert (made.num_negatives, made.num_positives) == (93, 7)
    rare, labels = batched(Stratified(), negatives=990, positives=10, batch_size=20)
    assert labels.mean() == 1 / 20  # one a batch where a hundredth is due
    assert (rare.num_negatives, rare.num_positives) == (50 * 19, 50)
    even, _ = batched(Balanced(), negatives=90, positives=10)
    assert (even.num_negatives, even.num_positives) == (50, 50)


@pytest.mark.parametrize("kind", [Stratified(), Balanced()])
@pytest.mark.parametrize("sizes", [{"batch_size": 1}, {"positives": 0}, {"negatives": 0}])
def test_batches_that_cannot_hold_both_classes_are_refused(kind, sizes):
    with pytest.raises(UserError, match=r"cannot hold both classes: raise training\.batch_size"):
        batched(kind, **sizes)


@pytest.mark.parametrize("kind", BATCHINGS)
@pytest.mark.parametrize("name", ["none", "random_under", "smote"])
def test_any_sampler_goes_with_any_batching(kind, name):
    one = config(
        dataset={"kind": "sklearn", "name": "digits", "positive": "8"},
        sampler={"name": name},
        batching={"name": kind().name},
    )
    ready = prepared(one)
    dataset = ready.dataset
    made = np.zeros(0) if ready.lane.synthetic is None else ready.lane.synthetic_labels
    # Made rows are numbered -1, -2, ...
    labels = np.concatenate([dataset.labels, made[::-1]])[ready.lane.batch_rows]
    drawn = config(dataset={"kind": "sklearn", "name": "digits", "positive": "8"})
    share = 104 / 1079 if name == "none" and kind is not Balanced else 0.5
    assert ready.data.train_prior == pytest.approx(share, abs=1e-12)
    assert labels.mean() == pytest.approx(share, abs=0.02)
    if kind is not Shuffled:
        assert np.ptp(labels.sum(axis=1)) <= 1
    # A program is shared by all batchings: which rows meet is data.
    assert ready.program == prepared(replace(one, batching=Shuffled())).program
    assert (ready.program == prepared(drawn).program) == (name != "smote")
