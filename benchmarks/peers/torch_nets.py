"""The harness's networks as people write them in PyTorch, of as many parameters."""

import itertools
from typing import Any

import torch
from torch import nn


class Residual(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        down = nn.Linear(inner, width)
        nn.init.zeros_(down.weight)
        nn.init.zeros_(down.bias)
        self.branch = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner), nn.ReLU(), down)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.branch(hidden)


class Columns(nn.Module):
    """Numbers as they are, the last columns' codes embedded."""

    def __init__(self, cardinalities: list[int], size: int):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(k, size) for k in cardinalities)
        for table in self.tables:
            nn.init.zeros_(table.weight[:1])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        numeric = features.shape[1] - len(self.tables)
        codes = features[:, numeric:].long()
        looked_up = [table(codes[:, i]) for i, table in enumerate(self.tables)]
        return torch.cat([features[:, :numeric], *looked_up], dim=1)


class Net(nn.Module):
    def __init__(self, body: nn.Sequential, width: int, log_odds: float):
        super().__init__()
        self.body, self.head = body, nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, log_odds)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(features)).squeeze(1)


def made(net: dict[str, Any], num_features: int, log_odds: float) -> Net:
    """The network that `Work.net` describes; it starts at the prior, as the harness's does."""
    with torch.no_grad():
        found = _BODIES[net["name"]](net, num_features, log_odds)
    number = sum(one.numel() for one in found.parameters())
    assert number == net["parameters"], f"{number} parameters, and not {net['parameters']}"
    return found


def _mlp(net: dict[str, Any], num_features: int, log_odds: float) -> Net:
    sizes = num_features, *[net["width"]] * net["depth"]
    layers = [layer for d, w in itertools.pairwise(sizes) for layer in (nn.Linear(d, w), nn.ReLU())]
    return Net(nn.Sequential(*layers), net["width"], log_odds)


def _residual(net: dict[str, Any], num_features: int, log_odds: float) -> Net:
    codes, size, width = net["cardinalities"], net["embedding"], net["width"]
    inputs = num_features - len(codes) + len(codes) * size
    blocks = [Residual(width, width * net["expansion"]) for _ in range(net["depth"])]
    ends = nn.LayerNorm(width), nn.ReLU()
    body = nn.Sequential(Columns(codes, size), nn.Linear(inputs, width), *blocks, *ends)
    return Net(body, width, log_odds)


def _cnn(net: dict[str, Any], num_features: int, log_odds: float) -> Net:
    image = net["channels"], net["height"], net["width"]
    assert num_features == image[0] * image[1] * image[2] and image[0] == 1
    channels = [image[0], *(net["filters"] * 2**i for i in range(net["blocks"]))]
    blocks = [
        layer
        for i, o in itertools.pairwise(channels)
        for layer in (nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    ]
    shrink = 2 ** net["blocks"]
    flat = (image[1] // shrink) * (image[2] // shrink) * channels[-1]
    dense = nn.Flatten(), nn.Linear(flat, net["units"]), nn.ReLU()
    return Net(nn.Sequential(nn.Unflatten(1, image), *blocks, *dense), net["units"], log_odds)


_BODIES = {"mlp": _mlp, "residual_mlp": _residual, "cnn": _cnn}
