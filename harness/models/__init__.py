"""The networks (Flax NNX): features (batch, num_features) to logits (batch,)."""

from harness.models.base import Inputs, Model
from harness.models.convolutional import CNN, Convolution
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
from harness.models.own import OwnInputs, as_model

MODELS: tuple[type[Model], ...] = (LogisticRegression, MLP, ResidualMLP, CNN)

__all__ = [
    "CNN",
    "MLP",
    "MODELS",
    "Convolution",
    "Cost",
    "Inputs",
    "LogisticRegression",
    "Model",
    "Network",
    "OwnInputs",
    "ResidualMLP",
    "as_model",
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
