"""Modules as their sources have them: where they lie, what they bind, what a name in them means.

Sources are found as an import would find them, and read; nothing is run or imported.
"""

import ast
import builtins
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

OURS = __name__.partition(".")[0]

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_NAMING = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.ExceptHandler, ast.MatchAs, ast.MatchStar),
)
_TARGETS = (ast.Tuple, ast.List, ast.Starred)


@dataclass(frozen=True)
class Reference:
    """A definition that another one uses, or a module's `LOOSE` statements.

    ``by_name`` where only its identity counts, as that of a class in `isinstance` does.
    """

    module: str
    name: str
    by_name: bool = False

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass
class Module:
    name: str
    is_package: bool
    bindings: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    loose: list[ast.stmt] = field(default_factory=list)
    lines: Sequence[bytes] = ()

    def says(self, word: bytes, node: ast.stmt) -> bool:
        """Whether the source of ``node`` may hold ``word``: what spares most of the walks."""
        return any(word in line for line in self.lines[node.lineno - 1 : node.end_lineno])

    def follows(self, module: str) -> bool:
        """Whether code of ``module`` is read for code of this one; a library's is not.

        What lies beside a single file, such as one beside a notebook, is of its own package.
        """
        return top(module) in {top(self.name), OURS} or _are_beside(top(self.name), top(module))

    def bind(self, body: Sequence[ast.stmt]) -> None:
        """Takes in statements at the top of the module."""
        for statement in body:
            match statement:
                case ast.Import() | ast.ImportFrom():
                    self.take_import(statement, self.imports, self.stars)
                case ast.If() if is_type_checking(statement.test):
                    self.bind(statement.orelse)
                case ast.If() if ast.unparse(statement.test) == "__name__ == '__main__'":
                    pass
                case ast.Expr(value=ast.Constant()) | ast.Pass():
                    pass
                case _:
                    self._bind_one(statement)

    def _bind_one(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.AnnAssign) and statement.value is None:
            return
        if statement.__class__.__name__ == "TypeAlias":
            return
        changed = {_base(target) for target in _targets(statement)}
        changed |= set(_registered_with(statement))
        names = bound_by([statement], has_walrus=True) | (changed & self.bindings.keys())
        for name in sorted(names):
            self.bindings.setdefault(name, []).append(statement)
        if not names or isinstance(statement, ast.For | ast.While | ast.With):
            self.loose.append(statement)
        if isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.While):
            for inner in ast.walk(statement):
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    self.take_import(inner, self.imports, self.stars)

    def take_import(
        self,
        statement: ast.Import | ast.ImportFrom,
        into: dict[str, tuple[str, str | None]],
        stars: list[str],
    ) -> None:
        """Notes what an import binds: a name to (module, what of it)."""
        for alias in statement.names:
            if isinstance(statement, ast.Import):
                if alias.asname:
                    into[alias.asname] = (alias.name, None)
                else:
                    into[top(alias.name)] = (top(alias.name), None)
            elif alias.name == "*":
                stars.append(self._absolute(statement))
            else:
                into[alias.asname or alias.name] = (self._absolute(statement), alias.name)

    def _absolute(self, statement: ast.ImportFrom) -> str:
        if not statement.level:
            return statement.module or ""
        here = self.name.split(".")
        package = here[: len(here) - statement.level + self.is_package]
        return ".".join([*package, *([statement.module] if statement.module else [])])


def top(module: str) -> str:
    return module.partition(".")[0]


@cache
def _are_beside(module: str, other: str) -> bool:
    """Whether both lie in one folder, the first as a file, and no package manager put it there."""
    file = path_of(module)
    if (
        file is None
        or file.name == "__init__.py"
        or {"site-packages", "dist-packages"} & {*file.parts}
    ):
        return False
    return any((file.parent / one).is_file() for one in (f"{other}.py", f"{other}/__init__.py"))


@cache
def source_of(name: str) -> Module | None:
    """The module ``name`` read from its source; None where there is none."""
    path = path_of(name)
    if path is None:
        return None
    source = path.read_bytes()
    module = Module(name, is_package=path.name == "__init__.py", lines=source.split(b"\n"))
    module.bind(ast.parse(source, filename=str(path)).body)
    return module


@cache
def path_of(module: str) -> Path | None:
    """The source file, found as an import would, but without one."""
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded is not None:
        return Path(loaded) if loaded.endswith(".py") and Path(loaded).is_file() else None
    parent, _, name = module.rpartition(".")
    for folder in _folders(parent) if parent else map(Path, sys.path):
        for path in (folder / name / "__init__.py", folder / f"{name}.py"):
            if path.is_file():
                return path
    return None


def _folders(package: str) -> list[Path]:
    loaded = getattr(sys.modules.get(package), "__path__", None)
    if loaded is not None:
        return [Path(folder) for folder in loaded]
    path = path_of(package)
    return [path.parent] if path is not None and path.name == "__init__.py" else []


def exists(module: str) -> bool:
    return bool(module) and (path_of(module) is not None or bool(_folders(module)))


def resolved(module: str, chain: Sequence[str]) -> Reference | str | None:
    """What the dotted ``chain`` means in ``module``: ours, a library's by its own name, or a
    builtin (None)."""
    read = source_of(module)
    if read is None and not _folders(module):
        return Reference(module, chain[0] if chain else "*")
    if not chain:
        return Reference(module, "*")
    name, rest = chain[0], chain[1:]
    if read is not None and name in read.bindings:
        return Reference(module, name)
    # `from package import submodule` in the package itself binds what is there anyway.
    if read is not None and read.imports.get(name, (module, name)) != (module, name):
        source, what = read.imports[name]
        return imported(read, source, what, rest)
    if exists(f"{module}.{name}"):
        return resolved(f"{module}.{name}", rest)
    for source in read.stars if read is not None else ():
        if not read or not read.follows(source):
            return None if hasattr(builtins, name) else f"{source}.{name}"
        found = resolved(source, chain)
        if found is not None:
            return found
    return None


def imported(
    by: Module, source: str, what: str | None, rest: Sequence[str]
) -> Reference | str | None:
    if not by.follows(source) or not exists(source):
        return source if what is None else f"{source}.{what}"
    return resolved(source, [*([] if what is None else [what]), *rest])


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def bound_by(body: Iterable[ast.AST], *, has_walrus: bool) -> frozenset[str]:
    """The names that ``body`` binds in its own scope.

    Without a walrus no expression binds any, and most of the tree need not be looked at.
    """
    names: set[str | None] = set()
    elsewhere: set[str | None] = set()
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                names.add(node.id)
        elif isinstance(node, _NAMING):
            names.add(node.name)
        elif isinstance(node, ast.MatchMapping):
            names.add(node.rest)
        elif isinstance(node, ast.Global):
            elsewhere |= set(node.names)
        if isinstance(node, COMPREHENSIONS):
            if has_walrus:
                waiting += [one.target for one in ast.walk(node) if isinstance(one, ast.NamedExpr)]
        elif isinstance(node, SCOPES):
            pass
        elif has_walrus or isinstance(node, _TARGETS) or not isinstance(node, ast.expr):
            waiting += ast.iter_child_nodes(node)
    return frozenset(name for name in names - elsewhere if name is not None)


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.AugAssign | ast.AnnAssign):
        return [node.target]
    return node.targets if isinstance(node, ast.Assign | ast.Delete) else []


def _base(target: ast.expr) -> str:
    """The name whose item or attribute ``target`` is: X of ``X["key"].value``."""
    inner = target
    while isinstance(inner, ast.Attribute | ast.Subscript):
        inner = inner.value
    return inner.id if isinstance(inner, ast.Name) else ""


def _registered_with(statement: ast.stmt) -> Iterator[str]:
    """X of ``@X.register`` over a definition, which adds to what X is."""
    for decorator in getattr(statement, "decorator_list", []):
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(called, ast.Attribute):
            yield _base(called)
