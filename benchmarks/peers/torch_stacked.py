"""PyTorch with up to sixteen runs stacked by torch.func, in two processes; Adam by hand."""

import itertools
import sys
import time
from multiprocessing import get_context

import numpy as np
import torch
from torch.func import grad_and_value, vmap
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import linear, relu
from work import Work, finish, log_loss

RUNS = 16


def forward(params, features):
    for weight, bias in params[:-1]:
        features = relu(linear(features, weight, bias))
    return linear(features, *params[-1]).squeeze(-1)


def loss(params, features, labels):
    return bce(forward(params, features), labels)


def started(net, jobs, num_features):
    """He's uniform start of torch.nn.Linear, stacked."""
    sizes = (num_features, *[net["width"]] * net["depth"], 1)
    each = []
    for job in jobs:
        torch.manual_seed(job.seed)
        layers = [torch.nn.Linear(d, w) for d, w in itertools.pairwise(sizes)]
        each.append([(one.weight.detach(), one.bias.detach()) for one in layers])
    return [
        tuple(torch.stack([one[layer][part] for one in each]) for part in (0, 1))
        for layer in range(len(sizes) - 1)
    ]


def train(arguments: tuple[str, int]) -> list[float]:
    torch.set_num_threads(1)
    path, start = arguments
    work = Work(path)
    jobs = [work[i] for i in range(start, min(start + RUNS, len(work)))]
    features = torch.stack([torch.tensor(job.features) for job in jobs])
    labels = torch.stack([torch.tensor(job.labels, dtype=torch.float32) for job in jobs])
    lanes = torch.arange(len(jobs))[:, None]
    batches, validation, test = (
        torch.from_numpy(np.stack([getattr(job, name) for job in jobs]))
        for name in ("batches", "validation", "test")
    )
    rates = torch.tensor([job.learning_rate for job in jobs])
    params = started(work.net, jobs, features.shape[2])
    first, second = ([tuple(map(torch.zeros_like, p)) for p in params] for _ in range(2))
    best, kept, step_number = torch.full((len(jobs),), float("inf")), params, 0
    step, whole = vmap(grad_and_value(loss)), vmap(loss)
    for epoch in range(batches.shape[1]):
        for step_in_epoch in range(batches.shape[2]):
            step_number += 1
            rows = batches[:, epoch, step_in_epoch]
            grads, _ = step(params, features[lanes, rows], labels[lanes, rows])
            moved = []
            for layer, pair in enumerate(params):
                new = []
                for part, value in enumerate(pair):
                    g, m, v = grads[layer][part], first[layer][part], second[layer][part]
                    m.mul_(0.9).add_(g, alpha=0.1)
                    v.mul_(0.999).addcmul_(g, g, value=0.001)
                    unbiased = (v / (1 - 0.999**step_number)).sqrt_().add_(1e-8)
                    rate = rates.view(-1, *[1] * (value.dim() - 1))
                    new.append(value - rate * (m / (1 - 0.9**step_number)) / unbiased)
                moved.append(tuple(new))
            params = moved
        with torch.no_grad():
            values = whole(params, features[lanes, validation], labels[lanes, validation])
        better = values < best
        best = torch.where(better, values, best)
        kept = [
            tuple(
                torch.where(better.view(-1, *[1] * (new.dim() - 1)), new, old)
                for new, old in zip(pair, before, strict=True)
            )
            for pair, before in zip(params, kept, strict=True)
        ]
    with torch.no_grad():
        logits = vmap(forward)(kept, features[lanes, test]).numpy()
    return [log_loss(z, job.labels[job.test]) for z, job in zip(logits, jobs, strict=True)]


if __name__ == "__main__":
    begun, path = time.perf_counter(), sys.argv[1]
    stacks = [(path, start) for start in range(0, len(Work(path)), RUNS)]
    with get_context("spawn").Pool(min(2, len(stacks))) as pool:
        found = pool.map(train, stacks, chunksize=1)
    finish([loss for losses in found for loss in losses], begun)
