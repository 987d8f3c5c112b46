"""Every metric belongs to a class: its range, its direction, and what leaves it unchanged.

The classes are stated here and hold of measured values; `METRICS` must say the same. A metric that
is stored but in no class fails, as in scikit-learn's own common tests.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from harness.analyze.headings import sign
from harness.files import conf_dir
from harness.metrics.__main__ import markdown
from harness.metrics.calibration import CALIBRATORS
from harness.metrics.decision_metrics import decide, net_benefit, threshold_metrics
from harness.metrics.definitions import METRICS, RULES, VERSIONS, Metric
from harness.metrics.evaluate import Scored, evaluate, score_metrics
from harness.metrics.formulas import FORMULAS
from harness.metrics.names import ENDS, MetricName, known, listing, parse
from harness.metrics.ranked_rows import rank_rows
from harness.metrics.settings import Costs, Evaluation
from harness.record.tables import CURVES

INF = np.inf


@dataclass(frozen=True)
class Class:
    """What is claimed of a metric.

    Attributes:
        low, high: its range.
        direction: 1 where higher is better, -1 where lower is, 0 where neither.
        perfect: its value of a model that is certain and right.
        monotone: no strictly increasing map of the logits (and the threshold) changes it.
        symmetric: swapping the classes does not change it.
    """

    low: float
    high: float
    direction: int
    perfect: float
    monotone: bool = False
    symmetric: bool = False
    target: float | None = None


CLASSES = {
    "log_loss": Class(0, INF, -1, 0, symmetric=True),
    "skill": Class(-INF, 1, 1, 1, symmetric=True),
    "brier": Class(0, 1, -1, 0, symmetric=True),
    "brier_skill": Class(-INF, 1, 1, 1, symmetric=True),
    "ece": Class(0, 1, -1, 0, symmetric=True),
    "ece_debiased": Class(0, 1, -1, 0, symmetric=True),
    "calibration_intercept": Class(-INF, INF, 0, np.nan, target=0),
    "calibration_slope": Class(-INF, INF, 0, np.nan, symmetric=True, target=1),
    "log_loss_miscalibration": Class(0, INF, -1, 0, symmetric=True),
    "log_loss_discrimination": Class(0, np.log(2), 1, np.nan, monotone=True, symmetric=True),
    "log_loss_uncertainty": Class(0, np.log(2), 0, np.nan, monotone=True, symmetric=True),
    "brier_miscalibration": Class(0, 1, -1, 0, symmetric=True),
    "brier_discrimination": Class(0, 0.25, 1, np.nan, monotone=True, symmetric=True),
    "brier_uncertainty": Class(0, 0.25, 0, np.nan, monotone=True, symmetric=True),
    "auroc": Class(0, 1, 1, 1, monotone=True, symmetric=True),
    # McClish's scale puts chance at 1/2 and lets worse than chance fall below, hardly below .47
    "partial_auroc": Class(0.47, 1, 1, 1, monotone=True),
    "average_precision": Class(0, 1, 1, 1, monotone=True),
    "random_average_precision": Class(0, 1, 0, np.nan, monotone=True),
    "precision_at_k": Class(0, 1, 1, 1, monotone=True),
    "recall_at_k": Class(0, 1, 1, np.nan, monotone=True),
    "lift_at_k": Class(0, INF, 1, np.nan, monotone=True),
    "recall_at_precision": Class(0, 1, 1, 1, monotone=True),
    "precision_at_recall": Class(0, 1, 1, 1, monotone=True),
}
DECISIONS = {
    "accuracy": Class(0, 1, 1, 1, monotone=True, symmetric=True),
    "balanced_accuracy": Class(0, 1, 1, 1, monotone=True, symmetric=True),
    "precision": Class(0, 1, 1, 1, monotone=True),
    "recall": Class(0, 1, 1, 1, monotone=True),
    "specificity": Class(0, 1, 1, 1, monotone=True),
    "f1": Class(0, 1, 1, 1, monotone=True),
    "f_beta": Class(0, 1, 1, 1, monotone=True),
    "mcc": Class(-1, 1, 1, 1, monotone=True, symmetric=True),
    "g_mean": Class(0, 1, 1, 1, monotone=True, symmetric=True),
    "p4": Class(0, 1, 1, 1, monotone=True, symmetric=True),
    "flagged": Class(0, 1, 0, np.nan, monotone=True),
    "expected_cost": Class(0, 1, -1, 0, monotone=True, symmetric=True),
    "net_benefit": Class(-INF, 1, 1, np.nan, monotone=True),
}
ALL = CLASSES | DECISIONS


def measured(logits, labels, threshold=0.0):
    rows = {"logits": logits, "labels": labels, "valid": np.ones(labels.shape, dtype=bool)}
    values = score_metrics(**rows) | threshold_metrics(**rows, threshold_logits=threshold)
    values["net_benefit"] = net_benefit(decide(rank_rows(**rows), threshold), probability=0.3)
    return values


def drawn(num_runs=20, n=150, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((num_runs, n)) < 0.3).astype(np.int8)
    quality = np.linspace(-2, 3, num_runs)[:, None]
    return rng.normal(size=labels.shape) * 2 + quality * labels, labels


def test_the_table_says_what_the_classes_say():
    assert METRICS.keys() == {*ALL, "loss"}  # a run's own loss is measured during training
    for name, of in ALL.items():
        metric = METRICS[name]
        assert (metric.name, metric.sign, metric.target) == (name, of.direction, of.target)
        assert metric.at_threshold == (name in DECISIONS)
        assert (metric.needs == "ranking") == (of.monotone and name in CLASSES)


@pytest.mark.parametrize("name", ALL)
def test_values_are_in_the_tables_range(name):
    values = measured(*drawn())[name]
    assert (values >= METRICS[name].low - 1e-12).all()
    assert (values <= METRICS[name].high + 1e-12).all()
    bounds, of = (METRICS[name].low, METRICS[name].high), ALL[name]
    if name not in {"partial_auroc", "expected_cost"}:  # chance; costs other than of errors
        assert bounds == pytest.approx((of.low, of.high))


@pytest.mark.parametrize("name", [name for name, of in ALL.items() if not np.isnan(of.perfect)])
def test_perfect_scores_are_the_best_there_are_and_beat_random_ones(name):
    rng, (_, labels) = np.random.default_rng(5), drawn()
    perfect = measured(np.where(labels == 1, 40.0, -40.0), labels)[name]
    random = measured(rng.normal(size=labels.shape), labels)[name]
    metric = METRICS[name]
    assert ((perfect - random) * metric.sign > 0).all()
    best = {"higher": metric.high, "lower": max(metric.low, 0)}[metric.direction]
    np.testing.assert_allclose(perfect, best, atol=1e-12)


def settings_of(name):
    values = yaml.safe_load((conf_dir() / "evaluation" / f"{name}.yaml").read_text())
    return replace(TypeAdapter(Evaluation).validate_python(values), bootstrap=100)


SETTINGS = {
    "full": settings_of("full"),
    "default": Evaluation(),
    "no bootstrap": replace(settings_of("full"), bootstrap=0),
    "little": Evaluation(calibrators=(), calibrator=None, decompositions=False),
    "odd": Evaluation(
        threshold="alerts", thresholds=(0.123, "f1"), calibrators=("beta",), calibrator=None
    ),
}


@pytest.fixture(scope="module", params=SETTINGS)
def scored(request):
    """Settings, and what they really measure."""
    logits, labels = drawn(2, 60)
    part = Scored(logits, labels, labels >= 0, corrected=logits)
    return SETTINGS[request.param], evaluate(
        validation=part, test=part, evaluation=SETTINGS[request.param]
    )


def test_all_that_is_measured_is_in_the_table_and_as_it_says(scored):
    evaluation, evaluated = scored
    said = [str(n) for split in ("validation", "test") for n in evaluation.measured(split)]
    assert len(said) == len(set(said))
    assert set(said) == evaluated.metrics.keys()
    assert set(evaluation.decided()) == evaluated.facts.keys()
    for column in evaluated.metrics:
        assert str(parse(column)) == column
        assert sign(column) == ALL[parse(column).metric].direction


def test_every_row_of_the_table_is_measured_by_some_setting():
    measured_names = {n for settings in SETTINGS.values() for n in settings.measured("test")}
    assert {name.metric for name in measured_names} == METRICS.keys() - {"loss"}
    assert {name.version for name in measured_names} == {"", *VERSIONS}
    assert RULES.keys() < {name.rule for name in measured_names}
    assert {name.end for name in measured_names} == {"", *ENDS}
    curves = {parse(column) for column in CURVES.values()}
    assert {name.metric for name in curves} >= {"loss"}
    assert VERSIONS.keys() == {"corrected", *CALIBRATORS}


@pytest.mark.parametrize("name", ALL)
def test_values_are_in_range(name):
    values = measured(*drawn())[name]
    assert (values >= ALL[name].low - 1e-12).all() and (values <= ALL[name].high + 1e-12).all()


@pytest.mark.parametrize("name", [name for name, of in ALL.items() if not np.isnan(of.perfect)])
def test_a_model_that_is_certain_and_right(name):
    _, labels = drawn()
    values = measured(np.where(labels == 1, 40.0, -40.0), labels)[name]
    np.testing.assert_allclose(values, ALL[name].perfect, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, of in ALL.items() if of.direction])
def test_a_better_model_scores_better(name):
    """Truth with noise against truth with much noise, over 200 runs of 400 rows, calibrated."""
    rng = np.random.default_rng(3)
    labels = (rng.random((200, 400)) < 0.3).astype(np.int8)

    def at_distance(d):
        return np.log(0.3 / 0.7) + d * (rng.normal(size=labels.shape) + d * (labels - 0.5))

    good, bad = measured(at_distance(3.0), labels)[name], measured(at_distance(0.7), labels)[name]
    if "miscalibration" in name or name.startswith("ece"):
        bad = measured(3 * at_distance(0.7), labels)[name]
    assert ALL[name].direction * (good.mean() - bad.mean()) > 0


@pytest.mark.parametrize("name", ALL)
def test_increasing_maps(name):
    logits, labels = drawn()
    before = measured(logits, labels, threshold=0.5)[name]
    after = measured(np.sinh(logits / 2) + 1, labels, threshold=np.sinh(0.25) + 1)[name]
    same = np.isclose(before, after, rtol=1e-12, atol=1e-12, equal_nan=True)
    assert same.all() == ALL[name].monotone


@pytest.mark.parametrize("name", ALL)
def test_swapping_the_classes(name):
    logits, labels = drawn()  # no logit is on the threshold, so that its side does not matter
    before, after = measured(logits, labels)[name], measured(-logits, 1 - labels)[name]
    same = np.isclose(before, after, rtol=1e-6, atol=1e-9, equal_nan=True)
    assert same.all() == ALL[name].symmetric


def accepted(evaluation: Evaluation, name: str) -> bool:
    try:
        return replace(evaluation, objective=name).objective == name
    except ValueError:
        return False


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_search_is_told_what_validation_measures_and_has_a_direction(settings):
    evaluation = SETTINGS[settings]
    every = {*SETTINGS["full"].measured("test"), *evaluation.measured("validation")}
    every = {str(replace(name, split="", end="")) for name in every} | {"loss"}
    objectives = {
        str(replace(name, split=""))
        for name in evaluation.measured("validation")
        if ALL[name.metric].direction and name.version != "isotonic"
    }
    assert {name for name in every if accepted(evaluation, name)} == objectives
    assert not any("oracle" in name for name in objectives)
    for name in objectives:
        lower = ALL[parse(name).metric].direction == -1
        assert replace(evaluation, objective=name).minimises == lower


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ("average_precison", "did you mean average_precision"),
        ("cross_entropy", "did you mean log_loss"),
        ("accuracy", "accuracy needs a threshold: such as accuracy@0.5 or accuracy@tuned"),
        ("test/auroc", "write the metric alone"),
        ("auroc_low", "write the metric alone"),
        ("auroc@0.5", "auroc has no threshold"),
        ("flagged@0.5", "neither high nor low flagged is better"),
        ("calibration_slope", "neither high nor low"),
        ("f1@oracle", "no search may see"),
        ("f1@.5", "write the threshold '.5' as 0.5"),
        ("f1@1.5", "in (0, 1)"),
        ("isotonic/log_loss", "too closely"),
        ("platt/log_loss", "needs platt among calibrators"),
        ("corrected/auroc", "is not measured on validation"),
        ("mcc@bayes", "needs bayes among thresholds"),
        ("corrected/mcc@tuned", "needs a threshold that states a probability"),
        ("brier_discrimination", "needs decompositions=true"),
        ("loss", "each run's training"),
        ("a" * 3000, "no metric is called 'aaa"),
    ],
)
def test_what_no_search_can_be_told_is_one_short_line(objective, said):
    with pytest.raises(ValueError) as error:
        Evaluation(calibrators=(), calibrator=None, decompositions=False, objective=objective)
    message = str(error.value)
    assert said in message and "\n" not in message and len(message) <= 400


@pytest.mark.parametrize(
    "text",
    ["", "/", "test", "test/", "@", "f1@", "f1@@0.5", "auroc@", "_low", "auroc_low_high", "f1@nan",
     "test/platt/beta/brier", "valid/auroc", "Test/auroc", "f1@inf", "f1@0", "f1@ 0.5", "brier "],
)  # fmt: skip
def test_what_is_no_name_is_refused(text):
    assert known(text) is None
    with pytest.raises(ValueError):
        parse(text)


def test_help_lists_all_that_a_name_can_hold():
    words = set(re.findall(r"[\w.]+", listing()))
    assert words >= {*METRICS, *VERSIONS, *RULES}


def test_other_names_are_nobodys_own():
    also = [name for metric in METRICS.values() for name in metric.also]
    assert len(also) == len(set(also)) and not set(also) & METRICS.keys()


def test_a_metric_cannot_have_both_a_target_and_a_direction():
    for metric in METRICS.values():
        assert metric.target is None or metric.direction == "neither"
        assert isinstance(metric, Metric) and metric.low < metric.high


def test_a_name_is_written_as_it_is_stored():
    name = MetricName("f1", split="test", version="platt", rule="tuned", end="high")
    assert parse("test/platt/f1@tuned_high") == name


def test_the_documentation_lists_the_table():
    page = Path(__file__).parent.parent / "docs" / "metrics.md"
    renew = "renew it by `python -m harness.metrics > docs/metrics.md`"
    assert page.read_text(encoding="utf-8") == markdown(), renew
    assert FORMULAS.keys() == METRICS.keys()


def test_costs_and_net_benefit_by_hand():
    labels = np.array([[1, 1, 1, 0, 0, 0, 0, 0, 0, 0]])
    logits = np.array([[1, 1, -1, 1, -1, -1, -1, -1, -1, -1]])  # TP 2, FN 1, FP 1, TN 6
    costs = Costs(false_positive=2, false_negative=10, true_positive=1, true_negative=-1)
    rows = {"logits": logits, "labels": labels, "valid": labels >= 0}
    values = threshold_metrics(**rows, threshold_logits=0.0, costs=costs)
    assert values["expected_cost"] == pytest.approx((2 * 1 + 10 * 1 + 1 * 2 - 1 * 6) / 10)
    assert costs.threshold == pytest.approx(3 / 12)
    confusion = decide(rank_rows(**rows), 0.0)
    assert net_benefit(confusion, probability=0.2) == pytest.approx(0.2 - 0.1 * 0.25)
    everyone = decide(rank_rows(**rows), -np.inf)
    assert net_benefit(everyone, probability=0.2) == pytest.approx(0.3 - 0.7 * 0.25)
