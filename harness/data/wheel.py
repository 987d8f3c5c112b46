"""Data sets inside a package: `dataset.kind=wheel`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import StringConstraints

from harness.data.columns import columns_of, read_text
from harness.data.dataset import Dataset
from harness.data.package import Package, fetch, read
from harness.data.published import Published

# They become part of a file's name and of the client's command line.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Version = Annotated[str, StringConstraints(pattern=r"^[0-9][A-Za-z0-9.!+_-]*$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, kw_only=True)
class Wheel(Published):
    """A comma-separated file inside a wheel, pinned by the wheel's version and sha256."""

    kind: Literal["wheel"] = "wheel"
    package: Name
    version: Version
    sha256: Sha256
    member: str
    header: bool = True  # false: columns are x1, x2, ..., and `class`

    def load(self) -> Dataset:
        """Reads it; its package is downloaded on first use.

        Raises UserError where the package cannot be had, is not the pinned one, or does not hold
        what the config says.
        """
        return _load(self)

    def fetch(self) -> str:
        """Downloads what `load` needs; says where it is."""
        return str(fetch(self._package))

    @property
    def is_fetched(self) -> bool:
        return self._package.path.exists()

    @property
    def _package(self) -> Package:
        return Package(self.package, self.version, self.sha256)


def _load(config: Wheel) -> Dataset:
    place = f"{config.package} {config.version}: {config.member}"
    frame = read_text(read(config._package, config.member), header=config.header, place=place)
    columns = columns_of(
        frame, target=config.target, positive=config.positive, drop=config.drop, place=place
    )
    return config.checked(columns, place=place)
