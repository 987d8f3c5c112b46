"""Our losses in two compiled programs: one for those of an example, one for those of a batch.

A lane carries its loss as a number (which one) and a vector (its hyperparameters), so lanes of
different losses run side by side without another compilation. Which loss it is decides a real
branch: lanes are taken one by one here, not mapped, so a lane pays for its own loss alone and no
other loss's NaN can reach it. A few microseconds a step, whatever the length of the catalogue.
Losses of a batch have a program of their own, since XLA sets aside memory for every branch, and
theirs grows with the square of the batch. A loss that remembers, or that is not ours, is alone in
its program: what is plugged in changes no program of ours, nor of another plug-in.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32, Int32

from harness.losses import focusing, likelihood, margin, overlap, ranking, remembering
from harness.losses.base import LossFn, Memory, Rows, Scalar, StatefulLoss

Family = tuple[type[LossFn], ...]  # the losses of a compiled program

# The order is part of the compiled program: append.
POINTWISE: Family = (
    likelihood.BCE,
    likelihood.WeightedBCE,
    margin.Brier,
    margin.SquaredError,
    margin.Hinge,
    margin.SquaredHinge,
    focusing.Focal,
    likelihood.LabelSmoothing,
    likelihood.LogitAdjustment,
    focusing.Poly1,
    focusing.GeneralizedCE,
    likelihood.ClippedBCE,
    likelihood.ClassBalanced,
    focusing.Asymmetric,
    likelihood.VectorScaling,
    likelihood.LDAM,
    focusing.SymmetricCE,
)
OF_A_BATCH: Family = (
    overlap.Dice,
    overlap.Tversky,
    ranking.AUCMargin,
    ranking.PairwiseLogistic,
    ranking.PairwiseHinge,
    ranking.PartialAUC,
    ranking.SmoothAP,
)
STATEFUL: Family = (remembering.SOAP, remembering.AUCMinMax)  # each in a program of its own
LOSSES = (*POINTWISE, *OF_A_BATCH, *STATEFUL)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PackedLoss:
    """A loss as data: number ``index`` of its family, with ``values`` for its hyperparameters."""

    index: Int32[Array, ""]
    values: Float32[Array, " hyperparameters"]  # as many as its family's longest loss has
    family: Family = field(default=POINTWISE, metadata={"static": True})


def packed_shapes(family: Family) -> PackedLoss:
    """The shapes and types of a lane's loss, which is one of ``family``."""
    shaped: Any = jax.ShapeDtypeStruct
    values = shaped((_most_hyperparameters(family),), np.float32)
    return PackedLoss(index=shaped((), np.int32), values=values, family=family)


def pack(loss: LossFn) -> PackedLoss:
    """A fitted ``loss`` as lanes carry it."""
    family = family_of(type(loss))
    values: Any = np.zeros(_most_hyperparameters(family), dtype=np.float32)
    for position, name in enumerate(_hyperparameters(type(loss))):
        values[position] = getattr(loss, name)
    index: Any = np.int32(family.index(type(loss)))
    return PackedLoss(index=index, values=values, family=family)


def family_of(cls: type[LossFn]) -> Family:
    """The losses that share a program with ``cls``."""
    if cls in POINTWISE:
        return POINTWISE
    return OF_A_BATCH if cls in OF_A_BATCH else (cls,)


def _hyperparameters(cls: Any) -> tuple[str, ...]:
    return tuple(one.name for one in fields(cls) if not one.metadata.get("static"))


@cache
def _most_hyperparameters(family: Family) -> int:
    return max(1, *(len(_hyperparameters(cls)) for cls in family))


def _unpacked(cls: Any, values: Array, progress: Scalar) -> Any:
    loss = cls(**{name: values[i] for i, name in enumerate(_hyperparameters(cls))})
    return loss.at(progress)


def _mean(
    cls: Any, values: Array, progress: Scalar, logits: Rows, labels: Rows, weights: Rows
) -> Scalar:
    loss = _unpacked(cls, values, progress)
    return loss.mean(logits=logits, labels=labels, weights=weights)


def _one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function(packed, *arrays)``, which under `vmap` runs example by example in a loop."""
    # Loops trace their body time and again; what is jitted is traced once.
    function = jax.jit(function, inline=True)
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def _(axis_size: int, in_batched: Any, *arguments: Any) -> tuple[Any, Any]:
        def batched(leaf: Array, is_batched: bool) -> Array:
            return leaf if is_batched else jnp.broadcast_to(leaf, (axis_size, *jnp.shape(leaf)))

        filled = jax.tree.map(batched, arguments, tuple(in_batched))
        results = jax.lax.map(lambda each: function(*each), filled)
        return results, jax.tree.map(lambda _: True, results)

    return mapped


@_one_by_one
def mean_loss(
    packed: PackedLoss, progress: Scalar, logits: Rows, labels: Rows, weights: Rows
) -> Scalar:
    """The loss of a batch, a scalar; arguments as of `mean_loss_and_gradient`."""
    branches = [partial(_mean, cls) for cls in packed.family]
    return jax.lax.switch(packed.index, branches, packed.values, progress, logits, labels, weights)


@_one_by_one
def mean_loss_and_gradient(
    packed: PackedLoss, progress: Scalar, logits: Rows, labels: Rows, weights: Rows
) -> tuple[Scalar, Rows]:
    """The loss of a batch and its gradient in the logits.

    Args:
      packed: which loss.
      progress: () share of the training done.
      logits, labels, weights: (n,), as in `LossFn.mean`.
    """
    branches = [jax.value_and_grad(partial(_mean, cls), argnums=2) for cls in packed.family]
    return jax.lax.switch(packed.index, branches, packed.values, progress, logits, labels, weights)


def stateful(family: Family) -> type[StatefulLoss] | None:
    """The one loss of ``family``, where it remembers; None where losses do not."""
    first = family[0]
    return first if issubclass(first, StatefulLoss) else None


@_one_by_one
def step_and_gradient(
    packed: PackedLoss, progress: Scalar, logits: Rows, labels: Rows, weights: Rows, memory: Memory
) -> tuple[tuple[Scalar, Memory], Rows]:
    """The step of a `StatefulLoss`, and the gradient in the logits of its loss.

    Args:
      packed, progress, logits, labels, weights: as of `mean_loss_and_gradient`.
      memory: of the batch's rows and of the run.
    """
    (cls,) = packed.family

    def step(logits: Rows) -> tuple[Scalar, Memory]:
        loss = _unpacked(cls, packed.values, progress)
        return loss.step(logits=logits, labels=labels, weights=weights, memory=memory)

    return jax.value_and_grad(step, has_aux=True)(logits)
