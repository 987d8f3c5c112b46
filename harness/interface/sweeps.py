"""Training, planning and loading sweeps from Python.

`trained` is what `harness train` calls too; `train` composes its configurations as Hydra would.
"""

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console

from harness.config import Config, folder_of
from harness.data.fetching import say
from harness.data.in_memory import Frame, held
from harness.data.pairs import unpaired
from harness.errors import UserError, override
from harness.interface.session import ready
from harness.overrides.jobs import Jobs, jobs_of, parsed, record

if TYPE_CHECKING:
    from harness.analyze import Runs
    from harness.interface.answers import Answer
    from harness.predict import Model
    from harness.sweep.engine import Result
    from harness.sweep.estimate import Plan


@dataclass(frozen=True, eq=False)
class Trained:
    """What became of each job; `str` says it in a line."""

    configs: Sequence[Config]
    results: "Sequence[Result]"

    @cached_property
    def runs(self) -> "Mapping[tuple[Path, str], Result]":
        """By folder and run id: a run asked for twice is one."""
        by_place = zip(map(folder_of, self.configs), self.results, strict=True)
        return {(folder, result.run_id): result for folder, result in by_place}

    @property
    def num_failed(self) -> int:
        return sum(result.error is not None for result in self.runs.values())

    @property
    def folders(self) -> list[Path]:
        return sorted({folder_of(config) for config in self.configs})

    def __str__(self) -> str:
        stored = sum(result.was_stored for result in self.runs.values())
        new = len(self.runs) - stored - self.num_failed
        diverged = sum(result.has_diverged for result in self.runs.values())
        said = f"{new} trained, {stored} already stored, {self.num_failed} failed"
        if diverged:
            said += f"; {diverged} diverged"
        return f"{said}: {', '.join(map(str, self.folders))}"


def trained(configs: Sequence[Mapping[str, Any]]) -> Trained:
    """Trains the jobs that are not stored yet; see `harness.engines.sharing.train`.

    Raises:
      UserError: a configuration is none, or a data set is not as described. Nothing was trained.
    """
    from harness.engines import sharing
    from harness.sweep.progress import Progress
    from harness.sweep.timings import timed

    with timed("compose"):
        found = parsed(configs)
    return Trained(found, sharing.train(found, progress=Progress(Console(stderr=True))))


def planned(configs: Sequence[Mapping[str, Any]], *, wall: float, cpu: float) -> "Plan":
    """What `trained` would compile, hold and cost, and what can be said of its grids before.

    Args:
      wall, cpu: when the caller began, as `time.time` and `time.process_time` tell it.

    Raises:
      UserError: as `trained`.
    """
    from dataclasses import replace

    from harness.analyze.trained import beforehand
    from harness.sweep import estimate
    from harness.sweep.rates import Clock

    found = estimate.planned(parsed(configs), begun=Clock(wall, cpu))
    doubts = tuple((str(one), one.is_beyond) for one in beforehand(configs))
    return replace(found, doubts=doubts)


@dataclass(frozen=True, eq=False)
class Sweep:
    """Runs in hand: their table, the answer, the report.

    Attributes:
      sources: where they lie: sweep folders, or places on W&B.
      run_ids: those that were asked for; None for all there are.
      errors: why jobs failed, where some did.
    """

    sources: tuple[Path | str, ...]
    run_ids: frozenset[str] | None = None
    errors: tuple[UserError, ...] = ()
    _frame: Frame | None = None  # what the runs were trained on, as long as it is of use

    @cached_property
    def runs(self) -> "Runs":
        """The logged runs; curves and predictions too. See `harness.analyze.Runs`."""
        from dataclasses import replace

        from harness.analyze import load

        found = load(*self.sources)
        if self.run_ids is None:
            return found
        return replace(found, runs=found.runs.filter(pl.col("run_id").is_in(list(self.run_ids))))

    def table(self) -> pl.DataFrame:
        """One row a run: its configuration, facts and metrics."""
        return self.runs.runs.drop("shard")

    def answer(self, **question: Any) -> "Answer":
        """Each loss beside the baseline, and which to use.

        Args:
          question: see `harness.analyze.Question`, such as ``baseline="focal"`` or
            ``metrics=("log_loss",)``.

        Raises:
          UserError: a question that these runs cannot answer.
        """
        from harness.analyze import Question, answer
        from harness.analyze.load import complete
        from harness.interface.answers import Answer

        return Answer(answer(complete(self.runs), _question(Question, question)))

    def report(
        self, output: Path | str | None = None, *, said: Sequence[str] = (), **question: Any
    ) -> Path:
        """Writes the tables and `report.html`; where they are by default, see `harness analyze`.

        ``said`` opens the page in place of its advice.

        Returns: the page's path. Raises UserError as `answer` does.
        """
        from harness.analyze import Question, analyze_runs, default_output
        from harness.analyze.load import complete
        from harness.analyze.report import rerun_command

        return analyze_runs(
            complete(self.runs),
            output=default_output(*self.sources) if output is None else Path(output),
            console=Console(quiet=True),
            question=_question(Question, question),
            command="\n".join(filter(None, map(rerun_command, map(Path, self.sources)))),
            said=said,
        )

    def best(self, metric: str = "", *, where: str = "") -> "Model":
        """The model of the best configuration, chosen on validation, trained on its first seed.

        A run that kept no model is trained again, to the same bits.

        Args:
          metric: such as ``"log_loss"``; by default the sweep's `evaluation.objective`.
          where: which runs, as `harness analyze --where`: ``"loss = focal"``.

        Raises:
          UserError: runs on several data sets, of which none was chosen; an unknown metric; or data
            that are needed and not there any more.
        """
        from harness.interface.best import best_run, model_of_run

        return model_of_run(best_run(self.runs, metric=metric, where=where), self.sources)

    def __repr__(self) -> str:
        return f"<{len(self.runs.runs)} runs of {', '.join(map(str, self.sources))}>"

    def _repr_html_(self) -> str:
        try:
            return self.answer()._repr_html_()
        except UserError:  # nothing to compare: the runs themselves
            return str(self.table()._repr_html_())


def train(
    *overrides: str,
    data: Any = None,
    target: Any = None,
    folder: Path | str | None = None,
    **described: Any,
) -> Sweep:
    """Trains a sweep, as lanes of a few programs, and stores it; what is stored is not trained.

    >>> sweep = harness.train("loss=bce,focal", "seed=range(5)", data=frame, target="label")
    ... # doctest: +SKIP

    Args:
      overrides: as of `harness train -m`, such as ``"loss=bce,focal"`` or ``"experiment=demo"``.
      data: a data frame, array or mapping of columns (see `harness.data.in_memory.held`), the path
        of a table file, or a map-style data set of PyTorch or one of `tf.data` that gives pairs of
        a row and its label; in place of `dataset=`.
      target: its column of labels, or the labels themselves; of pairs none.
      folder: of the sweep; by default as on the command line, or called by the data's ``name``.
      described: what else there is to say of ``data``, by the keys of `conf/dataset/memory.yaml`:
        ``positive="yes", drop=["id"], group="customer"``.

    Raises:
      UserError: of a mistake, before anything is trained; or what all jobs failed with.
    """
    ready()
    jobs, frame = composed(overrides, data, target, folder, described)
    done = trained(jobs.configs)
    errors = [result.error for result in done.results]
    if not all(errors):
        record(jobs.sweep)
    _say_reasons(jobs, errors)
    say(str(done))
    ids = frozenset(run_id for (_, run_id), one in done.runs.items() if one.error is None)
    kept = tuple(error for error in errors if error is not None)
    return Sweep(tuple(folder.absolute() for folder in done.folders), ids, kept, frame)


def plan(
    *overrides: str,
    data: Any = None,
    target: Any = None,
    folder: Path | str | None = None,
    **described: Any,
) -> "Plan":
    """What `train` of the same arguments would compile, hold and cost. Trains nothing.

    Raises:
      UserError: as `train`.
    """
    wall, cpu = time.time(), time.process_time()
    ready()
    jobs, frame = composed(overrides, data, target, folder, described)
    found = planned(jobs.configs, wall=wall, cpu=cpu)
    del frame  # held until here
    return found


def load(*sources: Path | str) -> Sweep:
    """Runs that were logged before: sweep folders, W&B's offline folders, or
    ``entity/project[/group]`` on W&B.

    Raises:
      UserError: a source is none of these, or holds no runs.
    """
    sweep = Sweep(sources)
    _ = sweep.runs  # read now: what is wrong is said here
    return sweep


def _question(kind: type, given: Mapping[str, Any]) -> Any:
    """The question, in which a text stands for a list of one."""
    lists = ("metrics", "by", "tuned")
    several = {name: given[name] for name in lists if name in given}
    several = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in several.items()}
    try:
        return kind(**{**given, **several})
    except TypeError as error:
        names = ", ".join(kind.__dataclass_fields__)  # type: ignore[attr-defined]
        raise UserError(f"{str(error).rpartition(') ')[2]}: a question has {names}") from None


def composed(
    overrides: Sequence[str],
    data: Any,
    target: Any,
    folder: Path | str | None,
    described: Mapping[str, Any],
) -> tuple[Jobs, Frame | None]:
    """The jobs, and what their data lives in, to be held while they train."""
    all_of_them, frame = with_data(overrides, data, target, folder, described)
    return jobs_of(all_of_them), frame


def with_data(
    overrides: Sequence[str],
    data: Any,
    target: Any,
    folder: Path | str | None,
    described: Mapping[str, Any],
) -> tuple[list[str], Frame | None]:
    """The overrides that say all of it, and what the data lives in, to be held while it is used.

    Raises UserError as `train`, of how the data are given.
    """
    for text in overrides:
        if not isinstance(text, str):
            raise UserError(f"{text!r} is no override: give texts, such as 'loss=bce,focal'")
    frame, about = None, dict(described)
    if data is None:
        given = [*described, *(["target"] if target is not None else [])]
        if given:
            raise UserError(f"{given[0]} describes data: give data=, or an override as a text")
        chosen: list[str] = []
    else:
        if (pairs := unpaired(data)) is not None:
            if target is not None:
                raise UserError("data gives its labels with its rows: leave target out")
            data, target = pairs
        if target is None:
            raise UserError("data has no target: give the column of labels, or the labels")
        if any(text.lstrip("+").startswith(("dataset=", "dataset_suite=")) for text in overrides):
            raise UserError("dataset is chosen by an override and by data: give one of them")
        if isinstance(data, (str, Path)):
            kind, about = "table", {**about, "path": str(data), "target": target}
        else:
            frame, column = held(data, target)
            kind = "memory"
            about = {"name": "data", **about, "contents": frame.contents, "target": column}
        chosen = [f"dataset={kind}", *(_written(f"dataset.{key}", about[key]) for key in about)]
    return [*_placed(overrides, folder, about.get("name")), *chosen], frame


def _placed(overrides: Sequence[str], folder: Path | str | None, name: str | None) -> Iterator[str]:
    """The overrides, with the folder that was given, or the data's own."""
    yield from overrides
    named = any(text.partition("=")[0].lstrip("+") in ("name", "root") for text in overrides)
    if folder is not None:
        if named:
            raise UserError(f"folder={str(folder)!r} is given beside name= or root=: give one")
        place = Path(folder).expanduser()
        yield _written("root", str(place.parent))
        yield _written("name", place.name)
    elif name is not None and not named:
        yield _written("name", name)


def _written(key: str, value: Any) -> str:
    """``value`` as Hydra's overrides write it."""
    if isinstance(value, (list, tuple)):
        return f"{key}=[{','.join(_written('', one)[1:] for one in value)}]"
    if value is None or isinstance(value, (bool, int, float)):
        return f"{key}={'null' if value is None else str(value).lower()}"
    return shlex.split(override(key, str(value)))[0]


def _say_reasons(jobs: Jobs, errors: Sequence[UserError | None]) -> None:
    """Says why jobs failed. Raises UserError where all did."""
    from harness.sweep.failures import reasons

    if failed := reasons(jobs.overrides, errors):
        lines, last = failed
        for line in lines:
            say(line)
        if all(errors):
            raise last
        say(str(last))
