"""The networks (Flax NNX): features (batch, num_features) to logits (batch,)."""

from harness.models.base import Inputs, Model
from harness.models.convolutional import CNN
from harness.models.cost import Cost, cost
from harness.models.dense import MLP, LogisticRegression, ResidualMLP
from harness.models.network import (
    Network,
    named_params,
    network,
    param_shapes,
    scale_inputs,
    set_params,
    takes_padding,
    trained,
    with_padding,
    without_padding,
)

MODELS: tuple[type[Model], ...] = (LogisticRegression, MLP, ResidualMLP, CNN)

__all__ = [
    "CNN",
    "MLP",
    "MODELS",
    "Cost",
    "Inputs",
    "LogisticRegression",
    "Model",
    "Network",
    "ResidualMLP",
    "cost",
    "named_params",
    "network",
    "param_shapes",
    "scale_inputs",
    "set_params",
    "takes_padding",
    "trained",
    "with_padding",
    "without_padding",
]
