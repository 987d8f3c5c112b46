"""The owner of the data sets in memory: whoever needs one asks here, and all get the same."""

from collections import OrderedDict
from dataclasses import dataclass
from threading import RLock
from typing import Any
from weakref import WeakValueDictionary

from harness.data.dataset import Dataset

# What the data sets kept between uses may weigh together.
KEPT_BYTES = 2**30


@dataclass(frozen=True)
class Facts:
    """What is remembered of a data set that is no longer in memory. Equal facts, equal data."""

    fingerprint: str
    num_rows: int
    num_features: int
    num_positives: int
    cardinalities: tuple[int, ...]
    has_missing: bool


class Datasets:
    """Loads, shares and drops data sets.

    Equal sources share one Dataset for as long as anybody uses it; a file that changed is read
    again. Of those nobody uses, the latest are kept: at most ``kept_bytes`` together, and at least
    the last one. Safe to use from several threads.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES):
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[Any, Dataset] = OrderedDict()  # the latest last
        self._alive: WeakValueDictionary[Any, Dataset] = WeakValueDictionary()
        self._facts: dict[Any, Facts] = {}
        self._lock = RLock()

    def get(self, source: Any) -> Dataset:
        """The data set of a `dataset` config. Raises UserError as its `load` does."""
        with self._lock:
            key = _key(source)
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            dataset = self._alive.get(key)
            if dataset is None:
                self._forget_states_of(source)
                dataset = self._alive[key] = self._loaded(source)
            self._kept[key] = dataset
            self._drop()
            return dataset

    def facts(self, source: Any) -> Facts:
        """The data set's facts, without loading it where they are known."""
        with self._lock:
            key = _key(source)
            if key not in self._facts:
                dataset = self.get(source)
                self._facts[key] = Facts(
                    fingerprint=dataset.fingerprint,
                    num_rows=dataset.num_rows,
                    num_features=dataset.num_features,
                    num_positives=dataset.num_positives,
                    cardinalities=dataset.cardinalities,
                    has_missing=dataset.has_missing,
                )
            return self._facts[key]

    def _loaded(self, source: Any) -> Dataset:
        # What is made from another data set shares its arrays, so that one needs them in memory.
        if hasattr(source, "base"):
            return source.load_over(self.get(source.base))
        return source.load()

    def _forget_states_of(self, source: Any) -> None:
        """Lets go of what was in the source's file before it changed."""
        for known in (self._kept, self._facts):
            for key in [key for key in known if key[0] == source]:
                del known[key]

    def _drop(self) -> None:
        """Lets go of the oldest, which live on as long as somebody else holds them."""
        while len(self._kept) > 1 and self._weight() > self._kept_bytes:
            self._kept.popitem(last=False)

    def _weight(self) -> int:
        arrays = {id(a): a.nbytes for dataset in self._kept.values() for a in dataset.arrays}
        return sum(arrays.values())


def _key(source: Any) -> Any:
    return source, source.state() if hasattr(source, "state") else None


# The one of this process.
datasets = Datasets()
