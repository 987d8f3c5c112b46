"""Stands in for Slurm on one machine: srun, sbatch, scontrol, scancel and sacct are this file.

A job is a process; what is known of it lies beside the links by which this file is called:
``N.sh`` is what was submitted, ``N.pid`` or ``N_TASK.pid`` its process, ``.step`` what srun began.
"""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

COMMANDS = ("srun", "sbatch", "scontrol", "scancel", "sacct")


def install(folder: Path) -> None:
    """Makes the commands in ``folder``, which is to be the first of the PATH."""
    folder.mkdir()
    program = folder / "slurm"
    program.write_text(f"#!{sys.executable}\n{Path(__file__).read_text()}")
    program.chmod(0o755)
    for name in COMMANDS:
        (folder / name).symlink_to(program)


def start(folder: Path, job: str) -> None:
    """Not before the process that it had has ended: a job that is queued again is one job."""
    number, _, task = job.partition("_")
    named = {"SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    if task:
        named |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": task}
    others = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    last = folder / f"{job}.pid"
    wait = f"while kill -0 {last.read_text()}; do sleep 0.1; done;" if last.exists() else ""
    begun = subprocess.Popen(
        ["bash", "-c", f"{wait} exec bash {folder / number}.sh"],
        env=others | named,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    last.write_text(str(begun.pid))


def main(name: str, given: list[str], folder: Path) -> None:
    if name == "sbatch":
        script = Path(given[0]).read_text()
        number = str(len(list(folder.glob("*.sh"))) + 1)
        (folder / f"{number}.sh").write_text(script)
        array = re.search(r"--array=0-(\d+)", script)
        for task in range(int(array[1]) + 1) if array else [None]:
            start(folder, number if task is None else f"{number}_{task}")
        print(f"Submitted batch job {number}")
    elif name == "srun":
        at = given.index(next(one for one in given if "python" in one))
        job = "_".join(filter(None, map(os.environ.get, ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID"))))
        (folder / f"{job}.step").write_text(str(os.getpid()))
        os.execv(given[at], given[at:])
    elif name == "scontrol":
        with (folder / "queued_again").open("a") as file:
            file.write(f"{given[1]}\n")
        start(folder, given[1])
    elif name == "scancel":
        with suppress(OSError):  # it has not begun, or has ended
            os.kill(int((folder / f"{given[0]}.step").read_text()), signal.SIGTERM)
    elif name == "sacct":
        print("JobID|State|NodeList")
        for path in sorted(folder.glob("*.pid")):
            is_there = Path("/proc", path.read_text()).exists()
            print(f"{path.stem}|{'RUNNING' if is_there else 'FAILED'}|here")


if __name__ == "__main__":
    main(Path(sys.argv[0]).name, sys.argv[1:], Path(sys.argv[0]).absolute().parent)
