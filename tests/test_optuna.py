"""Hydra's Optuna sweeper over our launcher: batches of trials, each one fused sweep."""

import shlex

import polars as pl
import pytest
from omegaconf import OmegaConf

from harness.record import store
from harness.sweep import engine
from tests.conftest import TINY

# hydra-optuna-sweeper 1.3 is written for Optuna 2 and SQLAlchemy 1.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning:hydra_plugins.hydra_optuna_sweeper"),
    pytest.mark.filterwarnings("ignore::FutureWarning:optuna"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:optuna"),
]
pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")

SEARCH = (
    "train", "-m", *TINY, "hydra/sweeper=optuna", "hydra.sweeper.n_jobs=4",
    "hydra.sweeper.n_trials=8", "hydra.sweeper.sampler.seed=1",
)  # fmt: skip


@pytest.fixture(autouse=True)
def quiet():
    """Optuna logs to the stream it found when first imported, which pytest has closed since."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def batches(monkeypatch):
    """The results of each fused sweep."""
    seen = []
    run_sweep = engine.run_sweep

    def recorded(configs, **options):
        results = run_sweep(configs, **options)
        seen.append(list(zip(configs, results, strict=True)))
        return results

    monkeypatch.setattr(engine, "run_sweep", recorded)
    return seen


def search(harness, tmp_path, *arguments):
    said = harness(*SEARCH, *arguments)
    assert said.code == 0, said
    # Losses that share a search are no comparison, which is said once.
    told = ["the losses share"] if any(a.startswith("loss=choice") for a in arguments) else []
    assert [line[:16] for line in said.err.splitlines()] == told
    runs = store.runs(tmp_path / "runs" / "default")[0]
    return runs, OmegaConf.load(tmp_path / "runs" / "default" / "optimization_results.yaml")


def test_trials_train_in_fused_batches_and_the_best_is_found(harness, tmp_path, batches):
    runs, found = search(
        harness,
        tmp_path,
        "hydra.sweeper.direction=maximize",
        "evaluation.objective=auroc",
        "loss=choice(bce,focal,hinge)",
        "optimizer.learning_rate=tag(log, interval(1e-5, 1e-1))",
    )
    assert [len(batch) for batch in batches] == [4, 4]
    assert runs.height == 8
    assert found["best_value"] == runs["validation/auroc"].max()
    assert runs["validation/auroc"].n_unique() > 1
    params = found["best_params"]
    (best,) = runs.filter(
        pl.col("loss.name") == params["loss"],
        pl.col("optimizer.learning_rate") == params["optimizer.learning_rate"],
    ).iter_rows(named=True)
    assert best["validation/auroc"] == found["best_value"]


@pytest.mark.slow
def test_the_other_direction_finds_the_smallest(harness, tmp_path):
    runs, found = search(
        harness,
        tmp_path,
        "hydra.sweeper.direction=minimize",
        "evaluation.objective=brier",
        "optimizer.learning_rate=tag(log, interval(1e-5, 1e-1))",
    )
    assert found["best_value"] == runs["validation/brier"].min()


def test_what_sweepers_get_is_of_the_validation_part(harness, tmp_path, batches):
    """A search over many trials would otherwise tune on the test part."""
    rates = "optimizer.learning_rate=interval(0.01,0.1)"
    runs, _ = search(harness, tmp_path, "evaluation.objective=log_loss", rates)
    by_id = {row["run_id"]: row for row in runs.iter_rows(named=True)}
    for batch in batches:
        for _, result in batch:
            assert result.objectives == {
                "validation/log_loss": by_id[result.run_id]["validation/log_loss"]
            }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "direction"), [("f1@tuned", "maximize"), ("ece", "minimize")]
)
def test_a_trial_that_diverges_is_the_worst_and_the_search_goes_on(
    objective, direction, harness, tmp_path, batches
):
    runs, found = search(
        harness,
        tmp_path,
        f"hydra.sweeper.direction={direction}",
        f"evaluation.objective={objective}",
        "optimizer=sgd",
        "loss=squared_error",
        "optimizer.learning_rate=choice(1e-2,1e38)",
    )
    assert [len(batch) for batch in batches] == [4, 4]
    assert set(runs["status"]) == {"finished", "diverged"}
    diverged = runs.filter(pl.col("status") == "diverged")
    assert diverged[f"validation/{objective}"].is_nan().all()
    assert found["best_params"]["optimizer.learning_rate"] == 0.01
    (best,) = runs.filter(pl.col("status") == "finished")[f"validation/{objective}"]
    assert found["best_value"] == best


@pytest.mark.parametrize("objective", ["average_precision", "ece"])
def test_the_direction_is_the_objectives(objective, harness, tmp_path):
    rates = "optimizer.learning_rate=choice(1e-5,1e-3,1e-1)"
    runs, found = search(harness, tmp_path, f"evaluation.objective={objective}", rates)
    values = runs[f"validation/{objective}"]
    assert found["best_value"] == (values.min() if objective == "ece" else values.max())
    assert values.n_unique() > 1


def test_a_direction_that_looks_for_the_worst_is_refused(harness, tmp_path):
    said = harness(*SEARCH, "hydra.sweeper.direction=minimize", "optimizer.b1=interval(0.1,0.9)")
    assert said.code == 2 and "hydra.sweeper.direction=maximize" in said.err
    assert len(said.err.splitlines()) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("repeated", ["seed=range(3)", "split.seed=1,2"])
def test_a_search_for_a_lucky_seed_is_refused_and_its_remedy_works(repeated, harness, tmp_path):
    searched = "optimizer.learning_rate=choice(1e-3,1e-1)"
    said = harness(*SEARCH, searched, repeated)
    assert said.code == 2 and len(said.err.splitlines()) == 1 and not list(tmp_path.iterdir())
    (remedy,) = (word for word in shlex.split(said.err) if word.startswith("hydra.launcher"))
    runs, found = search(harness, tmp_path, searched, remedy)
    key = repeated.partition("=")[0]
    means = runs.group_by("optimizer.learning_rate").agg(
        pl.col("validation/average_precision").mean(), pl.col(key).n_unique()
    )
    assert set(means[key]) == {3 if key == "seed" else 2}
    assert found["best_value"] == pytest.approx(means["validation/average_precision"].max())
