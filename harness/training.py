"""One training run as a pure function of arrays, which `vmap` turns into many.

`train_run` takes a `Lane` (all that differs from run to run) and the data set (shared by all), and
returns an `Outcome`. Nothing in it depends on another run. What is fixed at compile time is the
`Program`, from which the shapes of everything follow.

Shapes: S steps = E epochs x K steps, batch B, features d, validation rows V, test rows T, M rows of
a lane's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array
from jaxtyping import Float32, Int32, UInt32

from harness import models
from harness.losses import (
    POINTWISE,
    Family,
    Memory,
    PackedLoss,
    mean_loss,
    mean_loss_and_gradient,
    stateful,
    step_and_gradient,
)
from harness.models import Inputs, Model
from harness.optimizers import Optimizer, PlateauRule, PlateauState, plateau_start, plateau_update
from harness.threefry import THREEFRY

# Rows evaluated at once: bounds the activations of a large test part.
EVALUATION_CHUNK = 2048

SELECT_BY = ("loss", "log_loss", "brier")


@dataclass(frozen=True)
class Sizes:
    """How much there is of each: of a run's own, or what a program has room for."""

    rows: int  # of the data set
    features: int
    validation: int  # rows
    test: int  # rows
    steps_per_epoch: int
    synthetic: int = 0  # rows that a lane may bring of its own


@dataclass(frozen=True)
class Program:
    """What a training program is compiled for; runs of equal programs share it."""

    model: Model
    optimizer: jax.tree_util.PyTreeDef  # which numbers an optimizer has, whatever they are
    sizes: Sizes  # those there is room for
    num_epochs: int
    batch_size: int
    has_missing: bool = False  # whether features may be NaN and the lane says what to fill in
    cardinalities: tuple[int, ...] = ()  # of the last columns, which hold codes
    start: Literal["random", "body", "all"] = "random"  # what of it comes from another run
    freeze_body: bool = False
    losses: Family = POINTWISE  # those that its lanes may have
    pads_features: bool = False  # whether features may be padding, and weights are scaled for it
    has_row_weights: bool = False  # whether rows count differently

    @property
    def inputs(self) -> Inputs:
        return Inputs(self.sizes.features, self.cardinalities)

    @property
    def num_steps(self) -> int:
        return self.num_epochs * self.sizes.steps_per_epoch

    @property
    def num_places(self) -> int:
        """Rows that a batch may hold: the data set's, then a lane's own."""
        return self.sizes.rows + self.sizes.synthetic

    @property
    def num_remembered(self) -> int:
        """Numbers that its loss remembers of all rows."""
        loss = stateful(self.losses)
        return 0 if loss is None else self.num_places * loss.per_row


class Lane(NamedTuple):
    """One run's arrays. Rows are row numbers of the data set.

    In a program with more room than the run needs, rows that are padding repeat the last real one,
    and other padding is 0: see `harness.padding`. On the host they are NumPy's, and stacked lanes
    have one axis more in front.
    """

    loss: PackedLoss
    optimizer: Optimizer  # without its learning rate
    learning_rates: Float32[Array, " steps"]
    # Split, imbalance, sampler and order in one; see `synthetic`.
    batch_rows: Int32[Array, "steps batch"]
    validation_rows: Int32[Array, " validation"]
    # As often as training meets a row's class, for each time it is there naturally; 0 where a row
    # is padding.
    validation_weights: Float32[Array, " validation"]
    test_rows: Int32[Array, " test"]
    center: Float32[Array, " features"]  # fitted on the training part
    scale: Float32[Array, " features"]
    init_key: UInt32[Array, "2"]
    dropout_key: UInt32[Array, "2"]
    head_bias: Float32[Array, ""]  # the first prediction's logit
    head_scale: Float32[Array, ""]  # of a normalised head
    start: Mapping[str, Array]  # parameters by name, where the program starts from another run's
    plateau: PlateauRule
    select_by: Int32[Array, ""]  # an index into SELECT_BY
    patience: Int32[Array, ""]  # epochs; 0 never stops
    steps_per_epoch: Int32[Array, ""]  # arrays over steps may have room for more
    # Rows that the sampler made, which `batch_rows` numbers -1, -2, ... None where the program has
    # none: its arithmetic then knows nothing of them.
    synthetic: Float32[Array, "made features"] | None = None  # in the data set's units
    synthetic_labels: Float32[Array, " made"] | None = None
    # For missing values, fitted likewise; where the program has any.
    fill: Float32[Array, " features"] | None = None
    # Of the first weights; where features may be padding.
    input_scale: Float32[Array, " features"] | None = None


class Curves(NamedTuple):
    """A value an epoch; epochs after a stop repeat or are not finite."""

    train_loss: Float32[Array, " epochs"]  # mean over the epoch's batches of the loss trained
    train_log_loss: Float32[Array, " epochs"]
    validation_loss: Float32[Array, " epochs"]  # under the prior that training has
    validation_log_loss: Float32[Array, " epochs"]
    validation_brier: Float32[Array, " epochs"]


class Outcome(NamedTuple):
    """What a run leaves behind."""

    curves: Curves
    num_epochs: Int32[Array, ""]  # epochs before it stopped
    best_epoch: Int32[Array, ""]  # from 1; 0 where no epoch had a finite value
    diverged_step: Int32[Array, ""]  # from 1; 0 where all was finite
    validation_logits: Float32[Array, " validation"]  # of the best epoch's parameters
    test_logits: Float32[Array, " test"]
    # The best epoch's, by name; those it started from where none was.
    params: Mapping[str, Array]


class _State(NamedTuple):
    params: Any
    opt_state: Any
    diverged_step: Array
    plateau: PlateauState
    memory: Memory | None  # where the loss has one; of all rows, the lane's own at the end


class _Best(NamedTuple):
    params: Any
    value: Array
    epoch: Array
    stopped_after: Array  # () int32, 0 while running


def train_run(
    lane: Lane,
    features: Float32[Array, "rows features"],
    labels: Float32[Array, " rows"],
    *,
    program: Program,
    steps_per_epoch: Int32[Array, ""] | None = None,
    row_weights: Float32[Array, " rows"] | None = None,
) -> Outcome:
    """Trains one run and keeps the epoch that was best on validation.

    Args:
      lane: the run.
      features: (n, d) float32, shared by all runs; NaN where a value is missing.
      labels: (n,) float32 in {0, 1}.
      program: what is fixed at compile time.
      steps_per_epoch: () int32, the lane's own where it is not given. Lanes that are mapped
        together give one for all: a loop whose lanes end apart would select at every step.
      row_weights: (n,) float32, above 0, shared by all runs; None where rows count the same. A
        batch's loss and gradient are multiplied by its mean weight over that of all that is
        visited, so that on average over batches every row counts by its weight.
    """
    if steps_per_epoch is None:
        steps_per_epoch = lane.steps_per_epoch
    num_steps = program.num_epochs * steps_per_epoch  # the program may have room for more
    graph, params, *fixed = nnx.split(
        _initial_network(lane, program), models.trained(head_only=program.freeze_body), ...
    )

    def network(params: Any) -> models.Network:
        return nnx.merge(graph, params, *fixed)

    def standardised(rows: Array, own: Array | None = None) -> Array:
        values = _rows_of(features, own, rows)
        if program.has_missing:
            assert lane.fill is not None
            values = jnp.where(jnp.isnan(values), lane.fill, values)
        return (values - lane.center) * lane.scale

    def logits_of(params: Any, rows: Array) -> Array:
        return _in_chunks(lambda r: network(params)(standardised(r)), rows)

    equal_weights = jnp.ones(program.batch_size, dtype=jnp.float32)
    if row_weights is not None:
        # Rows of steps that are padding are no visits.
        visited = jnp.arange(program.num_steps)[:, None] < num_steps
        visits = jnp.sum(visited * row_weights[lane.batch_rows])
        mean_weight = visits / (num_steps * program.batch_size)

    def gradient(
        params: Any, step: Array, rows: Array, key: Array, memory: Memory | None
    ) -> tuple[tuple[Array, Array], Any, Memory | None]:
        """(loss, log loss), gradient of the loss, and what is remembered after it, of a batch."""

        def logits_of_batch(params: Any) -> Array:
            return network(params)(standardised(rows, lane.synthetic), dropout_key=key)

        # The loss's gradient in the logits comes from the catalogue, the rest by the chain rule.
        batch_labels = _rows_of(labels, lane.synthetic_labels, rows)
        logits, pullback = jax.vjp(logits_of_batch, params)
        of_rows = equal_weights if row_weights is None else row_weights[rows] / mean_weight
        batch = (lane.loss, step / num_steps, logits, batch_labels, of_rows)
        if memory is None:
            loss, of_logits = mean_loss_and_gradient(*batch)
        else:
            places = jnp.where(rows < 0, features.shape[0] - 1 - rows, rows)
            of_batch = memory._replace(rows=memory.rows[places])
            (loss, of_batch), of_logits = step_and_gradient(*batch, of_batch)
            memory = _kept(memory, places, of_batch)
        if row_weights is not None:
            share = jnp.mean(of_rows)
            log_loss = jnp.mean(of_rows * _log_losses(logits, batch_labels))
            return (share * loss, log_loss), pullback(share * of_logits)[0], memory
        log_loss = jnp.mean(_log_losses(logits, batch_labels))
        return (loss, log_loss), pullback(of_logits)[0], memory

    dropout_key = jax.random.wrap_key_data(lane.dropout_key)

    def train_step(state: _State, step_and_rows: tuple[Array, Array]) -> tuple[_State, Any]:
        step, rows = step_and_rows
        key = jax.random.fold_in(dropout_key, step) if program.model.is_random else dropout_key
        (loss, log_loss), grads, memory = gradient(state.params, step, rows, key, state.memory)
        tx = lane.optimizer.transformation(lambda s: lane.learning_rates[s] * state.plateau.scale)
        updates, opt_state = tx.update(
            grads,
            state.opt_state,
            state.params,
            grad_fn=lambda other, _: gradient(other, step, rows, key, state.memory)[1],
        )
        params = optax.apply_updates(state.params, updates)
        finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(grads))
        first = (state.diverged_step == 0) & ~finite
        diverged_step = jnp.where(first, step + 1, state.diverged_step)
        return _State(params, opt_state, diverged_step, state.plateau, memory), (loss, log_loss)

    validation_labels = labels[lane.validation_rows]
    valid = (lane.validation_weights > 0).astype(jnp.float32)
    if row_weights is not None:
        valid = valid * row_weights[lane.validation_rows]
    weights = valid / jnp.sum(valid)

    def validation_curves(params: Any) -> tuple[Array, Array, Array]:
        logits = logits_of(params, lane.validation_rows)
        return (
            _mean_in_chunks(lane.loss, logits, validation_labels, lane.validation_weights),
            jnp.sum(weights * _log_losses(logits, validation_labels)),
            jnp.sum(weights * jnp.square(jax.nn.sigmoid(logits) - validation_labels)),
        )

    def train_epoch(
        carry: tuple[_State, _Best], epoch: Array
    ) -> tuple[tuple[_State, _Best], tuple[Array, ...]]:
        before, best = carry
        after, (loss, log_loss) = _mean_over(
            lambda state, step: train_step(state, (step, lane.batch_rows[step])),
            before,
            first=(epoch - 1) * steps_per_epoch,
            num_steps=steps_per_epoch,
        )
        running = best.stopped_after == 0
        state = _where(running, after, before)
        params = lane.optimizer.evaluated(state.opt_state, state.params)
        curves = validation_curves(params)
        value = jnp.stack(curves)[lane.select_by]
        # NaN compares as not better, so parameters that diverged are never kept.
        better = running & (value < best.value) & (state.diverged_step == 0)
        best = _Best(
            params=_where(better, params, best.params),
            value=jnp.where(better, value, best.value),
            epoch=jnp.where(better, epoch, best.epoch),
            stopped_after=best.stopped_after,
        )
        out_of_patience = (lane.patience > 0) & (epoch - best.epoch >= lane.patience)
        stops = running & (out_of_patience | (state.diverged_step > 0))
        best = best._replace(stopped_after=jnp.where(stops, epoch, best.stopped_after))
        state = state._replace(plateau=plateau_update(lane.plateau, state.plateau, value))
        return (state, best), (loss, log_loss, *curves)

    zero = jnp.int32(0)
    epochs = jnp.arange(1, program.num_epochs + 1, dtype=jnp.int32)
    opt_state = lane.optimizer.transformation(lambda s: lane.learning_rates[s]).init(params)
    loss = stateful(program.losses)
    memory = None if loss is None else loss.no_memory(program.num_places)
    start = (
        _State(params, opt_state, zero, plateau_start(), memory),
        _Best(params, jnp.float32(jnp.inf), zero, zero),
    )
    (state, best), curves = jax.lax.scan(train_epoch, start, epochs)
    return Outcome(
        curves=Curves(*curves),
        num_epochs=jnp.where(best.stopped_after > 0, best.stopped_after, program.num_epochs),
        best_epoch=best.epoch,
        diverged_step=state.diverged_step,
        validation_logits=logits_of(best.params, lane.validation_rows),
        test_logits=logits_of(best.params, lane.test_rows),
        params=models.named_params(network(best.params)),
    )


def _kept(memory: Memory, places: Array, of_batch: Memory) -> Memory:
    """The ``memory`` of all rows after a batch of those at ``places``.

    A row that is there twice, of other logits under dropout, is remembered as it stands last:
    writing both would leave it to the device which.
    """
    last = jnp.full(len(memory.rows), -1).at[places].max(jnp.arange(len(places)))[places]
    return Memory(memory.rows.at[places].set(of_batch.rows[last]), of_batch.run)


def _mean_in_chunks(loss: PackedLoss, logits: Array, labels: Array, weights: Array) -> Array:
    """The loss at the end of training, of at most `EVALUATION_CHUNK` rows at a time.

    Losses of pairs take the square of that in memory; over several chunks they count the pairs
    within each. Rows are dealt to the chunks in turn: data sets sorted by label are common.
    """
    at_the_end = jnp.float32(1.0)
    chunks = -(-logits.shape[0] // EVALUATION_CHUNK)
    if chunks == 1:
        return mean_loss(loss, at_the_end, logits, labels, weights)
    padding = (0, -logits.shape[0] % chunks)
    dealt = [jnp.pad(part, padding).reshape(-1, chunks).T for part in (logits, labels, weights)]
    means = jax.lax.map(lambda part: mean_loss(loss, at_the_end, *part), tuple(dealt))
    shares = jnp.sum(dealt[2], axis=1) / jnp.sum(weights)
    return jnp.sum(jnp.where(shares > 0, means * shares, 0.0))


def _rows_of(shared: Array, own: Array | None, rows: Array) -> Array:
    """Rows of the data set, and of the lane's own where ``rows`` are negative: -1 is its first."""
    if own is None:
        return shared[rows]
    is_own = (rows < 0).reshape(-1, *[1] * (shared.ndim - 1))
    return jnp.where(is_own, own[jnp.maximum(-1 - rows, 0)], shared[jnp.maximum(rows, 0)])


def _initial_network(lane: Lane, program: Program) -> models.Network:
    net = models.network(
        program.model,
        program.inputs,
        jax.random.wrap_key_data(lane.init_key, impl=THREEFRY),
        head_bias=lane.head_bias,
        head_scale=lane.head_scale,
    )
    if lane.input_scale is not None:
        models.scale_inputs(net, lane.input_scale)
    models.set_params(net, lane.start)
    return net


def _log_losses(logits: Array, labels: Array) -> Array:
    return optax.losses.sigmoid_binary_cross_entropy(logits, labels)


def _mean_over(
    train_step: Any, state: _State, *, first: Array, num_steps: Array
) -> tuple[_State, tuple[Array, Array]]:
    """The state after ``num_steps`` steps, the number of which is data, and their mean losses."""

    def one(i: Array, so_far: tuple[_State, tuple[Array, Array]]) -> Any:
        state, sums = so_far
        state, losses = train_step(state, first + i)
        return state, jax.tree.map(jnp.add, sums, losses)

    start = (state, (jnp.float32(0), jnp.float32(0)))
    state, sums = jax.lax.fori_loop(0, num_steps, one, start)
    return state, jax.tree.map(lambda total: total / num_steps, sums)


def _where(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)


def _in_chunks(logits_of: Any, rows: Array) -> Array:
    """``logits_of(rows)``, at most `EVALUATION_CHUNK` rows at a time."""
    num_rows = rows.shape[0]
    if num_rows <= EVALUATION_CHUNK:
        return logits_of(rows)
    chunks = -(-num_rows // EVALUATION_CHUNK)
    padded = jnp.pad(rows, (0, chunks * EVALUATION_CHUNK - num_rows))
    logits = jax.lax.map(logits_of, padded.reshape(chunks, EVALUATION_CHUNK))
    return logits.reshape(-1)[:num_rows]
