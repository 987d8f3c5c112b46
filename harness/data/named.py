"""The named data sets of a configuration folder, and suites of them.

Listing asks the sources what they record: it downloads nothing, and loads nothing but the two small
sets inside scikit-learn, so that it is there at once.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError
from rich.table import Table
from rich.text import Text

from harness.data.dataset import Overview
from harness.data.sources import AnySource
from harness.errors import UserError


@dataclass(frozen=True)
class Catalogue:
    """The data sets that ``conf``, the folder of all config groups, names.

    And those that a user has: in folders ``also`` of his own, and ``plugged`` sources by name.
    """

    conf: Path
    also: tuple[Path, ...] = ()
    plugged: Mapping[str, Any] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All choices of `dataset=`, such as `pima` and `keel/yeast4`."""
        files = (
            path.relative_to(folder).with_suffix("").as_posix()
            for folder in (conf / "dataset" for conf in (self.conf, *self.also))
            for path in folder.rglob("*.yaml")
        )
        return sorted([*files, *self.plugged])

    def suites(self) -> list[str]:
        """All choices of `dataset_suite=`."""
        return sorted(path.stem for path in (self.conf / "dataset_suite").glob("*.yaml"))

    def members(self, name: str) -> list[str]:
        """The data sets of a suite, or the one called ``name``.

        Raises UserError where there is neither.
        """
        known = self.names()
        if name in self.suites():
            suite = _read(self.conf / "dataset_suite" / f"{name}.yaml")
            return list(_chosen(suite["hydra"]["sweeper"]["params"]["dataset"], known))
        if name not in known:
            raise UserError(
                f"{name!r} is neither a data set (`harness data list`) nor a suite: one of "
                f"{', '.join(self.suites())}"
            )
        return [name]

    def path(self, name: str) -> Path:
        """A data set's file; there is none of a plugged one."""
        found = (conf / "dataset" / f"{name}.yaml" for conf in (self.conf, *self.also))
        return next(
            (path for path in found if path.exists()), self.conf / "dataset" / f"{name}.yaml"
        )

    def families(self, names: Collection[str]) -> dict[str, str]:
        """The family of each of ``names`` that is of this catalogue and has kin in it: what data
        sets made from the same rows share."""
        found = {name: self.config(name).get("family") for name in self.names() if name in names}
        return {name: family for name, family in found.items() if family}

    def config(self, name: str) -> dict[str, Any]:
        """What that file says; `???` where the user must give a value."""
        return {"kind": name} if name in self.plugged else _read(self.path(name))

    def overviews(self, pattern: str | None = None) -> Iterator[tuple[str, Overview]]:
        """The data sets whose name or application matches ``pattern`` (`keel/*`, `fraud`); all."""
        for name in self.names():
            plugged = self.plugged.get(name)
            overview = _overview(self.config(name)) if plugged is None else plugged().overview()
            if pattern is None or any(
                fnmatchcase(text, pattern) for text in (name, overview.application)
            ):
                yield name, overview


_SOURCES: TypeAdapter = TypeAdapter(AnySource)


def _overview(values: dict[str, Any]) -> Overview:
    if "???" not in values.values():
        with suppress(ValidationError):  # a user's own file may be composed of others
            return _SOURCES.validate_python(values).overview()
    # What data it is, is the user's to say.
    return Overview(
        rows=None,
        features=None,
        positives=None,
        source=values.get("source") or "",
        licence=values.get("licence") or "",
        application=values.get("application") or "",
    )


def _read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return values


def _chosen(choice: str, known: Sequence[str]) -> Iterator[str]:
    if choice.startswith("glob("):
        pattern = choice.removeprefix("glob(").removesuffix(")")
        yield from (name for name in known if fnmatchcase(name, pattern))
    else:
        yield from (name.strip() for name in choice.split(","))


def listing(listed: Sequence[tuple[str, Overview]]) -> Table:
    """The overviews for a terminal; names are shown as they are, never as markup."""
    shown = Table()
    shown.add_column("name", no_wrap=True)
    for heading in ("rows", "features", "positives", "rate"):
        shown.add_column(heading, justify="right")
    for heading in ("application", "licence", "source", "fetched"):
        shown.add_column(heading)
    for name, one in listed:
        rate = one.positives / one.rows if one.positives and one.rows else None
        shown.add_row(
            Text(name),
            *("" if n is None else f"{n:,}" for n in (one.rows, one.features, one.positives)),
            "" if rate is None else f"{rate:.3g}",
            Text(one.application),
            Text(one.licence),
            Text(one.source),
            {True: "yes", False: "no", None: ""}[one.fetched],
        )
    return shown
