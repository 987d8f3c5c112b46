"""What a job failed with, as one line: an exception of a library is no reason to lose a sweep."""

import os
from collections.abc import Callable, Sequence

from harness.config import Config
from harness.errors import UserError

# The groups whose choice decides which library is called.
_GROUPS = ("dataset", "model", "loss", "optimizer", "schedule", "sampler", "batching", "split")
_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory", "Unable to allocate")


def caught(error: Exception, config: Config, *, doing: str) -> UserError:
    """``error``, with what the job was and a remedy where it is not the user's own already.

    Raises:
      Exception: ``error`` itself, under HARNESS_DEBUG, which shows where it came from.
    """
    if isinstance(error, UserError):
        return error
    if "HARNESS_DEBUG" in os.environ:
        raise error
    job = " ".join(f"{group}={getattr(config, group).name}" for group in _GROUPS)
    said = (str(error).splitlines() or [""])[0][:160]
    if is_out_of_memory(error):
        return UserError(
            f"{doing} takes more memory than there is ({job} "
            f"training.batch_size={config.training.batch_size}): fewer rows, a smaller model or "
            "a smaller training.batch_size need less"
        )
    return UserError(
        f"{doing} failed ({job}) with {type(error).__name__}: {said}; HARNESS_DEBUG=1 shows where"
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether the host's memory, or a device's, was too little."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _MEMORY)


def reasons(
    jobs: Sequence[Sequence[str]], errors: Sequence[Exception | None]
) -> tuple[list[str], UserError] | None:
    """A line for each reason that jobs failed for, where there are several, and a last word.

    Args:
      jobs: the overrides of each job.
      errors: what each failed with; None where it did not.

    Returns: None where none failed.

    >>> one, other = UserError("a=2 is odd"), UserError("a=3 is odder")
    >>> lines, last = reasons([["a=1"], ["a=2"], ["a=3"]], [None, one, other])
    >>> lines
    ['1 job failed, a=2: a=2 is odd', '1 job failed, a=3: a=3 is odder']
    >>> str(last)
    '2 of 3 jobs failed, for the reasons above'
    """
    failed: dict[str, list[int]] = {}
    for at, error in enumerate(errors):
        if error is not None:
            failed.setdefault(str(error), []).append(at)
    if not failed:
        return None
    name = _namer(jobs)
    lines = [_counted(reason, places, name) for reason, places in failed.items()]
    if len(lines) == 1:
        only = lines[0] if len(jobs) > 1 else next(iter(failed))
        return [], UserError(only)
    shown = lines[:_MOST_REASONS]
    if len(lines) > _MOST_REASONS:
        shown.append(f"and {len(lines) - _MOST_REASONS:,} more reasons")
    number = sum(map(len, failed.values()))
    return shown, UserError(f"{number:,} of {len(jobs):,} jobs failed, for the reasons above")


_MOST_REASONS = 10


def _namer(jobs: Sequence[Sequence[str]]) -> Callable[[int], str]:
    """What tells a job from the others."""
    common = set(jobs[0]).intersection(*jobs[1:])  # a job may leave keys as they are
    return lambda at: " ".join(text for text in jobs[at] if text not in common)


def _counted(reason: str, places: Sequence[int], name: Callable[[int], str]) -> str:
    such = "such as " if len(places) > 1 else ""
    plural = "s" if len(places) > 1 else ""
    told = f", {such}{name(places[0])}" if name(places[0]) else ""
    return f"{len(places):,} job{plural} failed{told}: {reason}"
