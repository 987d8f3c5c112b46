"""Data sets of OpenML: `dataset.kind=openml`, through scikit-learn and kept for later."""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from warnings import catch_warnings, simplefilter

import numpy as np
import polars as pl
from annotated_types import Ge
from numpy.typing import NDArray
from pydantic import StringConstraints

from harness.data.dataset import Dataset, Overview
from harness.data.fetching import data_dir, file_state, say
from harness.data.table import TableDescription
from harness.data.table_file import TableFile
from harness.data.target import Texts
from harness.errors import UserError, first_line
from harness.files import whole_file

_RETRIES = 2
_UNUSABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)


@dataclass(frozen=True, kw_only=True)
class OpenML(TableDescription):
    """A data set of OpenML by its id, which names one version for good.

    ``version`` is what OpenML calls that one, and ``content`` the hash (sha256, hex) of its table
    as `harness data fetch` prints it; where given, both are checked. ``target`` may be `default`.
    OpenML says itself which values are missing and which columns are categories, so that a level
    may be called `none`.
    """

    kind: Literal["openml"] = "openml"
    id: Annotated[int, Ge(1)]
    missing: Texts | None = ()
    version: Annotated[int, Ge(1)] | None = None
    content: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None

    def load(self) -> Dataset:
        """Reads it; downloaded on first use.

        Raises UserError where OpenML cannot be reached, or the data is not what the config says.
        """
        table = _table(self)
        described, place = self, f"OpenML {self.id}"
        if self.target == "default":
            described = replace(self, target=table.target_name)
        if described.target != table.target_name:
            raise UserError(
                f"dataset {self.name}: the target of {place} is {table.target_name!r}: set "
                "dataset.target to it, or to `default`"
            )
        return described.dataset(TableFile(place, table.frame(), kind="OpenML"))

    def state(self) -> tuple[int, int] | None:
        """Changes where the downloaded file does; None where there is none."""
        return file_state(self._path)

    def fetch(self) -> str:
        """Downloads what `load` needs; says where it is, and its content hash."""
        return f"{self._path} (content {_table(self).content})"

    def overview(self) -> Overview:
        """What is recorded, and whether the table is there; nothing is downloaded."""
        return replace(super().overview(), fetched=self._path.exists())

    @property
    def _path(self) -> Path:
        return data_dir() / "openml" / f"{self.id}.npz"


@dataclass(frozen=True, eq=False)
class _Table:
    """As OpenML gives it. values: float64 (n, d), NaN where missing, an index into `levels` where
    the column is nominal.  target: str (n,)."""

    values: NDArray[np.float64]
    target: NDArray[np.str_]
    names: Sequence[str]
    levels: dict[str, list[str]]
    target_name: str
    version: int

    @property
    def content(self) -> str:
        """sha256 (hex) of all but the version."""
        digest = hashlib.sha256(self._described().encode())
        digest.update(np.ascontiguousarray(self.values, dtype="<f8").tobytes())
        digest.update("\0".join(self.target.tolist()).encode())
        return digest.hexdigest()

    def _described(self) -> str:
        return json.dumps([self.target_name, self.names, self.levels, self.values.shape])

    def frame(self) -> pl.DataFrame:
        """Nominal columns as categories, whatever their levels look like; the target last."""
        return pl.DataFrame(
            [self._column(name, self.values[:, index]) for index, name in enumerate(self.names)]
            + [pl.Series(self.target_name, self.target.tolist(), dtype=pl.String)]
        )

    def _column(self, name: str, values: NDArray[np.float64]) -> pl.Series:
        if name not in self.levels:
            return pl.Series(name, values).fill_nan(None)
        levels = self.levels[name]
        texts = [None if np.isnan(code) else levels[int(code)] for code in values]
        return pl.Series(name, texts, dtype=pl.Categorical)


def _table(config: OpenML) -> _Table:
    path = config._path
    if not path.exists():
        say(f"fetching OpenML {config.id} into {path.parent} (once)")
        _write(_downloaded(config), path)
    try:
        table = _read(path)
    except _UNUSABLE as error:
        raise UserError(
            f"{path}: is damaged ({type(error).__name__}): delete it, and it is fetched again"
        ) from None
    if config.version not in (None, table.version):
        raise UserError(
            f"dataset {config.name}: OpenML {config.id} is version {table.version}, not "
            f"{config.version}: correct dataset.version"
        )
    if config.content not in (None, table.content):
        raise UserError(
            f"{path}: has content {table.content} where dataset {config.name} is pinned to "
            f"{config.content}: delete the file, and it is fetched again"
        )
    return table


def _downloaded(config: OpenML) -> _Table:
    from sklearn.datasets import fetch_openml

    folder = data_dir() / "openml"
    try:
        with catch_warnings():
            simplefilter("ignore")  # of retries, and of versions that OpenML holds inactive
            bunch = fetch_openml(
                data_id=config.id,
                # scikit-learn's own cache, below: what it holds is not fetched again.
                data_home=str(folder),
                as_frame=False,
                parser="liac-arff",  # the other one needs pandas
                n_retries=_RETRIES,
            )
    except OSError as error:
        raise UserError(
            f"dataset {config.name}: OpenML {config.id} is not in {folder} and cannot be fetched "
            f"({error}): run `harness data fetch` where there is a network and copy that folder, "
            "or choose a data set that needs none: breast_cancer"
        ) from None
    except (ValueError, KeyError) as error:
        raise UserError(
            f"dataset {config.name}: OpenML {config.id} is of no use here "
            f"({first_line(error)}): check dataset.id"
        ) from None
    return _as_table(bunch, config)


def _as_table(bunch: Any, config: OpenML) -> _Table:
    if not isinstance(bunch.data, np.ndarray) or len(bunch.target_names) != 1:
        raise UserError(
            f"dataset {config.name}: OpenML {config.id} is sparse or has not exactly one target: "
            "choose a table with one target"
        )
    if np.asarray(bunch.target).ndim != 1 or bunch.target.dtype.kind not in "OU":
        raise UserError(
            f"dataset {config.name}: the target {bunch.target_names[0]!r} of OpenML {config.id} "
            "is a number, not a label: choose a data set for classification"
        )
    levels = bunch.categories or {}
    return _Table(
        values=np.asarray(bunch.data, dtype=np.float64),
        target=np.array([str(label) for label in bunch.target]),
        names=list(bunch.feature_names),
        levels={name: list(levels[name]) for name in bunch.feature_names if name in levels},
        target_name=bunch.target_names[0],
        version=int(bunch.details["version"]),
    )


def _write(table: _Table, path: Path) -> None:
    described = json.dumps([table.names, table.levels, table.target_name, table.version])
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, values=table.values, target=table.target, described=np.array(described))


def _read(path: Path) -> _Table:
    with path.open("rb") as content, np.load(content, allow_pickle=False) as stored:
        names, levels, target_name, version = json.loads(str(stored["described"]))
        return _Table(stored["values"], stored["target"], names, levels, target_name, version)
