"""The calibrator: run real speculative decoding and record what it accepts and costs."""

from calibrate.decoding.decoder import Generation, Sampling, generate
from calibrate.models.loading import Pair, load_pair, random_pair
from calibrate.record import Calibration, calibrate
from calibrate.requests import Settings, in_order, tokenize

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
