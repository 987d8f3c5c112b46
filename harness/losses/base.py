"""What a loss is: pointwise (a value for each example) or of a batch (one value for all of it)."""

from dataclasses import field
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from jax import Array
from jaxtyping import Float
from pydantic import AfterValidator

Rows = Float[Array, " n"]  # a value for each example
Scalar = Float[Array, ""]

LARGEST = 3e38  # lanes carry hyperparameters in float32
Positive = Annotated[float, Gt(0), Le(LARGEST)]
NonNegative = Annotated[float, Ge(0), Le(LARGEST)]
Share = Annotated[float, Ge(0), Lt(1)]


def _unset(value: float | None) -> None:
    if value is not None:
        raise ValueError("follows from the class counts and the loss's other keys: leave it empty")


# A field that `LossFn.fitted` fills in and a config may not.
Derived = Annotated[float | None, AfterValidator(_unset)]

# Recovered probabilities keep this distance from 0 and 1: a loss may put its minimiser beyond the
# range in which it tells probabilities apart (squared error below -1, the asymmetric loss below
# its margin), and an infinite logit would make one such row decide a log loss.
EDGE = 1e-6


def static_name(value: str) -> Any:
    """The field that says which loss it is: fixed at compile time, chosen by in a config."""
    return field(default=value, metadata={"static": True})


class LossFn:
    """What every loss has, and where it may look: the class counts, the time, the posterior."""

    name: Any  # the literal it is chosen by
    of_a_batch: ClassVar[bool] = False  # whether it is one value of a whole batch

    def mean(self, *, logits: Rows, labels: Rows, weights: Rows) -> Scalar:
        """The loss of a batch, a scalar.

        Args:
          logits, labels: (n,) float, labels in {0, 1}.
          weights: (n,) nonnegative, not all 0. An example of weight 0 is not there.
        """
        raise NotImplementedError

    def fitted(self, *, num_negatives: float, num_positives: float) -> Self:
        """This loss with everything that depends on the training class counts filled in.

        Counts are those after imbalance and resampling: what the loss really trains on. Where rows
        have weights they are no whole numbers: as many in all, in the ratio of the weights.
        """
        return self

    def at(self, progress: Array | float) -> Self:
        """This loss after a share ``progress`` in [0, 1] of the training; most do not change."""
        return self

    def posterior_logits(self, logits: np.ndarray) -> np.ndarray | None:
        """logit(eta) under the training prior, where ``logits`` are this loss's minimisers.

        On the host, float64, for a fitted loss. None where the minimiser does not tell eta.
        """
        return None

    def constant_logit(self, prior_logit: float) -> float:
        """What this fitted loss is least at if features are of no use: a first prediction.

        Of the constants between 0 and ``prior_logit``, the training prior's: beyond it, losses that
        forget the rarer class (generalised cross-entropy) have no gradient left on that class. The
        prior's own where the minimiser does not tell eta.
        """
        logits = np.linspace(min(0.0, prior_logit), max(0.0, prior_logit), num=513)
        hidden = self.posterior_logits(logits)  # which rises with them
        return prior_logit if hidden is None else float(np.interp(prior_logit, hidden, logits))


class PointwiseLoss(LossFn):
    """A function of one logit and its label: calling it maps (n,) and (n,) to (n,), unreduced."""

    def __call__(self, *, logits: Rows, labels: Rows) -> Rows:
        raise NotImplementedError

    def mean(self, *, logits: Rows, labels: Rows, weights: Rows) -> Scalar:
        losses = self(logits=logits, labels=labels)
        return jnp.sum(weights * losses) / jnp.sum(weights)


class BatchLoss(LossFn):
    """A function of a whole batch, which should hold both classes.

    Where it lacks one, the loss is 0 and has no gradient, or as the loss itself says: use a sampler
    that balances or stratifies batches.
    """

    of_a_batch = True
    # Whether one number added to all logits changes nothing: the bias then has no gradient but
    # rounding, which an optimizer like Adam scales up to whole steps, and scores have no level.
    is_shift_invariant: ClassVar[bool] = False


class Memory(NamedTuple):
    """What a `StatefulLoss` remembers, at first all 0: of some rows, and of the run."""

    rows: Float[Array, "n per_row"]
    run: Float[Array, " per_run"]


class StatefulLoss(BatchLoss):
    """A loss of a batch that remembers: numbers of each training row, and of the run as a whole.

    Training calls `step`; what looks back at a model, such as validation, calls `mean`, which
    remembers nothing. A row that a sampler repeats has one set of numbers, and where a batch holds
    it twice those of its last place are kept; a row that a sampler made has numbers of its own. An
    optimizer that asks for a second gradient in a step, as SAM does, gets it of the memory before
    the step. A model that is stored keeps no memory.
    """

    per_row: ClassVar[int] = 0  # how many numbers of a row
    per_run: ClassVar[int] = 0  # and of the run

    def step(
        self, *, logits: Rows, labels: Rows, weights: Rows, memory: Memory
    ) -> tuple[Scalar, Memory]:
        """The loss of a training batch, and what is remembered after it.

        Args:
          logits, labels, weights: as of `LossFn.mean`; training follows the gradient in ``logits``.
          memory: of the batch's rows, in their order, and of the run.
        """
        raise NotImplementedError

    @classmethod
    def no_memory(cls, num_rows: int, dtype: Any = jnp.float32) -> Memory:
        """What is remembered before the first step, of so many rows and of the run."""
        return Memory(jnp.zeros((num_rows, cls.per_row), dtype), jnp.zeros(cls.per_run, dtype))

    def mean(self, *, logits: Rows, labels: Rows, weights: Rows) -> Scalar:
        """The loss of a first step."""
        memory = self.no_memory(len(logits), logits.dtype)
        return self.step(logits=logits, labels=labels, weights=weights, memory=memory)[0]


def check_shapes(logits: Array, labels: Array) -> None:
    """(N, 1) against (N,) would broadcast to (N, N) without a word."""
    if logits.shape != labels.shape:
        raise ValueError(f"logits have shape {logits.shape} but labels {labels.shape}")


def known(value: float | None) -> float:
    """A field that `LossFn.fitted` fills in."""
    if value is None:
        raise ValueError("this loss depends on the class counts: call fitted() first")
    return value


def signed(logits: Rows, labels: Rows) -> Rows:
    """s z: positive where the logit is on the label's side."""
    return (2.0 * labels - 1.0) * logits


def float64(logits: np.ndarray) -> np.ndarray:
    """Logits wide enough for the host's arithmetic."""
    return np.asarray(logits, dtype=np.float64)


def log_sigmoid(logits: np.ndarray) -> np.ndarray:
    """ln p, on the host."""
    return -np.logaddexp(0.0, -logits)


def logit_of(probs: np.ndarray) -> np.ndarray:
    """logit, of probabilities moved `EDGE` away from 0 and 1."""
    inside = np.clip(probs, EDGE, 1.0 - EDGE)
    return np.log(inside) - np.log1p(-inside)


def bounded(logits: np.ndarray) -> np.ndarray:
    """Log-odds as `logit_of` would give them."""
    edge = np.log1p(-EDGE) - np.log(EDGE)
    return np.clip(logits, -edge, edge)
