"""`engine=ray`: units as tasks of a Ray cluster."""

import os
import warnings
from collections.abc import Generator, Sequence
from typing import Any

from harness.config.engines import Ray
from harness.engines.units import refusal
from harness.engines.worker import work
from harness.errors import UserError

SECONDS_TO_STORE = 30.0  # for tasks that are cancelled to store what has finished


def run(units: Sequence[str], engine: Ray) -> Generator[tuple[int, str]]:
    """Each unit's place and its answer, as they come. Closed before its end, it cancels the tasks.

    Raises:
      UserError: Ray, or the cluster, cannot be had.
    """
    ray = _library()
    is_ours = not ray.is_initialized()  # a session may have a cluster of its own
    if is_ours:
        _connect(ray, engine)
    try:
        yield from _answers(ray, units, engine)
    finally:
        if is_ours:
            ray.shutdown()


def _answers(ray: Any, units: Sequence[str], engine: Ray) -> Generator[tuple[int, str]]:
    task = ray.remote(work).options(
        num_cpus=engine.cpus, num_gpus=engine.gpus, max_retries=engine.retries
    )
    running = {task.remote(unit): place for place, unit in enumerate(units)}
    try:
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            try:
                answer = ray.get(done)
            except ray.exceptions.RayError as error:
                last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
                answer = refusal(f"{engine.retries + 1} workers were lost: {last}")
            yield running.pop(done), answer
    finally:
        for one in running:
            ray.cancel(one)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=SECONDS_TO_STORE)


def _library() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError("engine=ray needs Ray: pip install 'bce-harness[ray]'") from None
    return ray


def _connect(ray: Any, engine: Ray) -> None:
    given: dict[str, Any] = {"address": engine.address}
    if engine.address is None:
        given = {
            "num_cpus": engine.workers * engine.cpus,
            "include_dashboard": False,
            "object_store_memory": 128 * 2**20,  # units and answers are small
        }
    try:
        with warnings.catch_warnings():
            # JAX's, that its threads do not survive a fork: Ray's fork begins another program.
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            ray.init(**given, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = (str(error).strip().splitlines() or [""])[0]
        raise UserError(
            f"engine.address={engine.address}: no Ray cluster answers there ({said}): give a "
            "running one's, or none for one of its own"
        ) from None
