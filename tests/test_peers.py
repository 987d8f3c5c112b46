"""The work that peers are given is the harness's own."""

import numpy as np
import pytest

from benchmarks.peers.compare import HERE, KINDS, PEERS, write_work
from benchmarks.peers.work import Work, log_loss


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "german"])
def test_jobs_are_the_harness_s(name, tmp_path, hydra_restore_singletons):
    write_work(tmp_path / "work.npz", KINDS[name], 8)
    work = Work(str(tmp_path / "work.npz"))
    one, other = work[0], work[5]
    assert len(work) == 8 and [work[i].seed for i in range(8)] == [0] * 4 + [1] * 4
    assert [work[i].learning_rate for i in range(4)] == [*KINDS[name].rates]
    parts = set(one.validation), set(one.test), set(one.batches.ravel())
    assert sum(map(len, parts)) == len(set.union(*parts)) <= len(one.labels)
    assert set(one.test) != set(other.test)
    numeric = one.features.shape[1] - len(work.net["cardinalities"])
    trained = one.features[sorted(parts[2]), :numeric]
    assert np.abs(trained.mean(0)).max() < 0.1
    assert np.isin(np.round(trained.std(0), 1), (0, 1)).all()
    assert log_loss(np.full(4, one.log_odds), np.ones(4)) > np.log(2)  # positives are the rarer
    assert work.overrides == [*KINDS[name].overrides] and work.net["parameters"] > 10_000
    assert all((HERE / script).is_file() for _, script, *_ in PEERS.values())
