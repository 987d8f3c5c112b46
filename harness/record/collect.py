"""From a trained batch to records: metrics, curves, predictions and the facts about each run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any

import numpy as np
from scipy.special import entr, expit

from harness.config import dump
from harness.data.dataset import Dataset
from harness.data.fetching import say
from harness.data.run_data import RunData
from harness.identity import described_metrics, numerics
from harness.metrics.calibration import prior_shift, shift_prior
from harness.metrics.definitions import METRICS
from harness.metrics.evaluate import Scored, by_evaluation
from harness.metrics.names import MetricName
from harness.metrics.own import OwnMetric
from harness.metrics.weighted import evaluate_either
from harness.record.schema import CURVES, Predictions, Record, rows_fingerprint
from harness.run import Run
from harness.watching import epochs_a_point


def collect(
    *,
    runs: Sequence[Run],
    data: Sequence[RunData],
    outcome: Any,
    dataset: Dataset,
    seconds: float,
) -> list[Record]:
    """One record a run.

    Args:
      runs: and their ``data``.
      outcome: `harness.training.Outcome` of numpy arrays with a leading lane axis, in the runs' own
        sizes; lanes beyond the runs are filling.
      seconds: wall time a run.
    """
    num_runs = len(runs)
    splits = [own.split for own in data]
    logits = {
        "validation": outcome.validation_logits[:num_runs],
        "test": outcome.test_logits[:num_runs],
    }
    rows = {
        part: np.stack([_filled(getattr(split, part), logits[part].shape[1]) for split in splits])
        for part in logits
    }
    # A run without one finite epoch has no model to score.
    untrained = outcome.best_epoch[:num_runs] == 0
    shifts = [_shift(own) for own in data]
    scored = {}
    for part in rows:
        raw = np.where(untrained[:, None], np.nan, logits[part])
        scored[part] = Scored(
            logits=raw,
            labels=dataset.labels[rows[part]],
            valid=np.arange(rows[part].shape[1]) < _sizes(splits, part)[:, None],
            corrected=_corrected(runs, data, raw, shifts, outcome.best_epoch),
            row_weights=None if dataset.row_weights is None else dataset.row_weights[rows[part]],
        )
    evaluated = _evaluate(runs, scored)
    created = datetime.now(UTC)
    return [
        Record(
            run_id=run.run_id,
            config={**dump(run.config), "extra_metrics": described_metrics(run.config)},
            facts={
                **_status(outcome, i),
                "num_steps": int(outcome.num_epochs[i]) * run.sizes.steps_per_epoch,
                "best_epoch": int(outcome.best_epoch[i]) * epochs_a_point(run),
                "threshold": float(expit(found.threshold_logit)),
                "threshold_logit": found.threshold_logit,
                "shift_invariant": getattr(run.config.loss, "is_shift_invariant", False),
                "prior_shift": shifts[i],
                "posterior_excess": _posterior_excess(
                    run, dataset, rows=own.split.test, corrected=scored["test"].corrected[i]
                ),
                "seconds": seconds,
                "numerics": numerics(run.config),
                "data_fingerprint": dataset.fingerprint,
                "positive_label": dataset.positive_label,
                "positive_reason": dataset.positive_reason or None,
                "data_positive_rate": float(
                    np.average(dataset.labels, weights=dataset.row_weights)
                ),
                **_counts(own, dataset.labels),
                "test_fingerprint": rows_fingerprint(own.split.test),
            },
            chosen=found.chosen,
            metrics={**found.metrics, **_extra(run, scored, i)},
            curves={
                shown: getattr(outcome.curves, field)[i, : outcome.num_epochs[i]]
                for field, shown in CURVES.items()
            },
            steps_per_epoch=run.sizes.steps_per_epoch // epochs_a_point(run),
            epochs_per_point=epochs_a_point(run),
            predictions={
                part: _predictions(rows[part][i], scored[part], found.calibrated[part], i)
                for part in rows
            },
            created=created,
        )
        for i, (run, own, found) in enumerate(zip(runs, data, evaluated, strict=True))
    ]


def _filled(rows: np.ndarray, size: int) -> np.ndarray:
    """``rows`` as a lane carries them: the last one repeated."""
    return np.pad(rows, (0, size - len(rows)), mode="edge")


@dataclass(frozen=True, eq=False)
class _Evaluated:
    """What is known of one run: what its own settings ask for, whatever those of other runs do."""

    metrics: dict[str, float]
    threshold_logit: float
    chosen: dict[str, float]
    calibrated: dict[str, np.ndarray | None]  # by part, (n,)


def _evaluate(runs: Sequence[Run], scored: dict[str, Scored]) -> list[_Evaluated]:
    """Of all runs, in their order."""
    whole: dict[int, _Evaluated] = {}
    groups = by_evaluation([run.config.evaluation for run in runs])
    for evaluation, at in groups.items():
        parts = {part: all_.of(at) for part, all_ in scored.items()}
        measured = evaluate_either(**parts, evaluation=evaluation)
        for place, position in enumerate(at):
            chosen = {name: float(values[place]) for name, values in measured.facts.items()}
            whole[position] = _Evaluated(
                metrics={name: float(values[place]) for name, values in measured.metrics.items()},
                threshold_logit=chosen.pop("threshold_logit"),
                chosen=chosen,
                calibrated={
                    part: measured.calibrated[part][place] if part in measured.calibrated else None
                    for part in scored
                },
            )
    return [whole[position] for position in range(len(runs))]


def _extra(run: Run, scored: dict[str, Scored], i: int) -> dict[str, float]:
    """The run's ``extra_metrics`` on both parts; NaN, with a word, where one fails."""
    values: dict[str, float] = {}
    for made, (part, of) in product(map(METRICS.get, run.config.extra_metrics), scored.items()):
        assert isinstance(made, OwnMetric)
        valid = of.valid[i]
        for version, logits in (("", of.logits), ("corrected", of.corrected)):
            if not made.is_of(version):
                continue
            name = str(MetricName(made.name, part, version))  # type: ignore[arg-type]
            try:
                values[name] = made.measure(logits[i][valid], of.labels[i][valid])
            except ValueError as error:
                say(f"run {run.run_id}: {name} is stored as NaN: {error}")
                values[name] = float("nan")
    return values


def _shift(own: RunData) -> float:
    """The logit from the prior a run was trained under to that of its validation and test parts."""
    return prior_shift(training_rate=own.train_prior, natural_rate=own.natural_positive_rate)


def _corrected(
    runs: Sequence[Run],
    data: Sequence[RunData],
    raw: np.ndarray,
    shifts: Sequence[float],
    best_epochs: np.ndarray,
) -> np.ndarray:
    """(runs, n) posterior logits under the natural prior; NaN where a loss hides no posterior.

    A loss that changes over the training is taken as it was in the epoch that is kept.
    """
    corrected = np.full(raw.shape, np.nan)
    for i, (run, own) in enumerate(zip(runs, data, strict=True)):
        loss = run.config.loss.fitted(
            num_negatives=own.num_negatives, num_positives=own.num_positives
        )
        loss = loss.at(progress(run, int(best_epochs[i])))
        with np.errstate(all="ignore"):  # logits of a diverged run, or of padding
            posterior = loss.posterior_logits(raw[i].astype(np.float64))
        if posterior is not None:
            corrected[i] = shift_prior(posterior, shift=shifts[i])
    return corrected


def progress(run: Run, epoch: int) -> float:
    """The share of a run's training that the last step of ``epoch`` had before it."""
    last_step = epoch * run.sizes.steps_per_epoch - 1
    return max(0, last_step) / run.exact_program.num_steps


def _posterior_excess(
    run: Run, dataset: Dataset, *, rows: np.ndarray, corrected: np.ndarray
) -> float | None:
    """Expected over the labels of ``rows``, so that which were drawn adds no noise."""
    imbalance = run.config.imbalance
    is_natural = imbalance.positive_rate is None or imbalance.where == "train"
    if dataset.posterior is None or not is_natural:
        return None
    posterior, logits = dataset.posterior[rows], corrected[: len(rows)]
    floor = float(np.mean(entr(posterior) + entr(1 - posterior)))
    if floor == 0 or not np.isfinite(logits).all():
        return None
    return float(np.mean(np.logaddexp(0, logits) - posterior * logits)) / floor - 1


def _predictions(
    rows: np.ndarray, scored: Scored, calibrated: np.ndarray | None, i: int
) -> Predictions:
    """One part of a run, without padding and without the scores that the run does not have."""
    valid = scored.valid[i]
    versions = {"corrected_logits": scored.corrected[i], "calibrated_logits": calibrated}
    return Predictions(
        rows=rows[valid],
        row_weights=None if scored.row_weights is None else scored.row_weights[i][valid],
        logits=scored.logits[i][valid],
        labels=scored.labels[i][valid],
        **{
            name: logits[valid]
            for name, logits in versions.items()
            if logits is not None and np.isfinite(logits[valid]).any()
        },
    )


def _status(outcome: Any, i: int) -> dict[str, Any]:
    step = int(outcome.diverged_step[i])
    return {"status": "diverged" if step else "finished", "diverged_step": step or None}


def _counts(own: RunData, labels: np.ndarray) -> dict[str, int | float]:
    split = own.split
    counts: dict[str, int | float] = {}
    for part in ("train", "validation", "test"):
        rows = getattr(split, part)
        counts[f"num_{part}"] = len(rows)
        counts[f"num_{part}_positives"] = int(labels[rows].sum())
    # What was trained on in the end: after resampling, and in the shares that batches hold.
    counts["num_train_sampled"] = own.num_sampled
    counts["num_train_synthetic"] = len(own.synthetic)
    counts["train_prior"] = own.train_prior
    return counts


def _sizes(splits: Sequence[Any], part: str) -> np.ndarray:
    return np.array([len(getattr(split, part)) for split in splits])
