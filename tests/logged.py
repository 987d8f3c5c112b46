"""A small sweep with all that W&B's JSON could lose, in the store and in W&B's forms."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import dump
from harness.record import store
from harness.record.mirror import Mirror, mirror_run
from harness.record.schema import CURVES, Predictions, Record
from harness.record.tables import tables
from harness.record.wandb_access import Labels
from tests.runs import config as small

NASTY = """</script><script>alert("x")</script>\n'&,_target_: os.system"""
CREATED = datetime(2026, 3, 4, 5, 6, 7, 123456, tzinfo=UTC)


def records(num_seeds: int = 3, *, charts: bool = False) -> list[Record]:
    """Runs of two losses, one of them diverged before its first whole epoch."""
    made = [_record(loss, seed, charts) for loss in ("bce", "focal") for seed in range(num_seeds)]
    lost = dict.fromkeys(made[-1].metrics, math.nan)
    facts = {**made[-1].facts, "status": "diverged", "diverged_step": 7, "threshold": math.nan}
    facts["threshold_logit"] = math.nan
    made[-1] = replace(made[-1], metrics=lost, facts=facts)
    return made


def _record(loss: str, seed: int, charts: bool) -> Record:
    rng = np.random.default_rng([len(loss), seed])
    facts: dict[str, Any] = {"status": "finished", "diverged_step": None, "best_epoch": 2}
    facts |= {
        "threshold": 0.5,
        "threshold_logit": 0.0,
        "seconds": 2.0,
        "numerics": "1;jax=0",
        "data_fingerprint": "f" * 64,
    }
    facts |= {"num_train": 60, "num_train_positives": 6, "num_test": 20, "num_test_positives": 5}
    losses: dict[str, Any] = {"bce": {}, "focal": {"gamma": 2.0, "alpha": 0.1 + 0.2}}
    logits, labels = rng.normal(size=20).astype(np.float32), (np.arange(20) < 5).astype(np.int8)
    parts = ("validation", "test")
    metrics = {f"{part}/{name}": rng.random() for part in parts for name in ("log_loss", "auroc")}
    metrics |= {f"{part}/average_precision": 1.0 for part in parts} | {"test/skill": -math.inf}
    curves = {name: rng.random(3).astype(np.float32) for name in CURVES.values()}
    curves["train/loss"][1:] = (np.nan, np.inf)
    table = {"kind": "table", "name": NASTY, "path": "here.csv", "target": "y"}
    plain = dump(small(dataset=table, training__num_epochs=3))
    return Record(
        run_id=f"{loss}{seed:012d}",
        config={
            **plain,
            "seed": seed,
            "name": "sweep",
            "loss": {"name": loss, "whole": 3.0, "tiny": 1e-300, **losses[loss]},
            "imbalance": {"positive_rate": 0.1, "where": "train"},
            "model": {**plain["model"], "widths": [64, 32], "rates": [1.0, 2.0]},
            "training": {**plain["training"], "big": 2**53 - 1},
            "wandb": {
                "mode": "auto",
                "group": None,
                "project": "proj",
                "entity": "ent",
                **dict.fromkeys(("job_type", "notes", "run_name")),
                "tags": ["a", "b"],
                "charts": charts,
            },
        },
        facts=facts,
        metrics=metrics,
        curves=curves,
        steps_per_epoch=5,
        predictions={
            "validation": Predictions(np.arange(20), logits, labels),
            "test": Predictions(
                np.arange(20), logits, labels, corrected_logits=logits - np.float32(1.5)
            ),
        },
        chosen={"threshold_logit@mcc": 1.0, "platt_slope": 0.1 + 0.2},
        created=CREATED + timedelta(microseconds=seed),
    )


def write_store(folder: Path, runs: Sequence[Record]) -> None:
    store.write_shard(folder, tables(runs))


def write_offline(folder: Path, runs: Sequence[Record]) -> list[str]:
    mirror = Mirror(
        mode="offline", labels=Labels("proj", "ent", folder.name, ("a", "b")), folder=folder
    )
    return mirror.write(
        [mirror_run(run, with_charts=run.config["wandb"]["charts"]) for run in runs]
    )
