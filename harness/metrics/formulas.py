"""How each metric is computed, in a line, for `docs/metrics.md`. No number follows from it.

z logit, p = sigmoid(z), y label in {0, 1}, pi the share of positives, n rows; TP, FP, FN, TN the
rows of a decision; TPR and FPR what it flags of the positives and of the negatives.
"""

from collections.abc import Mapping

FORMULAS: Mapping[str, str] = {
    "log_loss": "mean of softplus(z) - y z, no clipping",
    "skill": "1 - log_loss / H(pi), H(pi) = -pi ln pi - (1 - pi) ln(1 - pi)",
    "brier": "mean of (p - y)^2",
    "brier_skill": "1 - brier / (pi (1 - pi))",
    "ece": "sum over bins of n_b/n abs(mean p - mean y)",
    "ece_debiased": "root of sum over bins of n_b/n [(p_b - y_b)^2 - y_b (1 - y_b) / (n_b - 1)]",
    "calibration_intercept": "a of logit P(y = 1) = a + z, by maximum likelihood",
    "calibration_slope": "b of logit P(y = 1) = a + b z, by maximum likelihood",
    "log_loss_miscalibration": "log_loss - log loss after isotonic regression on these rows",
    "log_loss_discrimination": "H(pi) - log loss after isotonic regression on these rows",
    "log_loss_uncertainty": "H(pi)",
    "brier_miscalibration": "brier - Brier score after isotonic regression on these rows",
    "brier_discrimination": "pi (1 - pi) - Brier score after isotonic regression on these rows",
    "brier_uncertainty": "pi (1 - pi)",
    "auroc": "P(z of a positive > z of a negative) + P(equal) / 2",
    "partial_auroc": "area of TPR over FPR up to max_fpr, scaled: chance is 1/2, 1 is best",
    "average_precision": "sum over thresholds of (recall - recall before) precision",
    "random_average_precision": "expected average precision of rows in random order",
    "precision_at_k": "positives among the k highest / k, in the mean over orders of ties",
    "recall_at_k": "positives among the k highest / positives, in the mean over orders of ties",
    "lift_at_k": "precision_at_k / pi",
    "recall_at_precision": "highest recall of thresholds of at least min_precision",
    "precision_at_recall": "highest precision of thresholds of at least min_recall",
    "accuracy": "(TP + TN) / n",
    "balanced_accuracy": "(recall + specificity) / 2",
    "precision": "TP / (TP + FP)",
    "recall": "TP / (TP + FN)",
    "specificity": "TN / (TN + FP)",
    "f1": "2 TP / (2 TP + FP + FN)",
    "f_beta": "(1 + beta^2) TP / ((1 + beta^2) TP + beta^2 FN + FP)",
    "mcc": "(TP TN - FP FN) / root of (TP+FN)(TN+FP)(TP+FP)(TN+FN)",
    "g_mean": "root of recall x specificity",
    "p4": "4 TP TN / (4 TP TN + (TP + TN)(FP + FN))",
    "flagged": "(TP + FP) / n",
    "expected_cost": "(c_FP FP + c_FN FN + c_TP TP + c_TN TN) / n",
    "net_benefit": "TP/n - FP/n x t / (1 - t), t the threshold's probability",
    "loss": "weighted mean of the loss over rows",
}
