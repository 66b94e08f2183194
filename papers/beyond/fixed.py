"""What all questions share, fixed before anything is run; nothing is tuned to a result."""

from lapsd.papers.inputs import Inputs

REQUESTS, IN_BATCHES = 30, 60  # of a workload: one at a time, and in batches
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
NO_PREDICTION = "regressed:0"  # the same for all
TYPICAL = ("noisy:0.5", "regressed:0.6")


def predictors(inputs: Inputs) -> list[str]:
    """The length predictors that the trace allows: made-up errors, what was learnt on it, and
    none.
    """
    learnt = [
        "learned" if name == "learned" else f"column:{name}" for name in inputs.trace.predictions
    ]
    return [*PREDICTORS, *learnt, NO_PREDICTION]


def in_words(predictor: str) -> str:
    """A length predictor as a table names it."""
    return "none" if predictor == NO_PREDICTION else predictor
