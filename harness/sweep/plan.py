"""The plan: which runs of a sweep are there, which share a program, which train side by side.

Runs share a program when their `Program`s are equal. That follows from the types of the
configuration and the rounded sizes alone; nobody keeps a list. A batch holds runs of one program on
one data set.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from weakref import WeakSet

from harness import checkpoints
from harness.config import Config, objective
from harness.data import library
from harness.data.dataset import ArrayDataset, Dataset
from harness.data.fetching import say
from harness.data.sampler import SAMPLERS, NoSampler, RandomOversampler, RandomUndersampler
from harness.data.table import OwnTable
from harness.errors import UserError
from harness.identity import described_metrics
from harness.layout import parts_of
from harness.memory import check_fits
from harness.models import cost
from harness.record import store
from harness.run import Key, Run, resolve
from harness.sweep import lanes
from harness.sweep.failures import caught
from harness.training import Program
from harness.watching import held_out, watched

# Samplers for which a row may be anything.
ANY_ROWS = (NoSampler, RandomOversampler, RandomUndersampler)

Batch = Sequence[Run]
"""Runs that train together: a unit of work."""


def resolved(configs: Sequence[Config]) -> list[Run]:
    """The run of each config, in order. Each data set is loaded once, however many there are.

    Raises:
      UserError: of the first job that has no run. Nothing has been trained: a slip in one value
        of a sweep is told before hours are spent on the others.
    """
    by_source: dict[Any, list[int]] = {}
    for position, config in enumerate(configs):
        by_source.setdefault(config.dataset, []).append(position)
    found: dict[int, Run] = {}
    for source, positions in by_source.items():
        doing, config = "loading its data set", configs[positions[0]]
        try:
            dataset = library.datasets.get(source)
            _announce(source, dataset)
            doing = "planning a job"
            for position in positions:
                config = configs[position]
                _check_sampler(config, dataset)
                found[position] = watched(resolve(config, dataset))
        except Exception as error:
            raise caught(error, config, doing=doing) from error
    return [found[position] for position in range(len(configs))]


def _check_sampler(config: Config, dataset: Dataset) -> None:
    """Raises UserError where one of our samplers would look for rows between or near others, as
    their distances have it, and a row is an array. One of the user's own may know what it does.

    Digits are a table of pixels, too, whatever a network takes them for.
    """
    sampler = config.sampler
    if not isinstance(dataset, ArrayDataset) or isinstance(sampler, ANY_ROWS):
        return
    if type(sampler) not in SAMPLERS:
        return
    names = ", ".join(part.name for part in parts_of(dataset.cardinalities))
    raise UserError(
        f"sampler={sampler.name} goes by distances between rows, and arrays ({names}) have none: "
        "use sampler=none, random_over or random_under"
    )


ANNOUNCED: WeakSet[Dataset] = WeakSet()


def _announce(source: Any, dataset: Dataset) -> None:
    """Says what will be done with a table of the user's, before it is; once while it is held."""
    if isinstance(source, OwnTable) and dataset not in ANNOUNCED:
        ANNOUNCED.add(dataset)
        for line in source.announcement(dataset):
            say(line)


def stored_runs(runs: Sequence[Run], columns: Sequence[str]) -> dict[Key, dict]:
    """``columns`` of those of ``runs`` that their folders hold, whole; None where a run lacks one.

    A stored run that lacks something its job needs is not among them: it is trained again, to the
    same bits.
    """
    by_folder: dict[Path, list[Run]] = defaultdict(list)
    for run in runs:
        if not run.config.rerun:
            by_folder[run.folder].append(run)
    found = {}
    for folder, members in by_folder.items():
        needed = {objective(run.config) for run in members}
        known = store.stored(folder, sorted({"best_epoch", "extra_metrics", *columns, *needed}))
        lacking = {run.key for run in members if run.run_id in known and _lacks(run, known)}
        for run in members:
            if run.run_id in known and run.key not in lacking:
                found[run.key] = known[run.run_id]
    return found


def _lacks(run: Run, known: dict[str, dict]) -> bool:
    """Whether a stored run lacks the metric that a search asks it for, one of the user's as it is
    now, or the model that it is to keep; one without an epoch has none."""
    row = known[run.run_id]
    wanted = run.config.training.save_model and row["best_epoch"] > 0
    unsaved = wanted and not checkpoints.is_saved(run.folder, run.run_id)
    unmeasured = {*described_metrics(run.config)} - {*(row["extra_metrics"] or ())}
    return row[objective(run.config)] is None or unsaved or bool(unmeasured)


def groups(runs: Iterable[Run]) -> list[list[Run]]:
    """``runs`` by what can share a batch, those of one program in a row; a run given twice is one.

    Programs, and data sets within them, are in order of appearance.

    Raises:
      UserError: of a program that this machine's devices cannot hold.
    """
    unique: dict[Key, Run] = {}
    for run in runs:
        # Of one run asked for twice, the one that keeps its model serves both.
        if run.key not in unique or run.config.training.save_model:
            unique[run.key] = run
    sharing: dict[Program, dict[Any, list[Run]]] = {}
    for run in unique.values():
        sharing.setdefault(run.program, {}).setdefault(_shared(run), []).append(run)
    for program in sharing:
        _check_memory(program)
    # Neighbours share their data.
    return [sorted(members, key=_by_data) for of in sharing.values() for members in of.values()]


def batches(runs: Iterable[Run]) -> Iterator[tuple[Program, list[Batch]]]:
    """Each program, with the batches of lanes that ``runs`` make of it. Raises as `groups`."""
    for program, sharing in groupby(groups(runs), key=lambda group: group[0].program):
        width = lanes.width_of(program)
        yield (
            program,
            [
                group[start : start + width]
                for group in sharing
                for start in range(0, len(group), width)
            ],
        )


def _check_memory(program: Program) -> None:
    sizes = program.sizes
    needed = lanes.program_bytes(program) * lanes.num_devices() + lanes.data_bytes(program)
    num_params = cost(program.model, program.inputs).num_params
    check_fits(
        needed,
        what=f"training {num_params:,} parameters on {sizes.rows:,} rows, {program.num_steps:,} "
        f"steps of {program.batch_size:,},",
        remedy="a smaller model, training.batch_size or training.num_epochs needs less",
        free=lanes.free_memory(),
    )


def run_flops(run: Run) -> float:
    """Floating-point operations of one run's matrix products."""
    program, sizes = run.exact_program, run.sizes
    each = cost(program.model, program.inputs, head_only=program.freeze_body)
    trained = program.num_steps * program.batch_size * run.config.optimizer.num_gradients
    evaluated = program.num_epochs * sizes.validation + sizes.validation + sizes.test
    return trained * each.training_flops + evaluated * each.forward_flops


def _shared(run: Run) -> tuple:
    """What runs of a program share whose lanes may be mixed."""
    return run.sizes, held_out(run), run.fingerprint


def _by_data(run: Run) -> tuple:
    config = run.config
    drawn = (str(config.imbalance), str(config.sampler), str(config.split), config.seed)
    return (*drawn, str(config.batching), run.run_id)
