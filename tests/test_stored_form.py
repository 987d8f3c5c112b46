"""What a run leaves: one typed form in the store, flat and known by column in memory."""

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_series_equal

from harness.analyze import load
from harness.config import UNRECORDED, Config, dump
from harness.data.sampler import SAMPLERS
from harness.errors import UserError
from harness.losses import LOSSES
from harness.metrics.settings import Evaluation
from harness.models import MODELS
from harness.optimizers import OPTIMIZERS, SCHEDULES
from harness.record import first_form, store
from harness.record.config_struct import config_type, own_keys, typed, widened
from harness.record.mirror import mirror_run
from harness.record.replay import StoredLogs
from harness.record.schema import CHOICES, FACTS, RUN, Columns, Record, flat, nested
from harness.record.shard import sums
from harness.record.tables import tables
from tests.fabricated import Sweep
from tests.logged import records, write_store
from tests.runs import config

FIRST_FORM = Path(__file__).parent / "data" / "store-1"  # as written before there was a schema
GROUPS = {
    "loss": LOSSES,
    "model": MODELS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "sampler": SAMPLERS,
}


def of(record: Record, **groups: Any) -> Record:
    """``record`` under another configuration."""
    return replace(record, config=dump(config(**groups)))


def every_part() -> list[tuple[str, dict[str, Any]]]:
    return [
        (group, {"name": name})
        for group, parts in GROUPS.items()
        for part in parts
        for name in get_args(get_type_hints(part)["name"])
    ]


# The stored form


@pytest.mark.parametrize(("group", "part"), every_part())
def test_a_configuration_survives_the_store(group: str, part: dict[str, Any]) -> None:
    given = dump(config(**{group: part}))
    (row,) = tables([replace(Sweep().records()[0], config=given)])["runs"].to_dicts()
    assert own_keys(row["config"]) == given == typed(given)


def test_shards_of_any_built_in_parts_have_one_schema(tmp_path: Path) -> None:
    first = Sweep(seeds=(0,)).records()[0]
    parts = [of(first, **{group: part}) for group, part in every_part()]
    schemas = {str(tables([record])["runs"].schema) for record in parts}
    assert len(schemas) == 1
    for record in parts[:3]:
        store.write_shard(tmp_path, tables([record]))
    union = pl.read_parquet(tmp_path / "shards" / "*" / "runs.parquet")
    assert union["config"].struct.field("loss").struct.field("name").n_unique() == 3


def measured(record: Record, **evaluation: Any) -> Record:
    """``record`` as it would be under other settings of evaluation."""
    settings = Evaluation(**evaluation)
    names = [str(name) for part in ("validation", "test") for name in settings.measured(part)]
    return replace(
        record,
        metrics=dict(zip(names, np.linspace(0, 1, len(names)).tolist(), strict=True)),
        chosen=dict.fromkeys({*settings.decided()} - FACTS.keys(), 0.25),
    )


EVALUATIONS: list[dict[str, Any]] = [
    {},
    {"bootstrap": 100},
    {"calibrators": (), "calibrator": None, "decompositions": False},
    {"thresholds": (0.03, "mcc", "bayes", "oracle")},
]


def test_shards_of_any_evaluation_have_one_schema(tmp_path: Path) -> None:
    runs = Sweep({"bce": 0}, seeds=range(4)).records()
    runs = [measured(run, **one) for run, one in zip(runs, EVALUATIONS, strict=True)]
    bare = replace(Sweep({"focal": 0}, seeds=(0,)).records()[0], metrics={}, chosen={})
    for run in (*runs, bare):
        store.write_shard(tmp_path, tables([run]))
    for table in store.TABLES:  # as README says, and without the glob's own leniency
        paths = store.shards(tmp_path).paths(table)
        assert pl.read_parquet(tmp_path / "shards" / "*" / f"{table}.parquet").height
        assert len({str(pl.read_parquet_schema(path)) for path in paths}) == 1
    table, columns = store.runs(tmp_path)
    rows = {row["run_id"]: row for row in table.iter_rows(named=True)}
    assert set(columns.metrics) == {name for run in runs for name in run.metrics}
    for run in runs:
        kept = {name: rows[run.run_id][name] for name in (*columns.metrics, *columns.chosen)}
        known = {name: value for name, value in kept.items() if value is not None}
        assert known == {**run.metrics, **run.chosen}


def test_what_a_search_asks_is_found_wherever_it_is_stored(tmp_path: Path) -> None:
    first, second = Sweep({"bce": 0}, seeds=range(2)).records()
    asked = ["validation/auroc", "validation/f1@0.03", "validation/f1@mcc", "best_epoch"]
    rare = measured(first, thresholds=(0.03,))
    store.write_shard(tmp_path, tables([rare, measured(second)]))
    found = store.stored(tmp_path, asked)
    known = {**rare.metrics, **rare.facts}
    assert [found[rare.run_id][name] for name in asked] == [known.get(name) for name in asked]
    assert found[second.run_id]["validation/f1@0.03"] is None


def test_a_store_of_the_second_form_is_read(tmp_path: Path) -> None:
    """It had a struct of what its own runs were measured by, and no fingerprint of test rows."""
    run = measured(Sweep().records()[0], thresholds=(0.03,))
    shard = store.write_shard(tmp_path, tables([run]))
    old = tables([run])["runs"].drop("test_fingerprint")
    old.write_parquet(shard / "runs.parquet", metadata={store.FORM: "2"})
    (shard / store.SUMS).unlink()
    (row,) = store.runs(tmp_path)[0].to_dicts()
    assert row["test/f1@0.03"] == run.metrics["test/f1@0.03"]
    assert (
        store.stored(tmp_path, ["test/f1@0.03", "test/f1@mcc"])[run.run_id]["test/f1@mcc"] is None
    )
    assert load(tmp_path).runs.height == 1


def test_a_key_that_came_after_a_shard_is_null_there(tmp_path: Path) -> None:
    old, new = (tables([one]) for one in Sweep({"bce": 0}, seeds=range(2)).records())
    keys = [key for key in old["runs"]["config"].struct.fields if key != "extra_metrics"]
    then = pl.struct(pl.col("config").struct.field(keys))
    old["runs"] = old["runs"].with_columns(config=then)
    for shard in (old, new):
        store.write_shard(tmp_path, shard)
    found = store.stored(tmp_path, ["extra_metrics", "test/auroc"])
    assert [one["extra_metrics"] for one in found.values()] in ([None, []], [[], None])


def test_choices_are_the_groups_that_are_one_of_several() -> None:
    hints = get_type_hints(Config)
    several = {one.name for one in fields(Config) if len(get_args(hints[one.name])) > 1}
    assert several - {"impute", "plugins", "extra_metrics"} - UNRECORDED == CHOICES


def test_fields_of_one_name_and_two_types_take_one_that_holds_both() -> None:
    def kind(path: str) -> pl.DataType:
        dtype: Any = config_type()
        for key in path.split("."):
            dtype = {one.name: one.dtype for one in dtype.fields}[key]
        return dtype

    # A package's version is text, OpenML's a number; a rule is a number or a name.
    assert kind("dataset.version") == pl.String
    assert kind("evaluation.thresholds") == pl.List(pl.String)
    assert kind("schedule.milestones") == pl.List(pl.Float64)
    assert (kind("seed"), kind("impute")) == (pl.Int64, pl.String)
    assert kind("imbalance.positive_rate") == pl.Float64
    openml = {"dataset": {"kind": "openml", "version": 2}}
    assert typed(openml)["dataset"]["version"] == "2"


def test_lists_stay_lists(tmp_path: Path) -> None:
    first = Sweep(seeds=(0,)).records()[0]
    run = of(first, wandb={"tags": ("a,b", "c")}, evaluation={"thresholds": (0.1, "mcc")})
    store.write_shard(tmp_path, tables([run]))
    (row,) = store.runs(tmp_path)[0].to_dicts()
    assert row["wandb.tags"] == ["a,b", "c"]
    assert row["evaluation.thresholds"] == ["0.1", "mcc"]


def test_parts_of_the_users_own_add_their_keys(tmp_path: Path) -> None:
    first, second, third = Sweep({"bce": 0}, seeds=range(3)).records()

    def own(record: Record, **keys: Any) -> Record:
        return replace(record, config={**record.config, "loss": {"name": "mine", **keys}})

    mine = [own(first, depth=1, rates=[1, 2]), own(second, depth=0.5, note=None)]
    assert widened([third.config]) == config_type() != widened([one.config for one in mine])
    store.write_shard(tmp_path, tables(mine))
    store.write_shard(tmp_path, tables([own(third, depth="deep")]))
    runs, columns = store.runs(tmp_path)
    assert {"loss.depth", "loss.rates"} <= set(columns.config)
    assert "loss.note" not in columns.config and "loss.gamma" not in columns.config
    assert set(runs["loss.depth"]) == {"1.0", "0.5", "deep"}
    (log,) = StoredLogs(tmp_path)([third.run_id])
    assert log.config["loss"] == {"name": "mine", "depth": "deep"}


def test_a_fact_without_a_place_in_the_schema_is_refused() -> None:
    record = Sweep().records()[0]
    with pytest.raises(ValueError, match="mood"):
        tables([replace(record, facts={**record.facts, "mood": "good"})])


# In memory


def test_every_column_is_known(tmp_path: Path) -> None:
    write_store(tmp_path, records())
    runs, columns = store.runs(tmp_path)
    named = [*RUN, *columns.facts, *columns.config, *columns.metrics, "shard"]
    assert runs.columns == named and len(set(named)) == len(named)
    assert {"seed", "impute", "loss.name"} <= set(columns.config)
    assert set(columns.facts) == {*FACTS, *columns.chosen}
    assert columns.chosen == ("platt_slope", "threshold_logit@mcc")
    assert load(tmp_path).columns.metrics == columns.metrics
    assert not [name for name in load(tmp_path).columns.config if name.startswith("wandb.")]


def test_flat_and_nested_undo_each_other() -> None:
    stored = tables(records())["runs"]
    table, columns = flat(stored)
    again, same = flat(nested(table, columns))
    assert same == columns and again.equals(table)
    assert nested(pl.DataFrame({"run_id": ["a"]}), Columns()).columns == ["run_id"]


def test_the_order_of_shards_makes_no_difference(tmp_path: Path) -> None:
    runs = records()
    for name, order in (("one", (runs[:3], runs[3:])), ("two", (runs[3:], runs[:3]))):
        for part in order:
            write_store(tmp_path / name, part)
    one, two = (load(tmp_path / name) for name in ("one", "two"))
    assert one.columns == two.columns
    assert one.runs.drop("shard").equals(two.runs.drop("shard"))


# Forms


def test_a_store_of_the_first_form_is_read() -> None:
    runs, columns = store.runs(FIRST_FORM)
    by_loss = {(row["loss.name"], row["impute"]): row for row in runs.to_dicts()}
    assert set(by_loss) == {
        ("bce", "mean"), ("bce", "median"), ("focal", "mean"), ("squared_error", "mean"),
    }  # fmt: skip
    bce, lost = by_loss["bce", "median"], by_loss["squared_error", "mean"]
    assert {"seed", "impute", "loss.gamma"} <= set(columns.config)
    assert columns.chosen == ("platt_intercept", "platt_slope", "threshold_logit@mcc")
    assert bce["wandb.tags"] == ["a", "b"] and bce["evaluation.thresholds"] == ["0.1", "mcc"]
    assert lost["evaluation.thresholds"] == [] and lost["diverged_step"] == 2
    assert lost["platt_slope"] is None and lost["sampler.name"] == "smote"
    assert {columns.config.count(name) for name in runs.columns if "." in name} == {0, 1}
    analysed = load(FIRST_FORM)
    assert analysed.runs.height == 4 and len(analysed.predictions) == 2
    assert analysed.history.collect().height == 2 * 3 + 1


def test_both_forms_lie_in_one_folder(tmp_path: Path) -> None:
    shutil.copytree(FIRST_FORM, tmp_path / "sweep")
    write_store(tmp_path / "sweep", records())
    before, _ = store.runs(FIRST_FORM)
    after, columns = store.runs(tmp_path / "sweep")
    old = after.filter(pl.col("run_id").is_in(before["run_id"].to_list()))
    assert after.height == before.height + len(records())
    for name in before.columns:
        assert_series_equal(old[name], before[name], check_dtypes=False)
    assert after.schema["wandb.tags"] == after.schema["dataset.drop"] == pl.List(pl.String)
    assert {"loss.whole", "loss.gamma"} <= set(columns.config)


def test_runs_of_the_first_form_are_sent_as_those_of_today() -> None:
    stored = store.stored(FIRST_FORM)
    logs = {log.config["loss"]["name"]: log for log in StoredLogs(FIRST_FORM)(list(stored))}
    assert logs["bce"].config["loss"] == {"name": "bce"}
    assert logs["focal"].config["loss"] == {"name": "focal", "gamma": 2.0, "alpha": 0.25}
    assert logs["focal"].config["sampler"]["k_neighbors"] == 5
    assert logs["bce"].config["imbalance"] == {"positive_rate": None, "where": "train"}
    assert list(logs["bce"].tags) == ["a", "b"] and logs["bce"].project == "bce-harness"
    assert "test/platt/log_loss" in logs["bce"].summary
    assert "test/platt/log_loss" not in logs["focal"].summary


def test_a_form_of_the_future_is_refused_in_one_line(tmp_path: Path) -> None:
    write_store(tmp_path, records())
    (path,) = store.shards(tmp_path).paths("runs")
    pl.read_parquet(path).write_parquet(path, metadata={store.FORM: "4"})
    (path.parent / store.SUMS).write_text(sums(path.parent))
    for read in (store.runs, store.stored, load):
        with pytest.raises(UserError, match="has form 4, which is newer") as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


def test_the_first_forms_names_are_those_of_the_schema_then() -> None:
    assert {one.name for one in fields(Config)} >= first_form.CONFIG
    for key, inner in first_form.LISTS.items():
        group, name = key.split(".")
        dtype: Any = dict(config_type())[group]
        assert dict(dtype)[name] == pl.List(inner)


# The mirror


def test_the_mirror_sends_what_the_store_gives_back(tmp_path: Path) -> None:
    first = Sweep(seeds=(0,)).records()[0]
    run = of(first, evaluation={"thresholds": (0.1, "mcc"), "calibrator": None})
    store.write_shard(tmp_path, tables([run]))
    (log,) = StoredLogs(tmp_path)([run.run_id])
    sent = mirror_run(run)
    assert json.dumps(log.config, sort_keys=True) == json.dumps(sent.config, sort_keys=True)
    assert log.summary == sent.summary
