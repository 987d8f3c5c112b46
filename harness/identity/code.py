"""A hash of what code computes: of definitions and all that they use, not of how it is written.

From a function or class the names in its body lead to other definitions, within its own package and
within this one, and so on. Comments, docstrings, annotations, layout, the wording of errors and the
module in which something stands leave the hash alone. Sources are read, never run or imported.

What a call on an object reaches (``sampler.resample``) no name says: its class must be a root. See
docs/decisions/021.
"""

import ast
import gc
import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.errors import UserError
from harness.identity import interactive
from harness.identity.modules import (
    OURS,
    SCOPES,
    Module,
    Reference,
    bound_by,
    exists,
    imported,
    is_type_checking,
    path_of,
    resolved,
    source_of,
    top,
)

# Definitions of a module that run as it is imported and bind nothing: calls that register, set, ...
LOOSE = "<loose>"


@dataclass(frozen=True)
class Definition:
    """What a definition says, and what it uses in the order in which it does."""

    text: str
    uses: tuple[Reference, ...]


def code_hash(roots: Iterable[str | Any], *, without: frozenset[str] = frozenset()) -> str:
    """12 hexadecimal digits of ``roots`` and all that they use.

    Args:
      roots: functions and classes, or their dotted names; their order counts.
      without: dotted names that are not followed.

    Raises:
      LookupError: a dotted name is nowhere defined.
      UserError: an object was made while running, or typed into a session and holds what has no
        lasting description.
    """
    number: dict[Reference, int] = {}
    digest = hashlib.sha256()
    with _no_collections():
        for reference, definition in _reached(roots, without):
            number[reference] = len(number)
            digest.update(f"{definition.text}\n".encode())
    # Who uses whom: which module a definition stands in has no say.
    for reference in number:
        uses = [number.get(used, -1) for used in _definition(reference).uses]
        digest.update(f"{uses}\n".encode())
    return digest.hexdigest()[:12]


def closure(roots: Iterable[str | Any], *, without: frozenset[str] = frozenset()) -> frozenset[str]:
    """The dotted names of all definitions whose text `code_hash` covers."""
    return frozenset(str(one) for one, _ in _reached(roots, without) if not one.by_name)


def forget() -> None:
    """Reads all sources anew when they are asked for next."""
    for remembered in (path_of, source_of, _definition):
        remembered.cache_clear()


@contextmanager
def _no_collections() -> Iterator[None]:
    """Parsing makes many objects and no garbage, and JAX gives the collector much to go through:
    two thirds of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _reached(
    roots: Iterable[str | Any], without: frozenset[str]
) -> Iterator[tuple[Reference, Definition]]:
    """Every definition once, in the order in which ``roots`` lead to them."""
    waiting = [_root(root) for root in roots][::-1]
    seen: set[Reference] = set()
    while waiting:
        reference = waiting.pop()
        if reference in seen or str(reference) in without or reference.module in without:
            continue
        seen.add(reference)
        definition = _definition(reference)
        yield reference, definition
        waiting += reversed(definition.uses)


def _root(root: str | Any) -> Reference:
    if isinstance(root, str):
        module, _, name = root.rpartition(".")
        found = resolved(module, [name]) if exists(module) else None
        if not isinstance(found, Reference):
            raise LookupError(f"{root} is nowhere defined: it moved or has another name")
        return found
    # A class within a class or function stands in the definition around it.
    reference = Reference(root.__module__, root.__qualname__.partition(".")[0])
    read = source_of(reference.module)
    if read is not None and reference.name not in read.bindings:
        raise UserError(f"{reference} stands nowhere in its file: write it there, by that name")
    return reference


@cache
def _definition(reference: Reference) -> Definition:
    module = source_of(reference.module)
    if module is None:
        return _from_session(reference)
    if reference.name == "*":  # a module passed around as a value: all of it
        names = [*module.bindings, *module.imports]
        found = (resolved(reference.module, [name]) for name in names)
        return Definition("*", tuple(one for one in found if isinstance(one, Reference)))
    statements = module.loose if reference.name == LOOSE else module.bindings[reference.name]
    if reference.by_name and isinstance(statements[0], ast.ClassDef):
        return Definition(reference.name, ())
    reader = _Reader(module, by_name=reference.by_name)
    for statement in statements:
        reader.statement(statement)
    loose = () if reference.name == LOOSE else _loose_around(reference.module)
    return Definition(f"{reference.name}: {''.join(reader.text)}", (*reader.uses, *loose))


def _from_session(reference: Reference) -> Definition:
    """A definition without a source file, such as one typed into a notebook."""
    loaded = sys.modules[reference.module]
    text, names = interactive.described(loaded, reference.name)
    uses = []
    for module, name in names:
        if top(module) not in {top(reference.module), OURS}:
            continue
        found = resolved(module, [name]) if exists(module) else Reference(module, name)
        if isinstance(found, Reference):
            uses.append(found)
    return Definition(f"{reference.name}: {text}", tuple(dict.fromkeys(uses)))


def _loose_around(module: str) -> Iterator[Reference]:
    """What runs as ``module`` is imported: its packages' statements and its own."""
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        found = source_of(name)
        if found is not None and found.loose:
            yield Reference(name, LOOSE)


# Reading a definition.

_FIELDS: dict[type, tuple[str, ...]] = {}
# Not written alike by all versions of Python, or of no consequence.
_SKIPPED = frozenset({"ctx", "kind", "type_comment", "type_params", "returns", "annotation"})


class _Reader:
    """Writes a definition down without what does not count, and notes what it uses."""

    def __init__(self, module: Module, *, by_name: bool):
        self.module = module
        self.text: list[str] = []
        self.uses: dict[Reference, None] = {}
        self.imports: dict[str, tuple[str, str | None]] = {}
        self.local: frozenset[str] = frozenset()
        self.by_name = by_name
        self.has_walrus = False

    def statement(self, statement: ast.stmt) -> None:
        if self.module.says(b"import ", statement):
            for node in ast.walk(statement):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    self.module.take_import(node, self.imports, [])
        self.has_walrus = self.module.says(b":=", statement)
        self._node(statement)

    def _node(self, node: Any) -> None:
        written = getattr(self, f"visit_{node.__class__.__name__}", None)
        if written is not None:
            written(node)
        else:
            self._plain(node)

    def _plain(self, node: Any) -> None:
        """A node as it is, but for fields that are empty: which these are differs by version."""
        kind = node.__class__
        fields = _FIELDS.get(kind)
        if fields is None:
            fields = _FIELDS[kind] = tuple(f for f in kind._fields if f not in _SKIPPED)
        self.text.append(f"{kind.__name__}(")
        for name in fields:
            value = getattr(node, name, None)
            if value is None or value == []:
                continue
            self.text.append(f"{name}=")
            self._value(value)
        self.text.append(")")

    def _value(self, value: Any) -> None:
        if isinstance(value, list):
            for one in value:
                self._value(one)
                self.text.append(",")
        elif isinstance(value, ast.AST):
            self._node(value)
        elif value is not None:
            self.text.append(repr(value))

    def _only_name(self, node: ast.AST | None) -> None:
        """``node`` of which only the identity counts."""
        if node is not None:
            before, self.by_name = self.by_name, True
            self._node(node)
            self.by_name = before

    # Names.

    def visit_Name(self, node: ast.Name) -> None:
        self._chain(node, [node.id])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            chain.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._chain(inner, [inner.id, *reversed(chain)])
        else:
            self._plain(node)

    def _chain(self, head: ast.Name, chain: list[str]) -> None:
        self.text.append(f"{'.'.join(chain)} ")
        name = chain[0]
        if not isinstance(head.ctx, ast.Load) or (name in self.local and name not in self.imports):
            return
        if name in self.imports:
            source, what = self.imports[name]
            self._use(imported(self.module, source, what, chain[1:]))
            return
        self._use(resolved(self.module.name, chain))
        if name in self.module.bindings and name in self.module.imports:  # try: import ...
            self._use(imported(self.module, *self.module.imports[name], chain[1:]))

    def _use(self, found: Reference | str | None) -> None:
        if isinstance(found, Reference):
            self.uses[Reference(found.module, found.name, self.by_name)] = None
        elif found is not None:
            self.text.append(f"<{found}>")

    # Scopes.

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.text.append(f"{node.__class__.__name__} {node.name} ")
        self._value(node.decorator_list)
        self._function(node.args, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.text.append("Lambda ")
        self._function(node.args, [node.body])

    def _function(self, arguments: ast.arguments, body: Sequence[ast.AST]) -> None:
        self._plain(arguments)
        listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        listed += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
        names = {one.arg for one in listed}
        self._scope(self.local | names | self._bound_by(body), body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.text.append(f"ClassDef {node.name} ")
        self._value(node.decorator_list)
        self._value(node.bases)
        self._value(node.keywords)
        outside = self.local
        # Names of the class are no names of its methods.
        own = outside | self._bound_by(node.body)
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign):
                self._field(statement, own)
            else:
                self._scope(outside if isinstance(statement, SCOPES) else own, [statement])
        self.text.append(";")

    def _field(self, node: ast.AnnAssign, local: frozenset[str]) -> None:
        """That it is a field counts, and its default; its type does not."""
        names = {one.id for one in ast.walk(node.annotation) if isinstance(one, ast.Name)}
        names |= {one.attr for one in ast.walk(node.annotation) if isinstance(one, ast.Attribute)}
        kind = "".join(sorted(names & {"ClassVar", "InitVar", "KW_ONLY"}))
        self.text.append(f"field {kind} ")
        self._scope(local, [node.target, *([node.value] if node.value else [])])

    def _comprehension(self, node: Any) -> None:
        names = self._bound_by([one.target for one in node.generators])
        outside, self.local = self.local, self.local | names
        self._plain(node)
        self.local = outside

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def _bound_by(self, body: Sequence[ast.AST]) -> frozenset[str]:
        return bound_by(body, has_walrus=self.has_walrus)

    def _scope(self, local: frozenset[str] | set[str], body: Sequence[ast.AST]) -> None:
        outside, self.local = self.local, frozenset(local)
        for statement in body:
            self._node(statement)
        self.text.append(";")
        self.local = outside

    # What is left out.

    def visit_Expr(self, node: ast.Expr) -> None:
        if not (isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)):
            self._plain(node)

    def visit_Pass(self, node: ast.Pass) -> None:
        pass

    def visit_If(self, node: ast.If) -> None:
        if is_type_checking(node.test):
            self._value(node.orelse)
        else:
            self._plain(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._assigned(node.targets, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assigned([node.target], node.value)

    def _assigned(self, targets: Sequence[ast.AST], value: ast.AST) -> None:
        self.text.append("Assign(")
        self._value(list(targets))
        self._node(value)
        self.text.append(")")

    def visit_Raise(self, node: ast.Raise) -> None:
        """What is raised, but not in which words: no number comes of them."""
        self.text.append("Raise ")
        self._only_name(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)

    def visit_Assert(self, node: ast.Assert) -> None:
        self.text.append("Assert ")
        self._node(node.test)

    # What counts by its name alone.

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.text.append(f"except {node.name or ''} ")
        self._only_name(node.type)
        self._value(node.body)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        asks_type = isinstance(function, ast.Name) and function.id in {"isinstance", "issubclass"}
        if not asks_type or len(node.args) != 2:
            self._plain(node)
            return
        self.text.append(f"{ast.unparse(function)}(")
        self._node(node.args[0])
        self._only_name(node.args[1])
        self.text.append(")")

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        self._only_name(node.cls)
        self.text.append("(")
        self._value(node.patterns)
        self.text.append(f"{node.kwd_attrs}")
        self._value(node.kwd_patterns)
        self.text.append(")")
