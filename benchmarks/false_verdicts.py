"""How often verdicts are false where the truth is known: at 0, and at the edge of what is claimed.

    python -m benchmarks.false_verdicts [DRAWS]

Each draw goes through the code that judges: `comparisons` as a report does, `judge` as a
reproduction. There a verdict of any kind is false in at most 5% of the draws: "better" and "worse"
of losses that do not differ, "same" of one that differs by the margin, "supported" of a claim whose
region the truth lies just outside of, and "refuted" of one that it lies just inside of.
"""

import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from harness.analyze import comparisons
from harness.reproduce.claims import Claim, Side, Test
from harness.reproduce.judging import Pairs, judge

Floats = NDArray[np.float64]
MARGIN = 0.01
SPREAD = 0.01
FOLDS, ROUNDS, ROWS, FEATURES = 5, 6, 200, 20
SHIFT = 0.3  # between the means of the classes, in each feature
SPLITS = FOLDS * ROUNDS
RATIO = 1 / (FOLDS - 1)  # all rows that are not tested on made the run

Draw = Callable[[np.random.Generator, float], Floats]
"""Differences of known mean: of repeated splits, or one a row, a data set or a draw."""


def of_splits(rng: np.random.Generator, mean: float) -> Floats:
    """Nadeau and Bengio's own model: splits of one data set share a part of their noise."""
    shared = np.sqrt(RATIO / (1 + RATIO))
    own = np.sqrt(1 - shared**2)
    noise = shared * rng.standard_normal() + own * rng.standard_normal(SPLITS)
    return np.asarray(mean + SPREAD * noise)


def of_learners(rng: np.random.Generator, mean: float) -> Floats:
    """Two learners that cannot differ, in repeated stratified folds of one data set.

    One sees the first half of the features, the other the second, which are alike; each is the
    line between class means, judged by its error. Their mean difference over data sets is 0.
    """
    labels = np.arange(ROWS) % 2
    features = rng.standard_normal((ROWS, FEATURES)) + SHIFT * labels[:, None]
    halves = features[:, : FEATURES // 2], features[:, FEATURES // 2 :]
    differences = []
    for _ in range(ROUNDS):
        fold = _folds(rng, labels)
        for test in range(FOLDS):
            seen = fold != test
            errors = [_error(half, labels, seen) for half in halves]
            differences.append(mean + errors[0] - errors[1])
    return np.array(differences)


def _error(features: Floats, labels: NDArray[np.int_], seen: NDArray[np.bool_]) -> float:
    return float(np.mean(_wrong(_line(features[seen], labels[seen]), features, labels)[~seen]))


def _line(features: Floats, labels: NDArray[np.int_]) -> tuple[Floats, Floats]:
    """Direction and middle of the line between class means."""
    means = [features[labels == label].mean(axis=0) for label in (0, 1)]
    return means[1] - means[0], (means[0] + means[1]) / 2


def _wrong(line: tuple[Floats, Floats], features: Floats, labels: NDArray[np.int_]) -> Floats:
    across, middle = line
    return np.asarray(((features - middle) @ across > 0) != labels, float)


def of_rows(rng: np.random.Generator, mean: float) -> Floats:
    """The rows of `of_learners`, each with its mean over the rounds.

    The claim is about the models that were trained. What they truly differ by, the errors of
    lines between normal classes, is another number for every data set, and is taken out.
    """
    labels = np.arange(ROWS) % 2
    features = rng.standard_normal((ROWS, FEATURES)) + SHIFT * labels[:, None]
    halves = features[:, : FEATURES // 2], features[:, FEATURES // 2 :]
    total, truth = np.zeros(ROWS), []
    for _ in range(ROUNDS):
        fold = _folds(rng, labels)
        for test in range(FOLDS):
            seen = fold != test
            lines = [_line(half[seen], labels[seen]) for half in halves]
            first, second = (_wrong(*one, labels) for one in zip(lines, halves, strict=True))
            total += np.where(seen, 0.0, first - second)
            truth.append(_true_error(lines[0]) - _true_error(lines[1]))
    return np.asarray(mean + total / ROUNDS - np.mean(truth))


def _true_error(line: tuple[Floats, Floats]) -> float:
    across, middle = line
    length = np.linalg.norm(across)
    alarms = stats.norm.sf(middle @ across / length)
    misses = stats.norm.cdf((middle - SHIFT) @ across / length)
    return float((alarms + misses) / 2)


def _folds(rng: np.random.Generator, labels: NDArray[np.int_]) -> NDArray[np.int_]:
    """The fold of each row, stratified."""
    fold = np.empty(labels.size, int)
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        fold[rng.permutation(rows)] = np.arange(rows.size) % FOLDS
    return fold


def of_data_sets(rng: np.random.Generator, mean: float, *, heavy: bool = False) -> Floats:
    """Twenty data sets, whose differences are normal or have the heavy tails of real ones."""
    noise = rng.standard_t(3, 20) / np.sqrt(3) if heavy else rng.standard_normal(20)
    return np.asarray(mean + SPREAD * noise)


def of_trials(
    rng: np.random.Generator, mean: float, *, count: int = 60, share: float = 0.2
) -> Floats:
    """Trials of 0 and 1, of which so large a share is 1, minus that share."""
    return np.asarray(rng.binomial(1, share + mean, count) - share)


def of_shares(rng: np.random.Generator, mean: float) -> Floats:
    """208 rows that one to six models tested, minus .95: a sixth is hard, the rest always right."""
    times = rng.integers(1, ROUNDS + 1, 208)
    chance = np.where(rng.random(208) < 1 / 6, 1 - 6 * (0.05 - mean), 1.0)
    return np.asarray(rng.binomial(times, chance) / times - 0.95)


KINDS: dict[str, tuple[Test, Draw, float]] = {
    "repeats: Nadeau and Bengio's model": ("repeats", of_splits, 0.0),
    "repeats: learners in repeated folds": ("repeats", of_learners, 0.0),
    "rows: learners in repeated folds": ("rows", of_rows, 0.0),
    "rows: 60 right or wrong": ("rows", partial(of_trials, share=0.95), 0.95),
    "rows: 208 right or wrong": ("rows", partial(of_trials, count=208, share=0.95), 0.95),
    "rows: 208 right in a share of models": ("rows", of_shares, 0.95),
    "draws: normal": ("draws", of_data_sets, 0.0),
    "datasets: normal": ("datasets", of_data_sets, 0.0),
    "datasets: heavy tails": ("datasets", partial(of_data_sets, heavy=True), 0.0),
    "share: 60 trials": ("share", of_trials, 0.2),
}
"""Of each: its test, what is drawn, and the number that is compared with."""


def claimed(expect: str, test: Test, than: float) -> Claim:
    return Claim(
        name="null", says=".", of=Side(measure="m"), than=Side(value=than), expect=expect,  # type: ignore[arg-type]
        by=MARGIN, test=test,
    )  # fmt: skip


def judged(kind: str, expect: str, at: float, draws: int) -> list[str]:
    """The verdicts on a claim where the true difference is ``at``."""
    test, draw, than = KINDS[kind]
    rng, claim = np.random.default_rng(zlib.crc32(expect.encode())), claimed(expect, test, than)
    ratio = RATIO if test == "repeats" else 0.0
    return [
        judge([claim], [Pairs(draw(rng, at), ratio=ratio, threshold=than)], alpha=0.05)[0].word
        for _ in range(draws)
    ]


def reported(test: Test, draw: Draw, at: float, draws: int) -> list[str]:
    """What a report says of one loss beside the baseline, the true difference of AP being ``at``.

    Draws are data sets of one table of splits each; or one sweep each, over data sets.
    """
    rng, words = np.random.default_rng(1), []
    for _ in range(draws):
        seen = draw(rng, at)
        table = comparisons.differences(_sweep(seen, over=test), rope=MARGIN)
        if test == "datasets":
            table = comparisons.across_datasets(table, rope=MARGIN)
        words += table["verdict"].to_list()
    return words


def _sweep(differences: Floats, *, over: Test) -> pl.DataFrame:
    """Chosen runs of bce and focal whose average precision differs so."""
    count = differences.size
    names = [f"d{i}" for i in range(count)] if over == "datasets" else ["d"] * count
    base = np.full(count, 0.5)
    runs = {
        "dataset": names * 2,
        "positive_rate": [0.5] * (2 * count),
        "settings": [""] * (2 * count),
        "method": ["bce"] * count + ["focal"] * count,
        "replicate": [f"seed={i}" for i in range(count)] * 2,
        "test/average_precision": np.concatenate([base, base + differences]),
        "num_train": [60] * (2 * count),
        "num_validation": [20] * (2 * count),
        "num_test": [20] * (2 * count),
    }
    return pl.DataFrame(runs, schema_overrides={"positive_rate": pl.Float64})


# What is false at a true difference of so many margins, of a claim of each kind.
FALSE = (
    ("higher", 1, "supported"),
    ("higher", 1.0001, "refuted"),
    ("lower", -1, "supported"),
    ("equal", 1, "supported"),
    ("equal", 0.9999, "refuted"),
    ("not_lower", -1, "supported"),
    ("not_higher", 1, "supported"),
)


def rates(draws: int, kinds: Sequence[str] = tuple(KINDS)) -> Iterator[tuple[str, str, float]]:
    """(kind of test, what was false, in what share of the draws)."""
    for kind in kinds:
        test, draw, than = KINDS[kind]
        # What would decide a share is searched for, which takes a tenth of a second each.
        count = max(draws // 10, 1) if than else draws
        for expect, margins, wrong in FALSE:
            words = judged(kind, expect, margins * MARGIN, count)
            said = f"{expect}: {wrong} at {margins:g} margins"
            yield kind, said, float(np.mean([word == wrong for word in words]))
        if test in ("repeats", "datasets"):
            words = reported(test, draw, 0.0, draws)
            share = np.mean([word in ("better", "worse") for word in words])
            yield kind, "report: better or worse at 0", float(share)
            words = reported(test, draw, MARGIN, draws)
            yield kind, "report: same at 1 margin", float(np.mean([w == "same" for w in words]))


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"| test | false verdict | share of {number} draws |\n|---|---|---|")
    for row in rates(number):
        print(f"| {row[0]} | {row[1]} | {row[2]:.3f} |", flush=True)
