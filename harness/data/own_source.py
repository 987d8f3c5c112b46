"""A data source of somebody else's: a function that returns a table, read as all tables are.

>>> import numpy as np
>>> def doses(rows=40, seed=0):
...     rng = np.random.default_rng(seed)
...     dose = rng.normal(size=rows)
...     return {"dose": dose, "ill": (dose + rng.normal(size=rows) > 0).astype(int)}
>>> source = as_source(doses, target="ill")(rows=30)
>>> source.name, source.load().num_rows
('doses', 30)
"""

from dataclasses import dataclass, fields
from types import FunctionType
from typing import Any, ClassVar, get_type_hints

from harness.data.dataset import Dataset
from harness.data.in_memory import TARGET, held
from harness.data.table import OwnTable, TableDescription
from harness.data.table_file import TableFile
from harness.data.target import Text
from harness.errors import UserError, none_of
from harness.signatures import Setting, chosen_as, name_of, settings_of, values_of

_COUNTS = ("rows", "features", "positives")


@dataclass(frozen=True, kw_only=True)
class OwnSource(OwnTable, TableDescription):
    """A table that a function of the user's makes. What its columns mean is said as of any table.

    An empty ``name`` is what it is chosen by. A count that the function takes is the function's.
    Where ``generated``, the rows are drawn and not observed: claims judged on them do not count as
    on real data.
    """

    _settings: ClassVar[tuple[Setting, ...]] = ()

    name: Text = ""
    target: Text = TARGET
    generated: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self._choice)

    @property
    def place(self) -> str:
        return self.name

    @property
    def _choice(self) -> str:
        return str(vars(self)["kind"])

    def load(self) -> Dataset:
        """Makes it. Raises UserError where the function fails, or gives no table as described."""
        return self.dataset(self._made())

    def load_held_out(self) -> Dataset:
        """The rows that `hold_out` keeps from every run. Raises as `load`."""
        return self.held_out(self._made())

    def _made(self) -> TableFile:
        function: Any = type(self).given  # type: ignore[attr-defined]
        choice = f"dataset={self._choice}"
        try:
            made = function(**values_of(self, self._settings))
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # what ends the process would end a sweep unsaid
            told = ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())]))
            raise UserError(f"{choice} fails ({told}): change its settings, or mend it") from error
        data, labels = made if isinstance(made, tuple) and len(made) == 2 else (made, self.target)
        try:
            frame, target = held(data, labels)
        except UserError as error:
            raise UserError(f"{choice} returned no table: {error}") from None
        table = frame.table if target == self.target else frame.table.rename({target: self.target})
        return TableFile(self.name, table, kind="in-memory")

    def _check_counts(self, table: TableFile, **found: int) -> None:
        taken = {key for key, _, _ in self._settings}
        super()._check_counts(table, **{k: n for k, n in found.items() if k not in taken})


def as_source(given: Any, name: str | None = None, **described: Any) -> type[OwnSource]:
    """The class of data sources that ``given`` makes.

    Args:
      given: a function ``(setting=default, ...)`` that returns a table with its labels (a data
        frame or a mapping of names to columns), or ``(features, labels)``, of which features may
        be an array (rows, columns). Equal settings are to give equal tables: what is random is
        drawn from a ``seed`` that it takes.
      name: what it is chosen by, and called; its own name where there is none.
      described: what its columns mean, by the keys of a table (`TableDescription`), such as
        ``target``, ``positive``, ``group``, ``time``, ``licence``; and whether they are
        ``generated``.

    Raises:
      UserError: it is no such function, a setting has no default, or no table has such a key.
    """
    called = name_of(given, name)
    choice = f"dataset={called}"
    if not isinstance(given, FunctionType):
        raise UserError(
            f"{choice} is a {type(given).__name__}: give a function that returns a table"
        )
    settings = settings_of(given, choice=choice)
    hints = get_type_hints(OwnSource, include_extras=True)
    known = {one.name for one in fields(OwnSource)} - {key for key, _, _ in settings}
    for key in described:
        if key not in known:
            raise UserError(f"{choice}: @source({key}=...) is {none_of(key, sorted(known))}")
    said = [
        (key, hints[key], tuple(value) if isinstance(value, list) else value)
        for key, value in described.items()
    ]
    made: type[OwnSource] = chosen_as(
        given,
        called,
        [*settings, *said],
        bases=(OwnSource,),
        namespace={"_settings": tuple(settings)},
        tag="kind",
        free=(*_COUNTS, *described),
        choice=choice,
    )
    return made
