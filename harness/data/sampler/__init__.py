"""Resampling the training part, by imbalanced-learn: which rows are trained on, and how often.

A sampler sees the training part alone (`TrainingPart`) and returns the row numbers to train on and
the synthetic rows it made (`Resampled`). `makes_rows` says whether it may make any, which is what a
compiled program must know beforehand. Which of these rows meet in a batch is decided in
`data.batches`.
"""

from harness.data.sampler.cleaning import EditedNearestNeighbours, NearMiss, TomekLinks
from harness.data.sampler.repeating import NoSampler, RandomOversampler, RandomUndersampler
from harness.data.sampler.smote import (
    ADASYN,
    SMOTE,
    SMOTEENN,
    SVMSMOTE,
    BorderlineSMOTE,
    KMeansSMOTE,
    SMOTETomek,
)
from harness.data.sampler.training_part import Resampled, TrainingPart

SAMPLERS = (
    NoSampler,
    RandomOversampler,
    RandomUndersampler,
    SMOTE,
    BorderlineSMOTE,
    SVMSMOTE,
    KMeansSMOTE,
    ADASYN,
    TomekLinks,
    EditedNearestNeighbours,
    NearMiss,
    SMOTETomek,
    SMOTEENN,
)

__all__ = [
    "ADASYN",
    "SAMPLERS",
    "SMOTE",
    "SMOTEENN",
    "SVMSMOTE",
    "BorderlineSMOTE",
    "EditedNearestNeighbours",
    "KMeansSMOTE",
    "NearMiss",
    "NoSampler",
    "RandomOversampler",
    "RandomUndersampler",
    "Resampled",
    "SMOTETomek",
    "TomekLinks",
    "TrainingPart",
]
