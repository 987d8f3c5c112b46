"""The public checks: each of many planted faults is found, in a line that says what to do."""

from collections import deque
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import sigmoid, softplus

from harness import plugins
from harness.losses import BCE, LOSSES, BatchLoss
from harness.testing import Declared, check_loss, loss_faults


def sound(logits, labels):
    return softplus(-(2 * labels - 1) * logits)


@dataclass(frozen=True)
class Sound:
    """A sound loss with something to break."""

    scale: float = 1.0

    def __call__(self, logits, labels):
        return self.scale * sound(logits, labels)


CALLS = deque([0.0], maxlen=1)
KEPT = []


def counted(logits, labels):
    CALLS.append(CALLS[0] + 1)
    return sound(logits, labels) + CALLS[0]


def leaking(logits, labels):
    KEPT.append(logits)
    return sound(logits, labels)


@jax.custom_vjp
def halved(x):
    return softplus(x)


halved.defvjp(lambda x: (softplus(x), x), lambda x, g: (0.5 * g * sigmoid(x),))


def unlike_traced(logits, labels):
    factor = 2.0 if isinstance(logits, jax.core.Tracer) else 1.0
    return factor * sound(logits, labels)


def roots(logits, labels):
    p = jnp.where(labels == 1, sigmoid(-logits), sigmoid(logits))
    return jnp.sqrt(p)


def guarded(logits, labels):
    s = (2 * labels - 1) * logits
    return jnp.where(s > 50, 0.0, jnp.where(s < -50, -s, jnp.log1p(jnp.exp(-s))))


def two_p(logits, labels):
    """1 - p cancels: its gradient is rough in float32."""
    p = sigmoid((2 * labels - 1) * logits)
    return jnp.log1p(1e6 * (1 - p)) / 10


@dataclass(frozen=True)
class Claims(Sound):
    def posterior_logits(self, logits):
        return 2.0 * logits


@dataclass(frozen=True)
class Infinite(Sound):
    def posterior_logits(self, logits):
        with np.errstate(over="ignore", divide="ignore"):
            return np.log(np.exp(10 * logits))


@dataclass(frozen=True)
class Falls(Sound):
    def posterior_logits(self, logits):
        return -logits


@dataclass(frozen=True)
class Counted(Sound):
    weight: float = 1.0

    def __call__(self, logits, labels):
        return self.weight * sound(logits, labels)

    def fitted(self, *, num_negatives, num_positives):
        return type(self)(weight=1.0 / max(0, num_positives - 1) if num_positives > 1 else np.inf)


@dataclass(frozen=True)
class Other(Sound):
    def fitted(self, *, num_negatives, num_positives):
        return BCE()


@dataclass(frozen=True)
class Unused(Sound):
    beta: float = 0.5


@dataclass(frozen=True)
class OfABatch(BatchLoss):
    """A sound loss of a batch with something to break."""

    def mean(self, *, logits, labels, weights):
        p, n = weights * labels, weights * (1 - labels)
        pairs = softplus(logits[None, :] - logits[:, None]) * p[:, None] * n[None, :]
        return jnp.sum(pairs) / jnp.maximum(jnp.sum(p) * jnp.sum(n), 1e-6)

    is_shift_invariant = True


@dataclass(frozen=True)
class Undeclared(OfABatch):
    is_shift_invariant = False


@dataclass(frozen=True)
class OneClass(OfABatch):
    def mean(self, *, logits, labels, weights):
        p, n = weights * labels, weights * (1 - labels)
        return jnp.sum(n * logits) / jnp.sum(n) - jnp.sum(p * logits) / jnp.sum(p)


@dataclass(frozen=True)
class Unweighted(OfABatch):
    def mean(self, *, logits, labels, weights):
        return super().mean(logits=logits, labels=labels, weights=jnp.ones_like(weights))


# A loss with one fault, and what is said of it.
FAULTS = {
    "wrong sign": (lambda z, y: softplus((2 * y - 1) * z), "push them the wrong way"),
    "labels swapped": (lambda z, y: sound(z, 1 - y), "push them the wrong way"),
    "NaN at 1e4": (
        lambda z, y: -y * jnp.log(sigmoid(z)) - (1 - y) * jnp.log(sigmoid(-z)),
        "log(p)",
    ),
    "NaN gradient": (guarded, "gradient is not finite"),
    "endless slope": (roots, "gradient is not finite"),
    "wrong broadcast": (lambda z, y: z[:, None] - y, "shape (4, 4)"),
    "reduced": (lambda z, y: jnp.mean(sound(z, y)), "return one loss for each example"),
    "another type": (
        lambda z, y: jnp.round(sound(z, y)).astype(jnp.int32),
        "keep the logits' type",
    ),
    "no slope": (lambda z, y: jnp.round(sound(z, y)), "it has no gradient"),
    "a narrower type": (lambda z, y: sound(z, y).astype(jnp.float16), "keep the logits' type"),
    "NumPy": (lambda z, y: np.log1p(np.exp(-z)), "cannot be traced by JAX"),
    "a branch": (lambda z, y: z if z[0] > 0 else -z, "jnp.where"),
    "state": (counted, "it keeps state"),
    "chance": (lambda z, y: sound(z, y) * np.random.random(), "draws random numbers"),
    "a leak": (leaking, "Leaked"),
    "order": (lambda z, y: sound(z, y) * (1 + jnp.arange(z.size)), "no position in the batch"),
    "of its batch": (lambda z, y: sound(z - z.mean(), y), "beside other rows"),
    "hidden class counts": (lambda z, y: sound(z, y) * (1.1 - y.mean()), "from fitted()"),
    "a fixed batch": (lambda z, y: sound(z, y.reshape(4)), "batches of any number of rows"),
    "unlike under jit": (unlike_traced, "under jax.jit"),
    "custom gradient": (lambda z, y: halved(-(2 * y - 1) * z), "by finite differences"),
    "stopped gradient": (
        lambda z, y: (jax.lax.stop_gradient(sigmoid(z)) - y) ** 2 * (1 + 0.1 * z),
        "by finite differences",
    ),
    "cancellation": (two_p, "in float32"),
    "a wrong posterior": (Claims(), "return logit(eta) there, or None"),
    "an endless posterior": (Infinite(), "return a finite number for each"),
    "a falling posterior": (Falls(), "keep their order"),
    "rare classes": (Counted(), "either class may be rare"),
    "another loss": (Other(), "return dataclasses.replace"),
    "no use of a number": (Unused(), "beta changes no gradient"),
    "level not declared": (Undeclared(), "declare is_shift_invariant = True"),
    "one class": (OneClass(), "labels 0 alone"),
    "weights": (Unweighted(), "multiply by the weights"),
}


@pytest.mark.parametrize(("given", "told"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found(given, told):
    if not isinstance(given, (Sound, OfABatch)):
        given.__name__ = given.__name__.replace("<lambda>", "planted")
    with np.errstate(all="ignore"):
        found = next((one for one in loss_faults(given) if told in one), None)
    assert found is not None and "\n" not in found


def test_what_is_declared_is_held_to():
    wrong = {
        "limit": {"limit": ({"scale": 2.0}, BCE())},
        "not -3": {"minimiser": {0.05: -3.0}},
        "reference": {"reference": lambda z, y: np.zeros(3)},
    }
    for told, declared in wrong.items():
        assert any(told in one for one in loss_faults(Sound(), Declared(**declared)))


@pytest.mark.slow
def test_a_sound_loss_is_all_that_it_is_declared_to_be():
    check_loss(
        Sound,
        limit=({"scale": 1.0}, BCE()),
        minimiser={0.05: np.log(0.05 / 0.95)},
        reference=lambda z, y: np.logaddexp(0, -(2 * y - 1) * z),
    )
    with pytest.raises(AssertionError, match="beta changes no gradient"):
        check_loss(Unused)
    assert list(loss_faults(OfABatch)) == []


@pytest.mark.slow
@pytest.mark.parametrize("cls", LOSSES, ids=lambda cls: cls.name)
def test_ours_have_none(cls):
    assert list(loss_faults(cls())) == []


@pytest.mark.slow
def test_the_command_finds_nothing_in_ours(harness):
    said = harness("check", "loss", "bce")
    assert said.code == 0 and said.out.startswith("loss=bce: nothing found; it takes ")


def test_a_new_loss_is_one_to_start_from(harness, tmp_path, monkeypatch):
    said = harness("new", "loss", "fresh_loss")
    assert said.code == 0 and said.out.rstrip().endswith(
        "harness check loss fresh_loss.py:fresh_loss"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "_PLUGGED", {group: {} for group in plugins.GROUPS})
    test = {}
    exec((tmp_path / "test_fresh_loss.py").read_text(), test)
    test["test_fresh_loss"]()
    for name in ("fresh_loss", "a b", "class", "focal", "json"):
        said = harness("new", "loss", name)
        assert said.code == 2 and len(said.err.splitlines()) == 1


def test_the_command_says_it(harness, tmp_path):
    (tmp_path / "checked.py").write_text(
        "import jax\n"
        "def wrong(logits, labels, scale=1.0):\n"
        "    return scale * jax.nn.softplus((2 * labels - 1) * logits)\n"
    )
    said = harness("check", "loss", "checked.py:wrong", "scale=2")
    assert said.code == 1 and "wrong way" in said.out
    assert said.out.splitlines()[-1] == "loss=wrong: 1 fault"
    for wrong, told in {"gone": "bce", "checked.py:gone": "has no gone"}.items():
        said = harness("check", "loss", wrong)
        assert said.code == 2 and told in said.err and len(said.err.splitlines()) == 1


@pytest.mark.usefixtures("nothing_stays")
def test_a_decorated_loss_is_what_its_decorator_says():
    @plugins.loss(of_a_batch=True)
    def weighted_softplus(logits, labels, weights):
        each = softplus(-(2 * labels - 1) * logits)
        return (weights * each).sum() / weights.sum()

    assert list(loss_faults(weighted_softplus)) == []
