"""What runs in place of a definition that ids are of gives its bits."""

import inspect
from itertools import product

import jax
import numpy as np
import pytest

from harness import definitions
from harness.data import splits
from harness.identity.code import DEFINED
from harness.metrics import bootstrap
from harness.sweep import lanes
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


def split(of, case, seed):
    num_rows, num_positives, size = case
    labels = labelled(2 * num_rows, num_positives + num_rows)
    rows = np.flatnonzero(np.arange(2 * num_rows) % 2 == 0).astype(np.int32)
    labels[rows] = labelled(num_rows, num_positives)
    try:
        return of.split_off(rows, labels, size, seed, "test", 3)
    except Exception as error:
        return str(error)


def test_rows_are_split_as_scikit_learn_splits_them():
    refused = 0
    for case, seed in product(SPLITS, range(6)):
        ours, theirs = split(splits, case, seed), split(definitions, case, seed)
        if isinstance(theirs, str):
            assert ours == theirs, case
            refused += 1
            continue
        for one, other in zip(ours, theirs, strict=True):
            assert one.dtype == other.dtype and np.array_equal(one, other), (case, seed)
    assert 0 < refused < 6 * len(SPLITS) / 2


def test_tails_have_the_bits_of_scipy_s():
    sizes = [1, 2, 3, 7, 18, 50, 181, 920, 10_000, 10**6]
    for level, size in product([0.5, 0.8, 0.9, 0.95, 0.99, 0.999], sizes):
        ours, theirs = (of._tail(level, size) for of in (bootstrap, definitions))
        assert np.float64(ours).tobytes() == np.float64(theirs).tobytes(), (level, size)


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
        outcomes = trainer(stacked, data), trainer(definitions.stacked(own, program), data)
        for one, other in zip(*map(jax.tree.leaves, outcomes), strict=True):
            assert np.asarray(one)[:number].tobytes() == np.asarray(other)[:number].tobytes()


@pytest.mark.parametrize("name", sorted(DEFINED))
def test_a_definition_takes_and_gives_what_runs_in_its_place_does(name):
    """And stands in the tests above."""
    module, _, function = name.rpartition(".")
    running = {one.__name__: one for one in (splits, bootstrap, lanes)}[module]
    defined = getattr(definitions, function)
    assert inspect.signature(defined) == inspect.signature(getattr(running, function))
    tests = (
        split,
        test_tails_have_the_bits_of_scipy_s,
        test_a_device_of_copies_alone_takes_no_step,
    )
    assert f".{function}" in "".join(map(inspect.getsource, tests))
