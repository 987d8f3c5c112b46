"""Records what PyTorch, Keras and torchvision compute, so that the tests need none of them.

    pip install -e '.[references]' && python -m tests.references.record

Each entry of recorded.json: the library and its version, float64 values and gradients in the
logits, at `LOGITS` and `LABELS`. `python -m tests.references.record --check` compares instead.
"""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

RECORDED = Path(__file__).with_name("recorded.json")
_rng = np.random.default_rng(20)
# Ordinary logits, then those where naive formulas break.
LOGITS = np.concatenate([_rng.normal(scale=4.0, size=60), [0.0, 20.0, 40.0, 800.0, 1e4]])
LOGITS = np.concatenate([LOGITS, -LOGITS[-4:]])
LABELS = (_rng.random(len(LOGITS)) < 0.4).astype(np.float64)
LOGITS, LABELS = np.concatenate([LOGITS, LOGITS[60:]]), np.concatenate([LABELS, 1 - LABELS[60:]])


def record() -> dict[str, dict[str, Any]]:
    """Values and gradients of every reference, by the name of ours."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    import torch
    from torchvision.ops import sigmoid_focal_loss

    keras.config.set_floatx("float64")
    labels = torch.tensor(LABELS)

    def bce_with_logits(z: Any, **settings: Any) -> Any:
        return torch.nn.BCEWithLogitsLoss(reduction="none", **settings)(z, labels)

    def keras_bce(z: Any, **settings: Any) -> Any:
        loss = keras.losses.BinaryCrossentropy(reduction="none", **settings)
        return loss(labels[:, None], z[:, None])

    references = {
        "torch": {
            "bce": bce_with_logits,
            "weighted_bce": lambda z: bce_with_logits(z, pos_weight=torch.tensor(7.0)),
        },
        "keras": {
            "bce": lambda z: keras_bce(z, from_logits=True),
            "label_smoothing": lambda z: keras_bce(z, from_logits=True, label_smoothing=0.1),
            "clipped_bce": lambda z: keras_bce(torch.sigmoid(z), from_logits=False),
        },
        "torchvision": {
            "focal": lambda z: sigmoid_focal_loss(z, labels, alpha=0.25, gamma=2.0),
        },
    }
    return {
        library: {"version": version(library)}
        | {name: _values_and_gradients(torch, function) for name, function in by_name.items()}
        for library, by_name in references.items()
    }


def _values_and_gradients(torch: Any, function: Any) -> dict[str, list[float]]:
    logits = torch.tensor(LOGITS, requires_grad=True)
    values = function(logits)
    values.sum().backward()
    return {"values": values.detach().tolist(), "gradients": logits.grad.tolist()}


def check() -> None:
    """Fails where the libraries installed compute something else than what is recorded."""
    then = json.loads(RECORDED.read_text())
    for library, entries in record().items():
        for name, entry in entries.items():
            if name != "version":
                for key, values in entry.items():
                    np.testing.assert_allclose(values, then[library][name][key], rtol=1e-9)


if __name__ == "__main__":
    if "--check" in sys.argv:
        check()
    else:
        RECORDED.write_text(json.dumps(record(), indent=1) + "\n")
