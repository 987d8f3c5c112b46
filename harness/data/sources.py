"""Where data comes from: each source is a config, and `load()` gives its Dataset.

`load()` reads or draws anew each time; `harness.data.library` shares what is loaded.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Discriminator

from harness.data.dataset import Dataset, Overview, standardised
from harness.data.in_memory import Memory
from harness.data.openml import OpenML
from harness.data.packages import Mislabelled, Wheel
from harness.data.synthetic import SYNTHETIC, Generated
from harness.data.table import Table
from harness.data.target import Text
from harness.errors import UserError
from harness.layout import Part, laid_out

# What rows are besides features: networks of one's own may take them as such.
_ARRAYS = {"digits": (Part("image", (8, 8, 1), start=0),)}
_SKLEARN = {
    "breast_cancer": (
        "UCI Breast Cancer Wisconsin (Diagnostic), doi:10.24432/C5DW2B, via scikit-learn",
        "medical diagnosis",
    ),
    "digits": (
        "UCI Optical Recognition of Handwritten Digits (test part), doi:10.24432/C50P49, "
        "via scikit-learn",
        "image recognition",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Sklearn:
    """Data shipped inside scikit-learn. `positive`: `malignant` or `benign`; a digit 0 to 9,
    against the rest. `family`: as of `harness.data.table.TableDescription`."""

    kind: Literal["sklearn"] = "sklearn"
    name: Literal["breast_cancer", "digits"]
    positive: Text
    family: str = ""

    def load(self) -> Dataset:
        """Reads it. Raises UserError for an unknown `positive`."""
        return _load_sklearn(self)

    def overview(self) -> Overview:
        """Of the data itself, which is small and there."""
        dataset = self.load()
        return Overview(
            rows=dataset.num_rows,
            features=dataset.num_features,
            positives=dataset.num_positives,
            source=dataset.source,
            licence=dataset.licence,
            application=dataset.application,
        )


# Told apart by `kind`.
AnySource = Annotated[
    Sklearn | Generated | Table | Memory | Wheel | Mislabelled | OpenML, Discriminator("kind")
]
DATASETS = (Sklearn, *SYNTHETIC, Table, Memory, Wheel, Mislabelled, OpenML)


def _load_sklearn(config: Sklearn) -> Dataset:
    from sklearn import datasets  # late: it takes most of a second

    source, application = _SKLEARN[config.name]
    bunch = getattr(datasets, f"load_{config.name}")()
    classes = [str(label) for label in bunch.target_names]
    if config.positive not in classes:
        raise UserError(
            f"dataset.positive {config.positive!r} is no class of {config.name}: "
            f"choose one of {', '.join(classes)}"
        )
    features, raw = standardised(np.asarray(bunch.data, dtype=np.float64))
    return Dataset(
        name=config.name,
        features=features,
        labels=(bunch.target == classes.index(config.positive)).astype(np.int8),
        feature_names=tuple(str(name) for name in bunch.feature_names),
        positive_label=config.positive,
        positive_reason="by dataset.positive",
        negative_label=next(one for one in classes if one != config.positive)
        if len(classes) == 2
        else "",
        source=source,
        licence="CC BY 4.0",
        application=application,
        raw=raw,
        cardinalities=laid_out((), _ARRAYS.get(config.name, ())),
    )
