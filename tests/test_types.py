"""Shapes and dtypes at the seams: what the annotations say is what passes."""

from typing import Any, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from beartype.roar import BeartypeException
from jaxtyping import TypeCheckError, jaxtyped

from harness.losses import LOSSES, BatchLoss, mean_loss, mean_loss_and_gradient, pack
from harness.padding import stack
from harness.training import Curves, Lane, Outcome, Program, train_run
from tests.runs import config, prepared
from tests.test_golden import data

REFUSED = (TypeCheckError, BeartypeException)
COUNTS = {"num_negatives": 30, "num_positives": 10}
KINDS = {
    "usual": {},
    "of a batch": {"loss": {"name": "dice"}},
    "made rows": {"sampler": {"name": "smote"}},
}


def checked(function: Any) -> Any:
    """``function`` with its arguments and result held against its annotations."""
    return jaxtyped(typechecker=beartype)(function)


def misfits(*records: Any) -> list[str]:
    """Fields of ``records`` that are not as annotated, a size of one name being one size."""
    with jaxtyped("context"):
        return [
            name
            for record in records
            for name, hint in get_type_hints(type(record), include_extras=True).items()
            if name not in {"start", "params"} and not isinstance(getattr(record, name), hint)
        ]


def lane_of(**changes: Any) -> tuple[Program, Lane]:
    ready = prepared(config(model={"name": "logistic"}, **changes), data())
    program = ready.run.exact_program
    stacked = stack([ready.lane], program, width=1)
    return program, jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), stacked)


def test_no_field_is_anything():
    for record in (Lane, Curves, Outcome):
        assert Any not in get_type_hints(record).values()


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_a_run_takes_a_lane_and_leaves_an_outcome_of_the_shapes_said(changes):
    program, lane = lane_of(**changes)
    rows = data()
    arrays = jnp.asarray(rows.features), jnp.asarray(rows.labels, jnp.float32)
    outcome = jax.eval_shape(
        lambda *given: checked(train_run)(*given, program=program), lane, *arrays
    )
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), outcome)
    assert misfits(lane, zeros, zeros.curves) == []
    assert lane.batch_rows.shape == (program.num_steps, program.batch_size)


@pytest.mark.parametrize("field", ["batch_rows", "center", "validation_rows", "init_key", "fill"])
def test_a_lane_of_another_shape_or_dtype_is_seen(field):
    _, lane = lane_of()
    value = getattr(lane, field)
    assert misfits(lane._replace(**{field: value[:-1]})) != []
    assert misfits(lane._replace(**{field: value.astype(jnp.float16)})) == [field]


@pytest.mark.parametrize("cls", LOSSES, ids=lambda cls: cls.name)
def test_losses_take_and_give_the_shapes_said(cls):
    loss = cls().fitted(**COUNTS)
    z, y, w = jnp.linspace(-2.0, 2.0, 6), jnp.array([0.0, 1.0] * 3), jnp.ones(6)
    checked(cls.mean)(loss, logits=z, labels=y, weights=w)
    if not issubclass(cls, BatchLoss):
        checked(cls.__call__)(loss, logits=z, labels=y)
    given = (pack(loss), jnp.float32(0.5), z, y, w)
    value, slope = jax.eval_shape(mean_loss_and_gradient, *given)
    assert value.shape == jax.eval_shape(mean_loss, *given).shape == ()
    assert slope.shape == z.shape
    for wrong in (y[:, None], y[:-1], np.array(["a"] * 6)):
        with pytest.raises(REFUSED):
            checked(cls.mean)(loss, logits=z, labels=wrong, weights=w)
