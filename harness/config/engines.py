"""Where a sweep's batches of lanes are trained: here, or by workers that share the sweep's folder.

An engine is no part of a run, and nothing of it is recorded: whoever trains, the bits are the same.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le, MinLen

Workers = Annotated[int, Ge(1), Le(10_000)]
Retries = Annotated[int, Ge(0), Le(100)]
Cores = Annotated[int, Ge(1), Le(4096)]
Word = Annotated[str, MinLen(1)]


@dataclass(frozen=True)
class Local:
    """This process, on all devices it sees."""

    name: Literal["local"] = "local"


@dataclass(frozen=True)
class Processes:
    """Processes of this machine, each on ``cpus`` cores: by default those there are, shared out.

    ``retries``: how often work is done again whose worker was lost.
    """

    name: Literal["processes"] = "processes"
    workers: Workers = 2
    cpus: Cores | None = None
    retries: Retries = 2


@dataclass(frozen=True)
class Submitit:
    """Slurm's array jobs, through submitit; ``executor=local`` stands in for it on one machine.

    A job that reaches ``minutes`` is queued again, and goes on where it was. ``retries`` are of
    jobs that were lost.
    """

    name: Literal["submitit"] = "submitit"
    executor: Literal["slurm", "local"] = "slurm"
    workers: Workers = 8
    cpus: Cores = 2
    gpus: Annotated[int, Ge(0), Le(64)] = 0
    memory_gb: Annotated[float, Ge(0.1), Le(100_000)] = 8.0
    minutes: Annotated[int, Ge(2), Le(100_000)] = 60
    partition: Word | None = None
    account: Word | None = None
    retries: Retries = 3


@dataclass(frozen=True)
class Ray:
    """A Ray cluster: the one at ``address``, or one of ``workers`` started here for the sweep.

    ``workers`` also says into how many shares a sweep is cut. ``retries`` are of work whose worker
    or node was lost. Where workers do not see the sweep's folder they send their shards to
    ``shards``, an address of fsspec's such as s3://bucket/folder, from which they are moved into
    the store; each root has an address of its own.
    """

    name: Literal["ray"] = "ray"
    address: Word | None = None
    workers: Workers = 2
    cpus: Cores = 1
    gpus: Annotated[float, Ge(0), Le(64)] = 0.0
    retries: Retries = 3
    shards: Word | None = None


ENGINES = (Local, Processes, Submitit, Ray)
