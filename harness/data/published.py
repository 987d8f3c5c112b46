"""Data sets that others published: what their configs record, and the check against it."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from harness.data.columns import Columns
from harness.data.dataset import Dataset, standardised
from harness.data.spelling import OptionalText, Text
from harness.errors import UserError

Count = Annotated[int, Ge(1)] | None


@dataclass(frozen=True, kw_only=True)
class Published:
    """A named table: which columns it gives, and the counts it was published with.

    ``positive`` is a label, the others being negative; None takes the rarer of two by count.
    ``drop`` names columns that are no features: those that give the label away, above all.
    ``rows``, ``features`` (columns, before text is encoded) and ``positives`` are checked on
    every load; None checks nothing.
    """

    name: Text
    target: Text
    positive: OptionalText = None
    drop: tuple[str, ...] = ()
    rows: Count = None
    features: Count = None
    positives: Count = None
    source: str = ""
    licence: str = "not stated"
    application: str = ""

    def checked(self, columns: Columns, *, place: str) -> Dataset:
        """The Dataset of ``columns``. Raises UserError where a recorded count differs."""
        found = {
            "rows": len(columns.labels),
            "features": columns.num_columns,
            "positives": int(columns.labels.sum(dtype="int64")),
        }
        for key, count in found.items():
            recorded = getattr(self, key)
            if recorded not in (None, count):
                raise UserError(
                    f"dataset {self.name}: {place} has {count:,} {key} where the config says "
                    f"{recorded:,}: it is not the data described; dataset.{key}=null takes it "
                    "as it is"
                )
        features, raw = standardised(columns.features)
        return Dataset(
            name=self.name,
            features=features,
            labels=columns.labels,
            feature_names=columns.names,
            positive_label=columns.positive_label,
            source=self.source,
            licence=self.licence,
            application=self.application,
            raw=raw,
        )
