"""What an experiment is: a question, sweeps, quantities, and claims that can be judged.

An experiment is a folder: `sweep.yaml` (what to train, if anything), `claims.yaml` (the rest of
`Experiment`) and a README that says what was expected before it ran. Both files are data: Pydantic
checks them, and every mistake is one line that names the file and the key.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from annotated_types import Ge, Gt, MinLen
from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError, with_config

from harness.errors import UserError
from harness.metrics.definitions import Split
from harness.metrics.names import parse

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
Words = Annotated[str, MinLen(1)]
Value = str | int | float | bool | None
Test = Literal["exact", "repeats", "rows", "draws", "share", "datasets"]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True)
class Size:
    """What a quick reproduction changes of a sweep."""

    set: dict[str, Value] = field(default_factory=dict)
    seeds: Annotated[int, Ge(1)] | None = None


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One `harness train -m`: ``set`` are its overrides, ``vary`` is the key that repeats it.

    ``vary`` takes the values 0 .. seeds - 1: `seed` where a run's own seed repeats it,
    `dataset.seed` where every repeat is data drawn afresh. ``start_from`` names an earlier sweep,
    which saves its parameters (`training.save_model`): each of its runs is started from.
    """

    set: dict[str, Value]
    seeds: Annotated[int, Ge(1)] = 1
    vary: str = "seed"
    start_from: str = ""
    quick: Size = field(default_factory=Size)

    def sized(self, *, quick: bool) -> "Sweep":
        if not quick:
            return self
        return replace(
            self, set={**self.set, **self.quick.set}, seeds=self.quick.seeds or self.seeds
        )


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a comparison: a ``measure`` of the rows of ``table`` for which ``where`` holds.

    Or the number ``value``. What the second side leaves empty is as on the first, but `where`.
    """

    where: str = ""
    measure: str = ""
    table: str = ""
    value: float | None = None


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence, and what would make it true: `of` minus `than` lies in a region.

    The region is above ``by`` (``expect: higher``), below -``by`` (lower), within +-``by`` (equal),
    or open to one side for what is no worse: above -``by`` (not_lower), below ``by`` (not_higher).
    ``by`` is the smallest difference that matters, or the tolerance. Rows are paired by
    the columns ``unit``. ``test`` says what the units are:

    - `exact`: nothing is left to chance; every unit must lie in the region, or the machinery or
      the theory is broken. Such a claim is an anchor.
    - `repeats`: repeated splits of one data set; t with Nadeau and Bengio's correction.
    - `rows`: rows of one data set, each with its mean over the runs that it was a test row of
      (the table `row_scores`); Student's t, or the exact binomial where `than` is a number and
      most rows are right or wrong (0 or 1). It is conditional on the models that were trained:
      about new rows for these, not about what other rows would have trained.
    - `draws`: data drawn afresh for each unit; Student's t.
    - `share`: `of` is 0 or 1 and `than` a number; exact binomial.
    - `datasets`: data sets; Wilcoxon's signed-rank test. Those made from the same rows are one.

    ``family`` is the question that a claim belongs to, where an experiment asks several: Holm's
    correction is over a family. ``exploratory`` claims were not stated before there were runs, or
    are many to look around with: they are a family by themselves, under Benjamini and Hochberg's.
    """

    name: Slug
    says: Words
    source: str = ""
    of: Side
    than: Side
    expect: Literal["higher", "lower", "equal", "not_lower", "not_higher"]
    by: Annotated[float, Ge(0)] = 0.0
    test: Test
    unit: Annotated[tuple[str, ...], MinLen(1)] = ("seed",)
    family: str = ""
    exploratory: bool = False

    def __post_init__(self) -> None:
        if not self.of.measure:
            raise ValueError("of needs a measure")
        if self.than.value is None and not (self.than.where or self.than.measure):
            raise ValueError("than needs a value, a measure or a where")
        if self.test == "share" and self.than.value is None:
            raise ValueError("test share compares with than.value")
        if self.exploratory and self.test == "exact":
            raise ValueError("an exact claim is an anchor, and never exploratory")

    @property
    def region(self) -> tuple[float, float]:
        """The ends of where the difference must lie."""
        return {
            "higher": (self.by, inf),
            "lower": (-inf, -self.by),
            "equal": (-self.by, self.by),
            "not_lower": (-self.by, inf),
            "not_higher": (-inf, self.by),
        }[self.expect]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True)
class Tune:
    """Hyperparameters chosen on validation for each group of runs, as in `harness analyze`.

    ``by`` is a metric or a measure of the experiment's own, which alone needs ``better``: which of
    its values are.
    """

    keys: Annotated[tuple[str, ...], MinLen(1)]
    by: Annotated[str, StringConstraints(pattern=r"^validation/")]
    better: Literal["higher", "lower"] | None = None

    @property
    def sign(self) -> int | None:
        """Of ``better``; None where the metric's own direction holds."""
        return {"higher": 1, "lower": -1, None: None}[self.better]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart of a table: y against x, a colour a group; rows of one x and group are averaged.

    `ranks` is Demsar's critical-difference diagram: the values of x by their rank on the metric y
    over the data sets that all of them have.
    """

    name: Slug
    title: Words
    table: str = "runs"
    where: str = ""
    x: Words
    y: Words
    color: str = ""
    facet: str = ""
    mark: Literal["line", "point", "bar", "ranks"] = "line"
    log_x: bool = False
    log_y: bool = False


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All of one folder of experiments/.

    ``tables`` and ``measures`` name entries of `computed.TABLES` and `quantities.MEASURES`, with
    their parameters: tables come without training (or from all runs at once), measures are columns
    added to their ``table`` (`runs` where none is named). Later ones may use earlier ones.
    """

    question: Words
    source: Words
    claims: Annotated[tuple[Claim, ...], MinLen(1)]
    tune: Tune | None = None
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    alpha: Annotated[float, Gt(0)] = 0.05
    sweeps: dict[str, Sweep] = field(default_factory=dict)
    name: str = ""
    folder: Path = Path()

    def __post_init__(self) -> None:
        names = Counter(claim.name for claim in self.claims)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"two claims are named {twice[0]}")
        earlier: set[str] = set()
        for name, sweep in self.sweeps.items():
            if sweep.start_from and sweep.start_from not in earlier:
                raise ValueError(f"sweep {name} starts from {sweep.start_from!r}, no earlier sweep")
            earlier.add(name)
        for place, column in self._columns():
            _check_metric(column, place, self.measures)
        if self.tune is not None:
            _check_direction(self.tune, self.measures)

    def _columns(self) -> Iterator[tuple[str, str]]:
        """The columns named, with the place where they are."""
        for claim in self.claims:
            yield f"claims.{claim.name}.of.measure", claim.of.measure
            yield f"claims.{claim.name}.than.measure", claim.than.measure
        for figure in self.figures:
            yield f"figures.{figure.name}.y", figure.y
        if self.tune is not None:
            yield "tune.by", self.tune.by


def _check_metric(column: str, place: str, measures: Collection[str]) -> None:
    """Raises a ValueError for a column that looks like a metric and is none.

    The others are the runs' facts, settings and measures, known once there are runs.
    """
    if column not in measures and column.partition("/")[0] in get_args(Split) and "/" in column:
        try:
            parse(column)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None


def _check_direction(tune: Tune, measures: Collection[str]) -> None:
    if tune.by in measures:
        if tune.better is None:
            raise ValueError(f"tune.better: higher or lower, since {tune.by} is no known metric")
        return
    metric = parse(tune.by).definition
    if tune.better is not None:
        raise ValueError(f"tune.better: leave it out, {metric.name} has its own direction")
    if not metric.sign:
        raise ValueError(f"tune.by: neither high nor low {metric.title} is better")


def read(folder: Path) -> Experiment:
    """The experiment in ``folder``.

    Raises:
      UserError: a file is missing or wrong; names the file, the key and the value.
    """
    claims = folder / "claims.yaml"
    values = _yaml(claims)
    if not (folder / "README.md").is_file():
        raise UserError(f"{folder}/README.md is missing: say there what is expected, and why")
    sweeps = folder / "sweep.yaml"
    made = {"name": folder.name, "folder": folder}
    if sweeps.is_file():
        made["sweeps"] = _checked(dict[str, Sweep], _yaml(sweeps), sweeps)
    return _checked(Experiment, {**values, **made}, claims)


def plain_values(value: Any) -> Any:
    """Plain values; of a dataclass, the fields that are not at their default."""
    if is_dataclass(value) and not isinstance(value, type):
        defaults = {
            f.name: f.default_factory() if f.default_factory is not MISSING else f.default
            for f in fields(value)
        }
        given = {name: getattr(value, name) for name in defaults}
        return {n: plain_values(v) for n, v in given.items() if v != defaults[n]}
    if isinstance(value, Mapping):
        return {str(key): plain_values(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(part) for part in value]
    return value


def experiments(root: Path) -> list[str]:
    """The names of all experiments below ``root``, sorted."""
    return sorted(path.parent.name for path in root.glob("*/claims.yaml"))


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: an experiment is a folder with claims.yaml") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(values, Mapping):
        raise UserError(f"{path} must hold keys and values, got {values!r}")
    return values


def _checked(kind: Any, values: Mapping[str, Any], path: Path) -> Any:
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        given = first["input"]
        shown = "" if isinstance(given, Mapping) else f", got {given!r}"
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {key + ': ' if key else ''}{message}{shown}") from None
