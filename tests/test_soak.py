"""A sweep through every fault: what it leaves is what an undisturbed one does, and none twice.

``make soak`` trains 20,000 runs with a fault every few seconds; `make slow` 2,000.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from harness.record import store
from harness.record.mirror import LEDGER_FILE
from tests.stored import assert_same_runs, stored_tables
from tests.test_engines import customized

NUM_RUNS = int(os.environ.get("SOAK", "2000"))
SECONDS = 3600 if "SOAK" in os.environ else 600
SCRIPT = "import sys; from harness import cli; sys.argv[0] = 'harness'; cli.main()"
TINY = (
    "dataset=two_gaussians", "dataset.rows=200", "dataset.positive_rate=0.3", "model=logistic",
    "training.num_epochs=2", "training.batch_size=64", "wandb=disabled", "loss=bce,focal",
    f"seed=range({NUM_RUNS // 2})",
)  # fmt: skip

# A process in which the disk is full for one table, once the flag is there.
FULL = """
import os
import polars as pl
write = pl.DataFrame.write_parquet
def write_or_refuse(frame, path, **options):
    try:
        os.unlink({flag!r})
    except FileNotFoundError:
        return write(frame, path, **options)
    path.write_bytes(b"PAR1")
    raise OSError(28, "No space left on device")
pl.DataFrame.write_parquet = write_or_refuse
"""


class Sweep:
    """A sweep by two workers, started again whenever it has ended, and what can happen to it."""

    def __init__(self, root: Path, draw: random.Random):
        self.root, self.draw = root, draw
        self.folder = root / "runs" / "soak"
        self.full = root / "full"
        chosen_here = ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")
        self.environment = {k: v for k, v in os.environ.items() if k not in chosen_here}
        code = FULL.format(flag=str(self.full))
        self.environment["PYTHONPATH"] = customized(root / "code", code)
        self.running = self.start()

    def start(self, root: str = "runs", engine: str = "processes") -> subprocess.Popen:
        places = ("name=soak", f"root={root}", f"engine={engine}")
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, "train", "-m", *places, *TINY],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def go_on(self) -> None:
        if (code := self.running.poll()) is not None:
            said, _ = self.running.communicate()
            assert code in (0, 2, -9, 143) and "Traceback" not in said, said
            self.running = self.start()

    def whole(self) -> str:
        """Lets it end, twice more; what it says then."""
        for _ in range(2):
            self.running.communicate(timeout=SECONDS)
            self.running = self.start()
        return self.running.communicate(timeout=SECONDS)[0]

    def shards(self) -> list[Path]:
        return [one for one in (self.folder / "shards").glob("*") if one.name[0] != "."]

    def worker_killed(self) -> None:
        if workers := psutil.Process(self.running.pid).children():
            self.draw.choice(workers).kill()

    def killed(self) -> None:
        self.running.kill()

    def terminated(self) -> None:
        self.running.terminate()

    def bit_flipped(self) -> None:
        with suppress(FileNotFoundError):  # merged and deleted meanwhile
            path = self.draw.choice([file for one in self.shards() for file in one.iterdir()])
            content = bytearray(path.read_bytes())
            content[self.draw.randrange(len(content))] ^= 1 << self.draw.randrange(8)
            with path.open("r+b") as file:
                file.write(content)

    def disk_full(self) -> None:
        self.full.touch()

    def notes_lost(self) -> None:
        for name in (store.PLAN, LEDGER_FILE):
            (self.folder / name).unlink(missing_ok=True)


FAULTS: tuple[Callable[[Sweep], None], ...] = (
    Sweep.worker_killed,
    Sweep.killed,
    Sweep.terminated,
    Sweep.bit_flipped,
    Sweep.disk_full,
    Sweep.notes_lost,
)


@pytest.mark.slow
def test_a_sweep_through_every_fault_leaves_what_an_undisturbed_one_does(tmp_path):
    draw = random.Random(int(os.environ.get("SOAK_SEED", "0")))
    (tmp_path / "disturbed").mkdir()
    sweep = Sweep(tmp_path / "disturbed", draw)
    until, happened, seen = time.monotonic() + SECONDS, [], 0
    done = 0
    while done < NUM_RUNS or len(happened) < len(FAULTS):
        assert time.monotonic() < until, f"{done} stored after {happened}"
        sweep.go_on()
        time.sleep(draw.uniform(0.1, 2.0))
        done = len(store.stored(sweep.folder))
        if done > seen or done == NUM_RUNS:  # it got somewhere since the last fault
            fault = FAULTS[len(happened)] if len(happened) < len(FAULTS) else draw.choice(FAULTS)
            fault(sweep)
            happened.append(fault.__name__)
            print(f"{done} stored; {fault.__name__}", flush=True)
            seen = done
    sweep.full.unlink(missing_ok=True)
    said = sweep.whole()
    assert f"0 trained, {NUM_RUNS} already stored, 0 failed" in said, said
    runs, _ = store.runs(sweep.folder)
    assert runs.height == NUM_RUNS and runs["run_id"].is_unique().all()
    assert store.shards(sweep.folder).damaged == {}
    undisturbed = sweep.start(root="undisturbed", engine="local")
    assert f"{NUM_RUNS} trained" in undisturbed.communicate(timeout=SECONDS)[0]
    assert_same_runs(
        stored_tables(sweep.folder), stored_tables(sweep.root / "undisturbed" / "soak")
    )
