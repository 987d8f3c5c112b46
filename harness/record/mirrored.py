"""How a record looks as a Weights & Biases run."""

import math
from collections.abc import Sequence

from harness.record.mirror import MirrorRun
from harness.record.tables import Record


def mirror_run(record: Record, *, tags: Sequence[str]) -> MirrorRun:
    """The W&B run of ``record``: same id, its config, curves and summary."""
    config = record.config
    name = f"{config['loss']['name']}-{config['dataset']['name']}-s{config['seed']}"
    history = {
        "epoch": list(range(1, record.num_epochs + 1)),
        **{shown: values.tolist() for shown, values in record.curves.items()},
    }
    summary = {**record.facts, **record.metrics}
    return MirrorRun(
        run_id=record.run_id,
        name=f"{name}-{record.run_id[:4]}",
        config=dict(config),
        history=history,
        summary={key: value for key, value in summary.items() if _known(value)},
        tags=list(tags),
        exit_code=0,
        started=record.created,
        seconds=float(record.facts["seconds"]),
    )


def _known(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))
