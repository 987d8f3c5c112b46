"""This stack without lanes: run by run in one process, each stored and mirrored."""

import sys
import tempfile
import time

from harness import devices

devices.configure()

from work import Work, finish  # noqa: E402

if __name__ == "__main__":
    from dataclasses import replace

    from benchmarks.inside import composed, one_by_one

    begun, work = time.perf_counter(), Work(sys.argv[1])
    jobs = [work[i] for i in range(len(work))]
    (base,) = composed(work.overrides)
    configs = [
        replace(
            base,
            seed=job.seed,
            optimizer=replace(base.optimizer, learning_rate=job.learning_rate),
        )
        for job in jobs
    ]
    with tempfile.TemporaryDirectory() as root:
        finish(one_by_one(configs, root, "reference"), begun)
