"""Predict output lengths from prompts with learnt models, and measure their accuracy.

Needs scikit-learn; only `ModelEncoder` needs torch. The package is separate from `traces`, which
learns nothing, and from `calibrate`, which runs language models.
"""

from lapsd.predict.columns import PromptedTrace, predictions, with_column
from lapsd.predict.encoders import Encoder, ModelEncoder, TfidfEncoder
from lapsd.predict.evaluate import Accuracy, out_of_fold, predict_with
from lapsd.predict.models import MODELS, LengthModel, Median, Ranker, Retrieval, Ridge

__all__ = [
    "MODELS",
    "Accuracy",
    "Encoder",
    "LengthModel",
    "Median",
    "ModelEncoder",
    "PromptedTrace",
    "Ranker",
    "Retrieval",
    "Ridge",
    "TfidfEncoder",
    "out_of_fold",
    "predict_with",
    "predictions",
    "with_column",
]
