"""Reproducing claims: trains what an experiment asks, judges its claims, writes its results.

`claims` says what an experiment is; `running` turns its sweeps into command lines and leads through
it; `observed` reads the runs, with `quantities`, `computed` and `loss_tables` for what the store
does not hold; `registration` keeps what was claimed before there were runs; `judging` decides;
`results` writes.
"""

from harness.reproduce.claims import experiments, read
from harness.reproduce.registration import plan
from harness.reproduce.results import write_index
from harness.reproduce.running import Reproduced, Request, reproduce

__all__ = ["Reproduced", "Request", "experiments", "plan", "read", "reproduce", "write_index"]
