"""Which server, which key, which mode: what Weights & Biases' own settings say."""

import netrc
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

from harness.errors import UserError, shown

Mode = Literal["auto", "online", "offline", "disabled"]

KEY_LIKE = re.compile(r"\b(?:[0-9a-f]{40,}|wandb_v\d\w{20,})\b")
PUBLIC_HOSTS = {"api.wandb.ai", "api.forge.coreweave.com"}  # one service, a key for either serves


def resolve_mode(mode: Mode) -> Mode:
    """`online`, `offline` or `disabled`."""
    if mode != "auto":
        return mode
    asked = os.environ.get("WANDB_MODE", "")
    modes: dict[str, Mode] = {
        "online": "online",
        "run": "online",
        "offline": "offline",
        "dryrun": "offline",
        "disabled": "disabled",
        "": "online" if has_key() else "offline",
    }
    if asked not in modes:
        raise UserError(f"WANDB_MODE must be online, offline or disabled, got {asked!r}")
    return modes[asked]


def has_key() -> bool:
    """Whether an API key is set for the server in use. The key itself is not kept."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        entries = netrc.netrc(_netrc_file())
    except (OSError, netrc.NetrcParseError):
        return False
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or _client_base_url()).netloc
    hosts = PUBLIC_HOSTS if host in PUBLIC_HOSTS else {host}
    return any(entries.authenticators(host) for host in hosts)


PROJECT = "bce-harness"
_LONGEST_TAG, _LONGEST_NAME = 64, 128  # characters, as the service has it
_NOT_IN_A_PROJECT = "/\\#?%:"


@dataclass(frozen=True)
class Labels:
    """Under what a run is kept by W&B."""

    project: str
    entity: str
    group: str
    tags: tuple[str, ...]
    job_type: str = ""
    notes: str = ""


def labels(
    *,
    project: str | None = None,
    entity: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    notes: str | None = None,
    tags: Sequence[str] | None = None,
    sweep: str,
) -> Labels:
    """What the configuration says, where it says nothing W&B's environment variables, else our own.

    ``sweep`` is the group of a run that is told none.
    """
    told = (tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(","))
    return Labels(
        project=project or os.environ.get("WANDB_PROJECT") or PROJECT,
        entity=entity or os.environ.get("WANDB_ENTITY", ""),
        group=group or os.environ.get("WANDB_RUN_GROUP") or sweep,
        tags=tuple(dict.fromkeys(tags or filter(None, told))),
        job_type=job_type or os.environ.get("WANDB_JOB_TYPE", ""),
        notes=notes or os.environ.get("WANDB_NOTES", ""),
    )


@dataclass(frozen=True)
class AgentRun:
    """The run that W&B's own sweep agent has started this process for.

    Attributes:
      config: the parameters that the agent chose.
    """

    run_id: str
    sweep_id: str
    project: str
    entity: str
    config: Mapping[str, Any]


def agent_run() -> AgentRun | None:
    """The agent's run, by the variables that it sets; None where no agent has started this."""
    run_id, sweep_id = (os.environ.get(f"WANDB_{name}_ID", "") for name in ("RUN", "SWEEP"))
    if not run_id or not sweep_id:
        return None
    return AgentRun(
        run_id=run_id,
        sweep_id=sweep_id,
        project=os.environ.get("WANDB_PROJECT", ""),
        entity=os.environ.get("WANDB_ENTITY", ""),
        config=_chosen_by_the_agent(os.environ.get("WANDB_SWEEP_PARAM_PATH", "")),
    )


def _chosen_by_the_agent(path: str) -> dict[str, Any]:
    """From the agent's file, in the client's form of a configuration."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return {key: one["value"] for key, one in values.items() if key != "wandb_version"}
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return {}


def named(settings: Mapping[str, Any], usual: str) -> str:
    """A run's name: what the configuration says, else WANDB_NAME, else the ``usual`` one."""
    return settings.get("run_name") or os.environ.get("WANDB_NAME") or usual


LABELS = tuple(field.name for field in fields(Labels))
"""The keys of a configuration's `wandb` that `labels` takes."""


def check_labels(found: Labels) -> None:
    """Raises UserError where the service would refuse one of them, when the run arrives."""
    for tag in found.tags:
        _check("wandb.tags", tag, _LONGEST_TAG)
    _check("wandb.group (or name)", found.group, _LONGEST_NAME)
    _check("wandb.project", found.project, _LONGEST_NAME)
    if found.job_type:
        _check("wandb.job_type", found.job_type, _LONGEST_NAME)
    if wrong := sorted(set(found.project) & set(_NOT_IN_A_PROJECT)):
        raise UserError(
            f"wandb.project {shown(found.project)} holds {' '.join(wrong)}: W&B takes no "
            f"{' '.join(_NOT_IN_A_PROJECT)} in a project's name"
        )
    if "/" in found.entity:
        raise UserError(
            f"wandb.entity {shown(found.entity)} is no user or team: give the project apart, as "
            "wandb.project"
        )


def _check(key: str, value: str, longest: int) -> None:
    if not value.strip() or len(value) > longest:
        raise UserError(
            f"{key} {shown(value)} has {len(value)} characters: W&B takes 1 to {longest}"
        )


def quiet_client() -> Any:
    """The client, without its own words on the terminal: we say what went wrong, in one line.

    Started by W&B's sweep agent, it would give every run the id of the agent's and the parameters
    of its search: the one run that is the agent's says so itself (`RunLog.sweep_id`).
    """
    import wandb

    settings = wandb.setup(wandb.Settings(silent=True)).settings
    settings.sweep_id = settings.sweep_param_path = None
    return wandb


def _netrc_file() -> Path:
    """Where the client looks."""
    if named := os.environ.get("NETRC"):
        return Path(named).expanduser()
    places = [Path(name).expanduser() for name in ("~/.netrc", "~/_netrc")]
    return next((place for place in places if place.exists()), places[0])


def _client_base_url() -> str:
    """The server `wandb login --host` set, or the public one."""
    import wandb

    return wandb.setup().settings.base_url


def is_outage(error: Exception) -> bool:
    """Whether the next run would fail the same way: no server, no key, a full disk."""
    if isinstance(error, OSError | ImportError):  # timeouts and lost connections are OSErrors
        return True
    import wandb.errors as errors

    return isinstance(error, errors.CommError | errors.AuthenticationError)


def describe(error: Exception) -> str:
    """One line, without an API key, should the client's message hold one."""
    text = " ".join(str(error).split())
    if key := os.environ.get("WANDB_API_KEY"):
        text = text.replace(key, "***")
    return f"{type(error).__name__}: {KEY_LIKE.sub('***', text)[:300]}"
