"""Time and memory of loading a table: five million rows of thirty numbers, as CSV and as Parquet.

python -m benchmarks.table [--rows 5000000] [--columns 30] [--folder DIR]

Each load has a process of its own; its peak is counted above what the process holds once its
libraries are imported, and compared with the size of the float32 matrix that is the result.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FORMATS = (".csv", ".parquet", ".arrow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument(
        "--folder", type=Path, help="where to write the tables (default: a new one)"
    )
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        write(given.write, num_rows=given.rows, num_columns=given.columns)
        return
    if given.load:
        load(given.load)
        return
    # A child inherits the peak of its parent on Linux: the parent must stay small.
    size = ["--rows", str(given.rows), "--columns", str(given.columns)]
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for extension in FORMATS:
            path = Path(folder) / f"table{extension}"
            for step in ("--write", "--load"):
                command = [sys.executable, "-m", "benchmarks.table", step, str(path), *size]
                subprocess.run(command, check=True)
            path.unlink()


def write(path: Path, *, num_rows: int, num_columns: int) -> None:
    """Numbers of four decimals, a target of 5% positives, and a value in a hundred missing."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(0)
    labels = rng.random(num_rows) < 0.05
    columns = {}
    for index in range(num_columns):
        values = (rng.standard_normal(num_rows, np.float32) + labels).astype(np.float64).round(4)
        columns[f"x{index}"] = pl.Series(values).set(pl.Series(rng.random(num_rows) < 0.01), None)
    frame = pl.DataFrame(columns).with_columns(y=pl.Series(labels.astype(np.int8)))
    writers = {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".arrow": frame.write_ipc}
    writers[path.suffix](path)


def load(path: Path) -> None:
    """Prints what loading ``path`` costs."""
    import numpy as np

    from harness.data.table import Table

    np.zeros(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes on Linux
    start, cpu_before = time.perf_counter(), time.process_time()
    dataset = Table(path=str(path), target="y").load()
    loaded, cpu = time.perf_counter() - start, time.process_time() - cpu_before
    assert dataset.has_missing and dataset.fingerprint
    seconds = time.perf_counter() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    size = dataset.features.nbytes
    print(
        f"{path.suffix:9} {path.stat().st_size / 1e6:6,.0f} MB file: {loaded:5.1f} s to load "
        f"({cpu:.1f} s of CPU), {seconds:5.1f} s with its fingerprint; peak {peak / 1e6:6,.0f} MB, "
        f"{peak / size:.2f} times the {size / 1e6:,.0f} MB of float32",
        flush=True,
    )


if __name__ == "__main__":
    main()
