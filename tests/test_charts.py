"""A run's charts in W&B: their numbers, and what the client makes of them, offline and online."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, confusion_matrix

from harness.analyze import curves, load
from harness.record.mirror import mirror_run
from harness.record.replay import Sync
from harness.record.run_charts import NUM_POINTS, PREFIX, charts, precision_recall, reliability
from harness.record.schema import Predictions, Record
from harness.record.wandb_read import read_log
from tests.logged import records, write_offline, write_store
from tests.test_sources import assert_same, logs
from tests.wandb_client import forget_server
from tests.wandb_server import StandIn

pytestmark = pytest.mark.usefixtures("lone_client")
NAMES = {"precision_recall", "reliability", "confusion"}


def drawn(record: Record, **changed: Any) -> dict[str, Any]:
    given = {
        "predictions": record.predictions,
        "threshold_logit": record.facts["threshold_logit"],
    }
    return charts(**{**given, **changed})


def unscored(record: Record) -> dict[str, Predictions]:
    """The predictions of a run that has no model."""
    return {
        part: Predictions(scores.rows, scores.logits * np.nan, scores.labels)
        for part, scores in record.predictions.items()
    }


def test_curves_are_those_of_sklearn_and_of_the_report() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(5_000) < 0.1).astype(np.int8)
    logits = (rng.normal(size=5_000) + 2 * labels).astype(np.float32)
    points = np.array(precision_recall(logits, labels))
    assert NUM_POINTS / 2 < len(points) <= NUM_POINTS
    assert points[0].tolist() == [0, 1] and points[-1, 0] == 1
    area = auc(*points.T)  # 0.01: the curve's teeth between the points kept
    assert area == pytest.approx(average_precision_score(labels, logits), abs=0.01)
    bins = np.array(list(reliability(logits, labels)))
    np.testing.assert_array_equal(bins.T, curves.reliability(logits, labels)[:2])
    assert bins[:, 1].mean() == pytest.approx(labels.mean(), rel=1e-12)  # bins of equal size


def test_confusion_is_at_the_tuned_threshold() -> None:
    record = records(1)[0]
    logits, labels = record.predictions["test"].logits, record.predictions["test"].labels
    cut = float(np.sort(logits)[7])  # a row at the cut is positive
    rows = drawn(record, threshold_logit=cut)[PREFIX + "confusion"].rows
    expected = confusion_matrix(labels, logits >= np.float32(cut))
    assert [row[2] for row in rows] == expected.ravel().tolist()


def test_what_a_run_cannot_show_is_left_out() -> None:
    record = records(1)[0]
    assert drawn(record, predictions=unscored(record), threshold_logit=math.nan) == {}
    assert set(drawn(record)) == {PREFIX + name for name in NAMES}
    assert {row[0] for row in drawn(record)[PREFIX + "reliability"].rows} == {
        "raw", "corrected", "calibrated perfectly",
    }  # fmt: skip
    no_positives = {
        part: replace(scores, labels=0 * scores.labels)
        for part, scores in record.predictions.items()
    }
    assert PREFIX + "precision_recall" not in drawn(record, predictions=no_positives)
    assert mirror_run(record).charts == {}


def check_charts(folder: Path, summary: Any, record: Record) -> None:
    """Each chart's table is among the run's files, with the numbers it was given."""
    tables = {key: value for key, value in summary.items() if str(key).startswith(PREFIX)}
    assert set(tables) == {f"{PREFIX}{name}_table" for name in NAMES}
    for key, chart in drawn(record).items():
        content = json.loads((folder / tables[f"{key}_table"]["path"]).read_text(encoding="utf-8"))
        assert content["columns"] == list(chart.columns)
        assert content["data"] == chart.rows


def test_offline_the_client_writes_them_and_the_tables_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_DATA_DIR")
    plain, charted = records(1)[:1], records(1, charts=True)[:1]
    write_store(tmp_path / "sweep", charted)
    write_offline(tmp_path / "plain", plain)
    assert write_offline(tmp_path / "sweep", charted) == [charted[0].run_id]
    forget_server()  # the client writes out what it holds as it ends
    (path,) = logs(tmp_path / "sweep")
    log = read_log(path)
    check_charts(path.parent / "files", log.summary, charted[0])
    staged = tmp_path / "sweep" / "wandb" / "artifacts"
    assert len(list(staged.rglob("staging/*"))) >= 3  # what `wandb sync` sends later
    assert (log.exit_code, len(log.rows)) == (0, 4)
    assert_same(load(tmp_path / "sweep"), load(tmp_path / "sweep" / "wandb"))
    written = load(tmp_path / "sweep" / "wandb")
    assert_same(load(tmp_path / "plain"), written)


def test_sync_draws_them_from_the_store(tmp_path: Path, server: StandIn) -> None:
    runs = records(1, charts=True)
    runs[1] = replace(runs[1], predictions=unscored(runs[1]))  # diverged
    write_store(tmp_path / "sweep", runs)
    assert len(list(Sync(tmp_path / "sweep", everything=True).send(timeout=10.0))) == 2
    first, second = (server.runs[run.run_id] for run in runs)
    assert {f"{PREFIX}{name}_table" for name in NAMES} <= set(first.summary)
    assert not [key for key in second.summary if key.startswith(PREFIX)]
    shown = json.loads(first.fields["config"])["_wandb"]["value"]["visualize"]
    assert {shown[f"{PREFIX}{name}"]["panel_config"]["panelDefId"] for name in NAMES} == {
        "wandb/area-under-curve/v0", "wandb/line/v0", "wandb/confusion_matrix/v1",
    }  # fmt: skip
    assert_same(load(tmp_path / "sweep"), load("ent/proj/sweep"))
