"""Config keys that are no part of a run: of neither its identity nor any question about it."""

BESIDE_A_RUN = frozenset(
    {
        "name",
        "root",
        "rerun",
        "plugins",
        "extra_metrics",
        "wandb",
        "dataset.family",
        "dataset.generated",
        "evaluation.objective",
        "training.save_model",
    }
)
"""Keys, and groups of them, that say where a run is kept and shown, and what a search is told of
it. Runs that differ in these alone are one run."""

# What one of them was called: stores of then have it.
_FORMERLY = frozenset({"training.save_params"})


def is_beside(key: str) -> bool:
    """Whether a dotted key is one of these, or of a group of them.

    >>> is_beside("wandb.mode"), is_beside("evaluation.objective"), is_beside("evaluation.beta")
    (True, True, False)
    """
    return key in BESIDE_A_RUN | _FORMERLY or key.partition(".")[0] in BESIDE_A_RUN
