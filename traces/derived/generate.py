"""Generate any number of requests whose acceptance resembles that of a recorded trace.

Output lengths (with their prompts) are resampled from the trace, or given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from lapsd.traces.derived.acceptance_model import AcceptanceModel, decoded_rounds
from lapsd.traces.invariants import check_lengths
from lapsd.traces.provenance import Provenance
from lapsd.traces.trace import Trace

MOST_AT_ONCE = 20_000
MOST_REQUESTS = 10_000_000


def generate(
    trace: Trace,
    models: Mapping[str, AcceptanceModel],
    *,
    requests: int | None = None,
    prompt_tokens: Sequence[int] | NDArray[np.int64] | None = None,
    output_tokens: Sequence[int] | NDArray[np.int64] | None = None,
    spread: float = 1.0,
    seed: int = 0,
) -> Trace:
    """Return generated requests whose acceptance resembles that of `trace`.

    Parameters
    ----------
    trace, models : Trace; Mapping[str, AcceptanceModel]
        A trace, and the models that `fit_acceptance` fitted to it. Data sets keep their shares of
        the requests.
    requests : int or None, optional
        Number of requests; their lengths are drawn from the trace with replacement.
    prompt_tokens, output_tokens : Sequence[int] or int64 array or None, optional
        Lengths of the requests instead of their number, (N,) each; prompts at least 0, outputs at
        least 1.
    spread : float, default 1.0
        Factor of the distance of each request's logit from the mean logit; at 0 requests differ
        only by chance.
    seed : int, default 0
        Equal seeds give equal traces.

    Raises
    ------
    ValueError
        If a number is out of range, or both or neither of `requests` and the lengths are given.

    Examples
    --------
    >>> import lapsd
    >>> trace = lapsd.load_trace("reference").only("code")
    >>> many = lapsd.generate(trace, lapsd.fit_acceptance(trace), requests=200, seed=1)
    >>> len(many.request_id)
    200
    """
    if (requests is None) == (output_tokens is None) or (output_tokens is None) != (
        prompt_tokens is None
    ):
        raise ValueError("generate: give either a number of requests, or prompt and output lengths")
    check_numbers(requests, spread, seed)
    rng = np.random.default_rng([seed, 5])
    count = len(output_tokens) if output_tokens is not None else int(requests or 0)
    source = rng.integers(len(trace), size=count)
    prompts = (
        trace.prompt_tokens[source]
        if prompt_tokens is None
        else np.asarray(prompt_tokens, dtype=np.int64)
    )
    outputs = (
        trace.output_tokens[source]
        if output_tokens is None
        else np.asarray(output_tokens, dtype=np.int64)
    )
    if len(prompts) != count or not count:
        raise ValueError(f"generate: {len(prompts)} prompts, {count} outputs: must be as many")
    check_lengths("lengths", prompts, outputs)
    names = np.array([trace.dataset[row] for row in source.tolist()], dtype=object)
    u = np.zeros(count)
    for name, model in models.items():
        u[names == name] = model.propensities(outputs[names == name], rng)
    u = u.mean() + spread * (u - u.mean())
    drafted, accepted, rounds = [], [], np.zeros(count, dtype=np.int64)
    order: list[NDArray[np.int64]] = []
    for name, model in models.items():
        rows = np.flatnonzero(names == name)
        for some in np.array_split(rows, -(-len(rows) // MOST_AT_ONCE)) if len(rows) else []:
            made, done, counts = decoded_rounds(model, u[some], outputs[some], rng)
            drafted.append(made)
            accepted.append(done)
            rounds[some] = counts
            order.append(some)
    places = np.concatenate(order)
    flat = _gathered(places, rounds)
    provenance = Provenance(
        source=(
            f"{count} requests generated from acceptance fitted to:"
            f" {trace.provenance.source or 'a trace'}"
        ),
        notes={
            "generated": {
                "seed": seed,
                "spread": spread,
                "lengths": "given" if output_tokens is not None else "resampled",
                "models": [asdict(m) for m in models.values()],
            }
        },
    )
    # predictions of recorded lengths do not apply to given lengths
    recorded = trace.predictions.items() if output_tokens is None else ()
    return Trace(
        request_id=[f"generated-{i}" for i in range(count)],
        dataset=names.tolist(),
        prompt_tokens=prompts,
        output_tokens=outputs,
        offsets=np.append(0, np.cumsum(rounds)).astype(np.int64),
        drafted=np.concatenate(drafted)[flat],
        accepted=np.concatenate(accepted)[flat],
        predictions={name: tokens[source] for name, tokens in recorded},
        prefixes=(
            trace.prefixes.take(source)
            if trace.prefixes is not None and prompt_tokens is None
            else None
        ),
        provenance=provenance,
    )


def check_numbers(requests: int | None, spread: float, seed: int) -> None:
    """Check numbers of `generate`, which takes a fitted model: this takes no time.

    Raises
    ------
    ValueError
        Naming the value and the bound.
    """
    if not 0 <= spread <= 10:
        raise ValueError(f"spread={spread}: must be between 0 and 10")
    if requests is not None and not 1 <= requests <= MOST_REQUESTS:
        raise ValueError(f"requests={requests}: must be between 1 and {MOST_REQUESTS}")
    if seed < 0:
        raise ValueError(f"seed={seed}: must be at least 0")


def _gathered(places: NDArray[np.int64], rounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of the rounds of request 0, 1, ... in arrays ordered by `places`."""
    begins = np.empty(len(places), dtype=np.int64)
    begins[places] = np.append(0, np.cumsum(rounds[places])[:-1])
    first = np.repeat(begins - np.append(0, np.cumsum(rounds)[:-1]), rounds)
    return np.asarray(first + np.arange(int(rounds.sum())))
