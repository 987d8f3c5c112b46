"""Models: what they compute, how they start, and what they say they cost."""

from dataclasses import replace
from math import prod

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from harness.errors import UserError
from harness.models import (
    CNN,
    MLP,
    MODELS,
    Inputs,
    LogisticRegression,
    ResidualMLP,
    cost,
    named_params,
    network,
    param_shapes,
    set_params,
)
from harness.sweep import lanes
from tests.runs import config, groups, prepared, train_alone

KEY = jax.random.key(0)
TABLE = Inputs(7, (3, 5))
IMAGE = Inputs(64)
EXAMPLES = {
    "logistic": (LogisticRegression(), TABLE),
    "mlp": (MLP(width=8), TABLE),
    "residual_mlp": (ResidualMLP(width=8), TABLE),
    "cnn": (CNN(filters=4, units=8), IMAGE),
}


def rows(inputs, count=6):
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, k, size=(count, 1)) for k in inputs.cardinalities]
    numeric = rng.normal(size=(count, inputs.num_numeric))
    return jnp.asarray(np.hstack([numeric, *codes]), dtype=jnp.float32)


def randomised(net):
    """All parameters drawn anew: freshly initialised ones hide what they are multiplied by."""
    named = named_params(net)
    keys = jax.random.split(KEY, len(named))
    set_params(
        net,
        {
            name: 0.3 * jax.random.normal(key, value.shape)
            for key, (name, value) in zip(keys, named.items(), strict=True)
        },
    )
    return net, {name: np.asarray(value, np.float64) for name, value in named_params(net).items()}


def test_every_model_has_an_example():
    assert {cls.__dataclass_fields__["name"].default for cls in MODELS} == EXAMPLES.keys()


@pytest.mark.parametrize("head", ["linear", "normalized"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_first_prediction_is_the_head_bias_to_the_bit(name, head):
    model, inputs = EXAMPLES[name]
    net = network(
        replace(model, head=head), inputs, KEY, head_bias=jnp.float32(-2.5), head_scale=30.0
    )
    logits = np.asarray(net(rows(inputs)))
    assert logits.shape == (6,) and (logits == np.float32(-2.5)).all()


@pytest.mark.parametrize("head", ["linear", "normalized"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_first_step_moves_the_head(name, head):
    model, inputs = EXAMPLES[name]
    signs = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])

    def loss(named):
        net = network(replace(model, head=head), inputs, KEY, head_scale=3.0)
        set_params(net, named)
        return jnp.mean(jax.nn.softplus(-signs * net(rows(inputs))))

    gradient = jax.grad(loss)(named_params(network(replace(model, head=head), inputs, KEY)))
    weights = gradient["head.kernel" if head == "linear" else "head.prototypes"]
    assert all(np.isfinite(leaf).all() for leaf in gradient.values()) and np.abs(weights).max() > 0


def test_an_mlp_by_hand():
    for activation, function in {
        "relu": lambda v: np.maximum(v, 0),
        "tanh": np.tanh,
        "silu": lambda v: v / (1 + np.exp(-v)),
        "gelu": lambda v: v * (1 + erf(v / np.sqrt(2))) / 2,
    }.items():
        net, p = randomised(network(MLP(width=8, activation=activation), Inputs(4), KEY))
        x = rows(Inputs(4))
        hidden = np.asarray(x, np.float64)
        for i in range(2):
            kernel, bias = p[f"body.layers.{i}.kernel"], p[f"body.layers.{i}.bias"]
            hidden = function(hidden @ kernel + bias)
        expected = hidden @ p["head.kernel"][:, 0] + p["head.bias"]
        # Flax's gelu is the tanh approximation: off by up to 5e-4 a unit.
        tolerance = 2e-3 if activation == "gelu" else 1e-5
        np.testing.assert_allclose(net(x), expected, rtol=1e-4, atol=tolerance)


def test_the_normalised_head_is_a_difference_of_cosines():
    model = LogisticRegression(head="normalized", learn_scale=True)
    net, p = randomised(network(model, Inputs(4), KEY))
    x = np.asarray(rows(Inputs(4)), np.float64)

    def cosine(w):
        return x @ w / np.linalg.norm(x, axis=1) / np.linalg.norm(w)

    w = p["head.prototypes"]
    expected = p["head.scale"] * (cosine(w[:, 1]) - cosine(w[:, 0])) + p["head.bias"]
    np.testing.assert_allclose(net(rows(Inputs(4))), expected, rtol=1e-4, atol=1e-6)
    larger = 10 * rows(Inputs(4))
    np.testing.assert_allclose(net(larger), net(rows(Inputs(4))), rtol=1e-4, atol=1e-6)


def test_a_fixed_scale_is_no_parameter_and_a_learned_one_is():
    names = param_shapes(MLP(head="normalized"), Inputs(4)).keys()
    learned = param_shapes(MLP(head="normalized", learn_scale=True), Inputs(4)).keys()
    assert learned - names == {"head.scale"}


def test_zero_rows_have_a_finite_gradient_under_the_normalised_head():
    net = network(LogisticRegression(head="normalized"), Inputs(4), KEY, head_scale=5.0)
    gradient = jax.grad(lambda x: jnp.sum(net(x)))(jnp.zeros((2, 4)))
    assert np.isfinite(gradient).all()


def test_embeddings_are_looked_up_by_column_and_code():
    net, p = randomised(network(MLP(width=8, depth=1, embedding=2), TABLE, KEY))
    x = rows(TABLE)
    table = p["body.columns.table.embedding"]
    assert table.shape == (3 + 5, 2)
    values = np.hstack(
        [x[:, :5], table[np.asarray(x[:, 5], int)], table[3 + np.asarray(x[:, 6], int)]]
    )
    kernel, bias = p["body.layers.0.kernel"], p["body.layers.0.bias"]
    hidden = np.maximum(values @ kernel + bias, 0)
    expected = hidden @ p["head.kernel"][:, 0] + p["head.bias"]
    np.testing.assert_allclose(net(x), expected, rtol=1e-4, atol=1e-5)


def test_unknown_codes_start_as_zero_and_others_do_not():
    table = named_params(network(MLP(), TABLE, KEY))["body.columns.table.embedding"]
    zero = (np.asarray(table) == 0).all(axis=1)
    assert zero.tolist() == [True, False, False, True, False, False, False, False]


def test_logistic_regression_has_a_weight_a_category():
    net, p = randomised(network(LogisticRegression(), TABLE, KEY))
    x = np.asarray(rows(TABLE), np.float64)
    weights = p["head.kernel"][:, 0]
    a, b = x[:, 5].astype(int), x[:, 6].astype(int)
    expected = x[:, :5] @ weights[:5] + weights[5 + a] + weights[8 + b] + p["head.bias"]
    np.testing.assert_allclose(net(rows(TABLE)), expected, rtol=1e-4, atol=1e-5)


def test_residual_blocks_start_as_the_identity_and_add():
    one, deep = (network(ResidualMLP(width=8, depth=depth), TABLE, KEY) for depth in (1, 9))
    np.testing.assert_array_equal(one.body(rows(TABLE)), deep.body(rows(TABLE)))
    model = ResidualMLP(width=8, depth=1, expansion=3)
    net, p = randomised(network(model, Inputs(4), KEY))

    def norm(v, name):
        v = (v - v.mean(1, keepdims=True)) / np.sqrt(v.var(1, keepdims=True) + 1e-6)
        return v * p[f"{name}.scale"] + p[f"{name}.bias"]

    def linear(v, name):
        return v @ p[f"{name}.kernel"] + p[f"{name}.bias"]

    block = "body.blocks.0"
    hidden = linear(np.asarray(rows(Inputs(4)), np.float64), "body.stem")
    inner = np.maximum(linear(norm(hidden, f"{block}.norm"), f"{block}.up"), 0)
    assert inner.shape == (6, 24)
    hidden = np.maximum(norm(hidden + linear(inner, f"{block}.down"), "body.norm"), 0)
    expected = linear(hidden, "head")[:, 0]
    np.testing.assert_allclose(net(rows(Inputs(4))), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("height,width,channels", [(8, 8, 1), (7, 10, 3)])
def test_convolutions_are_flaxs(height, width, channels):
    """The same network from Flax Linen's own convolution and pooling."""
    inputs = Inputs(height * width * channels)
    model = CNN(height=height, width=width, channels=channels, filters=4, units=8)
    net, p = randomised(network(model, inputs, KEY))
    x = rows(inputs)
    hidden = x.reshape(-1, height, width, channels)
    for i, (before, after) in enumerate([(channels, 4), (4, 8)]):
        kernel = p[f"body.convolutions.{i}.product.kernel"].reshape(3, 3, before, after)
        bias = p[f"body.convolutions.{i}.product.bias"]
        layer = linen.Conv(after, (3, 3))
        hidden = layer.apply({"params": {"kernel": kernel, "bias": bias}}, hidden)
        hidden = linen.max_pool(linen.relu(hidden), (2, 2), strides=(2, 2))
    flat = hidden.reshape(len(x), -1)
    hidden = linen.relu(flat @ p["body.dense.kernel"] + p["body.dense.bias"])
    expected = hidden @ p["head.kernel"][:, 0] + p["head.bias"]
    np.testing.assert_allclose(net(x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_cnn_learns_digits_better_than_a_line():
    digits = {"kind": "sklearn", "name": "digits", "positive": "8"}
    epochs = {"num_epochs": 8, "batch_size": 64}
    cnn = {"name": "cnn", "filters": 8, "units": 32}
    _, ours, _ = train_alone(config(dataset=digits, model=cnn, training=epochs))
    _, line, _ = train_alone(config(dataset=digits, model={"name": "logistic"}, training=epochs))
    best, lines = ours.curves.validation_log_loss.min(), line.curves.validation_log_loss.min()
    assert best < 0.06 < 0.1 < lines


@pytest.mark.parametrize(
    "model,inputs,says",
    [
        (CNN(), Inputs(30), "8 x 8 x 1 is 64 values, but a row of the data set has 30"),
        (CNN(), Inputs(64, (3,)), "categorical columns"),
        (CNN(blocks=4), Inputs(64), "model.blocks=4 halves 8 x 8"),
    ],
)
def test_an_image_that_does_not_fit_is_one_error(model, inputs, says):
    with pytest.raises(UserError, match=says):
        param_shapes(model, inputs)


def test_the_command_line_refuses_a_table_as_an_image(harness):
    said = harness("train", "model=cnn", "wandb=disabled")
    assert said.code == 2 and said.err.count("\n") == 1 and "model.height" in said.err


def test_a_run_can_start_saturated():
    still = {"name": "sgd", "learning_rate": 1e-30}
    training = {"num_epochs": 1, "steps_per_epoch": 1, "batch_size": 341}
    model = {"name": "mlp", "width": 8, "depth": 1, "initial_logit": 20.0, "prior_bias": False}
    ready, outcome, dataset = train_alone(config(model=model, optimizer=still, training=training))
    pi = dataset.labels[ready.data.split.train].mean()
    assert outcome.curves.train_log_loss[0] == pytest.approx(20 * (1 - pi), rel=1e-5)
    one, other = config(model=model), config()
    assert len(groups(one, other)) == 1


@pytest.mark.parametrize("name", EXAMPLES)
def test_costs_are_those_of_the_layers(name):
    model, inputs = EXAMPLES[name]
    shapes = param_shapes(model, inputs)
    assert cost(model, inputs).num_params == sum(map(prod, shapes.values()))
    positions = {"body.convolutions.0.product": 64, "body.convolutions.1.product": 16}
    # A kernel is used once a row, a convolution's once a pixel.
    products = {
        name: prod(shape) * positions.get(name.removesuffix(".kernel"), 1)
        for name, shape in shapes.items()
        if name.endswith("kernel")
    }
    assert cost(model, inputs).forward_flops == 2 * sum(products.values())
    head = 2 * products["head.kernel"]
    probe = cost(model, inputs, head_only=True)
    assert probe.training_flops == cost(model, inputs).forward_flops + head
    # Every kernel has a gradient, and passes one on unless nothing learned lies below it.
    first = {
        "logistic": "head",
        "mlp": "",
        "residual_mlp": "",
        "cnn": "body.convolutions.0.product",
    }
    passed = sum(flops for key, flops in products.items() if key != f"{first[name]}.kernel")
    assert cost(model, inputs).training_flops == 4 * sum(products.values()) + 2 * passed


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        {"name": "residual_mlp"},
        {"name": "mlp", "head": "normalized"},
        {"name": "cnn"},
    ],
    ids=lambda model: model["name"],
)
def test_lane_bytes_bound_what_xla_says(model):
    digits = {"kind": "sklearn", "name": "digits", "positive": "8"}
    one = config(dataset=digits, model=model, training__batch_size=256)
    program = prepared(one).program
    per_lane = lanes.Trainer(program).memory() / lanes.lanes_per_device(program)
    assert 0.3 * lanes.lane_bytes(program) < per_lane < 1.5 * lanes.lane_bytes(program)
