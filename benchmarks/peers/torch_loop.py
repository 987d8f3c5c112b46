"""A PyTorch loop, each run an offline run of Weights & Biases.

In two processes of one thread each; with `compiled` behind, in one of two threads by torch.compile.
"""

import os
import sys
import tempfile
import time
from multiprocessing import get_context

import torch
import wandb
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch_nets import Net, made
from work import Work, log_loss


def loss_of(net: Net, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return bce(net(features), labels)


def train(arguments: tuple[str, int]) -> float:
    path, index = arguments
    torch.set_num_threads(2 if COMPILED else 1)
    work = WORK.setdefault(path, Work(path))
    job = work[index]
    torch.manual_seed(job.seed)
    features, labels = torch.tensor(job.features), torch.tensor(job.labels, dtype=torch.float32)
    net = made(work.net, features.shape[1], job.log_odds)
    optimizer = torch.optim.Adam(net.parameters(), lr=job.learning_rate)
    best, kept = float("inf"), net.state_dict()
    run = wandb.init(project="peers", config={"learning_rate": job.learning_rate, "seed": job.seed})
    for batches in job.batches:
        total = 0.0
        for rows in batches:
            loss = STEP(net, features[rows], labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        with torch.no_grad():
            at = job.validation
            value = bce(net(features[at]), labels[at]).item()
        run.log({"train/loss": total / len(batches), "validation/loss": value})
        if value < best:
            best, kept = value, {name: t.clone() for name, t in net.state_dict().items()}
    net.load_state_dict(kept)
    with torch.no_grad():
        logits = net(features[job.test]).numpy()
    found = log_loss(logits, job.labels[job.test])
    run.summary["test/log_loss"] = found
    run.finish()
    return found


WORK: dict[str, Work] = {}
COMPILED = sys.argv[3:] == ["compiled"]
STEP = torch.compile(loss_of) if COMPILED else loss_of

if __name__ == "__main__":
    from work import finish

    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(WANDB_MODE="offline", WANDB_DIR=folder, WANDB_SILENT="true")
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/inductor"  # cold, as the harness's
        jobs = [(sys.argv[1], index) for index in range(len(Work(sys.argv[1])))]
        if COMPILED:
            found = list(map(train, jobs))
        else:
            with get_context("spawn").Pool(2) as pool:
                found = pool.map(train, jobs, chunksize=1)
    finish(found, begun)
