"""Binary losses of a logit. Every loss is a frozen dataclass: its fields are its hyperparameters.

`base` says what a loss is; `likelihood`, `focusing`, `margin`, `overlap`, `ranking` and
`remembering` hold the losses; `catalogue` lists them and lets one compiled program hold many;
`own` makes a loss of a function or dataclass of somebody else's.

Notation: z logit, y label in {0, 1}, p = sigmoid(z), s = 2y - 1, p_t = sigmoid(s z) the probability
given to the true class, eta = P(y=1|x), pi the training prior, logit(pi) its log-odds.

>>> import jax.numpy as jnp
>>> z, y = jnp.array([1.0]), jnp.array([1.0])
>>> half_bce = Focal(gamma=0.0, alpha=0.5)(logits=z, labels=y)
>>> bool(jnp.allclose(2 * half_bce, BCE()(logits=z, labels=y)))
True
"""

from harness.losses.base import BatchLoss, LossFn, Memory, PointwiseLoss, StatefulLoss
from harness.losses.catalogue import (
    LOSSES,
    POINTWISE,
    Family,
    PackedLoss,
    family_of,
    mean_loss,
    mean_loss_and_gradient,
    pack,
    packed_shapes,
    stateful,
    step_and_gradient,
)
from harness.losses.focusing import Asymmetric, Focal, GeneralizedCE, Poly1, SymmetricCE
from harness.losses.likelihood import (
    BCE,
    LDAM,
    ClassBalanced,
    ClippedBCE,
    LabelSmoothing,
    LogitAdjustment,
    VectorScaling,
    WeightedBCE,
)
from harness.losses.margin import Brier, Hinge, SquaredError, SquaredHinge
from harness.losses.overlap import Dice, Tversky
from harness.losses.own import as_loss
from harness.losses.ranking import (
    AUCMargin,
    PairwiseHinge,
    PairwiseLogistic,
    PartialAUC,
    SmoothAP,
)
from harness.losses.remembering import SOAP, AUCMinMax

__all__ = [
    "BCE",
    "LDAM",
    "LOSSES",
    "POINTWISE",
    "SOAP",
    "AUCMargin",
    "AUCMinMax",
    "Asymmetric",
    "BatchLoss",
    "Brier",
    "ClassBalanced",
    "ClippedBCE",
    "Dice",
    "Family",
    "Focal",
    "GeneralizedCE",
    "Hinge",
    "LabelSmoothing",
    "LogitAdjustment",
    "LossFn",
    "Memory",
    "PackedLoss",
    "PairwiseHinge",
    "PairwiseLogistic",
    "PartialAUC",
    "PointwiseLoss",
    "Poly1",
    "SmoothAP",
    "SquaredError",
    "SquaredHinge",
    "StatefulLoss",
    "SymmetricCE",
    "Tversky",
    "VectorScaling",
    "WeightedBCE",
    "as_loss",
    "family_of",
    "mean_loss",
    "mean_loss_and_gradient",
    "pack",
    "packed_shapes",
    "stateful",
    "step_and_gradient",
]
