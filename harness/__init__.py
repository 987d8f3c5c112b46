"""Which loss should train my binary classifier? Fused sweeps, honest comparison."""

from typing import TYPE_CHECKING, Any

from harness.errors import UserError

if TYPE_CHECKING:
    from harness.interface.estimator import BinaryClassifier
    from harness.interface.sweeps import Sweep, load, plan, train

__version__ = "0.1.0"

__all__ = ["BinaryClassifier", "Sweep", "UserError", "load", "plan", "train"]


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: `import harness` costs nothing and leaves JAX alone."""
    if name == "BinaryClassifier":
        from harness.interface.estimator import BinaryClassifier

        return BinaryClassifier
    if name in __all__:
        from harness.interface import sweeps

        return getattr(sweeps, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
