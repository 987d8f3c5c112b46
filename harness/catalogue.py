"""What `harness data list` and `fetch` know: the named data sets of conf/, and suites of them.

Listing reads the counts that the configs record: it downloads nothing, and loads nothing but the
two small sets inside scikit-learn, so that it is there at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.table import Table
from rich.text import Text

from harness.data.cache import data_dir
from harness.data.package import Package
from harness.errors import UserError
from harness.files import conf_dir


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the list; None where a number is the user's to give or known only once drawn."""

    name: str
    rows: int | None
    features: int | None
    positives: int | None
    application: str
    licence: str
    source: str
    fetched: bool | None  # None: nothing to fetch


def names() -> list[str]:
    """All choices of `dataset=`, such as `pima` and `keel/yeast4`."""
    folder = conf_dir() / "dataset"
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")
    )


def suites() -> list[str]:
    """All choices of `dataset_suite=`."""
    return sorted(path.stem for path in (conf_dir() / "dataset_suite").glob("*.yaml"))


def members(name: str) -> list[str]:
    """The data sets of a suite, or the one called ``name``.

    Raises UserError where there is neither.
    """
    known = names()
    if name in suites():
        suite = OmegaConf.load(conf_dir() / "dataset_suite" / f"{name}.yaml")
        return list(_chosen(suite.hydra.sweeper.params.dataset, known))
    if name not in known:
        raise UserError(
            f"{name!r} is neither a data set (`harness data list`) nor a suite: one of "
            f"{', '.join(suites())}"
        )
    return [name]


def _chosen(choice: str, known: Sequence[str]) -> Iterator[str]:
    if choice.startswith("glob("):
        pattern = choice.removeprefix("glob(").removesuffix(")")
        yield from (name for name in known if fnmatchcase(name, pattern))
    else:
        yield from (name.strip() for name in choice.split(","))


def entries(pattern: str | None = None) -> Iterator[Entry]:
    """The data sets whose name or application matches ``pattern`` (`keel/*`, `fraud`); all."""
    for name in names():
        entry = _entry(name, config(name))
        if pattern is None or any(
            fnmatchcase(text, pattern) for text in (entry.name, entry.application)
        ):
            yield entry


def config(name: str) -> dict[str, Any]:
    """A data set's file of conf/ as plain values; `???` where the user must give one."""
    values = OmegaConf.to_container(OmegaConf.load(_file(name)))
    return {str(key): value for key, value in values.items()}  # type: ignore[union-attr]


def _file(name: str) -> Path:
    return conf_dir() / "dataset" / f"{name}.yaml"


def _entry(name: str, values: Mapping[str, Any]) -> Entry:
    if values["kind"] == "sklearn":
        return _bundled(name, values)
    counts = _COUNTS.get(values["kind"], _recorded)(values)
    return Entry(
        name=name,
        **dict(zip(("rows", "features", "positives"), counts, strict=True)),
        application=values.get("application") or _GENERATED.get(values["kind"], ""),
        licence=values.get("licence", "none needed" if values["kind"] in _GENERATED else ""),
        source=values.get("source", "generated" if values["kind"] in _GENERATED else ""),
        fetched=_fetched(values),
    )


def _bundled(name: str, values: Mapping[str, Any]) -> Entry:
    from harness.data.sources import Sklearn  # slow to import, as scikit-learn is

    dataset = Sklearn(**{key: value for key, value in values.items() if key != "kind"}).load()
    return Entry(
        name=name,
        rows=dataset.num_rows,
        features=dataset.num_features,
        positives=dataset.num_positives,
        application=dataset.application,
        licence=dataset.licence,
        source=dataset.source,
        fetched=None,
    )


Counts = tuple[int | None, int | None, int | None]


def _recorded(values: Mapping[str, Any]) -> Counts:
    rows, features, positives = (values.get(key) for key in ("rows", "features", "positives"))
    return rows, features, positives


def _exact(values: Mapping[str, Any]) -> Counts:
    positives = values.get("num_positives", round(values["rows"] * values.get("positive_rate", 0)))
    return values["rows"], values["num_features"], positives


def _drawn(values: Mapping[str, Any]) -> Counts:
    return values["rows"], values["num_features"], None


_COUNTS: dict[str, Callable[[Mapping[str, Any]], Counts]] = {
    "two_gaussians": _exact,
    "separable": _exact,
    "fraud_like": _exact,
    "cue": _drawn,
}
_GENERATED = dict.fromkeys(_COUNTS, "known answers")


def _fetched(values: Mapping[str, Any]) -> bool | None:
    if values["kind"] == "wheel":
        return Package(values["package"], str(values["version"]), values["sha256"]).path.exists()
    if values["kind"] == "openml" and values["id"] != "???":
        return (data_dir() / "openml" / f"{values['id']}.npz").exists()
    return None


def table(listed: Sequence[Entry]) -> Table:
    """The entries for a terminal; names are shown as they are, never as markup."""
    shown = Table()
    shown.add_column("name", no_wrap=True)
    for heading in ("rows", "features", "positives", "rate"):
        shown.add_column(heading, justify="right")
    for heading in ("application", "licence", "source", "fetched"):
        shown.add_column(heading)
    for entry in listed:
        rate = entry.positives / entry.rows if entry.positives and entry.rows else None
        counts = (entry.rows, entry.features, entry.positives)
        shown.add_row(
            Text(entry.name),
            *("" if count is None else f"{count:,}" for count in counts),
            "" if rate is None else f"{rate:.3g}",
            Text(entry.application),
            Text(entry.licence),
            Text(entry.source),
            {True: "yes", False: "no", None: ""}[entry.fetched],
        )
    return shown
