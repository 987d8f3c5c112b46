"""What the pyproject.toml of the folder says, under ``[tool.bce_harness]``: plug-ins, and a folder
of configuration that is read beside ours.

    [tool.bce_harness]
    plugins = ["my_package.losses"]
    conf = "conf"
"""

import tomllib
from pathlib import Path
from typing import Any

from harness.errors import UserError, none_of
from harness.files import conf_dir

_PROJECT = Path("pyproject.toml")
_KEYS = ("conf", "plugins")


def plugins() -> list[str]:
    """The modules and files it names.

    Raises:
      UserError: the file cannot be read, or this is no list of texts.
    """
    listed = _table().get("plugins", [])
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise UserError(
            f'{_PROJECT}: tool.bce_harness.plugins is to be a list, such as ["my_package.losses"]'
        )
    return listed


def conf() -> Path | None:
    """The folder of configuration, with choices of groups as ours has; None where it names none.

    Raises:
      UserError: there is no such folder, or a file in it has the name of one of ours.
    """
    named = _table().get("conf")
    if named is None:
        return None
    if not isinstance(named, str) or not Path(named).is_dir():
        raise UserError(
            f"{_PROJECT}: tool.bce_harness.conf = {named!r} is no folder here: name one"
        )
    folder = Path(named).absolute()
    if folder == conf_dir():
        return None
    for path in sorted(conf_dir().rglob("*.yaml")):  # a folder named by mistake may be the disk
        own = path.relative_to(conf_dir())
        if (folder / own).exists():
            raise UserError(f"{Path(named) / own}: {own} is one of ours: give it another name")
    return folder


def conf_dirs() -> list[Path]:
    """The folders of configuration: ours, and the project's."""
    own = conf()
    return [conf_dir(), *([own] if own else [])]


def _table() -> dict[str, Any]:
    try:
        read = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{_PROJECT}: {error}: mend it, or run in another folder") from None
    found = read.get("tool", {}).get("bce_harness", {})
    if not isinstance(found, dict):
        raise UserError(f"{_PROJECT}: tool.bce_harness is to be a table: [tool.bce_harness]")
    for key in found:
        if key not in _KEYS:
            raise UserError(f"{_PROJECT}: tool.bce_harness.{key}: {key} is {none_of(key, _KEYS)}")
    return found
