"""What tests share: devices chosen before JAX starts, and Hydra without a process of its own."""

# ruff: noqa: E402

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

# Two, so that sharding is tested on every machine. JAX reads it when it is first imported.
os.environ["HARNESS_DEVICES"] = os.environ["JAX_NUM_CPU_DEVICES"] = "2"
os.environ["WANDB_ERROR_REPORTING"] = "false"
# Also what compiles in a moment is kept: operations one by one are most of what tests compile.
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

from harness import devices

devices.configure()

import pytest
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, setup_globals
from hydra.types import HydraContext, RunMode, TaskFunction
from hypothesis import settings
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from harness import cli
from harness.cli import launching
from harness.files import conf_dir
from harness.sweep import compiled, plan, rates

# A machine that others use is no fault of an example.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

pytest_plugins = ["tests.plugged", "tests.wandb_client"]

# Tests put other code in place of the package's, which a kept program would not show.
compiled.keeping = False

# Timing a kind of program compiles one, for each plan that is asked for.
rates.timing = False

# Found once, before a test's end puts Hydra's singletons back to what they were at its start.
Plugins.instance()

# Tests of one statement on many cases: how many cases, evenly spread, `make test` runs. `make slow`
# runs the rest.
SOME_CASES = {
    "test_a_bad_table_is_one_line": 5,
    "test_a_bad_value_is_one_line": 14,
    "test_a_configuration_survives_the_store": 10,
    "test_a_delimiter_is_found_and_said_in_every_command": 2,
    "test_a_frozen_body_does_not_move": 1,
    "test_a_header_of_numbers_is_asked_about": 2,
    "test_a_key_is_asked_about": 12,
    "test_a_loss_of_a_row_of_weight_two_is_that_of_the_row_twice": 2,
    "test_a_mistake_is_one_line": 12,
    "test_a_new_part_is_one_to_start_from": 3,
    "test_a_planted_fault_is_found": 9,
    "test_a_planted_fault_of_a_part_is_found": 14,
    "test_a_program_that_fails_takes_no_other_with_it": 1,
    "test_a_run_says_what_describe_would_warn_of": 2,
    "test_a_search_for_a_lucky_seed_is_refused_and_its_remedy_works": 1,
    "test_a_server_in_trouble_costs_little_and_loses_nothing": 1,
    "test_a_share_of_the_negatives_is_the_decimal_that_is_written": 10,
    "test_a_slow_server_is_waited_for_no_longer_than_is_said": 1,
    "test_a_value_with_signs_is_shown_in_the_quotes_that_work": 2,
    "test_any_exception_of_a_job_is_its_own": 2,
    "test_arithmetic_changes_the_ids_of_its_family_alone": 9,
    "test_combinations_assembled_are_those_composed": 4,
    "test_commands_groups_choices_and_keys_are_offered": 1,
    "test_company_changes_no_bit": 1,
    "test_convolutions_are_flaxs": 1,
    "test_describe_and_train_read_a_label_alike": 2,
    "test_errors_are_hydras_own": 8,
    "test_every_experiment_is_sound": 7,
    "test_every_file_composes_as_hydra_does_and_fits_the_schema": 8,
    "test_every_kind_of_metric_makes_a_report": 1,
    "test_every_sweep_gets_an_answer_and_a_report": 1,
    "test_first_prediction_is_the_prior": 1,
    "test_five_steps_are_optaxs": 4,
    "test_groups_and_values_in_any_order": 4,
    "test_headings_say_what_is_compared": 1,
    "test_judged_over_a_store": 1,
    "test_minimiser_gives_eta_back": 20,
    "test_one_bad_value_refuses_a_sweep": 3,
    "test_one_short_line_names_what_was_meant": 16,
    "test_one_test_part_is_told_by_its_rows": 1,
    "test_padding_changes_no_result": 1,
    "test_parameters_start_no_run_of_other_columns": 1,
    "test_pictures_are_written_and_run_nothing": 1,
    "test_reference": 6,
    "test_rows_are_imbalanced_learns": 12,
    "test_scores_are_those_that_the_run_stored": 3,
    "test_the_best_on_validation_is": 2,
    "test_the_direction_is_the_objectives": 1,
    "test_the_first_prediction_is_the_head_bias_to_the_bit": 1,
    "test_the_first_step_moves_the_head": 1,
    "test_the_first_table_has_the_verdicts_and_no_other": 1,
    "test_the_loss_to_use_is_the_one_named_first": 1,
    "test_the_same_statistics_from_our_runs_and_from_their_exported_scores": 1,
    "test_the_validation_loss_is_under_the_prior_trained_under": 2,
    "test_threshold_metrics_match_reference": 120,
    "test_training_on_holes_is_training_on_what_fills_them": 1,
    "test_training_step_gives_the_numbers_written_down": 1,
    "test_values_of_every_type": 16,
    "test_what_a_sweep_was_asked_about_comes_first": 1,
    "test_what_is_out_of_the_ordinary_goes_hydras_way": 11,
    "test_what_the_service_would_refuse_is_refused_before_training": 2,
    "test_writing_changes_no_id": 4,
}

# Two epochs of logistic regression: the least that trains, stores and has a curve.
TINY = ("model=logistic", "training.num_epochs=2", "wandb=disabled")


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as slow the cases that `SOME_CASES` leaves to `make slow`."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        cases.setdefault(getattr(item, "originalname", item.name), []).append(item)
    for name, number in SOME_CASES.items():
        found = cases.get(name, [])
        kept = {round(i * (len(found) - 1) / max(1, number - 1)) for i in range(number)}
        for position, item in enumerate(found):
            if position not in kept:
                item.add_marker(pytest.mark.slow)


@pytest.fixture
def harness(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    hydra_restore_singletons: None,
) -> Callable[..., Said]:
    """Runs a command line in `tmp_path`, as a process would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it: put back afterwards

    def run(*arguments: str) -> Said:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["harness", *arguments])
            patch.setattr(plan, "ANNOUNCED", WeakSet())
            try:
                cli.main()
                code = 0
            except SystemExit as stopped:
                code = int(stopped.code or 0)
        return Said(code, *capsys.readouterr())

    return run


@dataclass(frozen=True)
class Sweep:
    """Hydra's own objects for a sweep over conf/, without its command line."""

    loader: ConfigLoader
    config: DictConfig

    def launch(self, task: TaskFunction, jobs: Sequence[Sequence[str]]) -> Sequence[JobReturn]:
        """The returns of ``jobs``, lists of overrides, from the fused launcher."""
        context = HydraContext(config_loader=self.loader, callbacks=Callbacks())
        return launching.fused_launch(context, task, self.config)(jobs, 0)

    def compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        """One job as Hydra composes it and hands it to a task, as plain values."""
        chosen = [*self.config.hydra.overrides.hydra, *overrides]
        task = self.loader.load_configuration("config", chosen, run_mode=RunMode.RUN)
        with read_write(task), open_dict(task):
            del task["hydra"]
        plain: Any = OmegaConf.to_container(task, resolve=True)
        return plain


@pytest.fixture(scope="session")
def hydra_sweep() -> Sweep:
    """A `Sweep` over conf/."""
    setup_globals()
    loader = ConfigLoaderImpl(create_config_search_path(str(conf_dir())))
    return Sweep(loader, loader.load_configuration("config", [], RunMode.MULTIRUN))
