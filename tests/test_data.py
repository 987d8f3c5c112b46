"""Built-in data against published counts and known answers; the config files; the description."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from harness.data.dataset import Dataset, standardised
from harness.data.describe import describe, render
from harness.data.imbalance import Imbalance
from harness.data.sampler import NoSampler, RandomOversampler, RandomUndersampler
from harness.data.sources import DATASETS, AnySource, Sklearn, Table
from harness.data.synthetic import TwoGaussians
from harness.errors import UserError

CONF = Path(__file__).parents[1] / "conf"
DIGIT_COUNTS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)  # of the UCI test part


def parsed(config: dict) -> AnySource:
    return TypeAdapter(AnySource).validate_python(config)


def small(**changes) -> Dataset:
    fields = {
        "name": "small",
        "features": np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]], np.float32),
        "labels": np.array([0, 1, 0], np.int8),
        "feature_names": ("a", "b"),
        "positive_label": "1",
        "source": "test",
        "licence": "none",
    }
    return Dataset(**(fields | changes))


def test_breast_cancer_has_its_published_counts():
    dataset = Sklearn(name="breast_cancer", positive="malignant").load()
    assert dataset.features.shape == (569, 30)
    assert (dataset.num_rows, dataset.num_features, dataset.num_positives) == (569, 30, 212)
    assert dataset.features.dtype == np.float32 and dataset.labels.dtype == np.int8
    assert dataset.licence == "CC BY 4.0" and "C5DW2B" in dataset.source
    # Malignant tumours are the larger ones: the labels are not the wrong way round.
    radius = dataset.features[:, dataset.feature_names.index("mean radius")]
    assert radius[dataset.labels == 1].mean() > radius[dataset.labels == 0].mean() + 1


@pytest.mark.parametrize(("digit", "count"), list(enumerate(DIGIT_COUNTS)))
def test_digits_have_their_published_counts(digit, count):
    dataset = parsed({"kind": "sklearn", "name": "digits", "positive": digit}).load()
    assert (dataset.features.shape, dataset.num_positives) == ((1797, 64), count)
    assert dataset.positive_label == str(digit)


@pytest.mark.parametrize("config", [
    Sklearn(name="digits", positive="10"), Sklearn(name="breast_cancer", positive="M"),
])  # fmt: skip
def test_unknown_positive_names_the_choices(config):
    with pytest.raises(UserError, match=f"{config.positive!r}.*choose one of"):
        config.load()


# anchors.md: AUROC, BCE, Brier, AP of the true posterior.
KNOWN_ANSWERS = [
    (2.0, 0.05, 0.9214, 0.11800, 0.03199, 0.5376),
    (2.0, 0.01, 0.9214, 0.03735, 0.00836, 0.2690),
    (2.0, 0.5, 0.9214, 0.35632, 0.11240, 0.9218),
    (1.0, 0.05, 0.7602, 0.17546, None, 0.1733),
]


@pytest.mark.parametrize(("distance", "rate", "auroc", "bce", "brier", "ap"), KNOWN_ANSWERS)
def test_two_gaussians_posterior_scores_its_known_answers(distance, rate, auroc, bce, brier, ap):
    measures = {roc_auc_score: auroc, log_loss: bce, brier_score_loss: brier}
    measures |= {average_precision_score: ap}
    datasets = [
        TwoGaussians(
            rows=20_000, num_features=3, distance=distance, positive_rate=rate, seed=seed
        ).load()
        for seed in range(12)
    ]
    assert {dataset.num_positives for dataset in datasets} == {round(20_000 * rate)}
    for measure, expected in measures.items():
        if expected is not None:
            values = [measure(dataset.labels, dataset.posterior) for dataset in datasets]
            # Five standard errors of the mean of 12 draws: a false alarm in 10^4 or less (t, 11
            # degrees of freedom), plus the rounding of the published digits.
            error = np.std(values, ddof=1) / np.sqrt(len(values))
            assert abs(np.mean(values) - expected) < 5 * error + 5e-5, measure.__name__


def test_two_gaussians_log_odds_have_the_stated_law():
    config = TwoGaussians(rows=50_000, num_features=7, distance=2.0, positive_rate=0.1, seed=3)
    dataset = config.load()
    assert dataset.posterior is not None and dataset.raw is not None
    log_odds = np.log(dataset.posterior / (1 - dataset.posterior))
    for label, sign in ((0, -1), (1, 1)):
        group = log_odds[dataset.labels == label]
        tolerance = 5 * 2.0 / np.sqrt(len(group))  # five standard errors of a mean with sd 2
        assert abs(group.mean() - (np.log(0.1 / 0.9) + sign * 2.0)) < tolerance
        assert abs(group.var() - 4.0) < 5 * 4.0 * np.sqrt(2 / len(group))
    raw = dataset.features * dataset.raw.std + dataset.raw.mean
    gap = raw[dataset.labels == 1].mean(axis=0) - raw[dataset.labels == 0].mean(axis=0)
    # Each feature's gap is d / sqrt(7); its standard error sqrt(1/5000 + 1/45000) is .015.
    np.testing.assert_allclose(gap, 2.0 / np.sqrt(7), atol=5 * 0.015)


def test_two_gaussians_are_their_seed():
    config = TwoGaussians(rows=200, num_features=1, distance=1.0, positive_rate=0.3, seed=0)
    assert config.load().fingerprint == config.load().fingerprint
    other = replace(config, seed=1).load()
    assert other.fingerprint != config.load().fingerprint
    with pytest.raises(UserError, match=r"0 of dataset\.rows 200 would be positive"):
        replace(config, positive_rate=0.001).load()


@pytest.mark.parametrize("bad", [
    {"rows": 1}, {"num_features": 0}, {"distance": -1.0}, {"positive_rate": 1.0}, {"seed": -1},
])  # fmt: skip
def test_two_gaussians_config_has_bounds(bad):
    good = yaml.safe_load((CONF / "dataset/two_gaussians.yaml").read_text())
    with pytest.raises(ValidationError, match=next(iter(bad))):
        parsed(good | bad)


@pytest.mark.parametrize(("changes", "message"), [
    ({"labels": np.zeros(3, np.int8)}, "0 of 3 rows are positive"),
    ({"labels": np.ones(3, np.int8)}, "3 of 3 rows are positive"),
    ({"labels": np.array([0, 1, 2], np.int8)}, "labels hold 2"),
    ({"labels": np.array([0, 1, -1], np.int8)}, "labels hold -1"),
    ({"labels": np.array([0, 1], np.int8)}, r"labels are int8 \(2,\)"),
    ({"labels": np.array([0, 1, 0])}, "labels are int64"),
    ({"features": np.ones((3, 2), np.float32)}, "all 2 features are constant"),
    ({"features": np.ones((3, 2))}, "features are float64"),
    ({"features": np.ones(3, np.float32)}, r"float32 \(3,\)"),
    ({"features": np.ones((3, 0), np.float32)}, "0 features"),
    ({"features": np.array([[0, 1], [1, 1], [np.inf, 1]], np.float32)}, "'a', row 3 is inf"),
    ({"feature_names": ("a",)}, "1 feature names for 2 features"),
    ({"features": np.array([[0, np.nan]] * 3, np.float32)}, "all 2 features are constant"),
    ({"posterior": np.ones(2)}, r"posterior has shape \(2,\)"),
    ({"cardinalities": (2, 2, 2)}, "3 cardinalities for 2 features"),
    ({"cardinalities": (1,)}, r"'b', row 1 is 1\.0: code its levels 0 to 0"),
    ({"groups": np.zeros(3)}, "groups is float64: give int32"),
    ({"times": np.array([0, 1, np.nan])}, "times, row 3 is nan"),
])  # fmt: skip
def test_dataset_refuses(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        small(**changes)
    assert "small" in str(caught.value) and "\n" not in str(caught.value)


def test_fingerprint_sees_features_labels_and_shape_only():
    base = small()
    assert small(name="other", feature_names=("c", "d")).fingerprint == base.fingerprint
    assert len(base.fingerprint) == 64
    flipped = small(labels=np.array([1, 0, 0], np.int8))
    moved = small(features=base.features + np.float32(1))
    wide = np.arange(12, dtype=np.float32)
    two = [
        small(features=wide.reshape(shape), labels=np.arange(shape[0], dtype=np.int8) % 2,
              feature_names=tuple(map(str, range(shape[1]))))
        for shape in ((4, 3), (6, 2))
    ]  # fmt: skip
    coded = small(cardinalities=(2,))
    grouped = small(groups=np.zeros(3, np.int32))
    timed = small(times=np.zeros(3))
    differ = (base, flipped, moved, *two, coded, grouped, timed)
    assert len({item.fingerprint for item in differ}) == len(differ)


def test_datasets_are_read_only():
    dataset = Sklearn(name="breast_cancer", positive="malignant").load()
    for array in (dataset.features, dataset.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_standardising_keeps_what_float32_would_lose():
    raw = np.array([[1e9 + 1, 7, 1e308, 5e-324], [1e9 + 2, 7, -1e308, 0], [1e9 + 3, 7, 0, 0]])
    features, summary = standardised(raw)
    step = np.sqrt(1.5)
    np.testing.assert_allclose(features[:, 0], [-step, 0, step], rtol=1e-6, atol=1e-7)
    assert (features[:, 1] == 0).all() and np.isfinite(features).all()
    np.testing.assert_allclose(summary.mean[:3], [1e9 + 2, 7, 0], rtol=1e-12, atol=1e292)
    assert summary.min[0] == 1e9 + 1 and summary.max[0] == 1e9 + 3


def test_standardising_agrees_with_numpy():
    raw = load_breast_cancer().data
    features, summary = standardised(raw)
    np.testing.assert_allclose(summary.mean, raw.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(summary.std, raw.std(axis=0), rtol=1e-10)
    np.testing.assert_allclose(
        features, (raw - raw.mean(axis=0)) / raw.std(axis=0), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("path", sorted((CONF / "dataset").glob("*.yaml")), ids=lambda p: p.stem)
def test_dataset_configs_load(path):
    text = path.read_text()
    config = yaml.safe_load(text)
    assert text.startswith("# ") and "Source" in text and "icence" in text
    if config["kind"] == "table":
        assert config["path"] == config["target"] == "???"
        assert isinstance(parsed(config), Table)
    elif config["kind"] not in {"wheel", "openml", "memory"}:
        # Those are loaded in tests/test_named.py, and memory in tests/test_in_memory.py.
        assert parsed(config).load().name == config["name"] == path.stem


def test_every_source_has_a_config():
    paths = (CONF / "dataset").rglob("*.yaml")
    kinds = {yaml.safe_load(path.read_text())["kind"] for path in paths}
    kinds |= {"mislabelled"}  # any wheel's config under experiment=mislabelled
    assert kinds == {source.__dataclass_fields__["kind"].default for source in DATASETS}


def test_imbalance_and_sampler_configs_validate():
    def load(path: str, kind: type) -> object:
        return TypeAdapter(kind).validate_python(yaml.safe_load((CONF / path).read_text()))

    assert load("imbalance/natural.yaml", Imbalance) == Imbalance()
    assert load("imbalance/induced.yaml", Imbalance) == Imbalance(0.1, "train")
    assert load("sampler/none.yaml", NoSampler) == NoSampler()
    assert load("sampler/random_over.yaml", RandomOversampler) == RandomOversampler()
    assert load("sampler/random_under.yaml", RandomUndersampler) == RandomUndersampler()
    for rate in (0, 1, -0.1, 1.5):
        with pytest.raises(ValidationError, match="positive_rate"):
            TypeAdapter(Imbalance).validate_python({"positive_rate": rate})


def test_describe_reports_raw_columns_and_duplicates():
    description = describe(Sklearn(name="breast_cancer", positive="malignant").load())
    assert (description.num_rows, description.num_positives) == (569, 212)
    radius = description.columns[0]
    assert radius.name == "mean radius" and description.raw
    assert (radius.min, radius.max) == (6.981, 28.11)  # scikit-learn's own table, unrounded
    assert description.duplicate_rows == 0
    features = np.array([[0, 1], [0, 1], [2, 2], [0, 1], [2, 2]], np.float32)
    repeated = small(features=features, labels=np.array([0, 1, 0, 0, 0], np.int8))
    assert describe(repeated).duplicate_rows == 3
    assert not describe(repeated).raw


def test_render_shows_names_as_they_are():
    dataset = small(name="[red]x[/red]", feature_names=("[bold]a", "b"))
    console = Console(width=100, record=True, file=StringIO())
    console.print(render(describe(dataset)))
    text = console.export_text()
    assert "[red]x[/red]" in text and "[bold]a" in text and "33" in text
