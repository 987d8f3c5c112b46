"""One W&B run a sweep: its tables, and its report as an artifact."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from harness.errors import UserError
from harness.record.mirrored import ORIGIN, SUMMARY
from harness.record.wandb_access import describe, quiet_client, resolve_mode
from harness.record.wandb_upload import LEAN, contents_in

TIMEOUT_SECONDS = 60.0


def log_summary(
    output: Path, *, sweep: str, project: str, entity: str | None = None, folder: Path
) -> str:
    """Logs every `*.csv` of `output` as a table, and those and every `*.html` as an artifact.

    Args:
      output: what `harness analyze` wrote.
      sweep: names the run and its group; the run's id follows from it, so that logging again
        replaces.
      folder: takes the run's own files under `wandb/`.

    Returns: where it went, online or offline as W&B's settings say: an address or a folder.
    Raises: UserError, in one line, where W&B does not take it or is disabled.
    """
    mode = resolve_mode("auto")
    if mode == "disabled":
        raise UserError("WANDB_MODE=disabled: there is nowhere to log the report to; unset it")
    tables = sorted(output.glob("*.csv"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contents_in(folder / "wandb" / "artifacts"):
            return _log(
                tables=tables,
                files=[*tables, *sorted(output.glob("*.html"))],
                sweep=sweep,
                where={"project": project, "entity": entity, "dir": folder, "mode": mode},
            )
    except Exception as error:
        raise UserError(f"W&B does not take the report ({describe(error)}); try again") from error


def _log(*, tables: Sequence[Path], files: Sequence[Path], sweep: str, where: Any) -> str:
    wandb = quiet_client()
    timeouts = {f"{when}_timeout": TIMEOUT_SECONDS for when in ("init", "finish")}
    live = wandb.init(
        id=summary_id(sweep),
        name=f"{sweep}: summary",
        group=sweep,
        job_type="summary",
        config={ORIGIN: {"format": SUMMARY}},
        reinit="create_new",
        settings=wandb.Settings(**LEAN, **timeouts, finish_timeout_raises=True),
        **where,
    )
    try:
        live.log({path.stem: _table(wandb, path) for path in tables})
        report = wandb.Artifact(f"{summary_id(sweep)}-report", type="report")
        for path in files:
            report.add_file(str(path), name=path.name)
        live.log_artifact(report)
    finally:
        live.finish()
    return live.url or str(Path(live.dir).parent)


def summary_id(sweep: str) -> str:
    """The id of a sweep's summary run: usable as a name whatever the sweep is called."""
    return "summary-" + hashlib.sha256(sweep.encode()).hexdigest()[:12]


def _table(wandb: Any, path: Path) -> Any:
    frame = pl.read_csv(path, infer_schema_length=None)
    rows = [list(row) for row in frame.iter_rows()]
    return wandb.Table(columns=frame.columns, data=rows, allow_mixed_types=True)
