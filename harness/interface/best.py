"""The model of a sweep's best run."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from harness import checkpoints
from harness.analyze import Analysis, Question, Runs, answer
from harness.analyze.groups import GROUP, SCENARIO, choose_configurations, pairing
from harness.analyze.headings import SELECTION, picking_sign
from harness.analyze.load import OBJECTIVE, complete
from harness.config import Config, parse
from harness.data.fetching import say
from harness.errors import UserError
from harness.interface.session import ready
from harness.predict import Model
from harness.record import store
from harness.record.config_struct import own_keys


def best_run(runs: Runs, *, metric: str, where: str) -> str:
    """The run_id of the first seed of the best configuration on validation, in the mean over seeds.

    Of the first seed: which of them scores best says more of its validation rows than of the run.
    For the same reason its hyperparameters are those that are best on average, and not, as where
    losses are compared, those that its own split chose.

    Raises:
      UserError: an unknown metric, a filter that leaves no run, or runs of several questions.
    """
    metric = metric or _objective(runs)
    column = f"validation/{metric.removeprefix('validation/')}"
    sign = picking_sign(column, asked=f"metric={metric!r}")
    analysis = answer(complete(runs), Question(where=where, selection=column))
    places = analysis.chosen.select(SCENARIO).unique(maintain_order=True)
    if places.height > 1:
        names = " and ".join(repr(name) for name in places["dataset"].unique().sort().head(2))
        raise UserError(
            f"best: the runs are of {places.height} data sets or settings, such as {names}: choose "
            "one by where=, such as where=\"dataset = 'digits'\""
        )
    found = on_average(analysis, column).filter(
        pl.col("best_epoch") > 0, pl.col(column).is_finite()
    )
    found = found.with_columns((pl.col(column).mean().over("method") * sign).alias("_mean"))
    if found.is_empty():
        raise UserError(f"best: no run has {column}: train it, or give another metric")
    return str(found.sort("_mean", "method", "seed", descending=[True, False, False])["run_id"][0])


def on_average(analysis: Analysis, column: str) -> pl.DataFrame:
    """The runs of each method's configuration that is best on validation in the mean over splits:
    what is chosen where one model is to be trained.

    Raises:
      UserError: no run has ``column``.
    """
    labelled = analysis.labelled
    candidates = labelled.select(*GROUP, "tuning", *pairing(labelled), pl.col("^validation/.*$"))
    best = choose_configurations(candidates, metric=column).select(*GROUP, "tuning")
    return labelled.join(best, on=[*GROUP, "tuning"], nulls_equal=True, how="semi").sort("run_id")


def _objective(runs: Runs) -> str:
    """The sweep's `evaluation.objective`; the usual one of runs that have none or several."""
    known = runs.runs.get_column(OBJECTIVE, default=pl.Series([], dtype=pl.String)).drop_nulls()
    return str(known[0]) if known.n_unique() == 1 else SELECTION


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
    found = store.shards(folder)  # held while they are read
    for path in found.paths("runs"):
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
