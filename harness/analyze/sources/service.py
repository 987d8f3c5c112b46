"""Reading runs from W&B's service: `entity/project` or `entity/project/group`."""

from harness.analyze.runs import Runs
from harness.analyze.sources.logged import gather
from harness.record.wandb_client import served_runs


def is_path(source: str) -> bool:
    """Whether a source that is no file here could be a project, or a group of one, on W&B.

    >>> [is_path(s) for s in ("me/loss/demo", "me/loss", "demo", "./me/loss", "/me/loss", "a//b")]
    [True, True, False, False, False, False]
    """
    parts = source.split("/")
    return len(parts) in (2, 3) and all(part.strip(". ") for part in parts)


def read_service(source: str) -> Runs:
    """The runs of `entity/project[/group]`.

    Raises:
        UserError: no key, no answer, no such project, or no run of this harness in it.
    """
    entity, project, group = [*source.split("/"), None][:3]
    assert entity and project
    logs = ((source, log) for log in served_runs(entity, project, group))
    return gather(logs, name=group or project, place=source)
