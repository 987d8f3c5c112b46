"""Keeping parameters, starting from them, and training the head alone."""

import os
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from harness import checkpoints
from harness.errors import UserError
from harness.record import store
from harness.sweep import plan
from harness.sweep.engine import run_sweep
from harness.sweep.progress import Progress
from tests.runs import config, groups, prepared, runs_of, train_alone, train_together

STILL = {"name": "sgd", "learning_rate": 1e-30}
ONE_STEP = {"num_epochs": 1, "steps_per_epoch": 1, "batch_size": 64}


def train(*configs):
    with open(os.devnull, "w") as nowhere:
        return run_sweep(configs, progress=Progress(Console(file=nowhere)))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A sweep folder with one run that kept its parameters; the run's config and id."""
    root = tmp_path_factory.mktemp("source")
    one = replace(config(training__save_model=True, training__num_epochs=6), root=str(root))
    (result,) = train(one)
    return root / "default", one, result.run_id


def best_validation_loss(folder, run_id):
    (path,) = store.shards(folder).paths("history")
    history = store.scan(path).filter(run_id=run_id).collect()
    run = store.runs(folder)[0].filter(run_id=run_id).row(0, named=True)
    return history.filter(epoch=run["best_epoch"])["validation/loss"].item()


@pytest.mark.slow
def test_a_run_starts_where_its_source_was_best(source):
    folder, one, run_id = source
    tuned = config(init={"params": f"{folder}/{run_id}"}, optimizer=STILL, training=ONE_STEP)
    _, outcome, _ = train_alone(tuned)
    assert outcome.curves.validation_loss[0] == pytest.approx(
        best_validation_loss(folder, run_id), rel=1e-5
    )
    _, again, _ = train_alone(replace(one, root="elsewhere"))
    kept = checkpoints.load(checkpoints.find(run_id, folder))
    assert kept.keys() == again.params.keys()
    for name, values in kept.items():
        np.testing.assert_allclose(values, again.params[name], rtol=1e-4, atol=1e-5)


def test_starting_points_are_found_by_run_folder_and_id(source):
    folder, _, run_id = source
    at = (folder / "models" / run_id).absolute()
    for name in (run_id, f"{folder}/{run_id}", str(at)):
        assert checkpoints.find(name, folder) == at
    with pytest.raises(UserError, match=r"init.params=nowhere.*training.save_model=true"):
        checkpoints.find("nowhere", folder)


def test_no_code_is_kept(source):
    folder, _, run_id = source
    names = {path.suffix for path in (folder / "models" / run_id).rglob("*") if path.is_file()}
    assert names & {".pkl", ".pickle", ".py", ".pt"} == set()


def test_a_damaged_checkpoint_is_one_error(source, tmp_path):
    folder, _, run_id = source
    copy = tmp_path / "models" / "damaged"
    copy.parent.mkdir()
    os.system(f"cp -r {folder / 'models' / run_id} {copy}")
    (copy / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="cannot read"):
        checkpoints.load(checkpoints.find("damaged", tmp_path))
    for text in ("{", "[" * 200_000):
        (copy / "model.json").write_text(text)
        with pytest.raises(UserError, match="cannot read"):
            checkpoints.check_features(copy, ["a"], source="init.params=damaged")


def test_a_fresh_head_keeps_the_body_alone(source):
    folder, _, run_id = source
    whole = checkpoints.load(checkpoints.find(run_id, folder))
    one = config(
        init={"params": f"{folder}/{run_id}", "fresh_head": True},
        optimizer=STILL,
        training=ONE_STEP,
    )
    ready, outcome, _ = train_alone(one)
    assert ready.program.start == "body"
    for name, values in outcome.params.items():
        if name.startswith("body."):
            np.testing.assert_array_equal(values, whole[name])
    assert np.abs(outcome.params["head.kernel"]).max() < 1e-25  # a step of 1e-30 from zero
    prior = np.log(ready.data.num_positives / ready.data.num_negatives)
    np.testing.assert_allclose(outcome.params["head.bias"], prior, rtol=1e-6)


@pytest.mark.parametrize("head", ["linear", "normalized"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon", "schedule_free_adamw"])
def test_a_frozen_body_does_not_move(source, optimizer, head):
    folder, _, run_id = source
    whole = checkpoints.load(checkpoints.find(run_id, folder))
    one = config(
        init={"params": f"{folder}/{run_id}", "fresh_head": True, "freeze_body": True},
        model__head=head,
        optimizer={"name": optimizer, "learning_rate": 0.05, "weight_decay": 0.1},
    )
    _, outcome, _ = train_alone(one)
    for name, values in whole.items():
        if name.startswith("body."):
            assert outcome.params[name].tobytes() == values.tobytes()
    assert outcome.curves.validation_loss.min() < 0.3  # the head did move, from ln 2


def test_a_frozen_body_costs_less(source):
    plain, probe = config(), config(init={"freeze_body": True})
    flops = [plan.run_flops(run) for run in runs_of(plain, probe)]
    assert flops[1] < flops[0]
    assert len(groups(plain, probe)) == 2


@pytest.mark.slow
def test_fine_tuned_lanes_fuse_and_keep_their_bits(source):
    folder, _, run_id = source
    init = {"params": f"{folder}/{run_id}"}
    runs = [config(init=init, seed=seed, loss={"name": "focal"}) for seed in range(2)]
    alone = [train_together(one)[0] for one in runs]
    together = train_together(config(init=init, optimizer__learning_rate=1e30), *runs)[1:]
    for one, other in zip(alone, together, strict=True):
        assert one.test_logits.tobytes() == other.test_logits.tobytes()


def test_identity_is_that_of_the_parameters_wherever_they_lie(source, tmp_path):
    folder, _, run_id = source
    os.system(f"cp -r {folder / 'models' / run_id} {tmp_path / 'moved'}")

    def identity(**init):
        return prepared(config(init=init)).run.run_id

    there, moved = f"{folder}/{run_id}", str(tmp_path / "moved")
    assert identity(params=there) == identity(params=moved)
    assert len({identity(), identity(params=there), identity(params=there, fresh_head=True)}) == 3
    assert prepared(config(training__save_model=True)).run.run_id == identity()


@pytest.mark.parametrize(
    "model,says",
    [
        ({"name": "mlp", "width": 9, "depth": 1}, r"layers.0.bias has shape \(8,\) there, \(9,\)"),
        ({"name": "mlp", "width": 8, "depth": 2}, "no body.layers.1.bias there"),
        ({"name": "mlp", "width": 8, "depth": 1, "head": "normalized"}, "no head.prototypes there"),
    ],
)  # fmt: skip
def test_other_models_are_refused(source, model, says):
    folder, _, run_id = source
    one = config(init={"params": f"{folder}/{run_id}"}, model=model)
    with pytest.raises(UserError, match=says):
        prepared(one)


def test_a_stored_run_that_owes_its_parameters_is_trained_again(tmp_path):
    small = {"model": {"name": "logistic"}, "training__num_epochs": 2}
    plain = replace(config(**small), root=str(tmp_path))
    keeps = replace(config(**small, training__save_model=True), root=str(tmp_path))
    (first,) = train(plain)
    assert not (tmp_path / "default" / "models").exists()
    (second,) = train(keeps)
    assert second.run_id == first.run_id and not second.was_stored
    assert dict(second.objectives) == dict(first.objectives)
    (third,) = train(keeps)
    assert third.was_stored
    (stored,) = (tmp_path / "default" / "models").iterdir()
    assert stored.name == first.run_id


def test_the_command_line_says_what_is_missing(harness):
    said = harness("train", "init.params=0123456789abcdef", "wandb=disabled")
    assert said.code == 2 and said.err.count("\n") == 1
    assert "training.save_model=true" in said.err
