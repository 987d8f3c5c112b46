"""Repeating or dropping rows at random: the class prior changes, and nothing else."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from harness.data.sampler.training_part import (
    Ratio,
    Resampled,
    TrainingPart,
    added_rows,
    check_ratio,
    fit_resample,
    oversampled_to,
    undersampled_to,
)
from harness.data.streams import Purpose, legacy_seed


@dataclass(frozen=True)
class NoSampler:
    """The training rows as they are."""

    name: Literal["none"] = "none"
    makes_rows: ClassVar[bool] = False

    def resample(self, part: TrainingPart, *, seed: int) -> Resampled:
        """All of `part`."""
        return part.untouched()


@dataclass(frozen=True)
class RandomOversampler:
    """Draws rows of the rarer class again, with replacement, up to `ratio` times the others."""

    name: Literal["random_over"] = "random_over"
    ratio: Ratio = 1.0
    makes_rows: ClassVar[bool] = False

    def resample(self, part: TrainingPart, *, seed: int) -> Resampled:
        """Raises UserError where `ratio` is below what the rows already have."""
        from imblearn.over_sampling import RandomOverSampler  # a second to import

        check_ratio(part, self.name, self.ratio)
        if added_rows(part, self.ratio) == 0:
            return part.untouched()
        return _drawn(RandomOverSampler, self, oversampled_to(part, self.ratio), part, seed)


@dataclass(frozen=True)
class RandomUndersampler:
    """Drops rows of the commoner class until the rarer are `ratio` times as many."""

    name: Literal["random_under"] = "random_under"
    ratio: Ratio = 1.0
    makes_rows: ClassVar[bool] = False

    def resample(self, part: TrainingPart, *, seed: int) -> Resampled:
        """Raises UserError where `ratio` is below what the rows already have."""
        from imblearn.under_sampling import RandomUnderSampler

        check_ratio(part, self.name, self.ratio)
        return _drawn(RandomUnderSampler, self, undersampled_to(part, self.ratio), part, seed)


def _drawn(
    method: Any,
    sampler: RandomOversampler | RandomUndersampler,
    counts: dict[int, int],
    part: TrainingPart,
    seed: int,
) -> Resampled:
    drawing = method(sampling_strategy=counts, random_state=legacy_seed(seed, Purpose.SAMPLER))
    places = part.rows.reshape(-1, 1)  # features are of no account
    fit_resample(drawing, places, part.labels, name=sampler.name, remedy="raise sampler.ratio")
    return part.chosen(drawing.sample_indices_)
