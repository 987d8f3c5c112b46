"""Programs kept between processes: found again, told apart, harmless where damaged."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import psutil
import pytest
from jax.experimental.compilation_cache import compilation_cache
from rich.console import Console

from harness.sweep import compiled, engine, lanes
from harness.sweep.progress import Progress
from tests.runs import config, prepared, train_together
from tests.test_architecture import reached


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where programs are kept in a test, in which JAX's own cache keeps none."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path),
        "jax_persistent_cache_min_compile_time_secs": 1e9,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    monkeypatch.setattr(compiled, "keeping", True)
    for values in (settings, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()  # which has its folder from when it was first used
        if values is settings:
            yield tmp_path / "programs"


def unasked():
    raise AssertionError("traced although it was kept")


RUN = config(model={"name": "mlp", "width": 13, "depth": 1}, training__num_epochs=2)


@pytest.mark.slow
def test_a_kept_program_is_not_traced_again_and_gives_the_same_bits(folder, monkeypatch):
    (fresh,) = train_together(RUN)
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(lanes.Trainer, "_lowered", lambda self: unasked())
    (place,) = folder.iterdir()
    os.utime(place, (0, 0))
    (kept,) = train_together(RUN)
    assert place.stat().st_mtime > 0  # the last to go
    for one, other in zip(jax.tree.leaves(fresh), jax.tree.leaves(kept), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    with pytest.raises(AssertionError, match="traced"):
        train_together(config(model={"name": "mlp", "width": 14, "depth": 1}))


@pytest.mark.slow
def test_a_damaged_program_is_made_anew(folder):
    (fresh,) = train_together(RUN)
    (place,) = folder.iterdir()
    program, made = prepared(RUN).program, []
    for number, content in enumerate((b"", b"no executable", b"\x80\x04N."), start=1):
        place.write_bytes(content)
        compiled.compiled(
            program, lambda: made.append(1) or Lowered(), width=lanes.width_of(program)
        )
        assert len(made) == number
    (again,) = train_together(RUN)
    assert np.array_equal(fresh.test_logits, again.test_logits)


class Lowered:
    """A program that is not worth compiling."""

    def compiler_ir(self):
        return jax.jit(lambda x: x).lower(1.0).compiler_ir()

    def compile(self):
        return None


@pytest.mark.slow
def test_a_program_of_other_sources_is_kept_though_jax_has_its_text(folder, monkeypatch):
    """What comes out of JAX's cache cannot be written out: it would be traced at each start."""
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    for number, sources in enumerate(("one version", "another"), start=1):
        monkeypatch.setattr(compiled, "_sources", lambda sources=sources: sources)
        (trained,) = train_together(RUN)
        assert len(list(folder.iterdir())) == number
    monkeypatch.setattr(lanes.Trainer, "_lowered", lambda self: unasked())
    (kept,) = train_together(RUN)
    assert np.array_equal(trained.test_logits, kept.test_logits)


def test_a_program_has_a_place_for_all_it_is_made_from(folder, monkeypatch):
    program = prepared(RUN).program
    place = compiled._place(program, 8)
    assert place is not None and place.parent == folder
    assert place == compiled._place(replace(program), 8)
    assert place != compiled._place(program, 4)
    assert place != compiled._place(replace(program, batch_size=32), 8)
    monkeypatch.setattr(compiled, "environment", lambda: "another JAX")
    assert place != compiled._place(program, 8)
    monkeypatch.undo()
    monkeypatch.setattr(compiled, "_sources", lambda: "other code")
    assert place != compiled._place(program, 8)


def test_what_is_traced_is_all_that_training_imports():
    counted = {name.removesuffix(".py").replace("/", ".") for name in compiled.TRACED}
    for module in reached("harness.training") | reached("harness.padding"):
        inner = module.removeprefix("harness").removeprefix(".")
        no_arithmetic = inner in ("", "errors")
        assert no_arithmetic or any(f"{inner}.".startswith(f"{one}.") for one in counted), module


@pytest.mark.parametrize(
    ("cores", "free", "number"), [(16, 64, 4), (2, 64, 2), (16, 3, 3), (1, 64, 1), (16, 0, 1)]
)
def test_programs_compile_side_by_side_as_cores_and_memory_allow(cores, free, number, monkeypatch):
    memory = SimpleNamespace(available=free * 2**30)
    monkeypatch.setattr(compiled, "available_cores", lambda: cores)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert compiled.at_once() == number


def test_so_many_programs_compile_at_once_and_no_more(tmp_path, monkeypatch):
    together, running, most = threading.Barrier(2, timeout=60), [], []

    def refused(program):
        running.append(program)
        together.wait()  # where it was alone, this would break
        most.append(len(running))
        time.sleep(0.05)
        running.remove(program)
        raise RuntimeError("compiled beside another")

    monkeypatch.setattr(compiled, "at_once", lambda: 2)
    monkeypatch.setattr(engine, "_compile", refused)
    logistic = config(model={"name": "logistic"}, root=str(tmp_path))
    programs = [
        replace(logistic, training=replace(logistic.training, num_epochs=number))
        for number in (2, 3, 4, 5)
    ]
    results = engine.run_sweep(programs, progress=Progress(Console(quiet=True)))
    assert all("compiled beside another" in str(one.error) for one in results)
    assert len(most) == 4 and max(most) == 2


def test_a_program_that_memory_did_not_hold_beside_others_is_compiled_alone(monkeypatch):
    compiled_alone, failed, beside = [], Future(), Future()
    failed.set_exception(MemoryError("no room"))
    beside.set_result(None)
    monkeypatch.setattr(engine, "_compile", compiled_alone.append)
    engine._compiled(failed, [beside], "program")
    assert compiled_alone == ["program"]
    broken = Future()
    broken.set_exception(ValueError("no program"))
    with pytest.raises(ValueError, match="no program"):
        engine._compiled(broken, [beside], "program")


def test_what_another_thread_found_is_no_hit_here():
    """Else a program compiled beside one that JAX's cache has would not be kept."""
    before = compiled._hits_here()
    hit = partial(jax.monitoring.record_event, "/jax/compilation_cache/cache_hits")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(hit).result()
    assert compiled._hits_here() == before
    hit()
    assert compiled._hits_here() == before + 1


def test_the_oldest_go(folder, monkeypatch):
    monkeypatch.setattr(compiled, "MOST", 2)
    for age, name in enumerate("abc"):
        compiled._keep(b"", folder / name)
        os.utime(folder / name, (age, age))
    assert sorted(path.name for path in folder.iterdir()) == ["b", "c"]


@pytest.mark.slow
def test_another_process_finds_it(tmp_path):
    """And gives the same run: the store holds the same bits under the same id."""

    def train(root: str) -> str:
        command = [
            sys.executable, "-c", "from harness.cli import main; main()", "train",
            "model=logistic", "training.num_epochs=2", "wandb=disabled", f"root={root}",
        ]  # fmt: skip
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
        environment["HARNESS_PROFILE"] = str(tmp_path / "profile.json")
        subprocess.run(command, check=True, env=environment, cwd=tmp_path, capture_output=True)
        import polars as pl

        (shard,) = Path(tmp_path, root).glob("*/shards/*/predictions.parquet")
        return pl.read_parquet(shard).write_json()

    first = train("one")
    (kept,) = (tmp_path / "cache" / "programs").iterdir()
    written = kept.read_bytes()
    assert train("two") == first
    assert kept.read_bytes() == written
