"""The model of a sweep's best run."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from harness import checkpoints
from harness.analyze import Question, Runs, answer
from harness.analyze.groups import SCENARIO
from harness.analyze.headings import SELECTION, picking_sign
from harness.analyze.load import complete
from harness.config import Config, parse
from harness.data.fetching import say
from harness.errors import UserError
from harness.interface.session import ready
from harness.predict import Model
from harness.record import store
from harness.record.config_struct import own_keys


def best_run(runs: Runs, *, metric: str, where: str) -> str:
    """The run_id of the first seed of the best configuration on validation.

    Of the first seed: which of them scores best says more of its validation rows than of the run.

    Raises:
      UserError: an unknown metric, a filter that leaves no run, or runs of several questions.
    """
    column = f"validation/{metric.removeprefix('validation/')}" if metric else SELECTION
    sign = picking_sign(column, asked=f"metric={metric!r}")
    analysis = answer(complete(runs), Question(where=where, selection=column))
    places = analysis.chosen.select(SCENARIO).unique(maintain_order=True)
    if places.height > 1:
        names = " and ".join(repr(name) for name in places["dataset"].unique().sort().head(2))
        raise UserError(
            f"best: the runs are of {places.height} data sets or settings, such as {names}: choose "
            "one by where=, such as where=\"dataset = 'digits'\""
        )
    score = pl.col(column) if column in analysis.chosen.columns else pl.lit(None, pl.Float64)
    mean = score.mean().over("method") * sign
    found = analysis.chosen.filter(pl.col("best_epoch") > 0, score.is_finite()).with_columns(
        mean.alias("_mean")
    )
    if found.is_empty():
        raise UserError(f"best: no run has {column}: train it, or give another metric")
    return str(found.sort("_mean", "method", "seed", descending=[True, False, False])["run_id"][0])


def model_of_run(run_id: str, sources: tuple[Path | str, ...]) -> Model:
    """The model of a stored run: the one that was saved, else it is trained again to the same bits.

    Raises:
      UserError: it is in no folder, or its data is not there any more.
    """
    folders = [Path(source) for source in sources if Path(source).is_dir()]
    for folder in folders:
        if checkpoints.is_saved(folder, run_id):
            return Model.load(folder / checkpoints.FOLDER / run_id)
    for folder in folders:
        for config in _stored(folder, run_id):
            return Model.load(folder / checkpoints.FOLDER / _trained_again(config))
    raise UserError(f"best: run {run_id} is in no folder here: W&B keeps no models; train it")


def _stored(folder: Path, run_id: str) -> Iterator[Config]:
    """The configuration of a run of ``folder``, which is to keep its model there."""
    for path in store.shards(folder).paths("runs"):
        for row in store.read_runs(path).filter(pl.col("run_id") == run_id).iter_rows(named=True):
            config = parse(own_keys(row["config"]))
            yield replace(
                config,
                root=str(folder.parent),
                name=folder.name,
                training=replace(config.training, save_model=True),
            )


def _trained_again(config: Config) -> str:
    """Its run_id, which is another where the code or the machine has changed since."""
    from rich.console import Console

    from harness.sweep.engine import run_sweep
    from harness.sweep.progress import Progress

    ready()
    say("the run kept no model (training.save_model=true keeps them): training it again")
    (result,) = run_sweep([config], progress=Progress(Console(stderr=True)))
    if result.error is not None:
        raise result.error
    return result.run_id
