"""scikit-learn's MLPClassifier in two joblib processes, a pass over an epoch's rows at a time."""

import copy
import sys
import time

import numpy as np
from joblib import Parallel, delayed
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits
from work import Work, finish, log_loss


def train(path: str, index: int) -> float:
    work = Work(path)
    job, hidden = work[index], [work.net["width"]] * work.net["depth"]
    net = MLPClassifier(
        hidden, alpha=0, batch_size=job.batches.shape[2], learning_rate_init=job.learning_rate,
        shuffle=False, random_state=job.seed,
    )  # fmt: skip
    best, kept = np.inf, net
    with threadpool_limits(1):
        for batches in job.batches:
            rows = batches.ravel()
            net.partial_fit(job.features[rows], job.labels[rows], classes=[0, 1])
            value = log_loss(logits(net, job.features[job.validation]), job.labels[job.validation])
            if value < best:
                best, kept = value, copy.deepcopy(net)
        return log_loss(logits(kept, job.features[job.test]), job.labels[job.test])


def logits(net: MLPClassifier, features: np.ndarray) -> np.ndarray:
    probabilities = net.predict_proba(features).astype(float).clip(1e-15, 1 - 1e-15)
    return np.log(probabilities[:, 1]) - np.log(probabilities[:, 0])


if __name__ == "__main__":
    begun, path = time.perf_counter(), sys.argv[1]
    found = Parallel(n_jobs=2)(delayed(train)(path, i) for i in range(len(Work(path))))
    finish(found, begun)
