"""A PyTorch loop in two processes, each run an offline run of Weights & Biases."""

import itertools
import os
import sys
import tempfile
import time
from multiprocessing import get_context

import torch
import wandb
from torch.nn import Linear, ReLU, Sequential
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from work import EPOCHS, STEPS, WIDTH, Work, log_loss


def train(arguments: tuple[str, int]) -> float:
    path, index = arguments
    torch.set_num_threads(1)
    job = WORK.setdefault(path, Work(path))[index]
    torch.manual_seed(job.seed)
    features, labels = torch.tensor(job.features), torch.tensor(job.labels, dtype=torch.float32)
    sizes = features.shape[1], WIDTH, WIDTH
    hidden = [layer for d, w in itertools.pairwise(sizes) for layer in (Linear(d, w), ReLU())]
    net = Sequential(*hidden, Linear(WIDTH, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=job.learning_rate)
    best, kept = float("inf"), net.state_dict()
    run = wandb.init(project="peers", config={"learning_rate": job.learning_rate, "seed": job.seed})
    for epoch in range(EPOCHS):
        total = 0.0
        for step in range(STEPS):
            rows = job.batches[epoch, step]
            loss = bce(net(features[rows]).squeeze(1), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        with torch.no_grad():
            at = job.validation
            value = bce(net(features[at]).squeeze(1), labels[at]).item()
        run.log({"train/loss": total / STEPS, "validation/loss": value})
        if value < best:
            best, kept = value, {name: t.clone() for name, t in net.state_dict().items()}
    net.load_state_dict(kept)
    with torch.no_grad():
        logits = net(features[job.test]).squeeze(1).numpy()
    found = log_loss(logits, job.labels[job.test])
    run.summary["test/log_loss"] = found
    run.finish()
    return found


WORK: dict[str, Work] = {}

if __name__ == "__main__":
    from work import finish

    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(WANDB_MODE="offline", WANDB_DIR=folder, WANDB_SILENT="true")
        jobs = [(sys.argv[1], index) for index in range(len(Work(sys.argv[1])))]
        with get_context("spawn").Pool(2) as pool:
            found = pool.map(train, jobs, chunksize=1)
    finish(found, begun)
