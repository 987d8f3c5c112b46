"""From a trained batch to records: metrics, curves, predictions and the facts about each run."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from scipy.special import expit

from harness.config import dump
from harness.data.dataset import Dataset
from harness.evaluate.corrections import prior_shift, shift_prior
from harness.evaluate.evaluate import Evaluated, Scored, by_evaluation, evaluate
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
    shifts = [_shift(ready) for ready in prepared]
    scored = {}
    for part in rows:
        raw = np.where(untrained[:, None], np.nan, logits[part])
        scored[part] = Scored(
            logits=raw,
            labels=dataset.labels[rows[part]],
            valid=np.arange(rows[part].shape[1]) < _sizes(splits, part)[:, None],
            corrected=_corrected(jobs, prepared, raw, shifts, outcome.best_epoch),
        )
    evaluated = _evaluate(jobs, scored)
    thresholds = evaluated.facts["threshold_logit"]
    created = datetime.now(UTC)
    return [
        Record(
            run_id=job.run_id,
            config=dump(job.config),
            facts={
                **_status(outcome, i),
                "num_steps": int(outcome.num_epochs[i]) * ready.program.steps_per_epoch,
                "best_epoch": int(outcome.best_epoch[i]),
                "threshold": float(expit(thresholds[i])),
                **{name: float(values[i]) for name, values in evaluated.facts.items()},
                "prior_shift": shifts[i],
                "seconds": seconds,
                "numerics": numerics(job.config),
                "data_fingerprint": dataset.fingerprint,
                **_counts(ready, dataset.labels),
            },
            metrics={name: float(values[i]) for name, values in evaluated.metrics.items()},
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
            mended={part: _mended(scored[part], evaluated.calibrated[part], i) for part in rows},
            created=created,
        )
        for i, (job, ready) in enumerate(zip(jobs, prepared, strict=True))
    ]


def _evaluate(jobs: Sequence[Any], scored: dict[str, Scored]) -> Evaluated:
    """Of all jobs; what is not measured under some job's settings is NaN there."""
    whole = Evaluated(
        {}, {}, {part: np.full(all_.logits.shape, np.nan) for part, all_ in scored.items()}
    )
    groups = by_evaluation([job.config.evaluation for job in jobs])
    for evaluation, at in groups.items():
        parts = {part: all_.of(at) for part, all_ in scored.items()}
        some = evaluate(**parts, evaluation=evaluation)
        for into, found in ((whole.metrics, some.metrics), (whole.facts, some.facts)):
            for name, column in found.items():
                into.setdefault(name, np.full(len(jobs), np.nan))[at] = column
        for part, calibrated in some.calibrated.items():
            whole.calibrated[part][at] = calibrated
    return whole


def _shift(ready: Prepared) -> float:
    """The logit from the prior a run was trained under to that of its validation and test parts."""
    parts = ready.parts
    return prior_shift(
        training_rate=parts.train_prior,
        natural_rate=parts.natural_positive_rate,
    )


def _corrected(
    jobs: Sequence[Any],
    prepared: Sequence[Prepared],
    raw: np.ndarray,
    shifts: Sequence[float],
    best_epochs: np.ndarray,
) -> np.ndarray:
    """(runs, n) posterior logits under the natural prior; NaN where a loss hides no posterior.

    A loss that changes over the training is taken as it was in the epoch that is kept.
    """
    corrected = np.full(raw.shape, np.nan)
    for i, (job, ready) in enumerate(zip(jobs, prepared, strict=True)):
        parts = ready.parts
        loss = job.config.loss.fitted(
            num_negatives=parts.num_negatives, num_positives=parts.num_positives
        )
        last_step = int(best_epochs[i]) * ready.program.steps_per_epoch - 1
        loss = loss.at(max(0, last_step) / ready.program.num_steps)
        with np.errstate(all="ignore"):  # logits of a diverged run, or of padding
            posterior = loss.posterior_logits(raw[i].astype(np.float64))
        if posterior is not None:
            corrected[i] = shift_prior(posterior, shift=shifts[i])
    return corrected


def _mended(scored: Scored, calibrated: np.ndarray, i: int) -> dict[str, np.ndarray]:
    """Versions of a run's logits that it has, by their column."""
    valid = scored.valid[i]
    versions = {"corrected_logits": scored.corrected[i], "calibrated_logits": calibrated[i]}
    return {
        name: logits[valid] for name, logits in versions.items() if np.isfinite(logits[valid]).any()
    }


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
