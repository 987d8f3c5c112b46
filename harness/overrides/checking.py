"""What is wrong with an override, in one line that names what was meant."""

import difflib
import math
import os
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, QuotedString
from hydra.errors import HydraException, MissingConfigException

from harness.errors import UserError, listed, none_of, override, shown
from harness.files import conf_dir
from harness.overrides.expanding import UNSET, check_number, count, numbers, zip_tag
from harness.plugins import plugged, plugged_keys
from harness.project import conf_dirs

_TABLES = {".csv", ".tsv", ".txt", ".parquet", ".data", ".xls", ".xlsx", ".gz"}


def check_overrides(command: str, overrides: Sequence[str], *, multirun: bool) -> int:
    """Looks at what Hydra would answer at length, or take for something else.

    The number of jobs, as far as it is told by lists and ranges.

    Raises:
      UserError: an override that cannot be read, several values without -m, a suite as a single
        job's choice, a group without a choice, or too many jobs.
    """
    multirun = multirun or "hydra.mode=MULTIRUN" in overrides
    counts: dict[str, tuple[Override, int]] = {}
    searches = next((text for text in overrides if text.startswith("hydra/sweeper=")), "")
    for text in overrides:
        if any(unicodedata.category(c) == "Cc" and c not in "\t\r\n" for c in text):
            raise UserError(f"{text!r} holds a control character: write it without")
        one = _parsed(text)
        _check_suite(one, text, multirun=multirun)
        _check_choice(one, text)
        if one.is_sweep_override() and not multirun:
            raise UserError(
                f"{text} names several values: add -m to run them all, as in "
                f"`harness {command} -m {text}`; a list is written [a,b]"
            )
        if not isinstance(one.value(), Glob) and not one.is_interval_sweep():
            counts[one.get_key_element()] = one, count(one)
        if zip_tag(one) and searches not in ("", "hydra/sweeper=fused"):
            raise UserError(
                f"{one.get_key_element()} varies together with other keys (zip), which "
                f"{searches} does not know: leave one of them out"
            )
    found = numbers(list(counts.values()))
    if not searches:  # a search takes samples
        check_number(found)
    return math.prod(found.values())


def completed(overrides: Sequence[str]) -> list[str]:
    """The overrides with `~/` as the home folder, keys by their names of today, and a sweep on a
    user's tables called by them.

    >>> completed(["dataset=table", "dataset.path=my/loans.csv"])[-1]
    'name=loans'
    >>> completed(["training.save_params=true"])
    ['training.save_model=true']
    """
    found = [_of_today(_with_home(text)) for text in overrides]
    keys = {text.partition("=")[0].lstrip("+"): text for text in found}
    if "name" in keys or "dataset.path" not in keys or keys.get("dataset") != "dataset=table":
        return found
    try:
        values = map(str, _values(_parsed(keys["dataset.path"])))
        paths = [path for path in values if f'"{path}"' != UNSET]
    except UserError:  # which is said when the overrides are checked
        return found
    (text,) = shlex.split(override("name", _sweep_name(paths)))
    return [*found, text]


# Keys that have another name now, so that a command written down before still runs.
_RENAMED = {"training.save_params": "training.save_model"}


def _of_today(text: str) -> str:
    key, given, value = text.partition("=")
    plain = key.lstrip("+")
    return f"{key.replace(plain, _RENAMED.get(plain, plain))}{given}{value}" if plain else text


def _with_home(text: str) -> str:
    """Hydra's grammar has no `~` in a value, and no shell expands it behind a key."""
    key, _, value = text.partition("=")
    bare = value.strip("\"'")
    if not re.fullmatch(r"~[\w.-]*(/.*)?", bare) or text.startswith("~"):
        return text
    (written,) = shlex.split(override(key, os.path.expanduser(bare)))
    return written


def _sweep_name(paths: Sequence[str]) -> str:
    """Such as `loans`, `loans-cards` or `loans-and-9-more`: a folder's name."""
    stems = [
        "".join(c for c in PurePath(path).stem if c.isprintable() and c not in "/\\")[:60]
        for path in paths
    ]
    stems = [stem for stem in dict.fromkeys(stems) if stem.strip(".")]
    if not stems:
        return "default"
    return "-".join(stems) if len(stems) <= 3 else f"{stems[0]}-and-{len(stems) - 1}-more"


def _parsed(text: str) -> Override:
    if "=" not in text and not text.startswith("~"):
        meant = _meant(text.lstrip("+"), _keys())
        raise UserError(f"{text}: write key=value{_or_option(text, meant)}")
    try:
        (one,) = OverridesParser.create().parse_overrides([text])
    except HydraException as error:
        raise UserError(_quoting(text) or _joined(error)) from error
    except (ValueError, ArithmeticError) as error:  # a number of thousands of digits
        raise UserError(f"{text[:60]}: {str(error).split(';')[0]}") from error
    return one


def _quoting(text: str) -> str:
    """How a text that Hydra's grammar has no place for is written; empty where that is no text."""
    key, _, value = text.partition("=")
    if re.fullmatch(r"\w+\([^)]*\)?", value) or value.startswith("{"):
        return ""
    inner = value[1:-1] if value.startswith("[") and value.endswith("]") else ""
    if value.startswith("[") and not inner:
        return ""
    if inner:
        items = (item.strip().strip("\"'") for item in inner.split(","))
        meant = shlex.quote(f"{key}=[" + ",".join(f'"{item}"' for item in items) + "]")
    else:
        meant = override(key, value.strip())
    try:
        OverridesParser.create().parse_overrides(shlex.split(meant))
    except (HydraException, ValueError):
        return ""
    return f"{shown(text)} holds signs that stand for something else: write {meant}"


def read_value(text: str) -> tuple[str, Any]:
    """The key and the one value that ``text`` gives it, as `harness train` reads them.

    Raises:
      UserError: it cannot be read, or names several values.
    """
    from harness.config.composing import plain_value

    one = _parsed(text)
    if one.is_sweep_override() or one.is_delete():
        raise UserError(f"{text} is no single value: give one, in quotes if it holds a comma")
    return one.key_or_group, plain_value(one)


def _or_option(text: str, meant: str) -> str:
    if (conf_dir() / "experiment" / f"{text}.yaml").exists():
        return f", such as experiment={text}"
    return f", such as {meant}=..." if meant else ""


def _check_suite(one: Override, text: str, *, multirun: bool) -> None:
    """A suite is what a sweep runs over: as a choice of a single job it would change nothing."""
    if one.key_or_group != "dataset_suite" or one.value() is None:
        return
    if not multirun:
        raise UserError(f"{text} names several data sets: add -m to run them all")
    if one.is_sweep_override():
        raise UserError(f"{text}: choose one suite, or list data sets with dataset=...,...")


def _check_choice(one: Override, text: str) -> None:
    """A group is always chosen, but for those that are null in conf/config.yaml."""
    optional = {"experiment", "dataset_suite"}
    group = one.key_or_group
    wrong = [value for value in _values(one) if not isinstance(value, str | list)]
    if group in optional or one.is_delete() or not wrong or not choices(group):
        return
    if wrong[0] is None:
        raise UserError(f"{text}: {group} needs a choice: one of {listed(choices(group))}")
    raise UserError(no_such_choice(group, str(wrong[0])))


def _values(one: Override) -> list[Any]:
    """The values an override names; none for a glob, whose are choices."""
    if isinstance(one.value(), Glob) or one.is_interval_sweep():
        return []
    if one.is_range_sweep():  # numbers all
        return [0]
    swept = one.sweep_iterator() if one.is_sweep_override() else [one.value()]
    return [value.text if isinstance(value, QuotedString) else value for value in swept]


def explained(error: BaseException) -> str:
    """Hydra's message on one line, naming the key or choice that was meant where one is near."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.partition("/")
        if name and choices(group):
            return no_such_choice(group, name)
    if wrong := re.search(r"Could not (?:override|append to config\.) '?([^'\s]+)'", str(error)):
        return no_such_key(wrong[1], _value_of(str(error)))
    key = getattr(error, "full_key", None)  # where an interpolation fails
    message = _joined(error)
    return f"{key}: {message}" if key and key not in message else message


def no_such_choice(group: str, name: str) -> str:
    """What to say of `group=name` where conf/ has no such file."""
    if group == "dataset" and PurePath(name).suffix.lower() in _TABLES:
        return (
            f"dataset={name} is no named data set: a file is read by dataset=table "
            f"dataset.path={name} dataset.target=COLUMN"
        )
    return f"{group}={name}: {group}/{name} is {none_of(name, choices(group))}"


def no_such_key(key: str, value: str = "") -> str:
    """What to say of `key=value` where the configuration has no such key."""
    if key in ("cost", "costs") and (ratio := re.fullmatch(r"([\d.]+):([\d.]+)", value)):
        return (
            f"{key}: no such key; a false positive and a false negative cost "
            f"evaluation.costs.false_positive={ratio[1]} evaluation.costs.false_negative={ratio[2]}"
        )
    if key.startswith("hydra."):
        return f"{key}: no such key; `harness train --cfg hydra` lists those of Hydra"
    meant = _meant(key, _keys())
    group, _, _ = key.partition(".")
    if meant == key:  # another choice of its group has it
        return f"{key}: no such key in the {group} chosen; `harness train --cfg job` lists its keys"
    hint = f"did you mean {meant}? " if meant else ""
    return f"{key}: no such key; {hint}`harness train --cfg job` lists them"


def _value_of(message: str) -> str:
    found = re.search(r"use \+[^=\s]+=(\S+)", message)
    return found[1] if found else ""


def _keys() -> list[str]:
    from harness.config import config_keys

    groups = [path.name for conf in conf_dirs() for path in conf.iterdir() if path.is_dir()]
    return sorted({*config_keys(), *plugged_keys(), *groups})


def choices(group: str) -> list[str]:
    """The choices of a group: of conf/ and the project's own, in folders too, and plugged ones.

    None where it is no group.
    """
    folders = [conf / group for conf in conf_dirs()]
    names = (
        path.relative_to(folder).with_suffix("")
        for folder in folders
        for path in folder.rglob("*.yaml")
    )
    return (
        sorted([*(name.as_posix() for name in names), *plugged(group)]) if "." not in group else []
    )


def _meant(key: str, known: Iterable[str]) -> str:
    """The known key that was most likely meant by ``key``; empty where none is near."""
    group, _, _ = key.rpartition(".")
    leaf = key.rpartition(".")[2].lower()
    tests: list[Callable[[str], Any]] = [
        lambda one: one == key,
        lambda one: _leaf(one) == leaf,
        lambda one: "".join(word[0] for word in _leaf(one).split("_") if word) == leaf,  # lr
        lambda one: leaf in _leaf(one).split("_"),  # epochs
        lambda one: len(leaf) > 3 and (leaf in _leaf(one) or _leaf(one) in leaf),
    ]
    for test in tests:
        found = [one for one in known if test(one)]
        if found:
            # In the group that was named, and the shortest: the most general.
            return min(found, key=lambda one: (not one.startswith(f"{group}."), len(one)))
    by_leaf = {_leaf(one): one for one in sorted(known, key=len, reverse=True)}
    near = difflib.get_close_matches(leaf, by_leaf, n=1, cutoff=0.6)
    return by_leaf[near[0]] if near else ""


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _joined(error: BaseException) -> str:
    texts = [str(error)]
    if error.__cause__ is not None:
        texts.append(str(error.__cause__))
    # Hydra ends with its search path, and with its manual: lines that name no remedy.
    texts = [re.split("Config search path|See https://hydra", text)[0] for text in texts]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("object_type", "full_key"))]
    return " ".join(dict.fromkeys(kept))
