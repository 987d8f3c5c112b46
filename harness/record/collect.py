"""From a trained batch to records: metrics, curves, predictions and the facts about each run."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from scipy.special import expit

from harness.config import dump
from harness.data.dataset import Dataset
from harness.evaluate.evaluate import Scored, by_evaluation, evaluate
from harness.identity import numerics
from harness.prepare import Prepared
from harness.record.tables import CURVES, Record


def collect(
    *,
    jobs: Sequence[Any],
    prepared: Sequence[Prepared],
    outcome: Any,
    dataset: Dataset,
    seconds: float,
) -> list[Record]:
    """One record a job.

    Args:
      jobs: (runs,) with ``run_id`` and ``config``.
      outcome: `harness.train.Outcome` of numpy arrays with a leading lane axis; lanes beyond the
        jobs are filling.
      seconds: wall time a run.
    """
    num_runs = len(jobs)
    splits = [ready.parts.split for ready in prepared]
    logits = {
        "validation": outcome.validation_logits[:num_runs],
        "test": outcome.test_logits[:num_runs],
    }
    rows = {
        "validation": np.stack([ready.parts.validation_rows for ready in prepared]),
        "test": np.stack([ready.parts.test_rows for ready in prepared]),
    }
    # A run without one finite epoch has no model to score.
    untrained = outcome.best_epoch[:num_runs] == 0
    scored = {
        part: Scored(
            logits=np.where(untrained[:, None], np.nan, logits[part]),
            labels=dataset.labels[rows[part]],
            valid=np.arange(rows[part].shape[1]) < _sizes(splits, part)[:, None],
        )
        for part in rows
    }
    thresholds, metrics = _evaluate(jobs, scored)
    created = datetime.now(UTC)
    version = numerics()
    return [
        Record(
            run_id=job.run_id,
            config=dump(job.config),
            facts={
                **_status(outcome, i),
                "num_steps": int(outcome.num_epochs[i]) * ready.program.steps_per_epoch,
                "best_epoch": int(outcome.best_epoch[i]),
                "threshold": float(expit(thresholds[i])),
                "threshold_logit": float(thresholds[i]),
                "seconds": seconds,
                "numerics": version,
                "data_fingerprint": dataset.fingerprint,
                **_counts(ready, dataset.labels),
            },
            metrics={name: float(values[i]) for name, values in metrics.items()},
            curves={
                shown: getattr(outcome.curves, field)[i, : outcome.num_epochs[i]]
                for field, shown in CURVES.items()
            },
            steps_per_epoch=ready.program.steps_per_epoch,
            predictions={
                part: (
                    rows[part][i][scored[part].valid[i]],
                    scored[part].logits[i][scored[part].valid[i]],
                    scored[part].labels[i][scored[part].valid[i]],
                )
                for part in rows
            },
            created=created,
        )
        for i, (job, ready) in enumerate(zip(jobs, prepared, strict=True))
    ]


def _evaluate(jobs: Sequence[Any], scored: dict[str, Scored]) -> tuple[np.ndarray, dict]:
    thresholds = np.empty(len(jobs))
    metrics: dict[str, np.ndarray] = {}
    groups = by_evaluation([job.config.evaluation for job in jobs])
    for evaluation, at in groups.items():
        parts = {
            part: Scored(all_.logits[at], all_.labels[at], all_.valid[at])
            for part, all_ in scored.items()
        }
        thresholds[at], values = evaluate(**parts, evaluation=evaluation)
        for name, column in values.items():
            metrics.setdefault(name, np.empty(len(jobs)))[at] = column
    return thresholds, metrics


def _status(outcome: Any, i: int) -> dict[str, Any]:
    step = int(outcome.diverged_step[i])
    return {"status": "diverged" if step else "finished", "diverged_step": step or None}


def _counts(ready: Prepared, labels: np.ndarray) -> dict[str, int | float]:
    split = ready.parts.split
    counts: dict[str, int | float] = {}
    for part in ("train", "validation", "test"):
        rows = getattr(split, part)
        counts[f"num_{part}"] = len(rows)
        counts[f"num_{part}_positives"] = int(labels[rows].sum())
    # What was trained on in the end: after resampling, and in the shares that batches hold.
    counts["num_train_sampled"] = ready.parts.num_sampled
    counts["num_train_synthetic"] = ready.parts.num_synthetic
    counts["train_prior"] = ready.parts.train_prior
    return counts


def _sizes(splits: Sequence[Any], part: str) -> np.ndarray:
    return np.array([len(getattr(split, part)) for split in splits])
