"""Tables that need no training, or all runs at once: of the losses, precisions, libraries, nulls.

Each takes the experiment's folder, its runs, and its parameters from `tables` in claims.yaml.
"""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from harness.analyze import statistics
from harness.analyze.where import to_sql
from harness.errors import UserError
from harness.reproduce.curves import loss_curves, precision
from harness.reproduce.parity import parity

Table = Callable[..., pl.DataFrame]


def rejections(
    folder: Path,
    runs: pl.DataFrame,
    *,
    by: str,
    arm: str,
    metric: str,
    pair: str,
    sweep: str,
    alpha: float = 0.05,
) -> pl.DataFrame:
    """For each value of ``by``: does the corrected t test tell the two values of ``arm`` apart?

    Rows (by, difference, p, rejects: 1 where p <= alpha, favours: 1 where it also favours the
    second value, in sorted order). Pairs are by the column ``pair``.
    """
    rows = []
    runs = runs.filter(pl.col("sweep") == sweep)
    values = sorted(runs[arm].unique())
    if len(values) != 2:
        raise UserError(f"rejections: {arm} must have two values in sweep {sweep}, got {values}")
    for (unit,), group in sorted(runs.group_by(by)):
        sides = [group.filter(pl.col(arm) == value).sort(pair)[metric] for value in values]
        d = (sides[1] - sides[0]).to_numpy()
        ratio = float((group["num_test"] / group["num_train"]).mean())  # type: ignore[arg-type]
        given = {"mean": d.mean(), "sd": d.std(ddof=1), "num_seeds": len(d)}
        p = float(statistics.corrected_p_value(**given, test_train_ratio=ratio))
        rows.append(
            {
                by: unit,
                "difference": float(d.mean()),
                "p": p,
                "rejects": float(p <= alpha),
                "favours": float(p <= alpha and d.mean() > 0),
            }
        )
    return pl.DataFrame(rows)


def correlations(
    folder: Path, runs: pl.DataFrame, *, by: list[str], pairs: dict[str, list[str]], where: str = ""
) -> pl.DataFrame:
    """For each value of ``by``: Spearman's correlation of two columns over the other runs.

    Rows (by..., pair, rho, num_runs), a row for each of the named ``pairs`` of columns; 0 where a
    column does not vary, which then tells no run from another; null where a run has no number.
    """
    if where:
        runs = runs.filter(pl.sql_expr(to_sql(where, runs.columns)))
    return pl.concat(
        runs.group_by(by)
        .agg(_spearman(*columns).alias("rho"), pl.len().alias("num_runs"))
        .with_columns(pair=pl.lit(name))
        .sort(by)
        for name, columns in pairs.items()
    )


def _spearman(x: str, y: str) -> pl.Expr:
    columns = [pl.col(name).cast(pl.Float64) for name in (x, y)]
    is_known = pl.all_horizontal(*(column.is_finite().fill_null(False) for column in columns)).all()
    is_still = pl.any_horizontal(*(column.n_unique() == 1 for column in columns))
    rho = pl.when(is_still).then(0.0).otherwise(pl.corr(*columns, method="spearman"))
    return pl.when(is_known).then(rho)


TABLES: dict[str, Table] = {
    "loss_curves": loss_curves,
    "precision": precision,
    "parity": parity,
    "rejections": rejections,
    "correlations": correlations,
}
