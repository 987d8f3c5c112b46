"""Which metrics there are: the one table that everything takes its facts about a metric from.

Evaluation, storage, searches, tables, charts, reports and help ask here for a metric's direction,
range, title and needs. Beside it stand what a metric's full name (`harness.metrics.names`) is made
of: the versions of the scores and the rules that choose a threshold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, log
from typing import Literal, get_args

Split = Literal["train", "validation", "test"]
Direction = Literal["higher", "lower", "neither"]
Needs = Literal["ranking", "probabilities", "threshold", "stated threshold", "training"]

# What chooses a threshold on validation, by what it maximises there.
Criterion = Literal[
    "f1",
    "f_beta",
    "balanced_accuracy",
    "mcc",
    "youden",
    "accuracy",
    "cost",
    "recall_at_precision",
    "precision_at_recall",
    "alerts",
]
Calibrator = Literal["temperature", "platt", "isotonic", "beta"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What is known of a metric, apart from how it is computed.

    Attributes:
        name: as it is stored and as users name it.
        title: in prose.
        direction: which values are better; `neither` of a metric that is best at a value (`target`)
            and of one that says what the data or the cut are like.
        target: the value at which it is best, where that is no end of its range.
        low, high: its range.
        needs: what of a run it is made of. The `ranking` of its rows, which no increasing map of
            the logits changes; its `probabilities`; the decisions at a `threshold`, or at one that
            is a `stated threshold`, a probability; or its own `training`, as a curve.
        unit: empty for a pure number.
        settings: keys of `evaluation` that it depends on, or that ask for it.
        splits: the parts of the data it is measured on.
        uncalibrated: measured on raw and corrected scores alone, since a calibrator fits it.
        raw: measured on raw scores alone.
        also: names that other libraries have for it.
        reference: the paper, or the function that computes the same.
    """

    name: str
    title: str
    direction: Direction
    target: float | None = None
    low: float = 0.0
    high: float = 1.0
    needs: Needs
    unit: str = ""
    settings: tuple[str, ...] = ()
    splits: tuple[Split, ...] = ("validation", "test")
    uncalibrated: bool = False
    raw: bool = False
    also: tuple[str, ...] = ()
    reference: str

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is, 0 where neither is."""
        return {"higher": 1, "lower": -1, "neither": 0}[self.direction]

    @property
    def compared_sign(self) -> int:
        """The direction of what is compared: the distance from a target is better low."""
        return self.sign if self.target is None else -1

    @property
    def at_threshold(self) -> bool:
        """Whether it is of the decisions at a threshold, which its full name tells (`f1@0.5`)."""
        return self.needs in ("threshold", "stated threshold")

    def is_of(self, version: str) -> bool:
        """Whether it is measured on a version of the scores; "" are the raw ones."""
        if self.uncalibrated:
            return version in ("", "corrected")
        return not version or not (self.raw or self.needs in ("ranking", "training"))


_ENTROPY_OF_HALF = log(2)
_SKLEARN = "scikit-learn {}".format
_CORP = "Dimitriadis, Gneiting and Jordan (2021)"

_PROBABILITIES = (
    Metric(
        name="log_loss",
        title="log loss",
        direction="lower",
        high=inf,
        needs="probabilities",
        unit="nats",
        also=("bce", "cross_entropy", "nll"),
        reference=_SKLEARN("log_loss, without its clipping"),
    ),
    Metric(
        name="skill",
        title="skill",
        direction="higher",
        low=-inf,
        needs="probabilities",
        also=("d2_log_loss", "log_loss_skill"),
        reference=_SKLEARN("d2_log_loss_score"),
    ),
    Metric(
        name="brier",
        title="Brier score",
        direction="lower",
        needs="probabilities",
        also=("brier_score", "mse", "squared_error"),
        reference="Brier (1950); " + _SKLEARN("brier_score_loss"),
    ),
    Metric(
        name="brier_skill",
        title="Brier skill",
        direction="higher",
        low=-inf,
        needs="probabilities",
        also=("bss", "d2_brier"),
        reference=_SKLEARN("d2_brier_score"),
    ),
    Metric(
        name="ece",
        title="ECE",
        direction="lower",
        needs="probabilities",
        settings=("ece_bins",),
        also=("calibration_error", "expected_calibration_error"),
        reference="Nixon et al. (2019), equal-mass bins",
    ),
    Metric(
        name="ece_debiased",
        title="debiased ECE",
        direction="lower",
        needs="probabilities",
        settings=("ece_bins",),
        reference="Kumar et al. (2019); Broecker (2012)",
    ),
    Metric(
        name="calibration_intercept",
        title="calibration intercept",
        direction="neither",
        target=0.0,
        low=-inf,
        high=inf,
        needs="probabilities",
        unit="log odds",
        splits=("test",),
        uncalibrated=True,
        reference="Cox (1958); Van Calster et al. (2019)",
    ),
    Metric(
        name="calibration_slope",
        title="calibration slope",
        direction="neither",
        target=1.0,
        low=-inf,
        high=inf,
        needs="probabilities",
        splits=("test",),
        uncalibrated=True,
        reference="Cox (1958); Van Calster et al. (2019)",
    ),
    Metric(
        name="log_loss_miscalibration",
        title="log loss miscalibration",
        direction="lower",
        high=inf,
        needs="probabilities",
        unit="nats",
        settings=("decompositions",),
        raw=True,
        reference=_CORP,
    ),
    Metric(
        name="log_loss_discrimination",
        title="log loss discrimination",
        direction="higher",
        high=_ENTROPY_OF_HALF,
        needs="ranking",
        unit="nats",
        settings=("decompositions",),
        reference=_CORP,
    ),
    Metric(
        name="log_loss_uncertainty",
        title="log loss uncertainty",
        direction="neither",
        high=_ENTROPY_OF_HALF,
        needs="ranking",
        unit="nats",
        settings=("decompositions",),
        reference=_CORP,
    ),
    Metric(
        name="brier_miscalibration",
        title="Brier miscalibration",
        direction="lower",
        needs="probabilities",
        settings=("decompositions",),
        raw=True,
        reference=_CORP,
    ),
    Metric(
        name="brier_discrimination",
        title="Brier discrimination",
        direction="higher",
        high=0.25,
        needs="ranking",
        settings=("decompositions",),
        reference=_CORP,
    ),
    Metric(
        name="brier_uncertainty",
        title="Brier uncertainty",
        direction="neither",
        high=0.25,
        needs="ranking",
        settings=("decompositions",),
        reference=_CORP,
    ),
)

_RANKING = (
    Metric(
        name="auroc",
        title="AUROC",
        direction="higher",
        needs="ranking",
        also=("auc", "roc_auc", "c_index"),
        reference="Hanley and McNeil (1982); " + _SKLEARN("roc_auc_score"),
    ),
    Metric(
        name="partial_auroc",
        title="partial AUROC",
        direction="higher",
        needs="ranking",
        settings=("max_fpr",),
        also=("partial_auc", "pauc"),
        reference="McClish (1989); " + _SKLEARN("roc_auc_score(max_fpr=)"),
    ),
    Metric(
        name="average_precision",
        title="average precision",
        direction="higher",
        needs="ranking",
        also=("ap", "auprc", "pr_auc", "prauc"),
        reference=_SKLEARN("average_precision_score"),
    ),
    Metric(
        name="random_average_precision",
        title="random average precision",
        direction="neither",
        needs="ranking",
        reference="Bestgen (2015)",
    ),
    Metric(
        name="precision_at_k",
        title="precision at k",
        direction="higher",
        needs="ranking",
        settings=("alerts",),
        reference="McSherry and Najork (2008), for ties",
    ),
    Metric(
        name="recall_at_k",
        title="recall at k",
        direction="higher",
        needs="ranking",
        settings=("alerts",),
        reference="McSherry and Najork (2008), for ties",
    ),
    Metric(
        name="lift_at_k",
        title="lift at k",
        direction="higher",
        high=inf,
        needs="ranking",
        settings=("alerts",),
        also=("lift",),
        reference="precision_at_k over the share of positives",
    ),
    Metric(
        name="recall_at_precision",
        title="recall at precision",
        direction="higher",
        needs="ranking",
        settings=("min_precision",),
        reference=_SKLEARN("precision_recall_curve"),
    ),
    Metric(
        name="precision_at_recall",
        title="precision at recall",
        direction="higher",
        needs="ranking",
        settings=("min_recall",),
        reference=_SKLEARN("precision_recall_curve"),
    ),
)

_DECISIONS = (
    Metric(
        name="accuracy",
        title="accuracy",
        direction="higher",
        needs="threshold",
        also=("acc",),
        reference=_SKLEARN("accuracy_score"),
    ),
    Metric(
        name="balanced_accuracy",
        title="balanced accuracy",
        direction="higher",
        needs="threshold",
        reference=_SKLEARN("balanced_accuracy_score"),
    ),
    Metric(
        name="precision",
        title="precision",
        direction="higher",
        needs="threshold",
        also=("ppv",),
        reference=_SKLEARN("precision_score"),
    ),
    Metric(
        name="recall",
        title="recall",
        direction="higher",
        needs="threshold",
        also=("sensitivity", "tpr"),
        reference=_SKLEARN("recall_score"),
    ),
    Metric(
        name="specificity",
        title="specificity",
        direction="higher",
        needs="threshold",
        also=("tnr",),
        reference=_SKLEARN("recall_score(pos_label=0)"),
    ),
    Metric(
        name="f1",
        title="F1",
        direction="higher",
        needs="threshold",
        also=("f1_score",),
        reference=_SKLEARN("f1_score"),
    ),
    Metric(
        name="f_beta",
        title="F-beta",
        direction="higher",
        needs="threshold",
        settings=("beta",),
        also=("fbeta", "f2"),
        reference=_SKLEARN("fbeta_score"),
    ),
    Metric(
        name="mcc",
        title="MCC",
        direction="higher",
        low=-1.0,
        needs="threshold",
        also=("matthews", "phi"),
        reference="Matthews (1975); " + _SKLEARN("matthews_corrcoef"),
    ),
    Metric(
        name="g_mean",
        title="G-mean",
        direction="higher",
        needs="threshold",
        also=("gmean", "geometric_mean"),
        reference="Kubat and Matwin (1997)",
    ),
    Metric(
        name="p4",
        title="P4",
        direction="higher",
        needs="threshold",
        reference="Sitarz (2022)",
    ),
    Metric(
        name="flagged",
        title="share flagged",
        direction="neither",
        needs="threshold",
        reference="rows at or above the threshold, of all",
    ),
    Metric(
        name="expected_cost",
        title="expected cost",
        direction="lower",
        low=-inf,
        high=inf,
        needs="threshold",
        unit="cost of a row",
        settings=("costs",),
        also=("cost",),
        reference="Elkan (2001)",
    ),
    Metric(
        name="net_benefit",
        title="net benefit",
        direction="higher",
        low=-inf,
        needs="stated threshold",
        unit="true positives a row",
        reference="Vickers and Elkin (2006)",
    ),
)

_TRAINING = (
    Metric(
        name="loss",
        title="loss",
        direction="lower",
        low=-inf,
        high=inf,
        needs="training",
        unit="as the loss has it",
        splits=("train", "validation"),
        also=("objective",),
        reference="the loss that the run is trained on",
    ),
)

METRICS: Mapping[str, Metric] = {
    metric.name: metric for metric in (*_PROBABILITIES, *_RANKING, *_DECISIONS, *_TRAINING)
}


@dataclass(frozen=True)
class Version:
    """A version of a run's scores, other than the raw one.

    Attributes:
        title: what it follows a metric's title with.
        parameters: the stored names of what is fitted on validation to make it.
    """

    title: str
    parameters: tuple[str, ...] = ()


VERSIONS: Mapping[str, Version] = {
    "corrected": Version("after prior correction"),
    "temperature": Version("after temperature scaling", ("temperature",)),
    "platt": Version("after Platt scaling", ("platt_slope", "platt_intercept")),
    "isotonic": Version("after isotonic regression", ("isotonic_steps",)),
    "beta": Version("after beta calibration", ("beta_a", "beta_b", "beta_c")),
}

RULES: Mapping[str, str] = {
    "tuned": "at the tuned threshold",  # by the criterion `evaluation.threshold`
    "bayes": "at the cost threshold",  # the probability from which on a positive is cheaper
    "oracle": "at the best threshold of test",  # what test itself would have liked best
    **{rule: f"at the threshold for {rule.replace('_', ' ')}" for rule in get_args(Criterion)},
}
"""Rules that choose a threshold, and what they follow a metric's title with.

A probability, such as 0.5, is a rule of its own.
"""
