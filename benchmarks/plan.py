"""Whether `harness plan` says what a sweep takes: five kinds of sweep, planned and then trained.

python -m benchmarks.plan [KIND ...]

Each has processes of its own: one that plans, and times what this machine has not trained yet; one
that trains; one that plans as many seeds more, from what is stored; and one that trains these, its
program at hand. A ratio of 1 is a plan that came true; from .77 to 1.3 is asked for. On a machine
that others use wall time is theirs too: the load and the seconds of CPU are printed beside it.
"""

import argparse
import os
import re
import tempfile

from rich.console import Console
from rich.table import Table

from benchmarks.processes import HARNESS, used

LOSSES = "loss=bce,focal,hinge,brier"
KINDS = {
    "logistic": ["experiment=reference", "model=logistic", "seed=range(2)"],
    "reference MLP": ["experiment=reference", "seed=range(1)"],
    "fraud_like, 256 x 3": [
        "dataset=synthetic/fraud_like", "model.width=256", "model.depth=3",
        "training.batch_size=1024", "training.num_epochs=4", LOSSES, "seed=range(2)",
    ],
    "CNN on digits": ["dataset=digits", "model=cnn", LOSSES, "seed=range(4)"],
    "residual MLP on german": ["dataset=german", "model=residual_mlp", LOSSES, "seed=range(8)"],
}  # fmt: skip
SAID = re.compile(r"about ([\d,]+) s in all, and ([\d,]+) MiB")


def compared(name: str) -> list[tuple[str, ...]]:
    """A row for the first sweep of a kind, and one for as many runs more."""
    *rest, seeds = KINDS[name]
    number = int(seeds.removeprefix("seed=range(").removesuffix(")"))
    rows = []
    with tempfile.TemporaryDirectory() as place:
        kept = {"JAX_COMPILATION_CACHE_DIR": f"{place}/cache"}
        for what, upto in (("first", number), ("more", 2 * number)):
            sweep = ["-m", *rest, f"seed=range({upto})", "wandb=offline", f"root={place}/runs"]
            said = SAID.search(used([*HARNESS, "plan", *sweep], **kept).text)
            assert said is not None
            seconds, memory = (float(number.replace(",", "")) for number in said.groups())
            spent = used([*HARNESS, "train", *sweep], **kept)
            rows.append(
                (
                    name,
                    what,
                    f"{seconds:.0f} s",
                    f"{spent.seconds:.1f} s",
                    f"{spent.cpu:.1f} s",
                    f"{seconds / spent.seconds:.2f}",
                    f"{memory:.0f} MiB",
                    f"{spent.memory:.0f} MiB",
                    f"{memory / spent.memory:.2f}",
                    f"{os.getloadavg()[0]:.1f}",
                )
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND")
    given = parser.parse_args()
    table = Table(
        "sweep", "runs", "planned", "used", "of CPU", "ratio", "planned", "used", "ratio", "load"
    )
    for name in given.kinds or KINDS:
        for row in compared(name):
            table.add_row(*row)
            Console().print("  ".join(row))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
