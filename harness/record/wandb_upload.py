"""Logging one run through the client's public API: to the server, or to an offline folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.record.charts import Chart
from harness.record.wandb_access import has_key, quiet_client
from harness.record.wandb_log import STEP, TIMESTAMP, RunLog, row_times

# What the client does beside the run's own rows, and what each costs a run, is switched off.
LEAN: dict[str, Any] = {
    "console": "off",
    "disable_git": True,
    "save_code": False,
    "silent": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


def upload(run: RunLog, folder: Path, *, timeout: float, offline: bool = False) -> None:
    """Sends one run through the public API. A run of the same id is written over.

    Args:
      offline: keeps it in a folder below `folder/wandb` instead, for `wandb sync`.

    Raises: whatever the client does; ConnectionError where no key is set (the client would ask for
    one) and where the server refuses the rows.
    """
    if not offline and not has_key() and not os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        raise ConnectionError("no W&B API key is set: run `wandb login` or set WANDB_API_KEY")
    wandb = quiet_client()
    settings = wandb.Settings(
        **LEAN, init_timeout=timeout, finish_timeout=timeout, finish_timeout_raises=True
    )
    live = wandb.init(
        id=run.run_id,
        name=run.name,
        config=dict(run.config),
        tags=list(run.tags),
        group=run.group,
        project=run.project,
        entity=run.entity or None,
        dir=folder,
        mode="offline" if offline else "online",
        reinit="create_new",
        settings=settings,
    )
    # The client keeps each table as an artifact until it is sent.
    with contents_in(folder / "wandb" / "artifacts"):
        try:
            for row in _rows(run):
                live.log(row, step=row.pop(STEP), commit=True)
            if run.charts:  # a row of their own, which is no epoch's
                live.log({key: _chart(wandb, chart) for key, chart in run.charts.items()})
            live.summary.update(dict(run.summary))
        finally:
            live.finish(exit_code=run.exit_code)
    if offline:
        return
    # The client does not raise where the server refuses the rows (4xx): it says so in its log.
    log = live.settings.log_internal
    if "filestream: fatal error" in Path(log).read_text(encoding="utf-8", errors="replace"):
        raise ConnectionError(f"the server refused the run's rows, see {log}")


def _chart(wandb: Any, chart: Chart) -> Any:
    return wandb.plot_table(
        vega_spec_name=chart.spec,
        data_table=wandb.Table(columns=list(chart.columns), data=chart.rows),
        fields=dict(chart.fields),
        string_fields=dict(chart.texts),
    )


@contextmanager
def contents_in(folder: Path) -> Iterator[None]:
    """Keeps an offline artifact's contents beside the run until it is sent; the client would keep
    them in the user's home."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = before or str(folder.absolute())
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]


def _rows(run: RunLog) -> list[dict[str, Any]]:
    rows = run.rows
    stamps = row_times(run, len(rows))[TIMESTAMP].tolist()
    return [{STEP: i, TIMESTAMP: stamps[i], **row} for i, row in enumerate(rows)]
