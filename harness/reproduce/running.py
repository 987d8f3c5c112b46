"""Reproducing an experiment: trains what it asks, judges its claims once or until they are decided.

Its sweeps become command lines; each has a folder that its runs are stored in.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.analyze.trained import Finding
from harness.errors import UserError
from harness.reproduce import results
from harness.reproduce.claims import Experiment, Sweep, Value, experiments, read
from harness.reproduce.judging import Verdict, judge, until_decided
from harness.reproduce.observed import Observed, observe, starting_points
from harness.reproduce.registration import newer, register, registered
from harness.reproduce.results import write_index

Train = Callable[[list[str]], None]
"""What trains a sweep: called with the overrides of `harness train -m`."""


def folder_of(
    root: Path, experiment: str, name: str, sweep: Sweep, starts: Sequence[str] = ()
) -> Path:
    """Where a sweep's runs lie: another folder for other overrides or starts, the same for more
    seeds."""
    text = json.dumps([sweep.set, sweep.vary, *starts], sort_keys=True)
    return root / experiment / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def overrides(
    sweep: Sweep, where: Path, *, num_seeds: int, starts: Sequence[str] = ()
) -> list[str]:
    """The arguments of `harness train -m` that train ``sweep`` into the folder ``where``.

    ``starts``: runs, as `init.params` names them, each of which all runs are started from once.
    """
    given = {"wandb": "disabled", "root": f"'{where.parent}'", "name": where.name}
    given |= {key: _text(value) for key, value in sweep.set.items()}
    if starts:
        given["init.params"] = ",".join(f"'{start}'" for start in starts)
    return [*(f"{key}={value}" for key, value in given.items()), f"{sweep.vary}=range({num_seeds})"]


def _text(value: Value) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


__all__ = ["Reproduced", "Request", "experiments", "read", "reproduce", "write_index"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """How to reproduce.

    Attributes:
      runs: where sweeps are stored, a folder an experiment.
      results: where `NAME/` is written.
      quick: the small size of every sweep.
      budget: seeds to spend at most until all claims are decided; None for one look.
      command: what is noted as having made the results.
    """

    runs: Path
    results: Path
    quick: bool = False
    budget: int | None = None
    command: str = ""


@dataclass(frozen=True)
class Reproduced:
    """The verdicts of an experiment, whether its runs were trained, and what moved since its
    results were last written."""

    experiment: Experiment
    verdicts: list[Verdict]
    trained: Sequence[Finding]
    moved: list[str]
    folder: Path


def reproduce(experiment: Experiment, request: Request, *, train: Train) -> Reproduced:
    """Trains what is missing, judges and writes ``request.results / experiment.name``.

    Raises:
      UserError: the experiment asks for something that is not there.
    """
    begun = time.perf_counter()
    sweeps = {n: s.sized(quick=request.quick) for n, s in experiment.sweeps.items()}
    if request.budget is None:
        observed = _observed(experiment, sweeps, request, train)
        verdicts = _judged(observed, experiment.alpha)
    else:
        observed, verdicts = _until_decided(experiment, sweeps, request, train)
    made = results.Made(
        command=request.command,
        size="quick" if request.quick else "full",
        seconds=time.perf_counter() - begun,
        finished=f"{datetime.now(UTC):%Y-%m-%d}",
    )
    folder = request.results / experiment.name
    moved = results.write(folder, observed, verdicts, made)
    return Reproduced(experiment, verdicts, observed.trained, moved, folder)


def _observed(
    experiment: Experiment, sweeps: Mapping[str, Sweep], request: Request, train: Train
) -> Observed:
    where: dict[Path, tuple[str, Sweep]] = {}
    for name, sweep in sweeps.items():
        starts = [
            start
            for at, (earlier, begun) in where.items()
            if earlier == sweep.start_from
            for start in starting_points(at, begun)
        ]
        folder = folder_of(request.runs, experiment.name, name, sweep, starts)
        if not request.quick:  # which judges nothing but exact anchors for good
            register(folder, experiment.claims)
        train(overrides(sweep, folder, num_seeds=sweep.seeds, starts=starts))
        where[folder] = (name, sweep)
    return replace(
        observe(experiment, where),
        registered=registered(where),
        newer=newer(where, experiment.claims),
    )


def _judged(observed: Observed, alpha: float) -> list[Verdict]:
    claims = observed.experiment.claims
    return judge(claims, [observed.pairs(claim) for claim in claims], alpha=alpha)


def _until_decided(
    experiment: Experiment, sweeps: Mapping[str, Sweep], request: Request, train: Train
) -> tuple[Observed, list[Verdict]]:
    if not sweeps:
        raise UserError(f"{experiment.name} trains nothing: leave out --until-decided")
    last: list[Observed] = []

    def at(seeds: int, level: float) -> list[Verdict]:
        starts = {sweep.start_from for sweep in sweeps.values()}  # these repeat nothing
        sized = {n: s if n in starts else replace(s, seeds=seeds) for n, s in sweeps.items()}
        last[:] = [_observed(experiment, sized, request, train)]
        return _judged(last[0], level)

    batch = max(2, max(sweep.seeds for sweep in sweeps.values()))
    verdicts, _ = until_decided(
        at, batch=batch, budget=request.budget or batch, alpha=experiment.alpha
    )
    return last[0], verdicts
