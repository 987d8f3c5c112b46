"""Two values of every config key that a sweep may vary, and runs of both."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from rich.console import Console

from harness import losses, models, optimizers
from harness.config import Config, dump, parse
from harness.data import batches, sampler, sources, splitters
from harness.record import store
from harness.record.schema import CURVES, Predictions, Record
from harness.record.tables import tables
from harness.sweep.engine import run_sweep
from harness.sweep.progress import Progress

CHOICES: Mapping[str, tuple[type, ...]] = {
    "dataset": sources.DATASETS,
    "split": splitters.SPLITTERS,
    "sampler": sampler.SAMPLERS,
    "batching": batches.BATCHINGS,
    "loss": losses.LOSSES,
    "model": models.MODELS,
    "optimizer": optimizers.OPTIMIZERS,
    "schedule": optimizers.SCHEDULES,
}
NOT_VARIED = {
    "name", "root", "rerun",  # say where a run is kept, as all of wandb does
    "extra_metrics",  # beside a run: what is measured of it
    "plugins",  # say where its parts come from
    "evaluation.objective", "training.save_model",  # change no run
    "dataset.family",  # says what a run's data are kin to
    "dataset.generated",  # says of an own source that its rows are drawn
    "dataset.contents",  # follows from a frame
    # follow from a run's counts of classes, and are given to no sweep
    "loss.positive_scale", "loss.negative_scale", "loss.positive_margin", "loss.negative_margin",
}  # fmt: skip
GAUSSIANS = {
    "kind": "two_gaussians", "rows": 300, "num_features": 2, "distance": 1.5,
    "positive_rate": 0.3, "seed": 0,
}  # fmt: skip
CUE = {
    "kind": "cue", "shape": "linear", "rows": 300, "num_features": 2, "strength": 3.0,
    "positive_rate": 0.3, "seed": 0,
}  # fmt: skip
CELLS = {"kind": "cells", "rows": 300, "num_cells": 4, "lowest": 0.1, "highest": 0.6, "seed": 0}
SEPARABLE = {
    "kind": "separable", "rows": 300, "num_features": 2, "margin": 0.5, "positive_rate": 0.3,
    "seed": 0,
}  # fmt: skip
FRAUD = {
    "kind": "fraud_like", "rows": 300, "num_features": 4, "num_positives": 60, "distance": 1.0,
    "spread": 2.0, "seed": 0,
}  # fmt: skip
SKLEARN = {"kind": "sklearn", "name": "digits", "positive": "3"}
TABLE = {"kind": "table", "path": "patients.csv", "target": "ill", "group": "ward", "time": "day"}
WHEEL = {
    "kind": "wheel", "name": "w", "target": "t", "package": "p", "version": "1",
    "sha256": "0" * 64, "member": "m",
}  # fmt: skip
OPENML = {"kind": "openml", "name": "o", "id": 1, "target": "t"}
FETCHED = ("wheel", "mislabelled", "openml")
BASE: Mapping[str, Any] = {
    "dataset": GAUSSIANS,
    "imbalance": {},
    "sampler": {"name": "none"},
    "model": {"name": "logistic"},
    "loss": {"name": "bce"},
    "optimizer": {"name": "adam", "learning_rate": 0.01},
    "schedule": {"name": "constant"},
    "training": {"num_epochs": 2, "batch_size": 64},
    "evaluation": {},
    "wandb": {"mode": "disabled"},
}
MLP = {"model": {"name": "mlp", "width": 4, "depth": 1}}
RESIDUAL = {"model": {"name": "residual_mlp", "width": 4, "depth": 1}}
CNN = {"dataset": SKLEARN, "model": {"name": "cnn", "filters": 2, "blocks": 1, "units": 2}}


def of(group: str, name: str, **keys: Any) -> dict[str, Any]:
    return {group: {"name": name, **keys}}


def on(dataset: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"dataset": dataset, **more}


# By key: the groups of `BASE` to replace, and two values.
SWEPT: dict[str, tuple[Mapping[str, Any], Any, Any]] = {
    "seed": ({}, 0, 1),
    "impute": ({}, "median", "mean"),
    "dataset.kind": ({}, GAUSSIANS, CUE),
    "dataset.name": ({}, "this", "that"),
    "dataset.rows": ({}, 300, 400),
    "dataset.num_features": ({}, 2, 3),
    "dataset.distance": ({}, 1.5, 2.5),
    "dataset.positive_rate": ({}, 0.3, 0.4),
    "dataset.seed": ({}, 0, 1),
    "dataset.positive": (on(SKLEARN), "3", "4"),
    "dataset.shape": (on(CUE), "linear", "radial"),
    "dataset.strength": (on(CUE), 3.0, 4.0),
    "dataset.flip_positives": (on(CUE), 0.0, 0.2),
    "dataset.flip_negatives": (on(CUE), 0.0, 0.2),
    "dataset.num_cells": (on(CELLS), 4, 5),
    "dataset.lowest": (on(CELLS), 0.1, 0.2),
    "dataset.highest": (on(CELLS), 0.6, 0.7),
    "dataset.margin": (on(SEPARABLE), 0.5, 0.6),
    "dataset.num_positives": (on(FRAUD), 60, 70),
    "dataset.spread": (on(FRAUD), 2.0, 3.0),
    "dataset.path": (on(TABLE), "patients.csv", "others.csv"),
    "dataset.target": (on(TABLE), "ill", "old"),
    "dataset.drop": (on(TABLE), [], ["size"]),
    "dataset.categorical": (on(TABLE), [], ["size"]),
    "dataset.missing": (on(TABLE), [], ["?"]),
    "dataset.encode": (on(TABLE), "one_hot", "embed"),
    "dataset.max_levels": (on(TABLE), 2, 100),
    "dataset.indicator": (on(TABLE), False, True),
    "dataset.group": (on(TABLE), "ward", None),
    "dataset.time": (on(TABLE), "day", None),
    "dataset.weight": (on(TABLE), None, "dose"),
    "dataset.hold_out": (on(TABLE), 0.0, 0.2),
    "dataset.date_format": (on(TABLE), None, "%Y-%m-%d"),
    "dataset.delimiter": (on(TABLE), None, ","),
    "dataset.decimal": (on(TABLE | {"path": "patients.tsv"}), ".", ","),
    "dataset.encoding": (on(TABLE), "utf-8", "latin-1"),
    "dataset.source": (on(TABLE), "here", "there"),
    "dataset.licence": (on(TABLE), "open", "closed"),
    "dataset.application": (on(TABLE), "care", "cure"),
    "dataset.package": (on(WHEEL), "p", "q"),
    "dataset.version": (on(WHEEL), "1", "2"),
    "dataset.sha256": (on(WHEEL), "0" * 64, "1" * 64),
    "dataset.member": (on(WHEEL), "m", "n"),
    "dataset.header": (on(WHEEL), True, False),
    "dataset.features": (on(WHEEL), None, 3),
    "dataset.positives": (on(WHEEL), None, 3),
    "dataset.flip_seed": (on(WHEEL | {"kind": "mislabelled", "flip_positives": 0.2}), 0, 1),
    "dataset.id": (on(OPENML), 1, 2),
    "dataset.content": (on(OPENML), None, "0" * 64),
    "split.name": ({}, {"name": "holdout"}, {"name": "kfold"}),
    "split.validation": ({}, 0.2, 0.3),
    "split.test": ({}, 0.2, 0.3),
    "split.seed": ({}, 0, 1),
    "split.folds": (of("split", "kfold"), 3, 4),
    "split.fold": (of("split", "kfold"), 0, 1),
    "split.repeat": (of("split", "kfold"), 0, 1),
    "imbalance.positive_rate": ({}, None, 0.1),
    "imbalance.where": ({"imbalance": {"positive_rate": 0.1}}, "train", "all"),
    "sampler.name": ({}, {"name": "none"}, {"name": "smote"}),
    "sampler.ratio": (of("sampler", "random_over"), 0.8, 1.0),
    "sampler.k_neighbors": (of("sampler", "smote"), 3, 4),
    "sampler.m_neighbors": (of("sampler", "borderline_smote"), 8, 9),
    "sampler.kind": (of("sampler", "borderline_smote"), "borderline-1", "borderline-2"),
    "sampler.out_step": (of("sampler", "svm_smote"), 0.4, 0.6),
    "sampler.num_clusters": (of("sampler", "kmeans_smote", min_share=0.0), 2, 3),
    "sampler.min_share": (of("sampler", "kmeans_smote", num_clusters=2), 0.0, 0.1),
    "sampler.drop": (of("sampler", "tomek_links"), "commoner", "both"),
    "sampler.agreement": (of("sampler", "edited_nn"), "all", "mode"),
    "sampler.version": (of("sampler", "near_miss"), 1, 2),
    "sampler.num_candidates": (of("sampler", "near_miss", version=3), 3, 4),
    "sampler.cleaning_neighbors": (of("sampler", "smote_enn"), 3, 4),
    "batching.name": ({}, {"name": "shuffled"}, {"name": "stratified"}),
    "batching.positive_share": (of("batching", "balanced"), 0.4, 0.5),
    "loss.name": ({}, {"name": "bce"}, {"name": "brier"}),
    "loss.positive_weight": (of("loss", "weighted_bce", negative_weight=1.0), 2.0, 3.0),
    "loss.negative_weight": (of("loss", "weighted_bce", positive_weight=1.0), 2.0, 3.0),
    "loss.margin": (of("loss", "hinge"), 1.0, 2.0),
    "loss.gamma": (of("loss", "focal"), 1.0, 2.0),
    "loss.alpha": (of("loss", "focal"), 0.25, 0.5),
    "loss.epsilon": (of("loss", "label_smoothing"), 0.1, 0.2),
    "loss.tau": (of("loss", "logit_adjustment"), 1.0, 2.0),
    "loss.prior_logit": (of("loss", "logit_adjustment"), None, -1.0),
    "loss.q": (of("loss", "generalized_ce"), 0.5, 0.7),
    "loss.beta": (of("loss", "class_balanced"), 0.9, 0.99),
    "loss.gamma_positive": (of("loss", "asymmetric"), 0.0, 1.0),
    "loss.gamma_negative": (of("loss", "asymmetric"), 2.0, 4.0),
    "loss.detach": (of("loss", "asymmetric"), False, True),
    "loss.max_margin": (of("loss", "ldam"), 0.4, 0.5),
    "loss.scale": (of("loss", "ldam"), 20.0, 30.0),
    "loss.deferral": (of("loss", "ldam"), 0.5, 0.8),
    "loss.false_positive_weight": (of("loss", "tversky"), 0.3, 0.5),
    "loss.false_negative_weight": (of("loss", "tversky"), 0.3, 0.5),
    "loss.max_fpr": (of("loss", "partial_auc"), 0.1, 0.2),
    "loss.temperature": (of("loss", "smooth_ap"), 0.1, 0.2),
    "loss.rate": (of("loss", "auc_min_max"), 0.1, 0.2),
    "model.name": ({}, {"name": "logistic"}, MLP["model"]),
    "model.head": ({}, "linear", "normalized"),
    "model.scale": (of("model", "logistic", head="normalized"), 5.0, 10.0),
    "model.learn_scale": (of("model", "logistic", head="normalized"), False, True),
    "model.prior_bias": ({}, True, False),
    "model.initial_logit": ({}, 0.0, -1.0),
    "model.width": (MLP, 4, 5),
    "model.depth": (MLP, 1, 2),
    "model.activation": (MLP, "relu", "tanh"),
    "model.dropout": (MLP, 0.0, 0.1),
    "model.embedding": (MLP, 0, 2),
    "model.expansion": (RESIDUAL, 1, 2),
    "model.layer_norm": (RESIDUAL, True, False),
    "model.height": (CNN, 8, 4),
    "model.channels": (CNN, 1, 2),
    "model.filters": (CNN, 2, 3),
    "model.blocks": (CNN, 1, 2),
    "model.units": (CNN, 2, 3),
    "optimizer.name": ({}, BASE["optimizer"], {"name": "sgd", "learning_rate": 0.01}),
    "optimizer.learning_rate": ({}, 0.01, 0.02),
    "optimizer.weight_decay": (of("optimizer", "sgd"), 0.0, 0.1),
    "optimizer.clip_norm": (of("optimizer", "sgd"), None, 1.0),
    "optimizer.clip_value": (of("optimizer", "sgd"), None, 1.0),
    "optimizer.momentum": (of("optimizer", "momentum"), 0.8, 0.9),
    "optimizer.initial_accumulator": (of("optimizer", "adagrad"), 0.1, 0.2),
    "optimizer.eps": (of("optimizer", "adagrad"), 1e-7, 1e-6),
    "optimizer.decay_rate": (of("optimizer", "rmsprop"), 0.8, 0.9),
    "optimizer.b1": ({}, 0.8, 0.9),
    "optimizer.b2": ({}, 0.99, 0.999),
    "optimizer.consistent_rms": (MLP | of("optimizer", "muon"), 0.1, 0.2),
    "optimizer.rho": (of("optimizer", "sam"), 0.05, 0.1),
    "schedule.name": ({}, {"name": "constant"}, {"name": "linear"}),
    "schedule.warmup": ({}, 0.0, 0.2),
    "schedule.final": (of("schedule", "warmup_cosine"), 0.0, 0.1),
    "schedule.milestones": (of("schedule", "step"), [0.5], [0.4, 0.8]),
    "schedule.factor": (of("schedule", "step"), 0.1, 0.5),
    "schedule.rise": (of("schedule", "one_cycle"), 0.3, 0.4),
    "schedule.start_divisor": (of("schedule", "one_cycle"), 10.0, 25.0),
    "schedule.final_divisor": (of("schedule", "one_cycle"), 100.0, 1e4),
    "schedule.patience": (of("schedule", "plateau"), 1, 2),
    "schedule.cooldown": (of("schedule", "plateau"), 0, 1),
    "schedule.threshold": (of("schedule", "plateau"), 0.0, 0.01),
    "schedule.lowest": (of("schedule", "plateau"), 0.0, 0.1),
    "training.num_epochs": ({}, 1, 2),
    "training.steps_per_epoch": ({}, None, 3),
    "training.batch_size": ({}, 32, 64),
    "training.patience": ({}, 0, 1),
    "init.params": ({}, "runs/a/b", "runs/a/c"),
    "init.fresh_head": ({"init": {"params": "runs/a/b"}}, False, True),
    "init.freeze_body": (MLP, False, True),
    "evaluation.select": ({}, "loss", "brier"),
    "evaluation.threshold": ({}, "f1", "mcc"),
    "evaluation.thresholds": ({}, [], ["mcc", 0.3]),
    "evaluation.beta": ({}, 1.0, 2.0),
    "evaluation.costs.false_positive": ({}, 1.0, 2.0),
    "evaluation.costs.false_negative": ({}, 1.0, 2.0),
    "evaluation.costs.true_positive": ({}, 0.0, -1.0),
    "evaluation.costs.true_negative": ({}, 0.0, -1.0),
    "evaluation.min_precision": ({}, 0.8, 0.9),
    "evaluation.min_recall": ({}, 0.8, 0.9),
    "evaluation.alerts": ({}, 0.05, 0.1),
    "evaluation.max_fpr": ({}, 0.1, 0.2),
    "evaluation.ece_bins": ({}, 10, 15),
    "evaluation.calibrators": ({"evaluation": {"calibrator": None}}, ["platt"], ["platt", "beta"]),
    "evaluation.calibrator": ({}, "platt", None),
    "evaluation.decompositions": ({}, True, False),
    "evaluation.bootstrap": ({}, 0, 100),
    "evaluation.bootstrap_level": ({"evaluation": {"bootstrap": 100}}, 0.9, 0.95),
    "evaluation.curve_points": ({}, None, 1),
    "evaluation.curve_rows": ({}, None, 40),
}


def known_keys() -> set[str]:
    """Every key of the schema, by walking its dataclasses."""
    return set(_keys(Config, ""))


def _keys(config: type, prefix: str) -> Iterator[str]:
    hints = get_type_hints(config)
    for name in (field.name for field in fields(config)):
        choices = CHOICES.get(f"{prefix}{name}", (hints[name],))
        for choice in choices:
            if is_dataclass(choice) and isinstance(choice, type):
                yield from _keys(choice, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"


def pair(key: str, folder: Path) -> tuple[Config, Config]:
    """Two runs' configs, to be stored in ``folder``, that differ in ``key``."""
    changed, *values = SWEPT[key]
    return tuple(_config(changed, key, value, folder) for value in values)  # type: ignore


def _config(changed: Mapping[str, Any], key: str, value: Any, folder: Path) -> Config:
    values = copy.deepcopy({**BASE, **changed})
    values |= {"root": str(folder.parent), "name": folder.name}
    *path, last = key.split(".")
    if isinstance(value, dict):  # a choice is made by all of its group
        values[path[0]] = value
    else:
        inner = values
        for name in path:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return parse(values)


def trainable() -> list[str]:
    """The keys whose two runs need no download, no earlier run and no other key, and are two."""
    needs = {"init.params", "init.fresh_head", "model.height", "model.channels"}
    # How the same data are called and read: the run is known by what was read.
    reading = [
        "missing",
        "name",
        "delimiter",
        "decimal",
        "encoding",
        "date_format",
        "source",
        "licence",
        "application",
    ]
    same = {f"dataset.{key}" for key in reading}
    fetched = {key for key, (changed, *_) in SWEPT.items() if _is_fetched(changed)}
    return sorted(SWEPT.keys() - needs - same - fetched)


def _is_fetched(changed: Mapping[str, Any]) -> bool:
    return changed.get("dataset", GAUSSIANS)["kind"] in FETCHED


def train(configs: list[Config]) -> list[str]:
    """Trains them; their run ids, in order."""
    with StringIO() as nowhere:
        results = run_sweep(configs, progress=Progress(Console(file=nowhere)))
    for result in results:
        if result.error is not None:
            raise result.error
    return [result.run_id for result in results]


def record(configs: list[Config], folder: Path) -> list[str]:
    """Has the recorder write a run of each config, with scores of no training; their run ids."""
    rng = np.random.default_rng(0)
    labels = (np.arange(20) < 5).astype(np.int8)
    parts = ("validation", "test")
    made = []
    for number, config in enumerate(configs):
        facts: dict[str, Any] = {"status": "finished", "best_epoch": 1}
        facts |= {"threshold": 0.5, "seconds": 1.0, "numerics": "1", "data_fingerprint": "f" * 64}
        facts |= {f"num_{part}": 20 for part in ("train", *parts)}
        facts |= {f"num_{part}_positives": 5 for part in ("train", *parts)}
        names = ("log_loss", "auroc", "average_precision")
        scores = rng.normal(size=20).astype(np.float32)
        made.append(
            Record(
                run_id=f"{number:016x}",
                config=dump(config),
                facts=facts,
                metrics={f"{part}/{name}": rng.random() for part in parts for name in names},
                curves={name: rng.random(2).astype(np.float32) for name in CURVES.values()},
                steps_per_epoch=3,
                predictions={part: Predictions(np.arange(20), scores, labels) for part in parts},
                created=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )
    store.write_shard(folder, tables(made))
    return [one.run_id for one in made]


def write_patients(folder: Path) -> None:
    """patients.csv, others.csv (of fewer rows) and patients.tsv."""
    rng = np.random.default_rng(0)
    rows = ["size,colour,ward,day,ill,old,dose"]
    for i in range(300):
        size = "" if i % 11 == 0 else f"{rng.normal():.1f}"
        ill = "yes" if rng.random() < 0.3 else "no"
        old = "yes" if rng.random() < 0.4 else "no"
        day = f"2025-{1 + i % 12:02}-{1 + i % 28:02}"
        rows.append(f"{size},{'rgb'[i % 3]},w{i % 20},{day},{ill},{old},{1 + i % 5}")
    (folder / "patients.csv").write_text("\n".join(rows) + "\n")
    (folder / "others.csv").write_text("\n".join(rows[:-9]) + "\n")
    (folder / "patients.tsv").write_text("\n".join(rows).replace(",", "\t") + "\n")
