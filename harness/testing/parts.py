"""Checks of models, optimizers, samplers, ..., by arrays as a run gives them."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from itertools import product
from math import prod
from typing import Any, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from harness.data.dataset import Dataset
from harness.data.describe import describe
from harness.data.own_source import OwnSource, as_source
from harness.data.own_splitter import as_splitter
from harness.data.sampler import TrainingPart
from harness.data.sampler.own import as_sampler
from harness.errors import UserError
from harness.layout import TABLE, Layout, Part
from harness.metrics.own import OwnMetric, as_metric
from harness.metrics.own_calibrator import OwnCalibrator, as_calibrator
from harness.models import Inputs, Model, as_model, named_params, network, set_params
from harness.optimizers import Optimizer, Schedule, as_optimizer, as_schedule
from harness.plugins import check_measured, check_stepped, plugged

Faults = Iterator[str]

# What a model is tried on: a small image, a table of numbers, and one of numbers and codes.
INPUTS = (Inputs(64), Inputs(7), Inputs(7, (3, 5)))
# What an array may be that it takes by name: grey and coloured images, series, token ids, a larger
# image and a vector. An annotation of its shape says more.
Kind = tuple[tuple[int, ...], int | None]  # the shape of a row's, and how many ids there are
ARRAYS: tuple[Kind, ...] = (
    ((8, 8, 1), None),
    ((8, 8, 3), None),
    ((8, 4), None),
    ((12,), 20),
    ((28, 28, 1), None),
    ((12,), None),
)
FREE = 8  # an axis that an annotation leaves open
ROWS = 24
# Times as many rows as a training part had, from which on a sampler is at fault: balance takes 2.
MOST_ROWS = 4
_WRITES = "it writes into the X or y that it is given: work on a copy"
_GLOBAL = "it draws from a global generator, so that a run's bits hang on its company: "


def check_model(given: Any, /, *, inputs: Inputs | None = None) -> None:
    """Raises AssertionError with a line for each fault of a network; see `harness.models.as_model`.

    ``inputs`` are what it is made for; else the first that it takes of `INPUTS`, or of rows with
    the arrays that its ``__call__`` names, each of the shape that jaxtyping annotates it with, such
    as ``Float[Array, "batch 32 32 3"]`` or ``Int[Array, "batch 40"]``, or of a kind in `ARRAYS`.
    """
    _raise(model_faults(given, inputs=inputs))


def check_optimizer(given: Any, /) -> None:
    """The same of an optimizer; see `harness.optimizers.as_optimizer`."""
    _raise(optimizer_faults(given))


def check_sampler(given: Any, /) -> None:
    """The same of a sampler; see `harness.data.sampler.own.as_sampler`."""
    _raise(sampler_faults(given))


def check_split(given: Any, /) -> None:
    """The same of a split; see `harness.data.own_splitter.as_splitter`."""
    _raise(split_faults(given))


def check_metric(given: Any, /, **known: Any) -> None:
    """The same of a metric; ``known`` as of `harness.metrics.own.as_metric`, where it has no
    decorator."""
    _raise(metric_faults(given, **known))


def check_schedule(given: Any, /) -> None:
    """The same of a schedule; see `harness.optimizers.as_schedule`."""
    _raise(schedule_faults(given))


def check_source(given: Any, /, **described: Any) -> None:
    """The same of a data source; ``described`` as of `harness.data.own_source.as_source`, where it
    has no decorator."""
    _raise(source_faults(given, **described))


def check_calibrator(given: Any, /) -> None:
    """The same of a calibrator; see `harness.metrics.own_calibrator.as_calibrator`."""
    _raise(calibrator_faults(given))


def _raise(faults: Faults) -> None:
    if found := list(faults):
        raise AssertionError("\n".join(found))


def _made(given: Any, base: type, adapter: Callable[[Any], Any]) -> Any:
    """The choice with its defaults; one that was made already stays."""
    if isinstance(given, base) or hasattr(type(given), "given"):
        return given
    return (given if hasattr(given, "given") else adapter(given))()


class _State:
    """Whether global generators have moved."""

    def __init__(self) -> None:
        self.moved = False


@contextmanager
def _watched() -> Iterator[_State]:
    state = _State()
    before = random.getstate(), repr(np.random.get_state())
    yield state
    state.moved = before != (random.getstate(), repr(np.random.get_state()))


def model_faults(given: Any, *, inputs: Inputs | None = None) -> Faults:
    """A line for each fault of a network: what was seen, and what to do."""
    try:
        model = _made(given, Model, as_model).static()
        with _watched() as state:
            inputs = _fitting(model, inputs)
    except UserError as error:
        yield str(error)
        return
    if state.moved:
        yield _GLOBAL + "draw parameters from rngs"
    yield from _starts(model, inputs)
    net = network(model, inputs, jax.random.key(0))
    names = sorted(named_params(net))
    keys = dict(zip(names, jax.random.split(jax.random.key(1), len(names)), strict=True))
    params = {
        name: value + 0.3 * jax.random.normal(keys[name], value.shape)
        for name, value in named_params(net).items()
    }

    def logits(params: Any, rows: Any) -> Any:
        own = network(model, inputs, jax.random.key(0))
        set_params(own, params)
        return own(rows)

    rows, compiled = _rows(inputs), jax.jit(logits)
    eager, found = logits(params, rows), compiled(params, rows)
    if not np.isfinite(found).all():
        yield "its values are not finite on ordinary rows: look at quotients, logarithms and powers"
        return
    if not np.allclose(eager, found, rtol=1e-3, atol=1e-4):
        yield "under jax.jit it gives other values: let nothing depend on Python state or `if`"
    if not np.allclose(compiled(params, rows), logits(params, rows), rtol=1e-3, atol=1e-4):
        yield "called again it gives other values: it keeps state; take what is random from rngs"
    others = jnp.concatenate([rows[:4], jnp.repeat(rows[4:5], ROWS - 4, axis=0)])
    if not np.allclose(compiled(params, others)[:4], found[:4], rtol=1e-3, atol=1e-4):
        yield "a row's value depends on the other rows: reduce over its own axes, never over axis 0"
    lanes = jax.jit(jax.vmap(logits, in_axes=(0, None)))
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.5 * leaf]), params)
    if not np.allclose(lanes(stacked, rows)[0], found, rtol=1e-3, atol=1e-3):
        yield "as a lane, under jax.vmap, it gives other values: look at callbacks and custom rules"
    slopes = jax.jit(jax.grad(lambda own: jnp.sum(jnp.sin(logits(own, rows)))))(params)
    for name, slope in slopes.items():
        if not np.isfinite(slope).all():
            yield f"the gradient of {name} is not finite: jnp.where differentiates both branches"
        elif not np.any(slope):
            yield f"{name} gets no gradient: use it, or take it out"


def _fitting(model: Model, inputs: Inputs | None) -> Inputs:
    """The inputs that ``model`` takes; raises what it says of them, where it takes none."""
    refused: list[UserError] = []
    for one in _tried(model) if inputs is None else (inputs,):
        try:
            jax.eval_shape(lambda one=one: named_params(network(model, one, jax.random.key(0))))
            return one
        except UserError as error:
            refused.append(error)
    if len(refused) == 1:
        raise refused[0]
    raise UserError(
        f"{refused[-1]}; nor does it take any of {len(refused) - 1} other kinds of rows: annotate "
        'what __call__ takes, as in image: Float[Array, "batch 32 32 3"] by jaxtyping, or give '
        "harness.testing.check_model its inputs"
    )


def _tried(model: Model) -> Iterator[Inputs]:
    names = getattr(model, "arguments", ())
    if len(names) < 2:
        yield from INPUTS
    named = [name for name in names if name != TABLE]
    call = getattr(type(model), "given", type(model)).__call__
    for kinds in product(*(_kinds(call, name) for name in named)):
        yield _inputs(dict(zip(named, kinds, strict=True)), num_numbers=5 * (TABLE in names))


def _kinds(call: Any, name: str) -> tuple[Kind, ...]:
    """What the array called ``name`` may be: as ``call`` annotates it, else any of `ARRAYS`."""
    try:
        hint: Any = get_type_hints(call)[name]
        shape = tuple(getattr(axis, "size", FREE) for axis in hint.dims[1:])
        is_of_ids = not any("float" in dtype for dtype in hint.dtypes)
    except (KeyError, NameError, AttributeError):  # none, or one of another kind
        return ARRAYS
    return ((shape, 20 if is_of_ids else None),) if shape else ARRAYS


def _inputs(kinds: Mapping[str, tuple[tuple[int, ...], int | None]], *, num_numbers: int) -> Inputs:
    """Rows of some numbers and of arrays, ids last as in a data set."""
    parts, codes, start = [], [], num_numbers
    for name, (shape, vocabulary) in sorted(kinds.items(), key=lambda one: one[1][1] is not None):
        parts.append(Part(name, shape, start, vocabulary))
        codes += [vocabulary] * prod(shape) if vocabulary else []
        start += prod(shape)
    return Inputs(start, Layout(codes, parts))


def _rows(inputs: Inputs) -> jax.Array:
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, k, size=(ROWS, 1)) for k in inputs.cardinalities]
    numbers = rng.normal(size=(ROWS, inputs.num_numeric))
    return jnp.asarray(np.hstack([numbers, *codes]), jnp.float32)


def _starts(model: Model, inputs: Inputs) -> Faults:
    """How it starts: by the key, and by nothing else."""

    def started(seed: int) -> dict[str, np.ndarray]:
        net = network(model, inputs, jax.random.key(seed))
        return {name: np.asarray(value) for name, value in named_params(net).items()}

    first, again, other = started(0), started(0), started(1)
    if any(not np.array_equal(first[name], again[name]) for name in first):
        yield "started twice by one key it has other parameters: draw them from rngs alone"
    body = [name for name in first if name.startswith("body.") and first[name].size]
    if body and all(np.array_equal(first[name], other[name]) for name in body):
        yield "it starts alike whatever the seed: give its layers rngs, not a key of their own"


def optimizer_faults(given: Any) -> Faults:
    """The same of an optimizer."""
    try:
        chosen = _made(given, Optimizer, as_optimizer)
        kind: Any = type(chosen)
        check_stepped(kind)
    except UserError as error:
        yield str(error)
        return
    target = jnp.asarray(np.linspace(-1, 1, 6).reshape(3, 2), jnp.float32)

    def gradient(params: Any) -> Any:
        return {"weights": params["weights"] - target}

    def stepped(rate: Any, steps: int) -> Any:
        rule = chosen.in_lane().transformation(lambda count: rate)
        params = {"weights": jnp.full((3, 2), 2.0)}
        state = rule.init(params)
        for _ in range(steps):
            updates, state = rule.update(
                gradient(params), state, params, grad_fn=lambda at, count: gradient(at)
            )
            params = jax.tree.map(jnp.add, params, updates)
        return params["weights"]

    with _watched() as state:
        eager = stepped(jnp.float32(0.01), 3)
    compiled = jax.jit(stepped, static_argnums=1)
    found, start = compiled(jnp.float32(0.01), 3), float(jnp.sum(jnp.square(2.0 - target)))
    if state.moved:
        yield _GLOBAL + "an update is a function of gradients and its state"
    if not np.isfinite(found).all():
        yield "after three steps on a parabola its parameters are not finite: look at quotients"
        return
    if not np.allclose(eager, found, rtol=1e-4, atol=1e-5):
        yield "under jax.jit its steps are others: keep what it remembers in its state"
    if np.allclose(compiled(jnp.float32(0.02), 3), found, rtol=0, atol=1e-7):
        yield "twice the learning rate makes no difference: use learning_rate, which is a schedule"
    if float(jnp.sum(jnp.square(found - target))) >= start:
        yield "three steps on a parabola lead uphill: updates are added, so their sign is minus"


def sampler_faults(given: Any) -> Faults:
    """The same of a sampler."""
    try:
        chosen = _made(given, type(None), as_sampler)
    except UserError as error:
        yield str(error)
        return
    rng = np.random.default_rng(0)
    labels = (np.arange(200) % 5 == 0).astype(np.int8)
    features = (rng.normal(size=(200, 4)) + labels[:, None]).astype(np.float32)
    ones = np.ones(4, np.float32)

    def part() -> TrainingPart:
        return TrainingPart(
            np.arange(200, dtype=np.int32), labels.copy(), features.copy(), 0 * ones, ones
        )

    if _writes(chosen.method(0).fit_resample, part().standardised, labels):
        yield _WRITES
        return
    try:
        with _watched() as state:
            first, again, other = (chosen.resample(part(), seed=seed) for seed in (0, 0, 1))
    except UserError as error:
        yield str(error)
        return
    if state.moved:
        yield _GLOBAL + "take random_state=None, and np.random.default_rng(self.random_state)"
    if not _alike(first, again):
        yield (
            "called twice with one random_state it gives other rows: keep nothing between calls, "
            "and draw from random_state alone"
        )
    elif chosen.draws and len(first.synthetic) and _alike(first, other):
        yield "another random_state makes the same rows: draw from it"
    if len(first.rows) == len(labels) and not len(first.synthetic):
        yield "of 40 positives in 200 rows it changes nothing: return other rows, or leave it out"
    given_back = len(first.rows) + len(first.synthetic)
    if given_back > MOST_ROWS * len(labels):
        yield (
            f"of 200 rows it gives {given_back:,} to train on, though twice the commoner class is "
            f"balance: return fewer than {MOST_ROWS} times as many"
        )


def _writes(function: Callable[[Any, Any], Any], *arrays: Any) -> bool:
    """Whether a call changes the arrays it is given; one that fails says so elsewhere."""
    given = [array.copy() for array in arrays]
    with suppress(Exception):
        function(*given)
    return not all(map(np.array_equal, given, arrays))


def _alike(one: Any, other: Any) -> bool:
    names = ("rows", "labels", "synthetic", "synthetic_labels")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def split_faults(given: Any) -> Faults:
    """The same of a split."""
    rng = np.random.default_rng(0)
    labels = (np.arange(240) % 3 == 0).astype(np.int8)
    dataset = Dataset(
        name="checked",
        features=rng.normal(size=(240, 3)).astype(np.float32),
        labels=labels[rng.permutation(240)],
        feature_names=("a", "b", "c"),
        positive_label="1",
        source="made",
        licence="",
        groups=(np.arange(240) // 6).astype(np.int32),
    )
    try:
        chosen = _made(given, type(None), as_splitter)
        with _watched() as state:
            first, again, other = (chosen.split(dataset, seed=seed) for seed in (0, 0, 1))
    except UserError as error:
        yield str(error)
        return
    if _writes(
        lambda *arrays: [*chosen.method(0, 0).split(*arrays, dataset.groups)],
        dataset.features,
        dataset.labels,
    ):
        yield _WRITES
    if state.moved:
        yield _GLOBAL + "take random_state=None, and np.random.default_rng(self.random_state)"

    def test_of(one: Any) -> Any:
        return [getattr(one, part).tolist() for part in ("train", "validation", "test")]

    if test_of(first) != test_of(again):
        yield "called twice with one random_state it cuts elsewhere: draw from random_state alone"
    elif chosen.draws and test_of(first) == test_of(other):
        yield "another random_state cuts in the same places: draw from it"


def metric_faults(given: Any, **known: Any) -> Faults:
    """The same of a metric."""
    try:
        found = [one for one in plugged("metric").values() if one.function is given]
        made = given if isinstance(given, OwnMetric) else (found or [as_metric(given, **known)])[0]
        check_measured(made)
    except (UserError, ValueError) as error:
        yield str(error)
        return
    rng = np.random.default_rng(0)
    labels = (rng.random(80) < 0.3).astype(np.int8)
    logits = rng.normal(size=80) + labels
    order = rng.permutation(80)
    try:
        with _watched() as state:
            value, again = made.measure(logits, labels), made.measure(logits, labels)
        moved = made.measure(logits[order], labels[order])
        best, worst = (made.measure(sign * (8.0 * labels - 4.0), labels) for sign in (1, -1))
        stretched = made.measure(2 * logits + 1, labels)
    except ValueError as error:
        yield f"{error}: it is to give a number of any rows that hold both classes"
        return
    if len({value, moved, best, worst, stretched}) == 1:
        yield f"whatever the scores it is {value:g}: let it depend on them"
        return
    if state.moved:
        yield _GLOBAL + "a metric is a function of its arguments alone"
    if value != again:
        yield f"called twice it is {value:g} and {again:g}: keep no state, and draw nothing"
    elif not np.isclose(value, moved, rtol=1e-9, atol=1e-12):
        yield f"of rows in another order it is {moved:g} and not {value:g}: let no position count"
    function: Any = made.function
    if _writes(function, 1 / (1 + np.exp(-logits)), labels):
        yield "it writes into the arrays that it is given: work on a copy"
    if made.sign * best < made.sign * worst:
        yield (
            f"where every row is right it is {best:g}, where every row is wrong {worst:g}, and "
            f"{made.direction} is said to be better: turn direction or its sign"
        )
    if not all(made.low - 1e-9 <= one <= made.high + 1e-9 for one in (value, best, worst)):
        yield f"it leaves its range {made.low:g} to {made.high:g}: say low and high as they are"
    if made.needs == "ranking" and not np.isclose(value, stretched, rtol=1e-9):
        yield (
            f"of twice the scores it is {stretched:g} and not {value:g}: of='scores' is said of "
            "what ranks; say of='probabilities'"
        )


def schedule_faults(given: Any) -> Faults:
    """The same of a schedule."""
    try:
        chosen = _made(given, Schedule, as_schedule)
        with _watched() as state:
            first, again = (np.asarray(chosen.schedule(64)(jnp.arange(64))) for _ in range(2))
        for steps in (1, 2, 1000):
            chosen.schedule(steps)(jnp.arange(steps))
    except UserError as error:
        yield str(error)
        return
    if state.moved:
        yield _GLOBAL + "a schedule is a function of the step"
    if not np.array_equal(first, again):
        yield "called twice it gives other rates: keep no state, and draw nothing"
    if not first.any():
        yield "every rate is 0, so that nothing is learned: multiply by peak"
    if (factory := getattr(type(chosen), "given", None)) is None:  # one of ours takes no peak
        return
    shared = {one.name for one in fields(Schedule)} | {"name"}
    own = {key: value for key, value in vars(chosen).items() if key not in shared}

    def under(peak: float) -> Any:
        schedule = factory(peak, 64, **own)
        return jax.vmap(lambda step: jnp.asarray(schedule(step), jnp.float32))(jnp.arange(64))

    if not np.allclose(under(2.0), 2 * under(1.0), rtol=1e-4, atol=1e-6):
        yield "of twice the peak its rates are not twice as high: multiply by peak, add nothing"


def source_faults(given: Any, **described: Any) -> Faults:
    """The same of a data source."""
    # One with a decorator is as that describes it.
    known = [one for one in plugged("dataset").values() if one.given is given]
    try:
        chosen = _made(
            known[0] if known else given, OwnSource, lambda one: as_source(one, **described)
        )
        with _watched() as state:
            first, again = chosen.load(), chosen.load()
    except UserError as error:
        yield str(error)
        return
    if state.moved:
        yield _GLOBAL + "take seed=0, and np.random.default_rng(seed)"
    if first.fingerprint != again.fingerprint:
        yield (
            "called twice with equal settings it gives other data, so that its runs are trained "
            "anew each time: draw from a seed that it takes"
        )
    if isinstance(getattr(chosen, "seed", None), int):
        other = replace(chosen, seed=chosen.seed + 1).load()
        if other.fingerprint == first.fingerprint:
            yield "another seed gives the same data: draw from it, or leave it out"
    for column in describe(first).suspects:
        yield (
            f"column {column.name!r} alone ranks the labels almost without an error (AUROC "
            f"{column.auroc:.3f}): drop it where it would not be known before the label"
        )


def calibrator_faults(given: Any) -> Faults:
    """The same of a calibrator."""
    rng = np.random.default_rng(0)
    logits = np.sort(rng.normal(size=120)).round(2)
    labels = (rng.random(120) < 1 / (1 + np.exp(-2 * logits - 1))).astype(np.int8)
    new = np.linspace(-20, 20, 41)
    try:
        made = given if isinstance(given, OwnCalibrator) else as_calibrator(given)
        with _watched() as state:
            fitted, again = made.fitted(logits, labels), made.fitted(logits, labels)
            found, repeated = made.mapped(fitted, new), made.mapped(again, new)
        lonely = np.concatenate([made.mapped(fitted, one[None]) for one in new])
        other = made.mapped(made.fitted(logits, 1 - labels[::-1]), new)
    except ValueError as error:
        yield str(error)
        return
    if state.moved:
        yield _GLOBAL + "a calibrator is a function of logits and labels"
    if not np.array_equal(found, repeated):
        yield "fitted twice to the same rows it gives other probabilities: keep no state"
    if not np.allclose(found, lonely, rtol=1e-9, atol=1e-9):
        yield "a row's probability depends on the other rows: let predict look at each logit alone"
    if np.array_equal(found, other):
        yield "fitted to other labels it gives the same probabilities: use labels"
    if _writes(lambda *rows: made.given().fit(*rows), logits, labels):
        yield "fit writes into the arrays that it is given: work on a copy"


FAULTS_OF: Mapping[str, Callable[[Any], Faults]] = {
    "model": model_faults,
    "optimizer": optimizer_faults,
    "sampler": sampler_faults,
    "split": split_faults,
    "metric": metric_faults,
    "schedule": schedule_faults,
    "source": source_faults,
    "calibrator": calibrator_faults,
}
