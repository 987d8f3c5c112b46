"""What must be measured inside a process: the plain loop, and training against a matrix product.

python -m benchmarks.inside loop     the same runs one at a time, warm, on all cores
python -m benchmarks.inside kernel   full batches of lanes, and large matrix products between them
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from harness import devices

REPEATS = 5
LOOP_RUNS = 24


@cache
def reference_configs() -> list:
    """The first configurations of `experiment=reference`."""
    return composed(["experiment=reference"], LOOP_RUNS)


def composed(overrides: Sequence[str], number: int = 1) -> list:
    """The configuration of ``overrides``, with so many seeds."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from harness.config import parse
    from harness.files import conf_dir

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        base = compose("config", overrides=[*overrides, "wandb=offline"])
        values: Any = OmegaConf.to_container(base, resolve=True)
        return [parse({**values, "seed": seed}) for seed in range(number)]


def loop() -> dict[str, float]:
    """Seconds a run of the same harness without lanes: train, evaluate, store, mirror, repeat.

    Warm: compiled, imported, and with its splits at hand, as most runs of a sweep find them.
    """
    with tempfile.TemporaryDirectory() as root:
        one_by_one(reference_configs(), root, "warm-up")
        start = time.perf_counter()
        one_by_one(reference_configs(), root, "timed")
        return {"seconds_per_run": (time.perf_counter() - start) / LOOP_RUNS}


def one_by_one(configs: list, root: str, name: str) -> list[float]:
    """Trains, stores and mirrors ``configs`` without lanes; the test log loss of each."""
    import jax
    import numpy as np

    from harness.data.library import datasets
    from harness.record.collect import collect
    from harness.run import resolve
    from harness.sweep import lanes
    from harness.sweep.recorder import Recorder

    configs = [replace(config, root=root, name=name) for config in configs]
    recorder, losses = Recorder(configs), []
    for config in configs:
        dataset = datasets.get(config.dataset)
        run = resolve(config, dataset)
        outcome = lanes.train_alone(run, dataset)
        batched = jax.tree.map(lambda leaf: np.asarray(leaf)[None], outcome)
        (record,) = collect(
            runs=[run], data=[run.data(dataset)], outcome=batched, dataset=dataset, seconds=0.0
        )
        recorder.add(record, config)
        losses.append(record.metrics["test/log_loss"])
    recorder.flush()
    return losses


def kernel() -> dict[str, float]:
    """FLOP/s of full batches of lanes, and of a matrix product on every device, in turn."""
    import jax
    import jax.numpy as jnp

    from harness.data.library import datasets
    from harness.run import resolve
    from harness.sweep import lanes, plan

    configs = reference_configs()
    dataset = datasets.get(configs[0].dataset)
    ((program, batches),) = plan.batches(resolve(config, dataset) for config in configs)
    batch, trainer, data = batches[0], lanes.Trainer(program), lanes.put(dataset, program)
    stacked = lanes.stacked([run.lane(dataset) for run in batch], trainer.program)
    matrices = jnp.ones((lanes.num_devices(), 2048, 2048), dtype=jnp.float32)
    product = jax.pmap(lambda a: a @ a)
    jax.block_until_ready((trainer(stacked, data), product(matrices)))
    trained, multiplied = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(trainer(stacked, data))
        trained.append(time.perf_counter() - start)
        start = time.perf_counter()
        for _ in range(5):
            jax.block_until_ready(product(matrices))
        multiplied.append((time.perf_counter() - start) / 5)
    seconds = statistics.median(trained)
    return {
        "seconds_per_lane": seconds / trainer.width,
        "train_flops": trainer.width * plan.run_flops(batch[0]) / seconds,
        "matmul_flops": 2 * 2048**3 * lanes.num_devices() / statistics.median(multiplied),
    }


if __name__ == "__main__":
    devices.configure()
    print(json.dumps({"loop": loop, "kernel": kernel}[sys.argv[1]]()))
