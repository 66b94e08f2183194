"""A validation of tiny models, with a trace of theirs."""

from dataclasses import replace

from lapsd.policies import FCFS, SRPT
from lapsd.serve.own.engine import OwnEngine
from lapsd.serve.validation.live_runs import Trial
from lapsd.serve.validation.source import Source
from lapsd.traces import Provenance, trace_from_rounds
from lapsd.traces.provenance import Model
from tests.calibrate.tiny import tiny_pair
from tests.serve.plans import plan


def tiny_trial() -> Trial:
    """Return a validation under two policies. The text of a prompt is the list of its token ids."""
    pair = tiny_pair(0.05)
    wanted = plan(8, gap_ns=0, most=12)
    record = OwnEngine(pair).serve(
        replace(wanted, requests=[replace(a, max_new_tokens=12) for a in wanted.requests])
    )
    rows = [
        {
            "request_id": a.request_id,
            "dataset": "tiny",
            "prompt_tokens": len(a.prompt),
            "output_tokens": len(s.tokens),
            "drafted": s.drafted,
            "accepted": s.accepted,
        }
        for a, s in zip(wanted.requests, record.by_index.values(), strict=True)
    ]
    known = Provenance(target=Model(name="tiny"), draft=Model(name="tiny")).noting(
        max_new_tokens=12, temperature=0.0
    )
    texts = [("tiny", a.request_id, " ".join(map(str, a.prompt))) for a in wanted.requests]
    source = Source.of(
        trace_from_rounds(rows, known), texts, lambda text: [int(t) for t in text.split()], "tiny"
    )
    scenario = {"requests": 5, "length_predictor": "oracle"}
    return Trial(OwnEngine(pair), source, scenario, [FCFS(), SRPT()], "busy")
