"""The schema: its keys, which of them repeat a run, and parts added as CONTRIBUTING says."""

import subprocess
import sys
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from harness.analyze.keys import replicates
from harness.config import Config, config_keys
from harness.data.sources import DATASETS
from harness.data.splitters import SPLITTERS
from tests.runs import config

# Each adds a choice to its table before anything builds the schema from it, as a new entry would,
# and composes a run with it.
ADDED = {
    "split": """
        from harness.data import splitters
        @dataclass(frozen=True)
        class Added(splitters.Holdout):
            name: Literal["added"] = "added"
            gap: int = 3
        splitters.SPLITTERS += (Added,)
        """,
    "batching": """
        from harness.data import batches
        @dataclass(frozen=True)
        class Added(batches.Shuffled):
            name: Literal["added"] = "added"
            gap: int = 3
        batches.BATCHINGS += (Added,)
        """,
}


def flat(values: Any, *path: str) -> dict[str, Any]:
    """The leaves of a configuration by dotted key."""
    if not is_dataclass(values):
        return {".".join(path): values}
    parts = (flat(getattr(values, one.name), *path, one.name) for one in fields(values))
    return {key: value for part in parts for key, value in part.items()}


def test_every_key_of_a_run_is_a_key_of_the_schema():
    for one in (config(), config(split={"name": "kfold"}), config(loss={"name": "focal"})):
        assert flat(one).keys() <= config_keys().keys()


def test_keys_have_the_types_of_all_choices():
    keys = config_keys()
    assert keys["loss.positive_weight"] == float | None
    assert keys["dataset.drop"] == tuple[str, ...]
    assert keys["evaluation.costs.false_positive"] is float
    assert keys["split.seed"] == int | None
    assert {field.name for field in fields(Config)} <= {key.split(".")[0] for key in keys}


def test_replicates_are_every_seed_and_the_place_in_a_cross_validation():
    seeds = {
        f"{group}.{field.name}"
        for group, kinds in (("dataset", DATASETS), ("split", SPLITTERS))
        for kind in kinds
        for field in fields(kind)
        if "seed" in field.name
    }
    assert set(replicates([*config_keys()])) == seeds | {"seed", "split.fold", "split.repeat"}


@pytest.mark.slow
@pytest.mark.parametrize("group", ADDED)
def test_a_choice_added_to_its_table_is_accepted(group, tmp_path):
    script = f"""
        from dataclasses import dataclass
        from typing import Literal
        {ADDED[group]}
        from harness.config import config_keys, dump, parse
        from tests.runs import config
        one = config({group}={{"name": "added", "gap": 5}})
        assert one.{group} == Added(gap=5), one.{group}
        assert parse(dump(one)) == one
        assert config_keys()["{group}.gap"] is int
        """
    lines = [line.removeprefix(" " * 8) for line in script.splitlines()]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
