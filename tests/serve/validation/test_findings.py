"""Tables and sentences of a validation, from synthetic outcomes and from runs of tiny models."""

import json
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from lapsd.policies import FCFS, POLICIES, Policy, parse_policy
from lapsd.serve.plan import Plan
from lapsd.serve.record import Record, RequestResult
from lapsd.serve.validation.costs import Slowness, at_level_of, profile_of
from lapsd.serve.validation.findings import (
    Outcome,
    differences_table,
    draft_verdicts,
    errors_table,
    outcomes as all_outcomes,
    requests_table,
    same_order,
    verdicts,
)
from lapsd.serve.validation.folder import Folder
from lapsd.serve.validation.live_runs import LiveRuns, check_policies
from lapsd.serve.validation.recorded import trace_of
from lapsd.serve.validation.report import Report
from lapsd.serve.validation.simulated import capacity_of, live_order, predict_run
from lapsd.serve.validation.source import Source
from lapsd.traces import Provenance, Trace
from tests.calibrate.tiny import VOCABULARY
from tests.serve.plans import plan
from tests.serve.tiny_trial import tiny_trial

SECOND = 10**9


def outcome(policy, seed, live, predicted, *, busy=(100, 100), drift=0.0, divergence=""):
    wanted = Plan(plan(len(live)).requests, policy=policy)
    ns = [np.array(values) * SECOND for values in (live, predicted)]
    return Outcome(0.8, seed, wanted, *ns, *busy, 1.0, drift, 5 * drift, divergence)


@pytest.fixture
def outcomes():
    """FCFS predicted 10 % too high; SRPT predicted so much too high that FCFS seems better."""
    return [
        outcome("fcfs", 0, [1, 2, 3], [1.1, 2.2, 3.3], busy=(100, 101)),
        outcome("fcfs", 1, [2, 4, 6], [2.2, 4.4, 6.6], busy=(100, 101)),
        outcome("srpt", 0, [1, 1, 1], [3, 3, 3], drift=0.5),
        outcome("srpt", 1, [2, 2, 2], [5, 5, 5], drift=-0.5, divergence="decision 3 at 5 ns: no"),
    ]


def test_errors_are_ratios_of_means_and_come_with_drift(outcomes):
    table = errors_table(outcomes).set_index("policy")
    first = table.loc["fcfs"]
    assert first["mean_s"] == pytest.approx(3)
    assert first["predicted_mean_s"] == pytest.approx(3.3)
    assert [first[name] for name in ("error", "error_low", "error_high")] == pytest.approx(
        [10, 10, 10]
    )
    assert first["busy_error"] == pytest.approx(1)
    assert (first["p50_s"], first["p99_s"]) == pytest.approx(
        (2.5, np.percentile([1, 2, 3, 2, 4, 6], 99))
    )
    assert first["rank_correlation"] == pytest.approx(1)
    assert (first["exact_decisions"], table.loc["srpt"]["exact_decisions"]) == (2, 1)
    assert (table.loc["srpt"]["busy_drift"], table.loc["srpt"]["drift"]) == (50, 250)


def test_differences_are_paired_and_compare_the_sign(outcomes):
    (row,) = differences_table(outcomes).to_dict("records")
    assert (row["policy"], row["other"], row["seeds"]) == ("fcfs", "srpt", 2)
    assert row["s"] == pytest.approx(-1.5)
    assert row["predicted_s"] == pytest.approx((0.8 + 0.6) / 2)
    assert row["percent"] == pytest.approx(-50)
    assert row["points"] == pytest.approx(100 * (4 / 3.3 - 1) + 50)
    assert not row["same_sign"]
    assert not row["significant"]  # two seeds, -1 and -2: the interval includes 0


def test_verdicts_count_small_errors_and_errors_below_the_drift(outcomes):
    lines = verdicts(outcomes, errors_table(outcomes), differences_table(outcomes))
    assert lines[0].startswith(
        "Decisions: given the measured durations, the simulator reproduces 3 of 4 live runs"
    )
    assert "(srpt): decision 3 at 5 ns: no" in lines[0]
    assert lines[1] == (
        "Costs: simulated busy time is within 2 % of the measured one in 2 of 2 rows; the largest"
        " error is 1.0 %."
    )
    assert lines[2].startswith(
        "Costs: simulated mean latency is within 5 % of the measured one in 0 of 2 rows; the"
        " largest error is 166.7 %."
    )
    assert lines[2].endswith(
        "the drift of the machine exceeds the error, so that the error may be drift."
    )
    assert lines[3] == (
        "Ratios to FCFS: 0 of 1 are within 3 percentage points of the measured ones; the largest"
        " error is 71.2 points."
    )
    assert lines[4] == (
        "Order: 0 of 1 measured differences between policies are statistically significant; the"
        " simulator has the sign of 0 of these. The other differences cannot confirm its order."
    )
    assert lines[5].startswith(
        "Drift: the time of the same calibration rounds changed by 25.0 % on average"
    )


def test_the_order_of_draft_policies_is_compared_with_the_simulators():
    found = [
        outcome(policy, seed, [scale * live], [scale * predicted])
        for policy, live, predicted in (
            ("fcfs", 4.0, 4.1),
            ("fcfs+off", 9.0, 8.0),
            ("fcfs+goodput:most=5", 3.0, 4.2),
            ("las", 1.0, 1.0),
        )
        for seed, scale in enumerate((1.0, 1.01, 1.02))
    ]
    errors, differences = errors_table(found), differences_table(found)
    assert draft_verdicts(errors, differences) == [
        "Draft policies of fcfs at load 0.8, the best first: measured goodput:most=5, the recorded"
        " length, off; predicted the recorded length, goodput:most=5, off. 3 of 3 differences"
        " between them are statistically significant; the simulator has the sign of 2 of"
        " these, and of 2 of all 3."
    ]
    assert draft_verdicts(errors, differences)[0] in verdicts(found, errors, differences)


def test_same_order_is_the_share_of_rounds_in_common_sequences():
    order = [(i, 0) for i in range(10)]
    assert same_order(order, order) == 1
    assert same_order(order, [*order[5:], *order[:5]]) == 0.5
    assert same_order(order, []) == 0


@pytest.fixture(scope="module")
def trial():
    return tiny_trial()


@pytest.fixture(scope="module")
def profile(trial):
    """The costs that loads are relative to."""
    return trial.first_profile()


@pytest.fixture(scope="module")
def wall_clock_trial(trial):
    """On the wall clock, which cannot be stopped: calibrations run before and after each run."""
    return replace(trial, clock="wall")


@pytest.fixture(scope="module")
def live_runs(trial, profile):
    """The live runs of a workload under both policies."""
    return trial.live_runs(0.9, 3, profile, lambda what: None)


@pytest.fixture(scope="module")
def wall_clock_runs(wall_clock_trial, profile):
    """The live runs of the same workload on the wall clock."""
    return wall_clock_trial.live_runs(0.9, 3, profile, lambda what: None)


@pytest.mark.parametrize("which", ["live_runs", "wall_clock_runs"])
def test_live_runs_are_served_predicted_written_and_read_back(which, request, tmp_path):
    live_runs = request.getfixturevalue(which)
    assert live_runs.complete
    assert len(live_runs.calibrations) == (3 if which == "wall_clock_runs" else 0)
    assert [p.policy for p in live_runs.plans] == ["fcfs", "srpt"]
    for i in range(2):
        early, late = live_runs.calibration_halves(i)
        assert early != late
        assert sum(
            len(s.transfers) for r in (*early, *late) for s in r.steps
        )  # one slot: caches are transferred
    found = all_outcomes([live_runs])
    assert [o.divergence for o in found] == ["", ""]
    assert [o.live_ns.tolist() for o in found] == [
        [s.latency_ns for s in record.by_index.values()] for record in live_runs.records
    ]
    live_runs.write(tmp_path)
    again = all_outcomes([LiveRuns.read(tmp_path / "load-0.9-seed-3.json.gz")])
    assert [o.predicted_ns.tolist() for o in again] == [o.predicted_ns.tolist() for o in found]
    (tmp_path / "wrong.json.gz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is not a file of live runs"):
        LiveRuns.read(tmp_path / "wrong.json.gz")


def test_a_held_out_prediction_takes_acceptance_from_the_trace(trial, live_runs, profile):
    """The tiny models decode as recorded, so their trace gives the same; another one does not."""
    whole = trial.source.trace
    found = all_outcomes([live_runs], profile, whole)
    assert [o.predicted_ns.tolist() for o in found] == [
        o.predicted_ns.tolist() for o in all_outcomes([live_runs], profile)
    ]
    worse = Trace(
        **{
            field.name: getattr(whole, field.name)
            for field in fields(whole)
            if field.name not in ("offsets", "drafted", "accepted", "output_tokens")
        },
        offsets=np.arange(len(whole) + 1) * 40,
        drafted=np.full(40 * len(whole), 3),
        accepted=np.zeros(40 * len(whole), dtype=np.int64),
        output_tokens=np.full(len(whole), 40),
    )
    slow = all_outcomes([live_runs], profile, worse)
    assert [o.live_ns.tolist() for o in slow] == [o.live_ns.tolist() for o in found]
    assert all(
        s.predicted_busy_ns > 2 * f.predicted_busy_ns for s, f in zip(slow, found, strict=True)
    )
    assert [o.divergence for o in slow] == ["", ""]  # the replay uses the run's own acceptance


def test_a_report_says_first_what_the_simulator_was_given(outcomes):
    made = {"costs": "profile p.json", "acceptance": "recorded in the trace, before the runs"}
    assert Report("e", made, outcomes).verdicts[0] == (
        "Given to the simulator: costs: profile p.json; acceptance: recorded in the trace, before"
        " the runs."
    )


def test_live_requests_come_from_the_trace_with_the_same_random_numbers(trial, profile):
    """A request that a workload draws twice is the same twice; its outputs are as in the trace."""
    prepared = trial.prepared(0.9, profile)
    made = trial.source.plan(prepared, prepared.workload(1), FCFS(), "busy")
    whole = trial.source.trace
    for request in made.requests:
        row = list(whole.request_id).index(request.request_id)
        assert request.stream == row
        assert len(request.prompt) == whole.prompt_tokens[row]
        assert request.predicted_tokens == whole.output_tokens[row]
    for result in trial.engine.serve(made).results:
        row = list(whole.request_id).index(made.requests[result.index].request_id)
        assert list(result.accepted) == whole.accepted[whole.rounds_of(row)].tolist()


def test_costs_are_means_of_measured_times(wall_clock_runs):
    records = [record for records in wall_clock_runs.calibrations for record in records]
    profile = profile_of(records, Provenance(), "random")
    steps = [step for record in records for step in record.steps]
    predicted_ns = sum(profile.round_cost()(3, sum(step.contexts)) for step in steps)
    assert predicted_ns == pytest.approx(sum(step.round_ns for step in steps), rel=0.02)
    transfers = [
        transfer for step in steps for transfer in step.transfers if transfer.kind == "swap out"
    ]
    assert sum(profile.costs.swap_out(m.tokens) for m in transfers) == pytest.approx(
        sum(m.ns for m in transfers), rel=0.05
    )
    with pytest.raises(ValueError, match="draft tokens 2: the profile was fitted to rounds of 3"):
        profile.round_cost()(2, 10)
    with pytest.raises(ValueError, match="0 rounds of a single request: at least 20 are needed"):
        profile_of([replace(records[0], steps=[])], Provenance(), "random")


def test_the_level_of_costs_is_fitted_to_each_run(live_runs):
    records = list(live_runs.records[0].interleaved)
    shape = profile_of(records, Provenance(), "random")
    for factor in (0.5, 1.0, 3.0):
        slower = [
            replace(r, steps=[replace(s, round_ns=round(factor * s.round_ns)) for s in r.steps])
            for r in records
        ]
        found = at_level_of(shape, slower)
        for context in (0, 50):
            assert found.round_cost()(3, context) == pytest.approx(
                factor * shape.round_cost()(3, context), rel=0.02
            )
        assert found.costs.prefill(20) == pytest.approx(factor * shape.costs.prefill(20), rel=0.02)
    assert at_level_of(shape, []) == shape


def test_a_slow_period_is_predicted_at_its_time(live_runs):
    """Calibration rounds three times as long in the second half of a run slow the prediction."""
    made, record = live_runs.plans[0], live_runs.records[0]
    shape = profile_of(list(record.interleaved), Provenance(), "random")
    (one,), middle = record.interleaved, record.end_ns // 2
    spread = [s.moved_to(i * record.end_ns // len(one.steps)) for i, s in enumerate(one.steps)]
    slow_steps = [
        replace(
            s, round_ns=shape.round_cost()(3, sum(s.contexts)) * (3 if s.start_ns >= middle else 1)
        )
        for s in spread
    ]
    slowness = Slowness(shape, [replace(one, steps=slow_steps)])
    assert slowness(0) == pytest.approx(1, abs=0.01)
    assert slowness(record.end_ns) == pytest.approx(3, abs=0.01)
    assert 1 < slowness(middle) < 3
    even, slow = (predict_run(made, record, shape, how)[0].finish_ns for how in (None, slowness))
    assert slow[0] <= even[0] * 1.5
    assert slow.max() > even.max() * 1.2


def test_a_request_without_rounds_in_vllm_gets_one_round_in_the_trace():
    """Prefill emitted its only token. A profile of one draft length must be able to price it."""
    served = [
        RequestResult(0, 0, 0, 9, 9, 0, 0, 0, [3], [0], [0]),
        RequestResult(1, 0, 9, 30, 1, 20, 0, 0, [1, 2, 3], [3, 3], [1, 0]),
    ]
    trace = trace_of(plan(2, most=4), Record("vllm", "fcfs", [], served, 0, 30))
    assert trace.drafted.tolist() == [3, 3, 3]
    assert trace.rounds.tolist() == [1, 2]
    assert trace.output_tokens.tolist() == [1, 3]


def test_predictions_follow_the_costs(live_runs, profile):
    made, record = live_runs.plans[0], live_runs.records[0]
    run, order = predict_run(made, record, profile)
    assert order == live_order(record)
    terms = replace(profile.costs.rounds[1], host_ns=profile.costs.rounds[1].host_ns + 10**9)
    slower = replace(profile, costs=replace(profile.costs, rounds={1: terms}))
    late, _ = predict_run(made, record, slower)
    added_ns = (late.end_ns - late.idle_ns) - (run.end_ns - run.idle_ns)
    assert added_ns == run.rounds * 10**9  # the same rounds, each a second longer


def test_live_runs_after_an_interrupt_are_marked_as_incomplete(
    wall_clock_trial, profile, monkeypatch
):
    trial = wall_clock_trial
    serve, left = trial.engine.serve, iter([True, True, False])

    def cut_short(made, interleaved=()):
        record = serve(made, interleaved)
        return (
            record
            if next(left, True)
            else replace(record, complete=False, results=record.results[:1])
        )

    monkeypatch.setattr(trial.engine, "serve", cut_short)
    live_runs = trial.live_runs(0.9, 0, profile, lambda what: None)
    assert not live_runs.complete
    assert len(live_runs.records) == 1
    # predicted from the calibration before it: the one after it was interrupted
    assert len(all_outcomes([live_runs])) == 1


@dataclass(frozen=True)
class ShortestPromptFirst(Policy):
    """A user's own policy."""

    def rank(self, job, now_ns):
        return (job.prompt_tokens,)


@dataclass(frozen=True)
class Broken(Policy):
    """A user's own policy with a mistake."""

    def rank(self, job, now_ns):
        return (1 / 0,)


def test_a_users_own_policy_is_served_replayed_and_predicted(trial, profile):
    own = replace(trial, policies=[FCFS(), ShortestPromptFirst()])
    check_policies(own.source.trace, own.scenario, own.policies)
    live_runs = own.live_runs(0.9, 3, profile, lambda what: None)
    found = all_outcomes([live_runs])
    assert [o.plan.policy for o in found] == ["fcfs", f"{__name__}.ShortestPromptFirst"]
    assert [o.divergence for o in found] == ["", ""]


def test_policies_are_checked_on_a_simulated_workload(trial):
    whole = trial.source.trace
    for batch in (1, 4):
        scenario = {**trial.scenario, "batch": batch}
        check_policies(whole, scenario, [policy() for policy in POLICIES.values()])
    with pytest.raises(ValueError, match="policy Broken: rank of request 0 at .*ZeroDivisionError"):
        check_policies(whole, trial.scenario, [Broken()])
    with pytest.raises(ValueError, match="kv_tokens 3"):
        check_policies(whole, {**trial.scenario, "kv_tokens": 3}, [FCFS()])


def test_the_simulated_capacity_of_vllm_has_its_blocks():
    notes = {"token_budget": 64, "block_tokens": 32, "blocks": 10}
    record = Record("vllm", "fcfs", [], [], 0, 0, notes=notes)
    for evict, park in (("swap", "true"), ("recompute", "false")):
        wanted = plan(2, batch=2, kv_slots="unlimited", kv_tokens=300, evict=evict)
        capacity = capacity_of(wanted, record)
        assert capacity.manager == f"paged:block=32+park={park}"
        assert (capacity.kv_slots, capacity.kv_tokens) == ("unlimited", 320)
        assert (capacity.prefill, capacity.token_budget) == ("chunked", 64)


def test_a_source_needs_prompts_of_the_lengths_in_the_trace(trial):
    texts = [("tiny", name, "1 2") for name in trial.source.trace.request_id]
    with pytest.raises(
        ValueError,
        match=r"trace it: prompts of \d of its 8 requests are available: at least 2 are needed",
    ):
        Source.of(trial.source.trace, texts, lambda text: [VOCABULARY], "it")


def test_a_folder_keeps_live_runs_and_resumes_only_the_same_validation(
    live_runs, profile, tmp_path
):
    configuration = {"command": "lapsd validate", "loads": [0.9]}
    folder = Folder(tmp_path / "v", configuration, overwrite=False, resume=False)
    folder.begin(profile)
    folder.keep(live_runs)
    report = Report("tiny models", {"a & b": "<c>"}, all_outcomes([live_runs]))
    folder.conclude(report.requests, report.findings())
    with pytest.raises(ValueError, match="holds a validation already"):
        Folder(tmp_path / "v", configuration, overwrite=False, resume=False)
    with pytest.raises(ValueError, match=r"loads was \[0.9\], and is \[0.8\]"):
        Folder(tmp_path / "v", {**configuration, "loads": [0.8]}, overwrite=False, resume=True)
    with pytest.raises(ValueError, match="holds no validation to resume"):
        Folder(tmp_path / "w", configuration, overwrite=False, resume=True)
    again = Folder(tmp_path / "v", configuration, overwrite=False, resume=True)
    assert again.profile.costs == profile.costs
    assert again.done(0.9, 3).complete
    assert again.done(0.9, 1) is None
    findings = json.loads((tmp_path / "v" / "_findings.json").read_text())
    assert findings["errors"][0]["policy"] == "fcfs"
    page = report.page()
    assert "a &amp; b" in page
    assert "&lt;c&gt;" in page
    assert 'src="data:image/png' in page
    assert "http" not in page


def test_the_figure_shows_every_request_of_every_policy(outcomes):
    figure = Report("tiny", {}, outcomes).figure()
    (ax,) = figure.axes
    dots = {line.get_label(): line.get_xydata() for line in ax.get_lines()[1:]}
    assert {name: len(points) for name, points in dots.items()} == {"FCFS": 6, "SRPT": 6}
    assert dots["FCFS"][0].tolist() == pytest.approx([1, 1.1])
    assert len(requests_table(outcomes)) == 12


DRAFTS = ("fcfs+off", "fcfs+fixed:most=2", "fcfs+tests.sim.drafting.Scripted:most=6")


@pytest.fixture(scope="module")
def draft_trial(trial):
    return replace(trial, policies=[FCFS(), *map(parse_policy, DRAFTS)])


def test_live_runs_under_draft_policies_are_predicted_from_costs_of_several_widths(
    draft_trial, tmp_path
):
    assert draft_trial.lengths == [0, 1, 3, 6]
    costs = draft_trial.first_profile()
    assert sorted(costs.costs.rounds[1].verify_base_ns) == [1, 2, 4, 7]
    runs = draft_trial.live_runs(0.9, 3, costs, lambda what: None)
    assert [plan.policy for plan in runs.plans] == ["fcfs", *DRAFTS]
    assert [plan.profile is None for plan in runs.plans] == [True, False, False, False]
    found = all_outcomes([runs])
    assert [o.divergence for o in found] == [""] * 4
    for one, record in zip(found[1:3], runs.records[1:3], strict=True):
        again, _ = predict_run(one.plan, record, costs)
        assert again.drafted.tolist() == [sum(r.drafted) for r in record.by_index.values()]
    runs.write(tmp_path)
    read = LiveRuns.read(tmp_path / "load-0.9-seed-3.json.gz")
    assert [o.predicted_ns.tolist() for o in all_outcomes([read])] == [
        o.predicted_ns.tolist() for o in found
    ]


def test_costs_of_several_widths_add_up_to_the_mean_time_of_each(draft_trial):
    costs = draft_trial.first_profile()
    prepared = draft_trial.prepared(0.5, costs)
    records = draft_trial.calibrate(prepared)
    profile = profile_of(records, Provenance(), "random")
    for record in records:
        steps = record.steps
        length = max(max(step.scheduled) for step in steps) - 1
        predicted = sum(profile.round_cost()(length, sum(step.contexts)) for step in steps)
        assert predicted == pytest.approx(sum(step.round_ns for step in steps), rel=0.02)


def test_positions_that_a_run_tested_are_as_in_the_run(draft_trial):
    """A pass over the output may round differently, so that it disagrees with the run."""
    wanted = plan(2, policy="fcfs+fixed:most=3")
    tested = [
        RequestResult(i, 0, 0, 1, 0, 1, 0, 0, [1] * 5, [3, 3], [1, 2], [0.5] * 5) for i in (0, 1)
    ]
    made = trace_of(wanted, Record("own", "fcfs", [], tested, 0, 1))
    assert made.accept_prob.tolist() == [1.0, 0.0, 1.0, 1.0, 0.0] * 2
