"""The calibrator: run speculative decoding of real models, and record acceptances and costs."""

from lapsd.calibrate.decoding.decoder import Generation, Sampling, generate
from lapsd.calibrate.models.loading import Pair, load_pair, random_pair
from lapsd.calibrate.record import Calibration, calibrate
from lapsd.calibrate.requests import Settings, in_order, tokenize

__all__ = [
    "Calibration",
    "Generation",
    "Pair",
    "Sampling",
    "Settings",
    "calibrate",
    "generate",
    "in_order",
    "load_pair",
    "random_pair",
    "tokenize",
]
