"""Wall times of Spec-Bench's answers, and the times that a profile gives for the same requests.

The files hold the wall time of each turn at batch size 1, but not its machine. A linear fit splits
the times into a pass of the target, a draft step, context and prompt. The same fit of a profile's
times for the same requests gives terms that can be compared with these one by one.

In transformers' loop the pass over the prompt also verifies the first drafts, so a request of R
rounds takes R passes of the target, the first of which is over the prompt.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from lapsd.traces import Profile, Trace
from lapsd.traces.files.json_lines import json_lines
from lapsd.traces.importers.spec_bench import SpecBench

Floats = NDArray[np.float64]
TERMS = ("pass, ms", "draft step, ms", "context, µs per token", "prompt, ms per token")
SCALES = (1.0, 1.0, 1e3, 1.0)  # from ms to the units of TERMS


@dataclass(frozen=True)
class Fit:
    """Non-negative coefficients of least mean squared relative error, and the errors that remain.

    Attributes
    ----------
    values : float array
    median, p90 : median and 90th percentile of the relative error of a request.
    """

    values: Floats
    median: float
    p90: float

    @classmethod
    def of(cls, columns: list[Floats], ms: Floats, known: Floats | float = 0.0) -> "Fit":
        """Return the fit of `ms` by the columns, plus a part that is known."""
        design = np.column_stack(columns)
        values = nnls(design / ms[:, None], (ms - known) / ms)[0]
        error = np.abs((design @ values + known) / ms - 1)
        return cls(values, float(np.median(error)), float(np.percentile(error, 90)))


@dataclass(frozen=True)
class Requests:
    """Turns of an answer file, in its order.

    Attributes
    ----------
    prompts : tokens of each prompt, estimated from the questions' characters.
    rounds : (draft tokens, context) of each round, by request.
    wall_ms : wall time of each request in milliseconds.
    """

    prompts: NDArray[np.int64]
    rounds: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
    wall_ms: Floats

    @classmethod
    def read(cls, answers: Path, questions: Path, *, drafts: bool) -> "Requests":
        """Return the requests of an answer file; without drafts each round emits one token."""
        trace = SpecBench(questions=questions).read(answers).trace
        assert isinstance(trace, Trace)
        times = [line["choices"][0]["wall_time"] for _, line in json_lines(answers)]
        rounds = []
        for begin, end, prompt in zip(
            trace.offsets, trace.offsets[1:], trace.prompt_tokens, strict=False
        ):
            emitted = trace.accepted[begin:end] + 1
            drafted = trace.drafted[begin:end] if drafts else np.zeros_like(emitted)
            rounds.append((drafted, prompt + np.cumsum(emitted) - emitted))
        wall_s = np.array([time for turns in times for time in turns])
        return cls(trace.prompt_tokens, rounds, 1e3 * wall_s)

    @cached_property
    def passes(self) -> Floats:
        """Number of passes of the target, by request."""
        return np.array([len(drafted) for drafted, _ in self.rounds], dtype=float)

    @cached_property
    def drafted(self) -> Floats:
        """Number of draft steps, by request."""
        return np.array([drafted.sum() for drafted, _ in self.rounds], dtype=float)

    @cached_property
    def contexts(self) -> Floats:
        """Sum of the contexts of all rounds but the first, by request."""
        return np.array([contexts[1:].sum() for _, contexts in self.rounds], dtype=float)

    def priced_ms(self, profile: Profile) -> Floats:
        """Return the time of each request by a profile, in milliseconds."""
        cost, first = profile.round_cost(1), profile.costs.rounds[1].draft_step
        ns = []
        for prompt, (drafted, contexts) in zip(self.prompts.tolist(), self.rounds, strict=True):
            later = zip(drafted[1:].tolist(), contexts[1:].tolist(), strict=True)
            prefill = profile.costs.prefill(prompt) + int(drafted[0]) * first(prompt)
            ns.append(prefill + sum(cost(n, context) for n, context in later))
        return np.array(ns) / 1e6

    def terms(self, ms: Floats) -> Fit:
        """Return the fit of the terms TERMS to times in milliseconds; a draft step only if any."""
        prompts = self.prompts.astype(float)
        columns = [self.passes, self.drafted, self.contexts, prompts]
        found = Fit.of([c for c in columns if c.any()], ms)
        values = iter(found.values)
        all_terms = [
            next(values) * s if c.any() else 0.0 for c, s in zip(columns, SCALES, strict=True)
        ]
        return Fit(np.array(all_terms), found.median, found.p90)

    def host(self, profile: Profile) -> Fit:
        """Return the host time per pass, and per draft step if any, that explains the wall times.

        The profile's times are taken as they are.
        """
        columns = [c for c in (self.passes, self.drafted) if c.any()]
        return Fit.of(columns, self.wall_ms, self.priced_ms(profile))
