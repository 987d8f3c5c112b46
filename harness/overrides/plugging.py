"""Plug-ins on the command line: loaded before Hydra composes, their choices beside conf/'s."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from hydra.core.config_store import ConfigStore

from harness import plugins, project
from harness.errors import UserError

# A definition by its place, where a choice's name is due: my_package.losses:MyLoss.
_PLACED = re.compile(r"(?<![\w./~-])([\w./~-]+:[A-Za-z_]\w*)")


def with_plugins(overrides: Sequence[str]) -> list[str]:
    """Loads the plug-ins of ``overrides``, of pyproject.toml and of installed packages.

    The overrides name afterwards what was loaded: choices by their names, and all plug-ins but the
    installed ones in `plugins`, files with the hash of their source.

    Raises:
      UserError: a plug-in cannot be loaded.
    """
    plugins.load_installed()
    specs = list(project.plugins())
    project.conf()  # which Hydra asks for later, where an error is no line
    rest = []
    for text in overrides:
        key, given, value = text.partition("=")
        if key.lstrip("+") == "plugins" and given:
            specs += _listed(text, value)
        elif key.lstrip("+") in plugins.GROUPS and given:
            named, more = _named(value, key.lstrip("+"))
            specs += more
            rest.append(f"{key}={named}")
        else:
            rest.append(text)
    loaded = dict.fromkeys(load(specs))
    for group in plugins.GROUPS:
        for name, made in plugins.plugged(group).items():
            ConfigStore.instance().store(
                group=group, name=name, node=_defaults(made), provider="plugin"
            )
    return [*rest, f"plugins=[{','.join(map(_quoted, loaded))}]"] if loaded else rest


def without_plugins(overrides: Sequence[str]) -> list[str]:
    """Loads as `with_plugins` does; gives those of ``overrides`` that name no plug-in."""
    named = with_plugins(overrides)  # where a place has become a name
    return [text for text in overrides if text in named and not text.startswith("plugins=")]


def load_named(overrides: Iterable[str]) -> None:
    """Imports what `with_plugins` does, and tries nothing of it: to know its names.

    Raises:
      UserError: a plug-in cannot be loaded.
    """
    plugins.load_installed()
    named = (text.partition("=") for text in overrides)
    listed = [spec for key, _, value in named if key == "plugins" for spec in _listed(key, value)]
    for spec in (*project.plugins(), *listed):
        plugins.load(spec)


def load(specs: Iterable[str]) -> list[str]:
    """Loads plug-ins, and tries what was plugged in; gives what finds each again.

    Raises:
      UserError: one cannot be loaded, or is no loss that can be trained with.
    """
    loaded = [plugins.load(spec).spec for spec in dict.fromkeys(specs)]
    for kind, check in _CHECKS.items():
        for name, made in [*plugins.plugged(kind).items()]:
            try:
                check(made)
            except UserError:
                plugins.forget(kind, name)  # a session goes on without it
                raise
    return loaded


_CHECKS = {
    "loss": plugins.check_traced,
    "optimizer": plugins.check_stepped,
    "schedule": plugins.check_scheduled,
    "metric": plugins.check_measured,
    "calibrator": plugins.check_calibrated,
}


def load_of(configs: Iterable[Mapping[str, Any]]) -> None:
    """Loads what the jobs of a sweep name, as in a process that was given nothing else."""
    load(spec for config in configs for spec in config.get("plugins") or ())


def _named(value: str, group: str) -> tuple[str, list[str]]:
    """``value`` with choices that were given by their places called by name, and these places."""
    specs = {place: f"{group}={place}" for place in _PLACED.findall(value)}
    chosen = {place: plugins.load(spec).chosen or place for place, spec in specs.items()}
    return _PLACED.sub(lambda found: chosen[found[1]], value), list(specs.values())


def _listed(text: str, value: str) -> Iterator[str]:
    if not value.startswith("[") and "," in value:
        raise UserError(f"{text}: write plugins=[{value}], in quotes: a list, and no sweep")
    for one in value.removeprefix("[").removesuffix("]").split(","):
        if spec := one.strip().strip("\"'"):
            yield spec


def _defaults(made: Any) -> dict[str, Any]:
    """What a file of conf/ would hold of a plugged choice."""
    return {one.name: "???" if one.default is MISSING else one.default for one in fields(made)}


def _quoted(spec: str) -> str:
    inner = re.sub(r'(\\*)"', r'\1\1\\"', spec)
    return f'"{inner}"'
