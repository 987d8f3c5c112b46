"""A sweep as one flat table for other tools: a row a run, or a row a scored example."""

from pathlib import Path

import polars as pl

from harness.analyze.keys import as_labels, dataset_name, keys_of, varying
from harness.analyze.runs import Runs
from harness.errors import UserError
from harness.files import whole_file
from harness.record.shard import write_table

FOLD, MODEL, SEED = "split.fold", "loss.name", "seed"


def flat_table(runs: Runs) -> pl.DataFrame:
    """A row a run: config keys by their dotted names, facts and metrics; lists as text."""
    table = runs.runs.drop("shard")
    lists = [name for name, kind in table.schema.items() if kind.is_nested()]
    return as_labels(table, lists)


def score_table(runs: Runs) -> pl.DataFrame:
    """A row a scored example of validation and test, as `harness analyze` reads it back.

    With the configuration keys that vary, without which two runs would be one.

    Raises:
        UserError: the runs have no predictions.
    """
    keys = keys_of(runs)
    table = as_labels(runs.runs, keys)
    named = (MODEL, SEED, FOLD, "dataset.name")
    own = [key for key in varying(table, keys) if key not in named and "." in key]
    about = table.select(
        "run_id",
        "shard",
        dataset_name(table).alias("dataset"),
        *(
            pl.col(key).alias(name)
            for key, name in ((MODEL, "model"), (SEED, "seed"), (FOLD, "fold"))
            if key in table.columns
        ),
        *own,
        "num_train",
        "num_train_positives",
    )
    parts = [frame for shard in runs.predictions if (frame := _rows(shard, about)).height]
    if not parts:
        raise UserError(f"{runs.name}: no run has predictions, which W&B does not keep")
    table = pl.concat(parts, how="diagonal_relaxed")
    # Beside runs on weighted rows, those of others count the same.
    return table.with_columns(pl.col("^weight$").fill_null(1.0))


def _rows(shard: pl.LazyFrame, about: pl.DataFrame) -> pl.DataFrame:
    wanted = ("rows", "labels", "logits", "row_weights")
    lists = [name for name in wanted if name in shard.collect_schema()]
    scores = shard.select("run_id", "shard", "split", *lists).collect()
    long = about.join(scores, on=["run_id", "shard"], maintain_order="left").explode(lists)
    # As the 64 bits that any tool reads: of 32 the shortest text is another number.
    return long.select(
        pl.exclude("run_id", "shard", "split", *lists),
        part="split",
        row="rows",
        label="labels",
        logit=pl.col("logits").cast(pl.Float64),
        **({"weight": "row_weights"} if "row_weights" in lists else {}),
    )


def write_flat(table: pl.DataFrame, path: Path) -> None:
    """Writes .csv or .parquet, whole.

    Raises:
        UserError: another extension.
    """
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise UserError(f"{path}: give a name that ends in .parquet or .csv")
    with whole_file(path) as temporary:
        if kind == ".csv":
            table.write_csv(temporary)
        else:
            write_table(table, temporary, compression="zstd")
