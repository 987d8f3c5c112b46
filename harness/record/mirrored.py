"""How a run of the store looks as a Weights & Biases run.

W&B keeps JSON, and its service writes 2.0 as 2. What is needed to get the store's own row back is
therefore sent along, in the config under `harness`; `harness.record.restored` reads it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from harness.record.charts import Chart, charts
from harness.record.mirror import MirrorRun
from harness.record.tables import Record

ORIGIN = "harness"  # the config key by which a run of this harness is known
FORMAT = 1
SUMMARY = "summary"  # in place of the format: a sweep's summary, which is no run


def mirror_run(record: Record, *, tags: Sequence[str], with_charts: bool = False) -> MirrorRun:
    """The W&B run of ``record``: same id, its config, curves and summary."""
    epochs = range(1, record.num_epochs + 1)
    history = {
        "epoch": list(epochs),
        "step": [epoch * record.steps_per_epoch for epoch in epochs],
        **{shown: values.tolist() for shown, values in record.curves.items()},
    }
    return as_wandb(
        run_id=record.run_id,
        config=record.config,
        facts=record.facts,
        metrics=record.metrics,
        history=history,
        tags=tags,
        created=record.created,
        charts=charts(
            predictions=record.predictions,
            mended=record.mended,
            threshold_logit=record.facts["threshold_logit"],
        )
        if with_charts
        else {},
    )


def as_wandb(
    *,
    run_id: str,
    config: Mapping[str, Any],
    facts: Mapping[str, Any],
    metrics: Mapping[str, float],
    history: Mapping[str, Sequence[Any]],
    tags: Sequence[str],
    created: datetime,
    charts: Mapping[str, Chart],
) -> MirrorRun:
    """One stored run for the mirror.

    Args:
      config: nested.
      facts: and metrics: become the summary.
    """
    name = f"{config['loss']['name']}-{config['dataset']['name']}-s{config['seed']}"
    summary = {**facts, **metrics}
    origin = {
        "format": FORMAT,
        "created": created.isoformat(),
        "floats": [*_whole_floats(config), *_whole_floats(facts)],
        # W&B shows NaN as null, and drops what is null or shows a curve's last value in its place.
        "nans": [key for key, value in summary.items() if value != value],
        "nulls": [key for key, value in summary.items() if value is None],
        # W&B shows each curve's last value beside the summary: these are no metrics of the run.
        "curves": [shown for shown in history if shown not in metrics],
    }
    return MirrorRun(
        run_id=run_id,
        name=f"{name}-{run_id[:4]}",
        config={**config, ORIGIN: origin},
        history=history,
        summary=summary,
        tags=list(tags),
        exit_code=0,
        started=created,
        seconds=float(facts["seconds"]),
        charts=charts,
    )


def _whole_floats(values: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """Dotted keys of floats, and of lists of them, that JSON may show as something else."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _whole_floats(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            if value and all(isinstance(item, float) for item in value):
                yield prefix + key
        elif isinstance(value, float) and (value.is_integer() or not math.isfinite(value)):
            yield prefix + key
