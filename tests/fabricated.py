"""Sweep folders written by the recorder's own code, made without training."""

import dataclasses
import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from sklearn.metrics import (
    average_precision_score,
    d2_log_loss_score,
    log_loss,
    matthews_corrcoef,
    roc_auc_score,
)

from harness.config import dump
from harness.record import store
from harness.record.schema import CURVES, Predictions, Record
from harness.record.tables import tables
from tests.runs import config as small

LEARNING_RATES = (1e-3, 1e-2)
NASTY = """</script><script>alert("x")</script>'&\n\N{SNOWMAN} <b>"""


@dataclasses.dataclass
class Sweep:
    """A sweep to fabricate. `effects` shift a loss's logits of positives away from BCE's."""

    effects: dict[str, float] = dataclasses.field(default_factory=lambda: {"bce": 0, "focal": 0})
    datasets: Sequence[str] = ("toy",)
    rates: Sequence[float | None] = (0.1,)
    seeds: Sequence[int] = tuple(range(10))
    learning_rates: Sequence[float] = (1e-3,)
    num_rows: int = 400
    num_epochs: int = 8
    noise: float = 0.05
    columns: dict[str, Any] = dataclasses.field(default_factory=dict)  # further config keys

    def settings(self) -> list[dict[str, Any]]:
        """What is said of each run's configuration, by dotted key."""
        return [
            {
                "seed": seed,
                "dataset.kind": "synthetic",
                "dataset.name": dataset,
                "imbalance.positive_rate": rate,
                "sampler.name": "none",
                "model.name": "mlp",
                "loss.name": loss,
                "loss.gamma": 2.0 if loss == "focal" else None,
                "optimizer.name": "adam",
                "optimizer.learning_rate": learning_rate,
                "training.num_epochs": self.num_epochs,
                **self.columns,
            }
            for dataset in self.datasets
            for rate in self.rates
            for loss in self.effects
            for learning_rate in self.learning_rates
            for seed in self.seeds
        ]

    def records(self) -> list[Record]:
        """The runs. Those of one seed share rows and BCE logits."""
        return [_record(self, settings) for settings in self.settings()]


def fabricate(
    folder: Path,
    sweep: Sweep,
    *,
    num_shards: int = 3,
    changed: Callable[[Record], Record] = lambda record: record,
) -> Path:
    """Writes the runs of ``sweep``, each as ``changed``, dealt out over shards."""
    records = [changed(record) for record in sweep.records()]
    for shard in range(num_shards):
        if dealt := records[shard::num_shards]:
            store.write_shard(folder, tables(dealt))
    return folder


def _config(settings: Mapping[str, Any]) -> dict[str, Any]:
    config = dump(small())
    for key, value in settings.items():
        *path, last = key.split(".")
        inner = config
        for part in path:
            inner = inner.setdefault(part, {})
        if value is not None or last in inner:
            inner[last] = value
    return config


def _record(sweep: Sweep, settings: Mapping[str, Any]) -> Record:
    text = json.dumps(settings, sort_keys=True)
    rate = settings["imbalance.positive_rate"] or 0.2
    shared = np.random.default_rng(
        [settings["seed"], zlib.crc32(settings["dataset.name"].encode())]
    )
    own = np.random.default_rng(zlib.crc32(text.encode()))
    learning_rate = settings["optimizer.learning_rate"]
    effect = sweep.effects[settings["loss.name"]] - 40 * abs(learning_rate - 1e-3)
    created = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=int(own.integers(999)))
    facts: dict[str, Any] = {
        "status": "finished",
        "num_steps": 100,
        "best_epoch": 3,
        "threshold": 0.3,
        "threshold_logit": float(np.log(0.3 / 0.7)),
        "seconds": 0.1,
        "numerics": "1",
        "data_fingerprint": f"{zlib.crc32(settings['dataset.name'].encode()):064x}",
        "num_train": 3 * sweep.num_rows,
        "num_train_positives": round(3 * sweep.num_rows * rate),
    }
    predictions, metrics = {}, {}
    for split in ("validation", "test"):
        labels = (np.arange(sweep.num_rows) < max(2, sweep.num_rows * rate)).astype(np.int8)
        noise = shared.normal(size=labels.size) + sweep.noise * own.normal(size=labels.size)
        logits = (noise + (2 + effect) * labels - 2.5).astype(np.float32)
        facts |= {f"num_{split}": labels.size, f"num_{split}_positives": int(labels.sum())}
        metrics |= _metrics(split, logits, labels)
        predictions[split] = Predictions(np.arange(labels.size), logits, labels)
    epochs = np.arange(1, sweep.num_epochs + 1, dtype=np.int32)
    curve = (0.3 + np.exp(-epochs / 3) + 0.01 * own.normal(size=epochs.size)).astype(np.float32)
    scale = np.float32(0.25 if settings["loss.name"] == "focal" else 1)
    return Record(
        run_id=f"{zlib.crc32(text.encode()):08x}{zlib.adler32(text.encode()):08x}",
        config=_config(settings),
        facts=facts,
        metrics=metrics,
        curves={name: curve * (scale if name.endswith("/loss") else 1) for name in CURVES.values()},
        steps_per_epoch=10,
        predictions=predictions,
        created=created,
    )


def _metrics(split: str, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    probs = 1 / (1 + np.exp(-logits.astype(float)))
    values = {
        "log_loss": log_loss(labels, probs),
        "skill": d2_log_loss_score(labels, probs),
        "brier": float(np.mean((probs - labels) ** 2)),
        "auroc": roc_auc_score(labels, logits),
        "average_precision": average_precision_score(labels, logits),
        "ece": 0.02,
    }
    for where, threshold in (("0.5", 0.5), ("tuned", 0.3)):
        said = probs >= threshold
        hits = float((said & (labels == 1)).sum())
        values[f"f1@{where}"] = 2 * hits / (said.sum() + labels.sum())
        values[f"mcc@{where}"] = matthews_corrcoef(labels, said)
    return {f"{split}/{name}": float(value) for name, value in values.items()}


def quiet(width: int = 200) -> Console:
    return Console(file=io.StringIO(), width=width)
