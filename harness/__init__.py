"""Which loss should train my binary classifier? Fused sweeps, honest comparison."""

from typing import TYPE_CHECKING, Any

from harness.errors import UserError

if TYPE_CHECKING:
    from harness.interface.choosing import Choice, choose
    from harness.interface.estimator import BinaryClassifier
    from harness.interface.sweeps import Sweep, load, plan, train

__version__ = "0.1.0"

__all__ = ["BinaryClassifier", "Choice", "Sweep", "UserError", "choose", "load", "plan", "train"]


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: `import harness` costs nothing and leaves JAX alone."""
    if name in __all__:
        if name == "BinaryClassifier":
            from harness.interface import estimator as module
        elif name in ("Choice", "choose"):
            from harness.interface import choosing as module  # type: ignore[no-redef]
        else:
            from harness.interface import sweeps as module  # type: ignore[no-redef]
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
