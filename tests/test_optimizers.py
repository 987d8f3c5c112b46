"""Optimizers and schedules, against Optax driven by hand, closed forms and the papers' formulas."""

from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib
from scipy.linalg import svdvals

from harness import optimizers
from harness.optimizers import OPTIMIZERS, PlateauRule, plateau_start, plateau_update
from tests.runs import config, prepared, train_alone, train_together

RATES = np.array([0.1, 0.05, 0.2, 0.1, 0.02], dtype=np.float32)
MATRIX = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
START = {"head": {"w": np.float32([0.5, -1.0, 2.0, 0.1])}, "layer": {"kernel": MATRIX[:4] * 0.3}}


def loss(params):
    hidden = jnp.tanh(MATRIX @ params["layer"]["kernel"])
    return jnp.mean(jnp.square(hidden @ params["head"]["w"] - 1.0))


GRAD = jax.jit(jax.grad(loss))


def follow(tx):
    """The parameters after each of five steps of an Optax transformation, and its last state."""
    params, state, path = START, tx.init(START), []
    for _ in RATES:
        updates, state = tx.update(GRAD(params), state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return path, state


def ours(optimizer, rates=RATES):
    """The same of one of ours, and the parameters it would predict with after each step."""
    tx = optimizer.in_lane().transformation(lambda count: jnp.asarray(rates)[count])
    params, state, path, evaluated = START, tx.init(START), [], []
    for _ in rates:
        updates, state = tx.update(GRAD(params), state, params, grad_fn=lambda p, _: GRAD(p))
        params = optax.apply_updates(params, updates)
        path.append(params)
        evaluated.append(optimizer.evaluated(state, params))
    return path, evaluated


def by_step(count):
    return jnp.asarray(RATES)[count]


# Each of ours with numbers of its own, and what Optax's documentation says it is.
SAME = {
    "sgd": (optimizers.SGD(), optax.sgd(by_step)),
    "momentum": (optimizers.Momentum(momentum=0.8), optax.sgd(by_step, momentum=0.8)),
    "nesterov": (
        optimizers.Nesterov(momentum=0.8),
        optax.sgd(by_step, momentum=0.8, nesterov=True),
    ),
    "adagrad": (
        optimizers.Adagrad(initial_accumulator=0.3, eps=1e-3),
        optax.adagrad(by_step, initial_accumulator_value=0.3, eps=1e-3),
    ),
    "rmsprop": (
        optimizers.RMSProp(decay_rate=0.7, eps=1e-3),
        optax.rmsprop(by_step, decay=0.7, eps=1e-3),
    ),
    "adam": (
        optimizers.Adam(b1=0.8, b2=0.95, eps=1e-3, weight_decay=0.3),
        optax.chain(optax.add_decayed_weights(0.3), optax.adam(by_step, 0.8, 0.95, 1e-3)),
    ),
    "adamw": (
        optimizers.AdamW(b1=0.8, b2=0.95, weight_decay=0.3),
        optax.adamw(by_step, b1=0.8, b2=0.95, weight_decay=0.3),
    ),
    "lion": (
        optimizers.Lion(b1=0.8, b2=0.95, weight_decay=0.3),
        optax.lion(by_step, b1=0.8, b2=0.95, weight_decay=0.3),
    ),
    "muon": (
        optimizers.Muon(momentum=0.9, weight_decay=0.1),
        contrib.muon(
            by_step,
            beta=0.9,
            weight_decay=0.1,
            adam_weight_decay=0.1,
            consistent_rms=0.2,
            muon_weight_dimension_numbers={
                "head": {"w": None},
                "layer": {"kernel": contrib.MuonDimensionNumbers()},
            },
        ),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_five_steps_are_optaxs(name):
    optimizer, reference = SAME[name]
    path, _ = ours(optimizer)
    expected, _ = follow(reference)
    for one, other in zip(path, expected, strict=True):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_muon_steps_are_nearly_orthogonal_in_hidden_matrices_and_adams_elsewhere():
    (first, *_), _ = ours(optimizers.Muon(consistent_rms=1.0))
    moved = (START["layer"]["kernel"] - first["layer"]["kernel"]) / RATES[0] / 2.0  # sqrt(4) rows
    # Five Newton-Schulz iterations bring all but the smallest singular values near 1.
    before, after = svdvals(GRAD(START)["layer"]["kernel"]), svdvals(moved)
    assert before[2] < 0.1 * before[0] and (after[:3] > 0.5).all() and (after[:3] < 1.5).all()
    nadam, _ = follow(optax.nadam(by_step))
    np.testing.assert_allclose(first["head"]["w"], nadam[0]["head"]["w"], rtol=1e-5)


@pytest.mark.parametrize("cls", [optimizers.SAM, optimizers.SAMAdam])
def test_sam_on_a_quadratic_is_the_papers_formula(cls):
    """w - lr A (w + rho A w / |A w|), Foret et al. (2021), equations 2 and 3, with A diagonal."""
    curvature = np.array([1.0, 4.0, 0.25])
    w, rho = np.array([1.0, -2.0, 3.0]), 0.3
    optimizer = cls(rho=rho) if cls is optimizers.SAMAdam else cls(rho=rho, momentum=0.0)
    tx = optimizer.transformation(lambda _: 0.1)
    grad = jax.grad(lambda p: 0.5 * jnp.sum(curvature * p**2))
    params, state = jnp.asarray(w), None
    state = tx.init(params)
    adam_m, adam_v = np.zeros(3), np.zeros(3)
    for step in range(1, 6):
        updates, state = tx.update(grad(params), state, params, grad_fn=lambda p, _: grad(p))
        params = optax.apply_updates(params, updates)
        g = curvature * w
        g = curvature * (w + rho * g / np.linalg.norm(g))
        if cls is optimizers.SAM:
            w = w - 0.1 * g
        else:
            adam_m, adam_v = 0.9 * adam_m + 0.1 * g, 0.999 * adam_v + 0.001 * g**2
            m, v = adam_m / (1 - 0.9**step), adam_v / (1 - 0.999**step)
            w = w - 0.1 * m / (np.sqrt(v) + 1e-8)
        np.testing.assert_allclose(params, w, rtol=1e-4)


def test_sam_survives_a_gradient_of_zero():
    tx = optimizers.SAM().transformation(lambda _: 0.1)
    zero = jnp.zeros(3)
    updates, _ = tx.update(zero, tx.init(zero), zero, grad_fn=lambda p, _: jnp.zeros(3))
    assert (updates == 0).all()


def test_sam_without_a_radius_is_its_base():
    sam, _ = ours(optimizers.SAM(rho=0.0))
    base, _ = ours(optimizers.Momentum())
    np.testing.assert_allclose(sam[-1]["head"]["w"], base[-1]["head"]["w"], rtol=1e-6)


def test_schedule_free_predicts_with_the_papers_average():
    """Defazio et al. (2024), equations 3 to 5, weights the squares of the learning rates."""
    optimizer = optimizers.ScheduleFreeSGD(b1=0.7)
    _, evaluated = ours(optimizer)
    x = z = jax.tree.map(lambda leaf: leaf.astype(np.float64), START)
    total, highest = 0.0, 0.0
    for rate, predicts in zip(RATES, evaluated, strict=True):
        y = jax.tree.map(lambda x, z: 0.7 * x + 0.3 * z, x, z)
        z = jax.tree.map(lambda z, g, r=rate: z - r * np.asarray(g), z, GRAD(y))
        highest = max(highest, rate)
        total += highest**2
        c = highest**2 / total
        x = jax.tree.map(lambda x, z, c=c: (1 - c) * x + c * z, x, z)
        for a, b in zip(jax.tree.leaves(predicts), jax.tree.leaves(x), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_schedule_free_adamw_is_optaxs_at_a_constant_rate():
    constant = np.full(5, 0.1, dtype=np.float32)
    optimizer = optimizers.ScheduleFreeAdamW(b1=0.8, b2=0.95, weight_decay=0.1)
    path, evaluated = ours(optimizer, constant)
    expected, state = follow(contrib.schedule_free_adamw(0.1, b1=0.8, b2=0.95, weight_decay=0.1))
    for one, other in (
        (path[-1], expected[-1]),
        (evaluated[-1], contrib.schedule_free_eval_params(state, expected[-1])),
    ):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cls", OPTIMIZERS)
def test_numbers_are_arrays_and_only_the_name_fixes_the_program(cls):
    """Traced, every number may be unknown; a branch on one of them in Python would fail."""

    def step(optimizer, rate):
        tx = optimizer.transformation(lambda _: rate)
        updates, state = tx.update(START, tx.init(START), START, grad_fn=lambda p, _: GRAD(p))
        return optimizer.evaluated(state, optax.apply_updates(START, updates))

    shapes = jax.eval_shape(step, cls().in_lane(), 0.1)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, START)
    # Of the learning rate a lane has an array beside it.
    numbers = [one for one in fields(cls) if one.name not in {"name", "learning_rate"}]
    assert len(jax.tree.leaves(cls().in_lane())) == len(numbers)


@pytest.mark.parametrize("cls", OPTIMIZERS)
def test_no_bound_changes_no_bit(cls):
    free, _ = ours(cls())
    bounded, _ = ours(cls(clip_norm=1e30, clip_value=1e30))
    for a, b in zip(jax.tree.leaves(free), jax.tree.leaves(bounded), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_bounds_are_exact():
    grads = {"a": jnp.array([3.0, -4.0]), "b": jnp.array([0.25])}

    def step(**bounds):
        tx = optimizers.SGD(**bounds).transformation(lambda _: 1.0)
        updates, _ = tx.update(grads, tx.init(grads), grads)
        return {name: -np.asarray(value) for name, value in updates.items()}

    assert step(clip_value=2.0)["a"].tolist() == [2.0, -2.0]
    assert step(clip_value=2.0)["b"].tolist() == [0.25]
    norm = np.sqrt(25.0625)
    np.testing.assert_allclose(step(clip_norm=1.0)["a"], np.array([3.0, -4.0]) / norm, rtol=1e-6)
    both = step(clip_value=2.0, clip_norm=1.0)
    np.testing.assert_allclose(both["a"], np.array([2.0, -2.0]) / np.sqrt(8.0625), rtol=1e-6)


def rates(num_steps, **schedule):
    one = config(
        optimizer={"name": "sgd", "learning_rate": 1.0},
        schedule=schedule,
        training={"num_epochs": 1, "steps_per_epoch": num_steps, "batch_size": 64},
    )
    return prepared(one).lane.learning_rates


def test_schedules_are_their_closed_forms():
    t = np.arange(20)
    close = {"rtol": 1e-5, "atol": 1e-7}
    assert (rates(20, name="constant") == 1).all()
    ramp = np.minimum(t / 5, 1)
    np.testing.assert_allclose(rates(20, name="constant", warmup=0.25), ramp, **close)
    np.testing.assert_allclose(rates(20, name="linear", final=0.2), 1 - 0.8 * t / 20, **close)
    after = np.where(t < 5, t / 5, 1 - (t - 5) / 15)
    np.testing.assert_allclose(rates(20, name="linear", warmup=0.25), after, **close)
    np.testing.assert_allclose(rates(20, name="exponential", final=0.1), 0.1 ** (t / 20), **close)
    cosine = 0.1 + 0.9 * (1 + np.cos(np.pi * t / 20)) / 2
    np.testing.assert_allclose(
        rates(20, name="warmup_cosine", warmup=0.0, final=0.1), cosine, **close
    )
    steps = np.select([t < 5, t < 15], [1.0, 0.5], 0.25)
    np.testing.assert_allclose(
        rates(20, name="step", milestones=[0.25, 0.75], factor=0.5), steps, **close
    )
    assert (rates(20, name="step", milestones=[]) == 1).all()
    assert (rates(20, name="plateau") == 1).all()


def test_one_cycle_rises_to_the_peak_and_falls_below_its_start():
    one = rates(100, name="one_cycle")
    t = np.arange(100)
    up = 1 / 25 + (1 - 1 / 25) * (1 - np.cos(np.pi * t / 30)) / 2
    down = 1 / 25e4 + (1 - 1 / 25e4) * (1 + np.cos(np.pi * (t - 30) / 70)) / 2
    np.testing.assert_allclose(one, np.where(t < 30, up, down), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        one, jax.vmap(optax.cosine_onecycle_schedule(100, 1.0))(t), rtol=1e-4
    )
    assert one.argmax() == 30 and np.isfinite(rates(1, name="one_cycle")).all()


@pytest.mark.parametrize("patience,cooldown", [(1, 0), (2, 0), (2, 3), (3, 1)])
def test_plateau_decides_as_optaxs(patience, cooldown):
    rule = PlateauRule(factor=0.5, patience=patience, cooldown=cooldown, threshold=0.1, lowest=0.1)
    reference = contrib.reduce_on_plateau(
        factor=0.5, patience=patience, cooldown=cooldown, rtol=0.1, min_scale=0.1
    )
    rng = np.random.default_rng(patience + cooldown)
    values = np.maximum.accumulate(rng.random(40))[::-1] * rng.choice([1.0, 1.3], size=40)
    state, theirs = plateau_start(), reference.init(jnp.zeros(1))
    update = jax.jit(lambda state, value: reference.update(jnp.zeros(1), state, value=value)[1])
    scales = []
    for value in values.astype(np.float32):
        state = plateau_update(rule, state, value)
        theirs = update(theirs, value)
        scales.append((float(state.scale), float(theirs.scale)))
    assert all(one == other for one, other in scales)
    assert len({one for one, _ in scales}) > 2


def test_plateau_cuts_the_learning_rate_of_its_own_lane():
    """A run whose factor is tiny stands still after the cut; its neighbour goes on."""
    noisy = {"name": "sgd", "learning_rate": 3.0}
    epochs = {"num_epochs": 20, "batch_size": 64}
    plateau = {"name": "plateau", "patience": 2, "factor": 1e-30}
    free, cut = train_together(
        config(optimizer=noisy, training=epochs),
        config(optimizer=noisy, training=epochs, schedule=plateau),
    )
    seen, kept = free.curves.validation_loss, cut.curves.validation_loss
    waited, best, end = 0, np.inf, 0
    for value in seen:
        end += 1
        better = value < (1 - 1e-4) * best
        waited, best = (0, value) if better else (waited + 1, best)
        if waited == 2:
            break
    assert end < 15
    np.testing.assert_array_equal(kept[:end], seen[:end])
    assert (kept[end:] == kept[end - 1]).all() and (seen[end:] != seen[end - 1]).all()


def test_stored_logits_of_schedule_free_runs_are_of_the_average():
    one = config(optimizer={"name": "schedule_free_adamw", "learning_rate": 0.03})
    ready, outcome, dataset = train_alone(one)
    split = ready.data.split
    logits = outcome.validation_logits[: len(split.validation)].astype(np.float64)
    log_loss = np.mean(np.logaddexp(0, logits) - dataset.labels[split.validation] * logits)
    best = outcome.curves.validation_log_loss[outcome.best_epoch - 1]
    assert best == pytest.approx(log_loss, rel=1e-5) and best < 0.3


@pytest.mark.parametrize("name", ["muon", "sam", "schedule_free_adamw"])
def test_company_changes_no_bit(name):
    changed = [
        config(optimizer={"name": name, "learning_rate": 0.01, "clip_value": 0.01}),
        config(
            optimizer={"name": name, "learning_rate": 0.03, "weight_decay": 0.1},
            schedule={"name": "plateau", "patience": 1},
            loss={"name": "hinge"},
        ),
    ]
    alone = [train_together(one)[0] for one in changed]
    wild = config(optimizer={"name": name, "learning_rate": 1e30}, loss={"name": "squared_error"})
    _, *together = train_together(wild, *changed)
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            assert a.tobytes() == b.tobytes()
