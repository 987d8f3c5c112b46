"""Definitions without a source file, such as those typed into a notebook: described by bytecode.

Bytecode differs by Python's minor version, which the description therefore holds; a file's hash
does not, so definitions that are to last belong in one.
"""

import dataclasses
import dis
import functools
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from harness.errors import UserError

Name = tuple[str, str]  # a module and what it defines

_ATOMS = (bool, int, float, complex, str, bytes, range, slice, type(None), type(Ellipsis))
# What Python and `dataclass` write into a class, all of which follows from the rest.
_WRITTEN = frozenset(
    {"__module__", "__doc__", "__dict__", "__weakref__", "__qualname__", "__firstlineno__"}
    | {"__static_attributes__", "__annotations__", "__annotate__", "__annotate_func__"}
    | {"__annotations_cache__", "__dataclass_fields__", "__dataclass_params__", "__match_args__"}
    | {"__hash__", "__abstractmethods__", "_abc_impl", "__parameters__", "__orig_bases__"}
)


def described(module: ModuleType, name: str) -> tuple[str, list[Name]]:
    """What ``name`` of a loaded ``module`` computes, and the definitions it uses.

    Raises:
      UserError: it holds a value that has no description which would be the same tomorrow.
    """
    try:
        value = vars(module)[name]
    except KeyError:
        raise UserError(
            f"{module.__name__}.{name} has neither a source file nor a name in its module: "
            "define it at the top of a .py file"
        ) from None
    described = _Described(f"{module.__name__}.{name}")
    described.definition(value)
    return f"Python {sys.version_info[0]}.{sys.version_info[1]} {described.text}", described.names


class _Described:
    def __init__(self, of: str):
        self.of = of
        self.text = ""
        self.names: list[Name] = []

    def definition(self, value: Any) -> None:
        value = _unwrapped(value)
        if isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        else:
            self.value(value)

    def value(self, value: Any) -> None:
        """A value that a definition uses: in full where it is plain, else by its name."""
        value = _unwrapped(value)
        if isinstance(value, _ATOMS):
            self.text += f"{value!r},"
        elif isinstance(value, CodeType):
            self._code(value)
        elif isinstance(value, tuple | list):
            self._values(f"{type(value).__name__}", value)
        elif isinstance(value, set | frozenset):
            self._values("set", sorted(value, key=repr))
        elif isinstance(value, dict):
            self._values("dict", [part for item in value.items() for part in item])
        elif isinstance(value, functools.partial):
            self._values("partial", [value.func, value.args, value.keywords])
        elif isinstance(value, ModuleType):
            self.text += f"{value.__name__},"
        elif isinstance(value, np.ndarray | np.generic) or type(value).__module__ == "jaxlib._jax":
            array = np.asarray(value)
            self.text += f"{array.dtype}{array.shape}{array.tobytes().hex()},"
        elif isinstance(getattr(value, "__name__", None), str) and _module_of(value):
            name = getattr(value, "__qualname__", value.__name__).partition(".")[0]
            self.text += f"{name},"
            self.names.append((_module_of(value), name))
        else:
            raise UserError(
                f"{self.of} uses a {type(value).__name__}, which no run id can hold: "
                "define it in a .py file"
            )

    def _values(self, kind: str, values: Any) -> None:
        self.text += f"{kind}("
        for value in values:
            self.value(value)
        self.text += ")"

    def _function(self, function: FunctionType) -> None:
        self._code(function.__code__, docstring=function.__doc__)
        self._values("defaults", [function.__defaults__, function.__kwdefaults__])
        for name in sorted(set(_globals_of(function.__code__))):
            if name in function.__globals__:
                self.text += f"{name}="
                self.value(function.__globals__[name])
        for cell in function.__closure__ or ():
            if not isinstance(cell.cell_contents, type):  # `super()` holds the class itself
                self.value(cell.cell_contents)

    def _code(self, code: CodeType, docstring: str | None = None) -> None:
        constants = code.co_consts
        if docstring is not None and constants[:1] == (docstring,):
            constants = (None, *constants[1:])
        self.text += f"code({code.co_code.hex()} {code.co_names} {code.co_varnames} "
        self._values("constants", constants)
        self.text += ")"

    def _class(self, cls: type) -> None:
        self._values("class", [base for base in cls.__bases__ if base is not object])
        for one in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
            defaults = (one.default, one.default_factory)
            self._values(one.name, [x for x in defaults if x is not dataclasses.MISSING])
        for name, value in sorted(vars(cls).items()):
            value = _unwrapped(value)
            if name in _WRITTEN or _is_dataclasses_own(value):
                continue
            self.text += f"{name}="
            for part in _parts(value):
                self.definition(part)


def _is_dataclasses_own(value: Any) -> bool:
    """Made from a text, or, as `__replace__` since Python 3.13, that module's."""
    return isinstance(value, FunctionType) and (
        value.__code__.co_filename == "<string>" or value.__module__ == "dataclasses"
    )


def _parts(value: Any) -> Iterator[Any]:
    """The functions of a property; of anything else, itself."""
    if isinstance(value, property):
        yield from (one for one in (value.fget, value.fset) if one is not None)
    elif isinstance(value, functools.cached_property):
        yield value.func
    else:
        yield value


def _unwrapped(value: Any) -> Any:
    """The function behind `staticmethod`, `functools.cache`, `jax.jit` and their like."""
    while not isinstance(value, type) and hasattr(value, "__wrapped__"):
        value = value.__wrapped__
    return value


def _module_of(value: Any) -> str:
    return getattr(value, "__module__", None) or ""


def _globals_of(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_of(constant)
