"""What runs in place of a library's function, or of a plainer one, gives its bits."""

from itertools import product

import jax
import numpy as np
import pytest
from scipy.stats import norm, t
from sklearn.model_selection import train_test_split

from harness.data import splits
from harness.data.streams import Purpose, legacy_seed
from harness.errors import UserError
from harness.metrics import bootstrap
from harness.padding import stack
from harness.sweep import lanes
from harness.threefry import THREEFRY
from tests.runs import config, prepared


def labelled(num_rows, num_positives, seed=0):
    labels = np.zeros(num_rows, np.int8)
    labels[np.random.default_rng(seed).permutation(num_rows)[:num_positives]] = 1
    return labels


SPLITS = [
    (num_rows, num_positives, size)
    for num_rows, num_positives in [
        (4, 2), (7, 3), (50, 25), (100, 2), (101, 37), (920, 363), (4601, 1813), (5000, 4990)
    ]
    for size in {2, 3, num_rows // 5, num_rows // 2, num_rows - 2}
]  # fmt: skip


def split(case, seed):
    """Our parts and scikit-learn's; the words of the error where there are none."""
    num_rows, num_positives, size = case
    labels = labelled(2 * num_rows, num_positives + num_rows)
    rows = np.flatnonzero(np.arange(2 * num_rows) % 2 == 0).astype(np.int32)
    labels[rows] = labelled(num_rows, num_positives)
    try:
        ours = splits.split_off(rows, labels, size, seed, "test", 3)
    except UserError as error:
        return str(error), None
    drawn = legacy_seed(seed, Purpose.SPLIT, 0, 3)
    return ours, train_test_split(rows, test_size=size, stratify=labels[rows], random_state=drawn)


def test_rows_are_split_as_scikit_learn_splits_them():
    refused = 0
    for case, seed in product(SPLITS, range(6)):
        ours, theirs = split(case, seed)
        if theirs is None:
            refused += 1
            continue
        for one, other in zip(ours, theirs, strict=True):
            assert one.dtype == other.dtype and np.array_equal(one, np.sort(other)), (case, seed)
    assert 0 < refused < 6 * len(SPLITS) / 2


def test_tails_have_the_bits_of_scipy_s():
    sizes = [2, 3, 7, 18, 50, 181, 920, 10_000, 10**6]
    for level, size in product([0.5, 0.8, 0.9, 0.95, 0.99, 0.999], sizes):
        ours = bootstrap._tail(level, size)
        theirs = norm.cdf(np.sqrt(size / (size - 1)) * t.ppf((1 - level) / 2, size - 1))
        assert np.float64(ours).tobytes() == np.float64(theirs).tobytes(), (level, size)
    assert np.isnan(bootstrap._tail(0.95, 1))


def test_a_device_of_copies_alone_takes_no_step():
    """Of one run and of one more than a device holds; all bits of runs are those of copies."""
    ready = [prepared(config(training__num_epochs=2, seed=seed)) for seed in range(9)]
    program, dataset = ready[0].program, ready[0].dataset
    assert (lanes.lanes_per_device(program), lanes.num_devices()) == (8, 2)
    trainer, data = lanes.Trainer(program), lanes.put(dataset, program)
    for number, training in ((1, 8), (9, 16)):
        own = [one.lane for one in ready[:number]]
        stacked = lanes.stacked(own, program)
        assert np.count_nonzero(stacked.steps_per_epoch) == training
        outcomes = trainer(stacked, data), trainer(stack(own, program, width=16), data)
        for one, other in zip(*map(jax.tree.leaves, outcomes), strict=True):
            assert np.asarray(one)[:number].tobytes() == np.asarray(other)[:number].tobytes()


def drawn(impl, shape):
    """Bits of two widths, by three keys, from a part of each."""
    keys = np.random.default_rng(0).integers(2**32, size=(3, 2), dtype=np.uint32)

    def one(data):
        key, other = jax.random.split(jax.random.wrap_key_data(data, impl=impl))
        narrow = jax.random.bits(other, shape, np.uint8)
        return jax.random.bits(jax.random.fold_in(key, 5), shape), narrow

    return [np.asarray(leaf).tobytes() for leaf in jax.jit(jax.vmap(one))(keys)]


@pytest.mark.parametrize("shape", [(), (57, 64)], ids=str)
def test_parameters_are_drawn_from_jaxs_bits(shape):
    assert drawn(THREEFRY, shape) == drawn("threefry2x32", shape)


def test_parameters_are_drawn_as_jax_is_set_to():
    with jax.threefry_partitionable(False):
        assert drawn(THREEFRY, (5, 4)) == drawn("threefry2x32", (5, 4))
