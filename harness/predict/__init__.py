"""A trained run that predicts: a model, its folder, and the scores of new rows."""

from harness.predict.making import model_of
from harness.predict.model import Model, Scores

__all__ = ["Model", "Scores", "model_of"]
