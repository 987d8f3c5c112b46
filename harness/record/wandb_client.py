"""What goes through Weights & Biases' own client: a run sent, a project read, a sweep summed up."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from harness.errors import UserError
from harness.record.run_charts import Chart
from harness.record.wandb_access import describe, has_key, quiet_client, resolve_mode
from harness.record.wandb_form import ORIGIN, SUMMARY
from harness.record.wandb_log import EPOCH, STEP, TIMESTAMP, RunLog, row_times

RUNS_PER_PAGE = 100
READING_SECONDS = 30  # at most, for one answer of the service
SUMMARY_SECONDS = 60.0

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


def _lean(wandb: Any, **settings: Any) -> Any:
    """The client's settings, as far as its version knows them: those of ``LEAN`` are not promised
    to stay."""
    known = wandb.Settings.model_fields
    lean = {key: value for key, value in LEAN.items() if key in known}
    return wandb.Settings(**lean, **settings)


def begun(run: RunLog, folder: Path, *, timeout: float, offline: bool = False) -> Any:
    """The client's own run of the id, config and labels that ``run`` has, and no rows yet.

    Args:
      offline: keeps it in a folder below `folder/wandb`, for `wandb sync`.
      timeout: seconds to wait for the service as it begins, and again as it ends.

    Raises: whatever the client does; ConnectionError where no key is set (the client would ask for
    one).
    """
    if not offline and not has_key() and not os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        raise ConnectionError("no W&B API key is set: run `wandb login` or set WANDB_API_KEY")
    wandb = quiet_client()
    settings = _lean(
        wandb,
        init_timeout=timeout,
        finish_timeout=timeout,
        finish_timeout_raises=True,
        sweep_id=run.sweep_id or None,
    )
    return wandb.init(
        id=run.run_id,
        name=run.name or None,
        config=dict(run.config),
        tags=list(run.tags),
        group=run.group or None,
        job_type=run.job_type or None,
        notes=run.notes or None,
        project=run.project or None,
        entity=run.entity or None,
        dir=folder,
        mode="offline" if offline else "online",
        reinit="create_new",
        settings=settings,
    )


def upload(run: RunLog, folder: Path, *, timeout: float, offline: bool = False) -> None:
    """Sends one run through the public API. A run of the same id is written over.

    Raises: as `begun`; ConnectionError where the server refuses the rows.
    """
    live = begun(run, folder, timeout=timeout, offline=offline)
    # The client keeps each table as an artifact until it is sent.
    with contents_in(folder / "wandb" / "artifacts"):
        try:
            for row in _rows(run):
                live.log(row, step=row.pop(STEP), commit=True)
            if run.charts:  # a row of their own, which is no epoch's
                live.log({key: _chart(chart) for key, chart in run.charts.items()})
            live.summary.update(dict(run.summary))
        finally:
            live.finish(exit_code=run.exit_code)
    if offline:
        return
    # The client does not raise where the server refuses the rows (4xx): it says so in its log.
    log = live.settings.log_internal
    if "filestream: fatal error" in Path(log).read_text(encoding="utf-8", errors="replace"):
        raise ConnectionError(f"the server refused the run's rows, see {log}")


def _chart(chart: Chart) -> Any:
    wandb = quiet_client()
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


def served_runs(entity: str, project: str, group: str | None) -> Iterator[RunLog]:
    """The runs of a project, or of one group of it, oldest first; one page of them in memory.

    Each run takes one more request, for its history. A run still going on has no exit code.

    Raises: UserError where no key is set, the server does not answer or has no such project.
    """
    place = "/".join(filter(None, (entity, project, group)))
    if not has_key():
        raise UserError(
            f"{place} is no folder here; to read it from W&B, `wandb login` or set WANDB_API_KEY"
        )
    from wandb.errors import Error

    try:
        api = quiet_client().Api(timeout=READING_SECONDS)
        filters = {"group": group} if group else None
        pages = api.runs(f"{entity}/{project}", filters=filters, per_page=RUNS_PER_PAGE, lazy=False)
        for i, run in enumerate(pages):
            pages.objects[i] = None  # the client would keep every run it has read
            yield _served_log(run)
    except (Error, ValueError, TypeError, KeyError, OSError, RecursionError) as error:
        raise UserError(f"cannot read {place} from W&B ({describe(error)}); check it") from error


def _served_log(run: Any) -> RunLog:
    return RunLog(
        run_id=run.id,
        name=run.display_name or "",
        config=run.config,
        history=_served_history(run),
        summary=run.summary_metrics,
        tags=tuple(run.tags),
        exit_code=0 if run.state == "finished" else 1 if run.state == "failed" else None,
        started=_time(run.created_at),
        project=run.project,
        entity=run.entity,
        group=run.group or "",
    )


def _served_history(run: Any) -> list[dict[str, Any]]:
    """All rows. Asked for as many samples as there are, the server thins nothing; if it did, the
    slower scan of every page has them."""
    num_rows = int(run.history_line_count or 0)
    if not num_rows:
        return []
    rows: Any = run.history(samples=num_rows, pandas=False)
    return rows if len(rows) >= num_rows else list(run.scan_history())


def _time(text: str | None) -> datetime:
    moment = datetime.fromisoformat(text) if text else EPOCH
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


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
            return _log_files(
                tables=tables,
                files=[*tables, *sorted(output.glob("*.html"))],
                sweep=sweep,
                where={"project": project, "entity": entity, "dir": folder, "mode": mode},
            )
    except Exception as error:
        raise UserError(f"W&B does not take the report ({describe(error)}); try again") from error


def _log_files(*, tables: Sequence[Path], files: Sequence[Path], sweep: str, where: Any) -> str:
    wandb = quiet_client()
    timeouts = {f"{when}_timeout": SUMMARY_SECONDS for when in ("init", "finish")}
    live = wandb.init(
        id=summary_id(sweep),
        name=f"{sweep}: summary",
        group=sweep,
        job_type="summary",
        config={ORIGIN: {"format": SUMMARY}},
        reinit="create_new",
        settings=_lean(wandb, **timeouts, finish_timeout_raises=True),
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
    frame = pl.read_csv(path, infer_schema_length=None, glob=False)
    rows = [list(row) for row in frame.iter_rows()]
    return wandb.Table(columns=frame.columns, data=rows, allow_mixed_types=True)
