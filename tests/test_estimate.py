"""What `harness plan` counts: rates that are timed once, the past of a sweep, and what adds up."""

from dataclasses import replace

import pytest

from harness.sweep import compiled, estimate, lanes, plan, rates
from harness.sweep.rates import Rate
from harness.sweep.rehearsal import Host, rehearsed
from tests.runs import config, runs_of
from tests.test_compiled import folder as folder

RATE = Rate(compile_seconds=4.0, compile_bytes=300, step_seconds=0.01, row_seconds=1e-4)
HOST = Host(first_seconds=1.0, run_seconds=0.5, bytes=7)
ONE = config(model={"name": "logistic"}, training__num_epochs=3)


def group(**changes):
    (run,) = runs_of(ONE)
    made = estimate._group(run.program, [[run]], rate=RATE, host=HOST, past=None)
    return replace(made, **changes)


@pytest.mark.slow
def test_a_kind_of_program_is_timed_once_on_a_machine(folder, monkeypatch):
    monkeypatch.setattr(rates, "timing", True)
    monkeypatch.setattr(estimate, "SECONDS_WORTH_TIMING", 0.0)
    monkeypatch.setattr(rates, "FLOPS", 1e8)
    (run,) = runs_of(ONE)
    found = estimate._rates([[[run]]], [], held=0)[run.program]
    assert found.compile_seconds > 0 and found.step_seconds + found.row_seconds > 0
    monkeypatch.setattr(rates, "timed", None)  # not called again
    # Longer runs on more seeds are of the same kind; another model is not.
    (longer,) = runs_of(replace(ONE, seed=3, training=replace(ONE.training, num_epochs=9)))
    assert estimate._rates([[[longer]]], [], held=0)[longer.program] == found
    (other,) = runs_of(config(model={"name": "mlp", "width": 3, "depth": 1}))
    assert rates.kept(other) is None
    monkeypatch.setattr(rates, "LASTS", -1.0)
    assert rates.kept(run) is None


def test_what_is_soon_trained_is_not_timed(folder, monkeypatch):
    """A plan of a demonstration would take longer than the demonstration."""
    monkeypatch.setattr(rates, "timing", True)
    monkeypatch.setattr(rates, "timed", lambda run, held: RATE)
    (run,) = runs_of(ONE)
    guessed = estimate._rates([[[run]] * 20], [], held=0)[run.program]
    assert guessed.step_seconds == pytest.approx(estimate.SECONDS_OF_A_STEP)
    assert estimate._rates([[[run]] * 100_000], [], held=0) == {run.program: RATE}


def test_what_is_not_timed_is_scaled_from_what_is_most_like_it():
    small, large = runs_of(
        config(model={"name": "mlp", "width": 64}), config(model={"name": "mlp", "width": 512})
    )
    guessed = estimate._guessed(large.program, {small.program: RATE})
    work = estimate._flops(large.program)[0] / estimate._flops(small.program)[0]
    assert guessed.step_seconds == pytest.approx(work * RATE.step_seconds)
    assert guessed.compile_seconds == RATE.compile_seconds


def test_the_past_of_a_sweep_counts_by_full_batches():
    runs = runs_of(*(replace(ONE, seed=seed) for seed in range(20)))
    width = lanes.width_of(runs[0].program)
    assert width == 16
    # A full batch of 3.2 s, and four runs in one that took as long.
    shares = [0.2] * 16 + [0.8] * 4
    done = {run.key: {"seconds": share} for run, share in zip(runs, shares, strict=True)}
    assert estimate._past(runs, done) == {runs[0].program: pytest.approx(3.2)}
    assert estimate._past(runs[:2], done) == {runs[0].program: pytest.approx(0.4)}
    made = estimate._group(runs[0].program, [runs[:16], runs[16:]], rate=RATE, host=HOST, past=3.2)
    assert made.train_seconds == pytest.approx(6.4)


def test_a_batch_takes_its_steps_and_the_rows_there_is_room_for():
    (run,) = runs_of(ONE)
    steps, room = 3 * run.sizes.steps_per_epoch, run.program.sizes
    rows = 4 * room.validation + room.test
    assert group().train_seconds == pytest.approx(0.01 * steps + 1e-4 * rows)


def test_what_runs_side_by_side_is_not_added_up(monkeypatch):
    monkeypatch.setattr(estimate.devices, "available_cores", lambda: 2)
    monkeypatch.setattr(lanes, "num_devices", lambda: 2)
    one = group(compile_seconds=4.0, train_seconds=10.0, host_seconds=2.0, runs=4, batches=4)
    around = 1.0 + 4.0 + 0.5 + estimate.SECONDS_TO_EXIT  # imports, compiler, last batch, exit
    # Training has both cores, of which the host takes a share.
    assert estimate._seconds([one], [HOST]) == pytest.approx(around + 11.0)
    # Where the host is slower than the devices, they wait for it.
    slow = replace(one, host_seconds=24.0)
    assert estimate._seconds([slow], [HOST]) == pytest.approx(around + 5.5 + 24.0)
    # The second program compiles while the first one trains.
    assert estimate._seconds([one, one], [HOST] * 2) == pytest.approx(
        around + (2 * 22 + 4 + 4) / 2 - 2
    )


def test_memory_is_that_of_the_process(monkeypatch):
    monkeypatch.setattr(compiled, "at_once", lambda: 1)
    one = group(memory=100, compile_bytes=300, is_kept=False)
    assert estimate._memory([one], 1000, [HOST]) == 1407
    assert estimate._memory([replace(one, is_kept=True)], 1000, [HOST]) == 1107
    assert estimate._memory([one, one], 1000, [HOST]) == 1407
    assert estimate._memory([], 1000, []) == 1000
    # Side by side.
    monkeypatch.setattr(compiled, "at_once", lambda: 2)
    assert estimate._memory([one, one], 1000, [HOST]) == 1707
    assert estimate._memory([one, one, one], 1000, [HOST]) == 1707


def test_a_rehearsal_leaves_nothing_behind(tmp_path):
    """Its runs are stored elsewhere, and a sweep finds none of them."""
    runs = runs_of(*(replace(ONE, root=str(tmp_path / "runs"), seed=seed) for seed in range(2)))
    found = rehearsed(runs)
    assert 0 < found.run_seconds < 5 and found.first_seconds >= 0
    assert list(tmp_path.iterdir()) == [] and plan.stored_runs(runs, []) == {}


def test_a_program_at_hand_is_loaded(folder):
    (run,) = runs_of(ONE)
    assert not group().is_kept and group().compile_seconds == 4.0
    place = compiled._place(run.program, lanes.width_of(run.program))
    place.parent.mkdir(parents=True)
    place.touch()
    assert group().is_kept and group().compile_seconds == estimate.SECONDS_TO_LOAD
