"""Tables that need no training, or all runs at once: of the losses, precisions, libraries, nulls.

Each takes the experiment's folder, its runs, and its parameters from `tables` in claims.yaml.
"""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from harness.analyze import statistics
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


TABLES: dict[str, Table] = {
    "loss_curves": loss_curves,
    "precision": precision,
    "parity": parity,
    "rejections": rejections,
}
