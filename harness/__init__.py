"""Which loss should train my binary classifier? Fused sweeps, honest comparison."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.errors import UserError

if TYPE_CHECKING:
    from harness.interface.choosing import Choice, choose
    from harness.interface.estimator import BinaryClassifier
    from harness.interface.sweeps import Sweep, load, plan, train

__version__ = "0.1.0"

__all__ = ["BinaryClassifier", "Choice", "Sweep", "UserError", "choose", "load", "plan", "train"]

# Where what is not imported at once comes from.
_MODULES = {
    "BinaryClassifier": "estimator",
    "Choice": "choosing",
    "choose": "choosing",
    "Sweep": "sweeps",
    "load": "sweeps",
    "plan": "sweeps",
    "train": "sweeps",
}


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: `import harness` costs nothing and leaves JAX alone."""
    if name in _MODULES:
        return getattr(import_module(f"harness.interface.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
