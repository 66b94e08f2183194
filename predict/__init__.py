"""Output lengths foreseen from prompts: learnt predictors, and how good they are.

Needs scikit-learn, but no torch.

A package of its own: it learns (which `traces` does not) without a model to run (which `calibrate`
is for).
"""

from lapsd.predict.columns import PromptedTrace, predictions, with_column
from lapsd.predict.encoders import Encoder, ModelEncoder, TfidfEncoder
from lapsd.predict.evaluate import Accuracy, learnt_on, out_of_fold
from lapsd.predict.models import MODELS, LengthModel, Median, Ranker, Retrieval, Ridge

__all__ = [
    "MODELS",
    "Accuracy",
    "PromptedTrace",
    "Encoder",
    "LengthModel",
    "Median",
    "ModelEncoder",
    "Ranker",
    "Retrieval",
    "Ridge",
    "TfidfEncoder",
    "learnt_on",
    "out_of_fold",
    "predictions",
    "with_column",
]
