"""Sweep folders as the store's contract describes them, made without training."""

import dataclasses
import io
import json
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from sklearn.metrics import average_precision_score, log_loss, matthews_corrcoef, roc_auc_score

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
    columns: dict[str, Any] = dataclasses.field(default_factory=dict)

    def configs(self) -> list[dict[str, Any]]:
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


def fabricate(folder: Path, sweep: Sweep, *, num_shards: int = 3, shard_prefix: str = "s") -> Path:
    """Write a store as the contract describes it. Runs of one seed share rows and BCE logits."""
    configs = sweep.configs()
    for shard in range(num_shards):
        path = folder / "shards" / f"{shard_prefix}{shard}"
        path.mkdir(parents=True)
        made = [_run(sweep, config) for config in configs[shard::num_shards]]
        if not made:
            continue
        runs, histories, predictions = zip(*made, strict=True)
        pl.DataFrame(list(runs), infer_schema_length=None).write_parquet(path / "runs.parquet")
        pl.concat(histories).write_parquet(path / "history.parquet")
        schema: dict[str, Any] = {
            "run_id": pl.String,
            "split": pl.String,
            "rows": pl.List(pl.Int32),
        }
        schema |= {"logits": pl.List(pl.Float32), "labels": pl.List(pl.Int8)}
        rows = [row for pair in predictions for row in pair]
        pl.DataFrame(rows, schema=schema).write_parquet(path / "predictions.parquet")
    return folder


def _run(sweep: Sweep, config: dict[str, Any]) -> tuple[dict[str, Any], pl.DataFrame, list[Any]]:
    text = json.dumps(config, sort_keys=True)
    run_id = f"{zlib.crc32(text.encode()):08x}{zlib.adler32(text.encode()):08x}"
    rate = config["imbalance.positive_rate"] or 0.2
    shared = np.random.default_rng([config["seed"], zlib.crc32(config["dataset.name"].encode())])
    own = np.random.default_rng(zlib.crc32(text.encode()))
    effect = sweep.effects[config["loss.name"]] - 40 * abs(config["optimizer.learning_rate"] - 1e-3)
    row: dict[str, Any] = {
        "run_id": run_id,
        "status": "finished",
        "diverged_step": None,
        "num_steps": 100,
        "best_epoch": 3,
        "threshold": 0.3,
        "seconds": 0.1,
        "created": datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=int(own.integers(999))),
        "numerics": "1",
        "data_fingerprint": f"{zlib.crc32(config['dataset.name'].encode()):064x}",
        "num_train": 3 * sweep.num_rows,
        "num_train_positives": round(3 * sweep.num_rows * rate),
        **config,
    }
    predictions = []
    for split in ("validation", "test"):
        labels = (np.arange(sweep.num_rows) < max(2, sweep.num_rows * rate)).astype(np.int8)
        noise = shared.normal(size=labels.size) + sweep.noise * own.normal(size=labels.size)
        logits = (noise + (2 + effect) * labels - 2.5).astype(np.float32)
        row |= {f"num_{split}": labels.size, f"num_{split}_positives": int(labels.sum())}
        row |= _metrics(split, logits, labels)
        rows = np.arange(labels.size).tolist()
        predictions.append([run_id, split, rows, logits.tolist(), labels.tolist()])
    epochs = np.arange(1, sweep.num_epochs + 1, dtype=np.int32)
    curve = (0.3 + np.exp(-epochs / 3) + 0.01 * own.normal(size=epochs.size)).astype(np.float32)
    names = ("train/loss", "train/log_loss", "validation/loss", "validation/log_loss")
    history = pl.DataFrame({"epoch": epochs, "step": epochs * 10, **dict.fromkeys(names, curve)})
    history = history.with_columns(run_id=pl.lit(run_id)).with_columns(
        pl.col("train/loss", "validation/loss") * (0.25 if config["loss.name"] == "focal" else 1)
    )
    return row, history, [dict(zip(_PREDICTION, p, strict=True)) for p in predictions]


_PREDICTION = ("run_id", "split", "rows", "logits", "labels")


def _metrics(split: str, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    probs = 1 / (1 + np.exp(-logits.astype(float)))
    values = {
        "log_loss": log_loss(labels, probs),
        "skill": 0.3,
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
