"""One owner of the data sets: each is loaded once, shared, and let go within a budget of bytes."""

import gc
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from harness.data import library
from harness.data.dataset import Dataset
from harness.data.library import Datasets
from harness.data.sources import Table
from harness.data.synthetic import TwoGaussians
from harness.sweep import plan
from tests.runs import config
from tests.test_resume import train

GAUSSIANS = TwoGaussians(rows=1000, num_features=10, distance=1.0, positive_rate=0.1, seed=0)
BYTES = sum(array.nbytes for array in GAUSSIANS.load().arrays)


@dataclass(frozen=True)
class Counted:
    """A source that counts what is loaded of it."""

    seed: int = 0
    loads: list[int] = field(default_factory=list, compare=False)

    def load(self) -> Dataset:
        self.loads.append(self.seed)
        return replace(GAUSSIANS, seed=self.seed).load()


def test_equal_sources_share_one_data_set():
    datasets, one, other = Datasets(), Counted(), Counted()
    assert datasets.get(one) is datasets.get(other)
    assert (one.loads, other.loads) == ([0], [])


def test_only_the_latest_are_kept_within_the_budget():
    datasets, loads = Datasets(3 * BYTES), []
    sources = [Counted(seed, loads) for seed in range(5)]
    for source in sources:
        datasets.get(source)
    gc.collect()
    assert loads == [0, 1, 2, 3, 4] and len(datasets._alive) == 3
    datasets.get(sources[2])  # now the one used last: 3 goes before it
    datasets.get(sources[0])
    datasets.get(sources[2])
    assert loads == [0, 1, 2, 3, 4, 0]
    datasets.get(sources[3])
    assert loads[-1] == 3


def test_the_last_one_is_kept_whatever_it_weighs():
    datasets, source = Datasets(0), Counted()
    datasets.get(source)
    datasets.get(source)
    assert source.loads == [0]


def test_what_somebody_still_uses_is_not_loaded_again():
    datasets, loads = Datasets(0), []
    held = datasets.get(Counted(0, loads))
    datasets.get(Counted(1, loads))
    assert datasets.get(Counted(0, loads)) is held and loads == [0, 1]


def test_facts_outlive_the_data():
    datasets, loads = Datasets(0), []
    facts = datasets.facts(Counted(0, loads))
    datasets.get(Counted(1, loads))
    assert datasets.facts(Counted(0, loads)) == facts and loads == [0, 1]
    assert facts.fingerprint == GAUSSIANS.load().fingerprint
    assert (facts.num_rows, facts.num_features, facts.num_positives) == (1000, 10, 100)
    assert not facts.has_missing


def test_a_changed_file_is_read_again(tmp_path):
    datasets, path = Datasets(), tmp_path / "data.csv"
    source = Table(path=str(path), target="y")
    path.write_text("a,y\n1,0\n2,1\n")
    first = datasets.facts(source)
    assert datasets.get(source) is datasets.get(source)
    path.write_text("a,y\n1,0\n2,1\n3,1\n")
    assert datasets.get(source).num_rows == 3
    assert datasets.facts(source).fingerprint != first.fingerprint
    assert len(datasets._kept) == len(datasets._facts) == 1


def test_what_is_made_from_another_data_set_shares_its_arrays():
    @dataclass(frozen=True)
    class Flipped:
        base: Counted
        flip: int

        def load_over(self, base: Dataset) -> Dataset:
            return replace(base, labels=np.roll(base.labels, self.flip))

    datasets, source = Datasets(2 * BYTES), Counted()
    made = [datasets.get(Flipped(source, flip)) for flip in range(20)]
    assert source.loads == [0]
    assert all(np.shares_memory(one.features, made[0].features) for one in made)
    assert len(datasets._kept) == 21  # their features are counted once


def test_a_sweep_draws_each_data_set_once_and_keeps_few(monkeypatch, request, tmp_path):
    """Once to know it, and once more where it was dropped before it was trained on."""
    monkeypatch.setattr(library, "datasets", Datasets(4 * BYTES))
    drawn, alive = [], []
    load = TwoGaussians.load
    gc.collect()
    gc.freeze()  # what other tests left is not gone through at each draw
    request.addfinalizer(gc.unfreeze)

    def counted(self):
        drawn.append(self.seed)
        gc.collect()
        alive.append(len(library.datasets._alive))
        return load(self)

    monkeypatch.setattr(TwoGaussians, "load", counted)
    configs = [
        config(
            dataset={**vars(GAUSSIANS), "seed": seed},
            model={"name": "logistic"},
            training__num_epochs=1,
            seed=run,
        )
        for seed in range(20)
        for run in range(3)
    ]
    runs = plan.resolved(configs)
    gc.collect()
    assert drawn == list(range(20))
    assert len(library.datasets._alive) == 4
    assert len(plan.groups(runs)) == 20
    assert all(one.error is None for one in train(configs, tmp_path))
    assert len(drawn) <= 3 * 20
    # Those kept, that in training, that evaluated beside it.
    assert max(alive) <= 4 + 2


@pytest.mark.parametrize("kind", ["features", "labels"])
def test_what_is_shared_cannot_be_written_to(kind):
    with pytest.raises(ValueError, match="read-only"):
        getattr(Datasets().get(GAUSSIANS), kind)[0] = 1
