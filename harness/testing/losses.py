"""Checks of a loss: numbers, gradients, company, and what it is declared to be."""

import inspect
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from harness.errors import UserError, first_line
from harness.losses import (
    BCE,
    LossFn,
    Memory,
    StatefulLoss,
    as_loss,
    mean_loss_and_gradient,
    pack,
    step_and_gradient,
)
from harness.plugins import check_traced, plugged

COUNTS = {"num_negatives": 950, "num_positives": 50}
ETAS = (0.05, 0.3, 0.5, 0.8)
ROWS = 64  # of every batch: another number would be compiled anew
EXTREMES = (-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4)


@dataclass(frozen=True)
class Declared:
    """What a loss is said to be, which its code does not tell.

    Attributes:
      limit: hyperparameters, and the loss that it then equals: ``({"gamma": 0.0}, BCE())``.
      minimiser: by probability of a positive, the logit that minimises the expected loss.
      reference: a function of NumPy's float64 logits and labels, (n,) each, with its values.
    """

    limit: tuple[Mapping[str, float], LossFn] | None = None
    minimiser: Mapping[float, float] | None = None
    reference: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None


def check_loss(
    given: Any, /, *, limit: Any = None, minimiser: Any = None, reference: Any = None
) -> None:
    """Raises AssertionError with a line for each fault of a loss; see `Declared` for the keywords.

    Args:
      given: a function, a dataclass or one of its instances; see `harness.losses.as_loss`.
    """
    declared = Declared(limit=limit, minimiser=minimiser, reference=reference)
    if faults := list(loss_faults(given, declared)):
        raise AssertionError("\n".join(faults))


def loss_faults(given: Any, declared: Declared | None = None) -> Iterator[str]:
    """A line for each fault of a loss: what was seen, and what to do."""
    try:
        loss = _loss(given)
        cls: Any = type(loss)
        check_traced(cls)
        fitted = loss.fitted(**COUNTS)
    except (UserError, ValueError, TypeError) as error:
        yield str(error)
        return
    if type(fitted) is not type(loss):
        yield f"fitted() returned a {type(fitted).__name__}: return dataclasses.replace(self, ...)"
        return
    checks = [*_OF_ANY, *(_STATEFUL if isinstance(loss, StatefulLoss) else ())]
    checks += [*(_OF_A_BATCH if loss.of_a_batch else _POINTWISE), *_AT_LENGTH]
    with jax.enable_x64(False):
        if isinstance(fitted, StatefulLoss) and (at_first := [*_guarded(_first_step, fitted)]):
            yield from at_first
            return
        yield from _guarded(partial(_declared, declared=declared or Declared()), loss)
        for check in checks:
            yield from _guarded(check, fitted)
        yield from _guarded(_hyperparameters, loss)


def _guarded(check: Callable[[Any], Iterator[str]], loss: Any) -> Iterator[str]:
    try:
        yield from check(loss)
    except Exception as error:
        about = str(getattr(check, "func", check).__doc__).rstrip(".")
        said = first_line(error)
        yield f"{type(error).__name__} while looking at: {about} ({said}): mend it first"


def _loss(given: Any) -> Any:
    if isinstance(given, LossFn) and _is_named(type(given)):
        return given
    if isinstance(given, type) and issubclass(given, LossFn) and _is_named(given):
        return given()
    if isinstance(given, type) or inspect.isfunction(given):
        # One with a decorator is what that says, such as of a batch.
        decorated = [one for one in plugged("loss").values() if one.given is given]
        return (decorated[0] if decorated else as_loss(given))()
    made: Any = as_loss(type(given))
    own = {one.name: getattr(given, one.name) for one in fields(given)}
    return made(**{key: value for key, value in own.items() if key != "name"})


def _is_named(cls: Any) -> bool:
    """Whether it is as lanes carry it: chosen by a name that is fixed."""
    return any(one.name == "name" and one.metadata.get("static") for one in fields(cls))


def _mean(loss: Any, logits: Any, labels: Any, weights: Any) -> Any:
    return loss.mean(logits=logits, labels=labels, weights=weights)


def _filled(values: Any) -> Array:
    """``values`` again and again, a batch of them."""
    return jnp.asarray(np.resize(values, ROWS), jnp.float32)


def _sample(rows: int = ROWS) -> tuple[Array, Array]:
    """Logits from -6 to 6 in no order, and labels of which a third are positive."""
    rng = np.random.default_rng(0)
    logits = rng.permutation(np.linspace(-6, 6, rows)) + 0.01
    return jnp.asarray(logits, jnp.float32), jnp.asarray(rng.random(rows) < 0.35, jnp.float32)


def _total(loss: Any, logits: Any, labels: Any) -> Any:
    """A scalar with as much of each row's gradient as the row's own loss has."""
    weights = jnp.ones(jnp.shape(logits))
    return loss.mean(logits=logits, labels=labels, weights=weights) * jnp.size(logits)


@lru_cache(maxsize=64)
def _compiled(loss: Any) -> tuple[Any, Any]:
    """`_total` of a loss and its gradient in the logits: eager JAX compiles every operation."""
    total = jax.jit(partial(_total, loss))
    return total, jax.jit(jax.grad(total))


def _value(loss: Any, logits: Any, labels: Any) -> Any:
    return _compiled(loss)[0](logits, labels)


def _slopes(loss: Any, logits: Any, labels: Any) -> Any:
    return _compiled(loss)[1](logits, labels)


def _same(one: Any, other: Any, *, share: float = 1e-5) -> bool:
    """Whether arrays agree to a share of the largest value."""
    one, other = np.float64(one), np.float64(other)
    scale = max(1e-30, float(np.max(np.abs(other), initial=0.0)))
    return bool(np.all(np.abs(one - other) <= share * scale + 1e-7))


# Of any loss.


def _number_of_rows(loss: Any) -> Iterator[str]:
    """batches of any number of rows."""
    for rows in (1, 3, 64):
        some = jax.ShapeDtypeStruct((rows,), np.float32)
        result = jax.eval_shape(partial(_mean, loss), some, some, some)
        if not loss.of_a_batch:
            each = jax.eval_shape(lambda z, y: loss(logits=z, labels=y), some, some)
            result = jax.ShapeDtypeStruct(result.shape, each.dtype)
        if result.shape != () or result.dtype != jnp.float32:
            yield (
                f"of {rows} float32 logits it is {result.dtype} of shape {result.shape}: "
                "keep the logits' type (no astype, no NumPy constants of float64 or int)"
            )
            return


def _same_twice(loss: Any) -> Iterator[str]:
    """state that outlives a call."""
    some = jax.ShapeDtypeStruct((ROWS,), np.float32)
    with jax.checking_leaks():
        first, *others = [jax.make_jaxpr(partial(_mean, loss))(some, some, some) for _ in range(3)]
    constants = [np.asarray(one) for one in first.consts]
    for other in others:
        if str(other) != str(first) or not all(map(np.array_equal, constants, other.consts)):
            yield (
                "called again it computes something else: it keeps state or draws random numbers; "
                "a loss is a function of its arguments alone"
            )
            return


def _finite(loss: Any) -> Iterator[str]:
    """finite values and gradients at extreme logits."""
    logits = _filled(EXTREMES)
    for name, labels in (("0", jnp.zeros(ROWS)), ("1", jnp.ones(ROWS))):
        value = _value(loss, logits, labels)
        slopes = _slopes(loss, logits, labels)
        if not np.isfinite(value):
            yield (
                f"its value is {float(value)} for labels {name} and logits {_where(loss, labels)}: "
                "write log(p) as jax.nn.log_sigmoid(z), log(1 + exp(z)) as jax.nn.softplus(z), and "
                "keep logarithms and quotients away from 0"
            )
        elif not np.isfinite(slopes).all():
            at = sorted({float(z) for z in logits[~np.isfinite(slopes)]})
            yield (
                f"its gradient is not finite for label {name} at logits {at}: jnp.where "
                "differentiates both its branches, so make their arguments safe before; x ** 0.5 "
                "has no slope at 0"
            )


def _where(loss: Any, labels: Array) -> list[float]:
    """The logits whose loss is not finite, each in a batch of its own."""
    values = [_total(loss, jnp.asarray([z]), labels[:1]) for z in EXTREMES]
    found = [z for z, value in zip(EXTREMES, values, strict=True) if not np.isfinite(value)]
    return found or [*EXTREMES]


def _finite_differences(loss: Any) -> Iterator[str]:
    """the gradient against finite differences, in float64."""
    with jax.enable_x64(True):
        # No two logits are one, and none is where hinges have a corner.
        logits, labels = (jnp.float64(part) for part in _sample())
        slopes = np.asarray(_slopes(loss, logits, labels))[:6]
        step = 1e-5
        moved = np.eye(6, ROWS) * step
        risen = [
            float(_value(loss, logits + one, labels) - _value(loss, logits - one, labels))
            for one in moved
        ]
        measured = np.array(risen) / (2 * step)
    if not _same(slopes, measured, share=1e-3):
        at = int(np.argmax(np.abs(slopes - measured)))
        yield (
            f"its gradient at logit {float(logits[at]):g}, label {float(labels[at]):g} is "
            f"{slopes[at]:.4g}, by finite differences {measured[at]:.4g}: look at custom_vjp, "
            "stop_gradient and rounding functions"
        )


def _precision(loss: Any) -> Iterator[str]:
    """float32 against float64."""
    logits, labels = _sample()
    logits = logits * 2.5
    narrow = np.asarray(_slopes(loss, logits, labels))
    with jax.enable_x64(True):
        wide = np.asarray(_slopes(loss, jnp.float64(logits), jnp.float64(labels)))
    if not _same(narrow, wide, share=1e-3):
        at = int(np.argmax(np.abs(narrow - wide)))
        yield (
            f"its gradient in float32 at logit {float(logits[at]):.3g} is {narrow[at]:.4g} and "
            f"{wide[at]:.4g} in float64: differences of nearly equal numbers cancel, as in 1 - p; "
            "write sigmoid(-z)"
        )


def _under_jit(loss: Any) -> Iterator[str]:
    """the same under jit."""
    logits, labels = _sample()
    eager, compiled = _total(loss, logits, labels), _value(loss, logits, labels)
    if not _same(eager, compiled, share=1e-4):
        yield (
            f"it is {float(eager):.6g}, and {float(compiled):.6g} under jax.jit: no Python `if`, "
            "global or isinstance may depend on what is computed"
        )


def _lanes(loss: Any) -> Iterator[str]:
    """the same as a lane of a fused program."""
    logits, labels = _sample()
    at_the_end = _plain(loss.at(1.0))
    shifted = jnp.stack([logits, logits[::-1] * 0.5, logits + 0.3])
    packed = jax.tree.map(lambda leaf: np.stack([leaf] * 3), pack(loss))
    mapped = jax.jit(jax.vmap(mean_loss_and_gradient, in_axes=(0, None, 0, None, None)))
    values, slopes = mapped(packed, jnp.float32(1.0), shifted, labels, jnp.ones_like(labels))
    together = jax.jit(jax.vmap(partial(_total, at_the_end), in_axes=(0, None)))(shifted, labels)
    for i, one in enumerate(shifted):
        alone = _value(at_the_end, one, labels)
        lane, slope = values[i] * labels.size, slopes[i] * labels.size
        if not (
            _same(lane, alone, share=1e-4)
            and _same(slope, _slopes(at_the_end, one, labels), share=1e-4)
        ):
            yield (
                f"alone it is {float(alone):.6g}, as a lane {float(lane):.6g}: "
                "hyperparameters are float32 arrays there; use none as a Python number or a length"
            )
            return
        if not _same(together[i], alone, share=1e-4):
            yield (
                f"alone it is {float(alone):.6g}, under jax.vmap {float(together[i]):.6g}: reduce "
                "over the rows' axis alone, and look at custom_vmap and callbacks"
            )
            return


def _plain(loss: Any) -> Any:
    """With hyperparameters that are arrays as Python's numbers, by which it can be looked up."""
    arrays = {one.name: getattr(loss, one.name) for one in fields(loss)}
    return replace(
        loss, **{name: float(x) for name, x in arrays.items() if isinstance(x, Array | np.generic)}
    )


def _direction(loss: Any) -> Iterator[str]:
    """the direction of its gradient."""
    logits, labels = _sample()
    slopes = np.asarray(_slopes(loss, logits * 0.25, labels))
    positive, negative = slopes[labels == 1].mean(), slopes[labels == 0].mean()
    if not slopes.any():
        yield "it has no gradient: rounding, comparing and stop_gradient have none"
    elif not positive < negative:
        yield (
            f"its mean slope is {positive:.3g} for positives and {negative:.3g} for negatives, so "
            "that training would push them the wrong way: look at signs, and at which label is 1"
        )


def _order(loss: Any) -> Iterator[str]:
    """the order of rows."""
    logits, labels = _sample()
    order = np.random.default_rng(1).permutation(ROWS)
    slopes = _slopes(loss, logits, labels)
    moved = _slopes(loss, logits[order], labels[order])
    if not _same(moved, slopes[order], share=1e-4):
        yield "rows in another order get other gradients: let no position in the batch count"


def _weights(loss: Any) -> Iterator[str]:
    """weights of examples."""
    logits, labels = _sample()
    mean = jax.jit(partial(_mean, loss))
    weights = jnp.ones(ROWS).at[20:].set(0.0)
    one, other = mean(logits, labels, weights), mean(*_others(logits, labels), weights)
    if not _same(one, other, share=1e-4):
        yield (
            f"where rows of weight 0 change, it goes from {float(one):.5g} to {float(other):.5g}: "
            "multiply by the weights wherever rows are counted or summed"
        )


def _others(logits: Array, labels: Array) -> tuple[Array, Array]:
    """The same first 20 rows, and other ones after."""
    return logits.at[20:].set(-1.5 * logits[20:] + 0.7), labels.at[20:].set(1 - labels[20:])


def _counts(loss: Any) -> Iterator[str]:
    """what follows from class counts."""
    for counts in ((1, 1_000_000), (1_000_000, 1)):
        fitted = loss.fitted(num_negatives=counts[0], num_positives=counts[1])
        value = _value(fitted, *_sample())
        if not np.isfinite(value):
            yield (
                f"fitted to {counts[0]} negatives and {counts[1]} positives it is {float(value)}: "
                "either class may be rare"
            )
            return


# The quick ones first, and what would mislead the rest before it.
_OF_ANY = (_number_of_rows, _same_twice, _direction, _order, _finite, _weights)
_AT_LENGTH = (_finite_differences, _precision, _under_jit, _counts, _lanes)


# Of a loss of an example.


def _alone(loss: Any) -> Iterator[str]:
    """dependence on the rest of the batch."""
    logits, labels = _sample()
    each = jax.jit(lambda z, y: loss(logits=z, labels=y))
    one, other = each(logits, labels)[:20], each(*_others(logits, labels))[:20]
    if not _same(one, other, share=1e-4):
        at = int(np.argmax(np.abs(one - other)))
        yield (
            f"a row's loss is {float(one[at]):.5g}, and {float(other[at]):.5g} beside other rows: "
            "take class counts from fitted(), or declare of_a_batch=True"
        )


def _posterior(loss: Any) -> Iterator[str]:
    """the posterior it recovers."""
    ends = np.asarray([-100.0, -3.0, 0.0, 3.0, 100.0])
    recovered = loss.posterior_logits(ends)
    if recovered is None:
        return
    recovered = np.asarray(recovered)
    if recovered.shape != ends.shape or not np.isfinite(recovered).all():
        yield (
            f"posterior_logits gave {recovered} for the logits {ends}: return a finite number for "
            "each (harness.losses.base.bounded keeps them so)"
        )
        return
    if (np.diff(recovered) < 0).any():
        yield "posterior_logits falls where logits rise: it is to keep their order"
        return
    for eta in ETAS:
        at = _minimiser(loss, eta)
        said = 1 / (1 + math.exp(-float(loss.posterior_logits(np.asarray([at]))[0])))
        if abs(said - eta) > 2e-3:
            yield (
                f"where positives have probability {eta:g} its minimiser is the logit {at:.4g}, "
                f"and posterior_logits makes {said:.4g} of it: return logit(eta) there, or None "
                "where a minimiser tells no eta"
            )
            return


def _minimiser(loss: Any, eta: float) -> float:
    """The logit that minimises the expected loss, from -25 to 25."""
    with jax.enable_x64(True):
        at, width = 0.0, 25.0
        for _ in range(7):  # a grid first: some risks have flat ends
            grid = np.linspace(at - width, at + width, 401)
            at, width = float(grid[np.argmin(_risks(loss)(grid, eta))]), width / 20
    return at


@lru_cache(maxsize=64)
def _risks(loss: Any) -> Any:
    """The expected losses of logits, compiled."""

    def risks(logits: Any, eta: Any) -> Any:
        positive = loss(logits=logits, labels=jnp.ones_like(logits))
        return eta * positive + (1 - eta) * loss(logits=logits, labels=jnp.zeros_like(logits))

    return jax.jit(risks)


_POINTWISE = (_alone, _posterior)


# Of a loss of a batch.


def _one_class(loss: Any) -> Iterator[str]:
    """batches of one class."""
    logits = _filled([-30.0, -1.0, 0.5, 30.0])
    for label in (0.0, 1.0):
        labels = jnp.full(ROWS, label)
        value, slopes = _value(loss, logits, labels), _slopes(loss, logits, labels)
        if not (np.isfinite(value) and np.isfinite(slopes).all()):
            yield (
                f"of a batch of labels {label:g} alone it is {float(value)}, its slopes "
                f"{np.asarray(slopes[:4])}: let it be 0 there, and divide by jnp.maximum(count, 1)"
            )
            return


def _level(loss: Any) -> Iterator[str]:
    """whether one number added to all logits changes it."""
    slopes = np.float64(_slopes(loss, *_sample()))
    is_level = abs(slopes.sum()) < 1e-5 * np.abs(slopes).sum()
    if is_level != loss.is_shift_invariant:
        yield (
            f"its slopes add up to {slopes.sum():.3g}: declare is_shift_invariant = {is_level} in "
            "its class, since scores without a level are no probabilities"
        )


_OF_A_BATCH = (_one_class, _level)


# Of a loss that remembers.


def _steps(loss: Any, batches: Any, weights: Any = None) -> tuple[Any, Memory, Array]:
    """Loss, memory and gradient after a step on each of ``batches`` of the same rows."""
    memory = loss.no_memory(ROWS)
    for logits, labels in batches:
        batch = logits, labels, jnp.ones(ROWS) if weights is None else weights
        (value, memory), slopes = _one_step(pack(loss), jnp.float32(1.0), *batch, memory)
    return value, memory, slopes


_one_step = jax.jit(step_and_gradient)


def _stays_finite(loss: Any, batches: Any) -> bool:
    value, memory, slopes = _steps(loss, batches)
    return all(np.isfinite(part).all() for part in (value, *memory, slopes))


def _batches() -> list[tuple[Array, Array]]:
    logits, labels = _sample()
    return [(logits * scale, labels) for scale in (0.2, -0.1, 0.3)]


def _first_step(loss: Any) -> Iterator[str]:
    """a first step, when its memory is all 0."""
    if not _stays_finite(loss, _batches()[:1]):
        yield (
            "after a first step its loss, memory or gradient is not finite: its memory is all 0 "
            "then, so divide by jnp.where(memory > 0, memory, 1.0) or the like"
        )


def _memory_of_rows(loss: Any) -> Iterator[str]:
    """what it remembers of each row."""
    batches, order = _batches(), np.random.default_rng(1).permutation(ROWS)
    _, memory, slopes = _steps(loss, batches)
    _, moved, others = _steps(loss, [(z[order], y[order]) for z, y in batches])
    if not (_same(moved.rows, memory.rows[order], share=1e-4) and _same(others, slopes[order])):
        yield (
            "rows in another order are remembered otherwise: memory.rows[i] is of row i of the "
            "batch, wherever it stands"
        )
        return
    weights = jnp.ones(ROWS).at[20:].set(0.0)
    _, kept, _ = _steps(loss, batches, weights)
    changed = [(z.at[20:].multiply(-2.0), y) for z, y in batches]
    _, other, _ = _steps(loss, changed, weights)
    if not (_same(kept.rows[:20], other.rows[:20]) and _same(kept.run, other.run)):
        yield (
            "rows of weight 0 change what it remembers of others: multiply by the weights wherever "
            "rows are counted or summed"
        )


def _memory_is_finite(loss: Any) -> Iterator[str]:
    """what it remembers of extreme logits and of batches of one class."""
    extreme, (logits, labels) = _filled(EXTREMES), _sample()
    for name, label in (("0", 0.0), ("1", 1.0)):
        batches = [(extreme, jnp.full(ROWS, label)), (extreme, labels), (logits, labels)]
        if not _stays_finite(loss, batches):
            yield (
                f"after a batch of labels {name} and logits from -1e4 to 1e4 its loss, memory or "
                "gradient is not finite, and would stay so: keep quotients away from 0, with "
                "jnp.where before them and after"
            )
            return


def _memory_in_lanes(loss: Any) -> Iterator[str]:
    """what it remembers under jit, and as a lane of a fused program."""
    batches = _batches()
    value, memory, slopes = _steps(loss, batches)
    alone = (value, *memory, slopes)
    eager: Any = loss.no_memory(ROWS)
    for logits, labels in batches:
        given = {"logits": logits, "labels": labels, "weights": jnp.ones(ROWS)}
        found, eager = loss.at(1.0).step(**given, memory=eager)
    if not all(
        _same(one, other, share=1e-4) for one, other in zip((found, *eager), alone[:3], strict=True)
    ):
        yield (
            "under jax.jit it remembers other numbers: keep nothing outside of `memory`, and let "
            "no Python `if`, global or isinstance depend on what is computed"
        )
        return
    stacked = jax.tree.map(lambda leaf: np.stack([leaf] * 2), pack(loss))
    lanes = jax.jit(jax.vmap(step_and_gradient, in_axes=(0, None, 0, None, None, 0)))
    shared = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), loss.no_memory(ROWS))
    for logits, labels in batches:
        both = jnp.stack([logits[::-1] * 2.0, logits])
        (values, shared), of_both = lanes(
            stacked, jnp.float32(1.0), both, labels, jnp.ones(ROWS), shared
        )
    lane = (values[1], shared.rows[1], shared.run[1], of_both[1])
    if not all(_same(one, other, share=1e-4) for one, other in zip(lane, alone, strict=True)):
        yield "as a lane it remembers other numbers than alone: keep nothing outside of `memory`"


_STATEFUL = (_memory_of_rows, _memory_is_finite, _memory_in_lanes)


# What it is said to be.


def _hyperparameters(loss: Any) -> Iterator[str]:
    """its hyperparameters."""

    rows, one_step = (*_sample(), jnp.ones(ROWS)), jax.jit(mean_loss_and_gradient)

    def shown(one: Any) -> np.ndarray:
        if isinstance(one, StatefulLoss):
            return np.asarray(_steps(one.fitted(**COUNTS), _batches())[2])
        packed = pack(one.fitted(**COUNTS))
        return np.stack([one_step(packed, jnp.float32(at), *rows)[1] for at in (0, 0.5, 0.9, 1)])

    plain = shown(loss)
    for one in fields(loss):
        value = getattr(loss, one.name)
        if one.metadata.get("static") or value is None:
            continue
        others = (
            [not value] if isinstance(value, bool) else [0.5 * value, 0.9 * value + 0.05, 0.999]
        )
        if all(_same(shown(replace(loss, **{one.name: to})), plain, share=1e-6) for to in others):
            yield f"{one.name} changes no gradient: use it, or take it out"


def _declared(loss: Any, *, declared: Declared) -> Iterator[str]:
    """what it is declared to be."""
    logits, labels = _sample()
    if declared.limit is not None:
        given, other = declared.limit
        limit = replace(loss, **given).fitted(**COUNTS)
        theirs = _value(other.fitted(**COUNTS), logits, labels)
        ours = _value(limit, logits, labels)
        if not _same(ours, theirs, share=1e-4):
            yield (
                f"with {dict(given)} it is {float(ours):.5g}, and "
                f"{type(other).__name__} {float(theirs):.5g}: mend the loss or its limit"
            )
    fitted = loss.fitted(**COUNTS)
    for eta, logit in (declared.minimiser or {}).items():
        found = _minimiser(fitted, eta)
        if abs(found - logit) > 5e-3:
            yield (
                f"where positives have probability {eta:g} its minimiser is the logit "
                f"{found:.4g} and not {logit:g}: mend the loss or the derivation"
            )
    if declared.reference is not None:
        with jax.enable_x64(True):
            z, y = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
            values = np.asarray(fitted(logits=jnp.asarray(z), labels=jnp.asarray(y)))
        theirs = np.asarray(declared.reference(z, y))
        if theirs.shape != values.shape or not _same(values, theirs, share=1e-6):
            yield "its values are not those of the reference: mend one of them"


def cost(given: Any, rows: int = 4096) -> float:
    """How many times BCE's time the value and gradient of a batch take, compiled."""
    logits, labels = _sample(rows)

    def seconds(loss: Any) -> float:
        both = jax.jit(jax.value_and_grad(partial(_total, loss)))
        jax.block_until_ready(both(logits, labels))
        taken = []
        for _ in range(20):
            start = time.perf_counter()
            jax.block_until_ready(both(logits, labels))
            taken.append(time.perf_counter() - start)
        return min(taken)

    return seconds(_loss(given).fitted(**COUNTS)) / seconds(BCE())
