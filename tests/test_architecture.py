"""Imports point one way: config, data, model, train, evaluate, record, analyze."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import harness

PACKAGE = Path(harness.__file__).parent
MODULES = {
    ".".join(("harness", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in PACKAGE.rglob("*.py")
}

# What each part may import of ours, besides itself. A part is a module or a package of harness.
ALLOWED = {
    "errors": set(),
    "exact": set(),
    "files": {"errors"},
    "keys": set(),
    "layout": set(),
    "memory": {"errors"},
    "threefry": set(),
    "devices": {"errors", "files"},
    "losses": {"errors"},
    "signatures": {"errors"},
    "project": {"errors", "files"},
    "plugins": {
        "errors", "files", "signatures", "losses", "models", "optimizers", "metrics", "data",
    },
    "models": {"errors", "layout", "signatures"},
    "checkpoints": {"errors", "files"},
    "optimizers": {"errors", "exact", "signatures"},
    "metrics": set(),
    "data": {"errors", "exact", "files", "layout", "memory", "signatures"},
    "training": {"losses", "models", "optimizers", "threefry"},
    "testing": {
        "errors", "layout", "losses", "models", "optimizers", "metrics", "data", "plugins",
    },
    "config": {"errors", "metrics", "losses", "models", "optimizers", "data", "plugins"},
    "identity": {
        "errors", "keys", "config", "data", "metrics", "losses", "models", "optimizers", "plugins",
    },
    "padding": {"losses", "memory", "models", "optimizers", "training"},
    "run": {
        "errors", "config", "checkpoints", "data", "identity", "losses", "metrics", "models",
        "optimizers", "padding", "training",
    },
    "watching": {"errors", "data", "run", "training"},
    "record": {"errors", "files", "config", "data", "identity", "run", "metrics", "watching"},
    "predict": {
        "errors", "files", "keys", "layout", "config", "checkpoints", "data", "losses", "models",
        "metrics", "run", "record", "watching",
    },
    "sweep": {
        "errors", "files", "devices", "layout", "memory", "config", "checkpoints", "data",
        "identity", "models", "padding", "run", "training", "record", "predict", "watching",
    },
    "analyze": {"errors", "files", "keys", "data", "metrics", "record"},
    "reproduce": {
        "errors", "files", "devices", "config", "data", "metrics", "identity", "losses",
        "analyze", "plugins",
    },
    "overrides": {"errors", "files", "config", "plugins", "project"},
    "engines": {
        "errors", "files", "devices", "config", "checkpoints", "data", "identity", "overrides",
        "record", "run", "sweep",
    },
    "interface": {
        "errors", "engines", "overrides", "devices", "config", "checkpoints", "data", "losses",
        "metrics", "predict", "run", "padding", "sweep", "training", "record", "analyze",
        "watching",
    },
    "cli": {
        "errors", "files", "devices", "config", "data", "metrics", "predict", "sweep", "analyze",
        "record", "reproduce", "interface", "overrides", "plugins", "project", "testing",
    },
}  # fmt: skip

# Who may import these at all, even inside a function.
HOLDERS = {
    "hydra": {"cli", "config", "overrides"},
    "omegaconf": {"cli", "config", "overrides"},
    "wandb": {"record"},
    "safetensors": {"checkpoints"},
    "matplotlib": set(),
    "torch": set(),
    "pickle": set(),
    "joblib": set(),
    "ray": {"engines"},
    "submitit": {"engines"},
    "fsspec": {"engines"},
}


def part(module: str) -> str:
    """The part of `ALLOWED` a module of ours belongs to: the most particular one."""
    name = module.removeprefix("harness").removeprefix(".")
    return next(
        (".".join(name.split(".")[:depth]) for depth in (2, 1)
         if ".".join(name.split(".")[:depth]) in ALLOWED),
        name.split(".")[0],
    )  # fmt: skip


@cache
def imported(module: str) -> frozenset[str]:
    """All modules that ``module`` names in an import, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = members & MODULES.keys()
            names |= submodules or {node.module or ""}
    return frozenset(names)


def ours(module: str) -> set[str]:
    return {name for name in imported(module) if name.partition(".")[0] == "harness"}


def reached(module: str) -> set[str]:
    """All of ours that importing ``module`` can load."""
    seen, waiting = set(), [module]
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            # What the package itself offers it imports when it is asked for.
            waiting += ours(one) & MODULES.keys() if one != "harness" else ()
    return seen


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_what_its_part_may(module):
    if module == "harness":
        assert {part(name) for name in ours(module)} == {"errors", "interface"}
        return
    here = part(module)
    assert here in ALLOWED, f"{module} belongs to no part: say in ALLOWED what it may import"
    parts = {part(name) for name in ours(module) if name != "harness"}
    assert parts <= ALLOWED[here] | {here}


def test_the_parts_are_those_there_are():
    assert {part(module) for module in MODULES if module != "harness"} == ALLOWED.keys()


def test_parts_form_no_cycle():
    done: set[str] = set()
    while len(done) < len(ALLOWED):
        ready = {name for name, needs in ALLOWED.items() if name not in done and needs <= done}
        assert ready, f"these import each other: {ALLOWED.keys() - done}"
        done |= ready


def test_modules_form_no_cycle():
    for module in MODULES.keys() - {"harness"}:
        for name in ours(module) - {module, "harness"}:
            assert module not in reached(name), f"{module} and {name} import each other"


@pytest.mark.parametrize("library", HOLDERS)
def test_a_library_is_imported_where_it_belongs(library):
    users = {
        part(module)
        for module in MODULES
        if any(name.partition(".")[0] == library for name in imported(module))
    }
    assert users <= HOLDERS[library]


def test_nothing_is_imported_by_a_name_from_outside():
    dynamic = {"importlib", "importlib.util", "runpy", "pkgutil"}
    assert [m for m in MODULES if imported(m) & dynamic] == ["harness.plugins"]


@pytest.mark.parametrize("module", ["harness.analyze", "harness.record", "harness.reproduce"])
def test_what_reads_logged_runs_loads_no_plugin(module):
    """It may know of what is plugged in, and names nothing that loads more."""
    loaders = {"load", "load_installed", "importlib"}
    for name in reached(module) - {"harness.plugins"}:
        if "harness.plugins" in imported(name):
            assert not loaders & set(re.findall(r"plugins\.(\w+)", MODULES[name].read_text()))


def outside(module: str) -> set[str]:
    return {name.partition(".")[0] for one in reached(module) for name in imported(one)}


@pytest.mark.parametrize("module", ["harness.training", "harness.run", "harness.analyze"])
def test_hydra_is_not_within_reach(module):
    assert outside(module) & {"hydra", "omegaconf"} == set()


@pytest.mark.parametrize("module", ["harness.training", "harness.run"])
def test_wandb_is_not_within_reach_of_training(module):
    assert "wandb" not in outside(module)


def test_analysis_loads_wandb_only_for_what_wandb_logged():
    code = "import sys, harness.analyze; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_training_is_not_within_reach_of_analysis():
    trains = {"harness.training", "harness.losses", "harness.models", "harness.run"}
    assert reached("harness.analyze") & trains == set()


def test_only_commands_import_what_reproduces_claims():
    users = {part(m) for m in MODULES if any(part(n) == "reproduce" for n in ours(m))}
    assert users - {"reproduce"} == {"cli"}


def test_nobody_imports_the_command_line():
    others = [module for module in MODULES if part(module) not in ("", "cli")]
    assert [module for module in others if any(part(name) == "cli" for name in ours(module))] == []
