"""The `fused` launcher and sweeper: to Hydra like any other, and all jobs at once to our task."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.utils import JobStatus
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)
from hydra.types import RunMode
from omegaconf import OmegaConf

from harness.cli import application
from harness.config.composing import Composer
from harness.errors import UserError
from harness.record import store
from harness.sweep import engine
from tests.conftest import TINY

# Hydra's suite leaves `version_base` unset, which Hydra warns of.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:\s*Future Hydra versions:UserWarning"),
    pytest.mark.usefixtures("hydra_restore_singletons"),
]


@pytest.mark.parametrize(
    "launcher_name, overrides",
    [
        ("fused", ["hydra/sweeper=fused"]),
        pytest.param("fused", [], marks=pytest.mark.slow),
        pytest.param("basic", ["hydra/sweeper=fused"], marks=pytest.mark.slow),
    ],
)
class TestAnyTask(LauncherTestSuite):
    """Hydra's own suite, with tasks that know nothing of sweeps."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher_name, overrides",
    [("fused", ["hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2"])],
)
class TestBatches(BatchedSweeperTestSuite):
    """Hydra's own suite for sweepers that launch in batches."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "task_launcher_cfg, extra_flags",
    [
        ({}, ["-m", "hydra/launcher=fused"]),
        ({}, ["-m", "hydra/launcher=fused", "hydra/sweeper=fused"]),
    ],
)
class TestProcesses(IntegrationTestSuite):
    """Hydra's own suite of applications in processes of their own."""


def fused(sweep):
    def task(_: Any) -> Any:
        raise AssertionError("a fused task must not run job by job")

    task.sweep = sweep
    task.stores_runs = True
    return task


@pytest.fixture
def compositions(monkeypatch):
    """The overrides of every composition, ours of plain values and Hydra's own."""
    ours: list[tuple[str, ...]] = []
    hydras: list[tuple[str, ...]] = []
    job, load = Composer.job, ConfigLoaderImpl.load_configuration
    monkeypatch.setattr(
        Composer, "job", lambda self, one: ours.append(tuple(one)) or job(self, one)
    )

    def recorded(self, config_name, overrides, run_mode, **options):
        if run_mode == RunMode.RUN:
            hydras.append(tuple(text for text in overrides if not text.startswith("hydra")))
        return load(self, config_name, overrides, run_mode, **options)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", recorded)
    return SimpleNamespace(ours=ours, hydras=hydras)


def test_a_sweep_is_one_call_with_all_jobs_in_order(hydra_sweep):
    calls = []

    def sweep(configs):
        calls.append([(config["loss"]["name"], config["seed"]) for config in configs])
        return [config["seed"] * 10 for config in configs]

    jobs = [("loss=focal", "seed=3"), ("loss=bce", "seed=1"), ("loss=focal", "seed=2")]
    returns = hydra_sweep.launch(fused(sweep), jobs)
    assert calls == [[("focal", 3), ("bce", 1), ("focal", 2)]]
    assert [one.return_value for one in returns] == [30, 10, 20]
    assert [one.status for one in returns] == [JobStatus.COMPLETED] * 3
    assert [one.overrides for one in returns] == [list(job) for job in jobs]


def test_a_sweep_that_loses_a_job_is_refused(hydra_sweep):
    with pytest.raises(ValueError, match="shorter"):
        hydra_sweep.launch(fused(lambda configs: [1.0]), [["seed=1"], ["seed=2"]])


@pytest.mark.slow
def test_the_configuration_of_a_return_is_hydras_own_and_built_when_asked_for(
    hydra_sweep, monkeypatch
):
    jobs = [
        ("loss=focal", "loss.gamma=0.5", "training.num_epochs=3"),
        ("loss=poly1", "seed=2"),
        ("experiment=demo", "seed=3"),
        ("imbalance=induced", "imbalance.positive_rate=null"),
    ]
    returns = hydra_sweep.launch(fused(lambda configs: [0.0] * len(configs)), jobs)
    composed = []
    compose = Composer.job
    monkeypatch.setattr(
        Composer, "job", lambda self, one: composed.append(one) or compose(self, one)
    )
    for one, job in zip(returns, jobs, strict=True):
        assert OmegaConf.is_config(one.cfg)
        assert OmegaConf.to_container(one.cfg, resolve=True) == hydra_sweep.compose(job)
    assert set(composed) == set(jobs)


@pytest.mark.slow
def test_a_return_is_the_configured_objective_of_its_own_run(hydra_sweep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = application.Task(application._train)
    jobs = [
        (*TINY, f"seed={seed}", f"loss={loss}", f"evaluation.objective={metric}")
        for seed, loss, metric in [
            (1, "hinge", "brier"),
            (0, "bce", "brier"),
            (1, "bce", "auroc"),
            (0, "bce", "mcc@tuned"),
        ]
    ]
    returns = hydra_sweep.launch(task, jobs)
    runs = store.runs(tmp_path / "runs" / "default")[0].to_dicts()
    # Jobs 2 and 4 differ in what a search is told alone, so they are one run.
    assert len(runs) == 3 and len({one.return_value for one in returns}) == len(jobs)
    for one in returns:
        cfg = one.cfg
        (run,) = (
            run for run in runs if (run["seed"], run["loss.name"]) == (cfg.seed, cfg.loss.name)
        )
        assert one.return_value == run[f"validation/{cfg.evaluation.objective}"]


@pytest.mark.slow
def test_a_job_that_cannot_train_fails_alone(hydra_sweep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = [
        (*TINY, "imbalance=induced", f"imbalance.positive_rate={rate}")
        for rate in ("0.2", "0.0001", "0.1")
    ]
    returns = hydra_sweep.launch(application.Task(application._train), jobs)
    assert [one.status for one in returns] == [
        JobStatus.COMPLETED,
        JobStatus.FAILED,
        JobStatus.COMPLETED,
    ]
    with pytest.raises(UserError, match=r"imbalance.positive_rate 0.0001.*keep no positive"):
        _ = returns[1].return_value
    runs = store.runs(tmp_path / "runs" / "default")[0]
    assert sorted(runs["imbalance.positive_rate"]) == [0.1, 0.2]
    stored = dict(runs.select("imbalance.positive_rate", "validation/average_precision").rows())
    assert [returns[0].return_value, returns[2].return_value] == [stored[0.2], stored[0.1]]


SWEEP = ("plan", "-m", *TINY, "loss=bce,focal", "seed=range(10)", "optimizer=adam,sgd")


def test_each_job_is_composed_once(harness, compositions):
    """And Hydra composes each combination of choices once."""
    assert harness(*SWEEP).code == 0
    assert len(compositions.ours) == len(set(compositions.ours)) == 40
    fixed = "model=logistic", "wandb=disabled"
    assert sorted(compositions.hydras) == sorted(
        (*fixed, f"loss={loss}", f"optimizer={name}")
        for loss in ("bce", "focal")
        for name in ("adam", "sgd")
    )


@pytest.mark.slow
def test_the_basic_sweeper_works_too(harness, compositions):
    said = harness("train", "-m", *TINY, "hydra/sweeper=basic", "seed=0,1")
    assert (said.code, said.err) == (0, "") and said.out.startswith("2 trained")
    assert len(compositions.ours) == 2


@pytest.mark.slow
def test_another_launcher_gets_jobs_that_compose(harness, tmp_path):
    """Hydra's basic launcher, for all that run job by job."""
    said = harness("train", "-m", *TINY, "hydra/launcher=basic", "seed=0,1", "loss=bce,focal")
    assert (said.code, said.out.count("1 trained")) == (0, 4), said.err
    said = harness("train", "-m", *TINY, "hydra/launcher=basic", "seed=0,1", "loss=bce,fokal")
    assert (said.code, said.out) == (2, "") and "fokal" in said.err


def test_another_launcher_says_what_a_task_refused(harness):
    said = harness("train", "-m", *TINY, "hydra/launcher=basic", "seed=0,-1")
    assert said.code == 2 and said.err.splitlines()[-1].startswith(
        "error: 1 job failed, seed=-1: seed: "
    )


def test_a_sweep_is_recorded_beside_its_runs(harness, tmp_path):
    record = tmp_path / "runs" / "default" / "multirun.yaml"
    assert harness("plan", "-m", *TINY, "seed=0,1").code == 0
    assert harness("train", "-m", *TINY, "seed=0,-1").code == 2
    assert not record.exists() and list(tmp_path.iterdir()) == []
    assert harness("train", "-m", *TINY, "seed=0,1").code == 0
    recorded = record.read_text()
    assert list(OmegaConf.load(record).hydra.overrides.task) == [*TINY, "seed=0,1"]
    assert harness("plan", "-m", *TINY, "seed=0,2").code == 0
    assert harness("train", "-m", *TINY, "seed=0,-1").code == 2
    assert record.read_text() == recorded


def test_the_record_of_a_sweep_holds_no_value_of_the_environment(harness, tmp_path):
    """Which is how a key is given to a job."""
    secret = "0123456789abcdef" * 2 + "fedcba98"
    given = (f"+hydra.job.env_set.SECRET_KEY={secret}", f"+hydra.job.env_set={{OTHER: {secret}}}")
    for one in given:
        assert harness("train", "-m", *TINY, "loss=bce,brier", one).code == 0
        record = (tmp_path / "runs" / "default" / "multirun.yaml").read_text()
        assert "env_set" in record and "loss=bce,brier" in record
    held = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert held and not [path for path in held if secret.encode() in path.read_bytes()]


def test_a_stopped_sweep_is_recorded(harness, tmp_path, monkeypatch):
    def stopped(configs, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run_sweep", stopped)
    said = harness("train", "-m", *TINY, "seed=0,1")
    assert said.code == 130 and said.out.strip().startswith("Stopped")
    assert (tmp_path / "runs" / "default" / "multirun.yaml").exists()


def test_a_job_that_fails_is_one_line_after_all_have_run(harness, tmp_path):
    rates = "imbalance.positive_rate=0.2,0.0001,0.1"
    said = harness("train", "-m", *TINY, "imbalance=induced", rates)
    assert said.code == 2 and said.out.startswith("2 trained, 0 already stored, 1 failed")
    assert said.err.startswith("error: ") and len(said.err.splitlines()) == 1
    assert Path("runs/default/multirun.yaml").exists()
