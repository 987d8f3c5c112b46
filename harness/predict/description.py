"""What `model.json` says: everything between a table's row and a decision that is no array.

A file of another's is data: it is read as these types and nothing else, and whatever does not fit
is one line. Parts (network, loss) are chosen by name among those known here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from harness.data.columns import Column
from harness.data.encoding import MISSING_MARKS, Encoding
from harness.data.table import marks_of
from harness.data.table_file import CsvFormat
from harness.errors import UserError, none_of
from harness.layout import MOST_IDS, TABLE, Part, laid_out, places_of
from harness.metrics.settings import Costs
from harness.predict.drift import Spread

FORMAT: Literal[1] = 1
"""Of a model's folder. A later harness reads all that an earlier one wrote."""

Rate = Annotated[float, Gt(0), Lt(1)]
Count = Annotated[int, Ge(1), Le(2**53)]
Weight = Annotated[float, Gt(0), Le(2**53)]  # rows of a class, by their weights


@dataclass(frozen=True)
class Reading:
    """How a table was read, and new ones are."""

    marks: tuple[str, ...] = MISSING_MARKS
    date_format: str | None = None
    csv: CsvFormat = field(default_factory=CsvFormat)

    @property
    def encoding(self) -> Encoding:
        return Encoding(marks=self.marks, date_format=self.date_format)

    def but(self, changes: Mapping[str, Any]) -> "Reading":
        """This, with some keys of a table's `dataset`, such as `encoding` and `missing`, changed.

        Raises:
          UserError: a key or value that no table has.
        """
        values, csv = {**vars(self)}, {**vars(self.csv)}
        for key, value in changes.items():
            name = key.removeprefix("dataset.")
            if name in csv:
                csv[name] = value
            elif name == "date_format":
                values[name] = value
            elif name == "missing":
                found = value if isinstance(value, list | None) else [value]
                values["marks"] = marks_of(None if found is None else tuple(map(str, found)))
            else:
                raise UserError(f"{key}: {none_of(name, [*csv, 'missing', 'date_format'])}")
        try:
            return _READING.validate_python({**values, "csv": csv})
        except ValidationError as error:
            key, what = _first(error)
            raise UserError(f"dataset.{key.removeprefix('csv.')}: {what}") from None


@dataclass(frozen=True)
class Recipe:
    """How logits become a posterior: the loss, as it was in the epoch that is kept.

    Attributes:
      loss: its configuration.
      num_negatives, num_positives: what it was trained on in the end.
      progress: the share of the training that the epoch ended.
      prior_shift: of the logit, from the prior trained under to the natural one.
    """

    loss: dict[str, Any]
    num_negatives: Count | Weight
    num_positives: Count | Weight
    progress: Annotated[float, Ge(0), Le(1)]
    prior_shift: float


@dataclass(frozen=True)
class Threshold:
    """Where decisions are cut, as a raw logit; the rule that chose it on validation; its costs."""

    logit: float
    rule: str
    costs: Costs


@dataclass(frozen=True)
class Labels:
    """As the table spells them. ``column`` held them; a negative of several is `not` the other."""

    positive: str
    negative: str
    reason: str = ""
    column: str | None = None


@with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
@dataclass(frozen=True, kw_only=True)
class Description:
    """A model, but for its arrays.

    Attributes:
      network: the configuration of its model.
      columns: what it takes of a row, in the order of its features.
      features: their names.
      room: features that the program it was trained by has room for: the rest are 0. Sums of so
        many terms round as they did there.
      prior: the share of positives under which its probabilities hold.
      training: how the rows that it was trained on spread, by column.
      beside: columns of its table that are no features, by the part that they had there.
      about: where it comes from, and how good it was: for people and programs, not for predicting.
      parts: features that its network may take as an array.
    """

    format: Literal[1]
    network: dict[str, Any]
    columns: Annotated[tuple[Column, ...], MinLen(1)]
    features: tuple[str, ...]
    room: Count
    reading: Reading
    recipe: Recipe
    calibrator: Annotated[str, MaxLen(61)] | None
    threshold: Threshold
    labels: Labels
    prior: Rate
    training: tuple[Spread, ...]
    beside: dict[str, str]
    about: dict[str, Any]
    parts: tuple[Part, ...] = ()

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Codes, and the one of what is missing, of each of the last features; and the arrays."""
        found: list[int] = []
        for one in filter(_is_coded, self.columns):
            found += [one.vocabulary or len(one.levels) + 1] * one.num_features
        return laid_out(tuple(found), self.parts)


def _is_coded(column: Column) -> bool:
    return column.kind in ("code", "tokens")


_ADAPTER, _READING = TypeAdapter(Description), TypeAdapter(Reading)


def _first(error: ValidationError) -> tuple[str, str]:
    """The first wrong key, and what is wrong with it."""
    first = error.errors(include_url=False)[0]
    return ".".join(map(str, first["loc"])), first["msg"]


def read(content: bytes, *, place: str) -> Description:
    """The description in ``content``, which may be anything.

    Raises:
      UserError: it is none, or one of a format that is not known yet.
    """
    try:
        found = _ADAPTER.validate_json(content)
    except ValidationError as error:
        key, what = _first(error)
        if key == "format":
            remedy = "a newer harness may have written it: update this one"
            raise UserError(f"{place}: no model: its format is not {FORMAT}; {remedy}") from None
        raise UserError(f"{place}: no model: {key or 'it'}: {what}") from None
    if problem := _unsound(found):
        raise UserError(f"{place}: no model: {problem}")
    return found


def _unsound(one: Description) -> str:
    """What does not fit together; empty where all does."""
    names = [column.name for column in one.columns]
    if len(set(names)) < len(names):
        return "two columns have one name"
    for column in one.columns:
        if not column.is_sound:
            return f"column {column.name!r} is described in parts that do not fit"
    coded = [_is_coded(column) for column in one.columns]
    if coded != sorted(coded):
        return "codes are not its last columns"
    if sum(column.num_features for column in one.columns) != len(one.features):
        return f"its columns do not give its {len(one.features)} features"
    if not _are_parts(one.parts, len(one.features)):
        return "its arrays are none of its features"
    if not len(one.features) <= one.room <= max(8, 2 * len(one.features)):
        return f"it has room for {one.room} features, and {len(one.features)} of them"
    if len(one.training) != len(one.columns) or not all(
        spread.fits(column) for spread, column in zip(one.training, one.columns, strict=True)
    ):
        return "what it says of the training rows does not fit its columns"
    return ""


def _are_parts(parts: tuple[Part, ...], num_features: int) -> bool:
    """Whether they have names and places of their own."""
    end, names = 0, {part.name for part in parts}
    for part in parts:
        sizes = all(0 < size <= MOST_IDS for size in part.shape)
        ids = part.vocabulary is None or 0 < part.vocabulary <= MOST_IDS
        if not (part.shape and sizes and ids and end <= part.start):
            return False
        end = places_of(part).stop
    return end <= num_features and len(names) == len(parts) and TABLE not in names


def dumped(one: Description) -> dict[str, Any]:
    """As plain values; `read` gives it back."""
    return _ADAPTER.dump_python(one, mode="json")
