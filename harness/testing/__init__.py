"""What a part of one's own must do to be compared with ours, as checks for a test suite.

    from harness.testing import check_loss

    def test_my_loss():
        check_loss(MyLoss, minimiser={0.05: -2.94})

`harness check loss my_package.losses:MyLoss` does the same on the command line. Our own losses pass
these checks. `check_model`, `check_optimizer`, `check_schedule`, `check_sampler`, `check_split`,
`check_source`, `check_metric` and `check_calibrator` are the same of the other kinds.
"""

from harness.testing.losses import Declared, check_loss, cost, loss_faults
from harness.testing.parts import (
    FAULTS_OF,
    check_calibrator,
    check_metric,
    check_model,
    check_optimizer,
    check_sampler,
    check_schedule,
    check_source,
    check_split,
)

__all__ = [
    "FAULTS_OF",
    "Declared",
    "check_calibrator",
    "check_loss",
    "check_metric",
    "check_model",
    "check_optimizer",
    "check_sampler",
    "check_schedule",
    "check_source",
    "check_split",
    "cost",
    "loss_faults",
]
