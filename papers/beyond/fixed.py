"""Parameters that all questions share, fixed before anything was run."""

from lapsd.papers.inputs import Inputs

REQUESTS, IN_BATCHES = 30, 60  # requests of a workload: one at a time, and in batches
LOAD = 0.8
PREDICTORS = (
    "oracle",
    "noisy:0.25",
    "noisy:0.5",
    "noisy:1",
    "noisy:2",
    "regressed:0.9",
    "regressed:0.6",
    "regressed:0.3",
)
NO_PREDICTION = "regressed:0"  # the same prediction for all requests
TYPICAL = ("noisy:0.5", "regressed:0.6")


def predictors(inputs: Inputs) -> list[str]:
    """Return the length predictors: simulated errors, those learned on the trace, and none."""
    learned = [
        "learned" if name == "learned" else f"column:{name}" for name in inputs.trace.predictions
    ]
    return [*PREDICTORS, *learned, NO_PREDICTION]


def in_words(predictor: str) -> str:
    """Return the name of a length predictor for tables."""
    return "none" if predictor == NO_PREDICTION else predictor
