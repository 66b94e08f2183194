"""Generated traces resemble the recorded trace in every statistic that can affect a scheduler.

Traces from models with one part removed do not.
"""

from dataclasses import replace

import numpy as np
import pytest

from lapsd.sim.experiment.stability import quantiles, stable_rounds
from lapsd.traces import Trace, load_trace
from lapsd.traces.derived.acceptance_fit import fit_acceptance
from lapsd.traces.derived.acceptance_model import ORDER, AcceptanceModel
from lapsd.traces.derived.borrow import borrow_acceptance
from lapsd.traces.derived.describe import describe
from lapsd.traces.derived.draft_schedule import DraftSchedule
from lapsd.traces.derived.generate import generate
from lapsd.traces.derived.mix import mix, shares_of
from lapsd.traces.errors import FormatError
from lapsd.traces.invariants import checked_trace

REQUESTS = 6_000


@pytest.fixture(scope="module")
def recorded() -> Trace:
    return load_trace("reference")


@pytest.fixture(scope="module")
def models(recorded: Trace) -> dict[str, AcceptanceModel]:
    return fit_acceptance(recorded)


def differences(recorded: Trace, made: Trace, dataset: str) -> dict[str, float]:
    """Return the difference of the two traces in each statistic, in bootstrap standard errors."""

    def statistics(trace: Trace) -> dict[str, float]:
        row = describe(trace).iloc[0]
        found = {
            k: float(row[k])
            for k in ("acceptance", "acceptance_sd", "within_sd", "length_correlation")
        }
        found |= {f"lag {lag}": row["autocorrelation"][lag - 1] for lag in (1, 2, 3)}
        found |= {f"draft {j + 1}": p for j, p in enumerate(row["draft_position"])}
        found |= {f"output {b}": d for b, d in enumerate(row["output_position"])}
        p10, p50, p90, share = quantiles(stable_rounds(trace))
        return found | {
            "stable p10": p10,
            "stable p50": p50,
            "stable p90": p90,
            "stable share": share,
        }

    of = recorded.only(dataset)
    rng = np.random.default_rng(1)
    resampled = [statistics(of.take(rng.integers(len(of), size=len(of)))) for _ in range(25)]
    truth, model = statistics(of), statistics(made.only(dataset))
    # a quantile of rounds is a whole number, so its error is at least half a round
    error = {
        k: max(float(np.std([r[k] for r in resampled])), 0.5 if "stable p" in k else 0.003)
        for k in truth
    }
    return {k: (model[k] - truth[k]) / error[k] for k in truth}


def test_generated_requests_resemble_the_recorded_ones(
    recorded: Trace, models: dict[str, AcceptanceModel]
) -> None:
    made = generate(recorded, models, requests=REQUESTS)
    for dataset in recorded.datasets:
        apart = differences(recorded, made, dataset)
        far = {k: round(v, 1) for k, v in apart.items() if abs(v) > 3.5}
        assert not far, f"{dataset}: {far}"


@pytest.mark.parametrize(
    ("broken", "shows"),
    [
        ({"latent": (0.0,) * ORDER}, "lag 1"),
        ({"concentration": 3.0}, "acceptance_sd"),
        ({"by_output": (0.0,) * 4}, "output 0"),
        ({"by_draft": (0.1, 0.1, 0.1, 0.1)}, "draft 2"),
    ],
)
def test_requests_from_a_model_without_one_part_differ_from_the_recorded_ones(
    recorded: Trace, models: dict[str, AcceptanceModel], broken: dict[str, object], shows: str
) -> None:
    mutant = replace(models["arithmetic"], **broken)  # type: ignore[arg-type]
    made = generate(recorded.only("arithmetic"), {"arithmetic": mutant}, requests=2_000)
    assert abs(differences(recorded, made, "arithmetic")[shows]) > 3.5


def test_a_fit_to_generated_requests_recovers_the_model(recorded: Trace) -> None:
    """The fit recovers the parameters and the latent correlation of a known model."""
    truth = AcceptanceModel(
        "known",
        (-0.4, 0.3, 0.1, 0.2),
        (0.5, 0.0, 0.0, 0.0),
        (-0.6, 0.25, 0.0),
        (4.4, 0.8),
        12.0,
        (0.3, 0.09, 0.03, 0.01, 0.0),
        DraftSchedule("constant", 4),
    )
    rng = np.random.default_rng(2)
    lengths = np.maximum(20, np.exp(rng.normal(4.4, 0.8, 1_500))).astype(np.int64)
    base = replace(recorded.take(np.zeros(1, np.int64)), dataset=["known"])
    made = generate(base, {"known": truth}, prompt_tokens=lengths, output_tokens=lengths)
    found = fit_acceptance(made)["known"]
    assert found.mean_by_length[0] == pytest.approx(truth.mean_by_length[0], abs=0.08)
    assert found.mean_by_length[1] == pytest.approx(truth.mean_by_length[1], abs=0.08)
    assert found.concentration == pytest.approx(truth.concentration, rel=0.25)
    assert found.latent[0] == pytest.approx(truth.latent[0], abs=0.05)
    u = np.array([-1.0, 0.0, 1.0])
    # a constant may move from α to u; their sum is determined
    shift = found.by_draft[0] - truth.by_draft[0]
    assert np.allclose(np.array(found.by_draft) - shift, truth.by_draft, atol=0.15)
    assert np.allclose(found.acceptance_of(u - shift), truth.acceptance_of(u), atol=0.03)


def test_a_generated_trace_is_valid_and_reproducible(
    recorded: Trace, models: dict[str, AcceptanceModel]
) -> None:
    made = generate(recorded, models, requests=300, seed=3)
    columns = {
        "request_id": list(made.request_id),
        "dataset": list(made.dataset),
        "prompt_tokens": made.prompt_tokens.tolist(),
        "output_tokens": made.output_tokens.tolist(),
        "drafted": [made.drafted[made.rounds_of(r)].tolist() for r in range(300)],
        "accepted": [made.accepted[made.rounds_of(r)].tolist() for r in range(300)],
    }
    checked_trace(columns, {}, "generated")  # raises an error if an invariant does not hold
    again = generate(recorded, models, requests=300, seed=3)
    assert np.array_equal(made.accepted, again.accepted)
    assert not np.array_equal(
        made.accepted, generate(recorded, models, requests=300, seed=4).accepted
    )


def test_spread_scales_the_differences_between_requests(
    recorded: Trace, models: dict[str, AcceptanceModel]
) -> None:
    sds = [
        float(
            describe(generate(recorded, models, requests=3_000, spread=s)).iloc[-1]["acceptance_sd"]
        )
        for s in (0.0, 1.0, 2.0)
    ]
    assert sds[0] < 0.75 * sds[1] < 0.75 * sds[2]


def heuristic_trace() -> Trace:
    model = AcceptanceModel(
        "h",
        (0.2,) * 8,
        (0.0,) * 4,
        (-0.5, 0.0, 0.0),
        (4.0, 0.5),
        30.0,
        (0.0,) * ORDER,
        DraftSchedule("heuristic", 5),
    )
    base = replace(load_trace("reference").take(np.arange(50)), dataset=["h"] * 50)
    return generate(base, {"h": model}, requests=200)


def test_draft_schedules_are_recognised_and_unknown_ones_raise_an_error(recorded: Trace) -> None:
    assert DraftSchedule.of(recorded) == DraftSchedule("constant", 4)
    adaptive = heuristic_trace()
    assert DraftSchedule.of(adaptive) == DraftSchedule("heuristic", 5)
    drafted = adaptive.drafted.copy()
    drafted[int(adaptive.offsets[3]) + 1] += 1
    with pytest.raises(FormatError, match="neither constant nor follow"):
        DraftSchedule.of(replace(adaptive, drafted=drafted))


def test_fitting_acceptance_to_too_few_requests_raises_an_error(recorded: Trace) -> None:
    with pytest.raises(FormatError, match="'code' has 5 requests"):
        fit_acceptance(recorded.only("code").take(np.arange(5)))


def test_borrowed_rounds_emit_exactly_the_given_lengths(recorded: Trace) -> None:
    rng = np.random.default_rng(0)
    outputs = np.concatenate([rng.integers(1, 2_000, 300), recorded.output_tokens])
    made = borrow_acceptance(recorded, outputs, outputs)
    columns = {
        "request_id": list(made.request_id),
        "dataset": list(made.dataset),
        "prompt_tokens": made.prompt_tokens.tolist(),
        "output_tokens": made.output_tokens.tolist(),
        "drafted": [made.drafted[made.rounds_of(r)].tolist() for r in range(len(made))],
        "accepted": [made.accepted[made.rounds_of(r)].tolist() for r in range(len(made))],
    }
    checked_trace(columns, {}, "borrowed")
    of_recorded = describe(recorded).iloc[-1]["acceptance"]
    same = describe(made.take(np.arange(300, len(made)))).iloc[-1]["acceptance"]
    assert same == pytest.approx(of_recorded, abs=0.02)


def test_a_mix_has_the_given_shares(recorded: Trace) -> None:
    uneven = recorded.take(np.arange(450))  # data sets of different sizes
    made = mix(uneven, shares_of("code=3+prose=1"))
    names, counts = np.unique(np.array(made.dataset), return_counts=True)
    assert dict(zip(names.tolist(), (counts / len(made)).tolist(), strict=True)) == pytest.approx(
        {"code": 0.75, "prose": 0.25}, abs=0.001
    )
    assert shares_of("a+b") == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(
    "text", ["code=0+prose=1", "code=x+prose=1", "code+code", "+code", "code=-1+prose=1"]
)
def test_an_invalid_mix_raises_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="a mix is NAME=SHARE"):
        shares_of(text)
