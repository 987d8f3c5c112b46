"""Reading a Weights & Biases project through the client's public API, a page at a time."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from harness.errors import UserError
from harness.record.wandb_access import describe, has_key, quiet_client
from harness.record.wandb_log import EPOCH, RunLog

RUNS_PER_PAGE = 100
TIMEOUT_SECONDS = 30


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
        api = quiet_client().Api(timeout=TIMEOUT_SECONDS)
        filters = {"group": group} if group else None
        pages = api.runs(f"{entity}/{project}", filters=filters, per_page=RUNS_PER_PAGE, lazy=False)
        for i, run in enumerate(pages):
            pages.objects[i] = None  # the client would keep every run it has read
            yield _log(run)
    except (Error, ValueError, TypeError, KeyError, OSError) as error:
        raise UserError(f"cannot read {place} from W&B ({describe(error)}); check it") from error


def _log(run: Any) -> RunLog:
    return RunLog(
        run_id=run.id,
        name=run.display_name or "",
        config=run.config,
        history=_history(run),
        summary=run.summary_metrics,
        tags=tuple(run.tags),
        exit_code=0 if run.state == "finished" else 1 if run.state == "failed" else None,
        started=_time(run.created_at),
        project=run.project,
        entity=run.entity,
        group=run.group or "",
    )


def _history(run: Any) -> list[dict[str, Any]]:
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
