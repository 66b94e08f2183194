"""What is said of live runs: errors, differences and sentences, from records that are made up."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lapsd.policies import FCFS, SRPT
from lapsd.serve.own.engine import OwnEngine
from lapsd.serve.plan import Plan
from lapsd.serve.record import Record, RequestResult
from lapsd.serve.validation.blocks import Block, Trial
from lapsd.serve.validation.costs import Slowness, at_level_of, profile_of
from lapsd.serve.validation.findings import (
    Outcome,
    differences_table,
    errors_table,
    outcomes as all_outcomes,
    requests_table,
    same_order,
    verdicts,
)
from lapsd.serve.validation.folder import Folder
from lapsd.serve.validation.recorded import trace_of
from lapsd.serve.validation.report import Report
from lapsd.serve.validation.simulated import foretell, live_order
from lapsd.serve.validation.source import Source
from lapsd.traces import Linear, Provenance, trace_from_rounds
from lapsd.traces.provenance import Model
from tests.calibrate.tiny import VOCABULARY, tiny_pair
from tests.serve.plans import plan

SECOND = 10**9


def outcome(policy, seed, live, foretold, *, busy=(100, 100), drift=0.0, divergence=""):
    known = Plan(plan(len(live)).requests, policy=policy)
    ns = [np.array(values) * SECOND for values in (live, foretold)]
    return Outcome(0.8, seed, known, *ns, *busy, 1.0, drift, 5 * drift, divergence)


@pytest.fixture
def outcomes():
    """FCFS foretold 10 % too high on both seeds, SRPT so far that it loses."""
    return [
        outcome("fcfs", 0, [1, 2, 3], [1.1, 2.2, 3.3], busy=(100, 101)),
        outcome("fcfs", 1, [2, 4, 6], [2.2, 4.4, 6.6], busy=(100, 101)),
        outcome("srpt", 0, [1, 1, 1], [3, 3, 3], drift=0.5),
        outcome("srpt", 1, [2, 2, 2], [5, 5, 5], drift=-0.5, divergence="decision 3 at 5 ns: no"),
    ]


def test_errors_are_ratios_of_means_with_what_the_machine_did_beside(outcomes):
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


def test_differences_are_paired_and_say_whether_their_sign_is_right(outcomes):
    (row,) = differences_table(outcomes).to_dict("records")
    assert (row["policy"], row["other"], row["seeds"]) == ("fcfs", "srpt", 2)
    assert row["s"] == pytest.approx(-1.5)
    assert row["predicted_s"] == pytest.approx((0.8 + 0.6) / 2)
    assert row["percent"] == pytest.approx(-50)
    assert row["points"] == pytest.approx(100 * (4 / 3.3 - 1) + 50)
    assert not row["same_sign"]
    assert not row["significant"]  # two seeds, -1 and -2: the interval holds 0


def test_sentences_count_what_is_within_and_say_where_the_machine_cannot_tell(outcomes):
    lines = verdicts(outcomes, errors_table(outcomes), differences_table(outcomes))
    assert lines[0].startswith(
        "Decisions: fed with their own durations, 3 of 4 live runs come back exactly."
    )
    assert "(srpt): decision 3 at 5 ns: no" in lines[0]
    assert (
        lines[1] == "Costs: busy time is foretold within 2 % in 2 of 2 rows, the worst 1.0 % off."
    )
    assert lines[2].startswith(
        "Costs: mean latency is foretold within 5 % in 0 of 2 rows, the worst 166.7 % off."
    )
    assert lines[2].endswith(
        "In 1 of the others the machine's own drift is larger than the error: it cannot tell."
    )
    assert lines[3].startswith("Ratios to FCFS: 0 of 1 within 3 points, the worst 71.2 off.")
    assert lines[4].startswith(
        "Order: of 1 pairs of policies reality tells 0 apart; the simulator has 0 of them"
    )
    assert lines[5].startswith(
        "Drift: the same rounds, early and late, were 25.0 % apart on average"
    )


def test_the_same_order_is_the_share_of_rounds_in_stretches_that_both_have():
    order = [(i, 0) for i in range(10)]
    assert same_order(order, order) == 1
    assert same_order(order, [*order[5:], *order[:5]]) == 0.5
    assert same_order(order, []) == 0


@pytest.fixture(scope="module")
def trial():
    """Tiny models, and the trace that they would have recorded, with a prompt a request that says
    its tokens.
    """
    pair = tiny_pair(0.05)
    planned = plan(8, gap_ns=0, most=12)
    record = OwnEngine(pair).serve(
        replace(planned, requests=[replace(a, max_new_tokens=12) for a in planned.requests])
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
        for a, s in zip(planned.requests, record.by_index.values(), strict=True)
    ]
    known = Provenance(target=Model(name="tiny"), draft=Model(name="tiny")).noting(
        max_new_tokens=12, temperature=0.0
    )
    texts = [("tiny", a.request_id, " ".join(map(str, a.prompt))) for a in planned.requests]
    source = Source.of(
        trace_from_rounds(rows, known), texts, lambda text: [int(t) for t in text.split()], "tiny"
    )
    scenario = {"requests": 5, "length_predictor": "oracle"}
    return Trial(OwnEngine(pair), source, scenario, [FCFS(), SRPT()], "busy")


@pytest.fixture(scope="module")
def profile(trial):
    """Costs to begin with."""
    return trial.first_profile(lambda what: None)


@pytest.fixture(scope="module")
def apart(trial):
    """On the wall clock, which stands still for nobody: calibrations run before and after each
    run.
    """
    return replace(trial, clock="wall")


@pytest.fixture(scope="module")
def block(trial, profile):
    """A workload under both policies."""
    return trial.block(0.9, 3, profile, lambda what: None)


@pytest.fixture(scope="module")
def block_apart(apart, profile):
    """The same on the wall clock."""
    return apart.block(0.9, 3, profile, lambda what: None)


@pytest.mark.parametrize("which", ["block", "block_apart"])
def test_a_block_is_served_foretold_written_and_read_back(which, request, tmp_path):
    block = request.getfixturevalue(which)
    assert block.complete
    assert len(block.calibrations) == (3 if which == "block_apart" else 0)
    assert [p.policy for p in block.plans] == ["fcfs", "srpt"]
    for i in range(2):
        early, late = block.interleaved(i)
        assert early != late
        assert sum(len(s.moves) for r in (*early, *late) for s in r.steps)  # one slot: caches move
    found = all_outcomes([block])
    assert [o.divergence for o in found] == ["", ""]
    assert [o.live_ns.tolist() for o in found] == [
        [s.latency_ns for s in record.by_index.values()] for record in block.records
    ]
    block.write(tmp_path)
    again = all_outcomes([Block.read(tmp_path / "load-0.9-seed-3.json.gz")])
    assert [o.predicted_ns.tolist() for o in again] == [o.predicted_ns.tolist() for o in found]
    (tmp_path / "wrong.json.gz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="holds no live runs"):
        Block.read(tmp_path / "wrong.json.gz")


def test_live_requests_are_those_of_the_trace_with_their_own_random_numbers(trial, profile):
    """A request that a workload draws twice is the same twice, and outputs are what the trace
    says.
    """
    prepared = trial.prepared(0.9, profile)
    made = trial.source.plan(prepared, prepared.workload(1), FCFS(), "busy")
    whole = trial.source.trace
    for planned in made.requests:
        row = list(whole.request_id).index(planned.request_id)
        assert planned.stream == row
        assert len(planned.prompt) == whole.prompt_tokens[row]
        assert planned.predicted_tokens == whole.output_tokens[row]
    for served in trial.engine.serve(made).results:
        row = list(whole.request_id).index(made.requests[served.index].request_id)
        assert list(served.accepted) == whole.accepted[whole.rounds_of(row)].tolist()


def test_costs_are_means_of_what_was_timed(block_apart):
    records = [record for records in block_apart.calibrations for record in records]
    profile = profile_of(records, Provenance(), "random")
    steps = [step for record in records for step in record.steps]
    foretold = sum(profile.round_cost()(3, sum(step.contexts)) for step in steps)
    assert foretold == pytest.approx(sum(step.round_ns for step in steps), rel=0.02)
    moves = [move for step in steps for move in step.moves if move.kind == "swap out"]
    assert sum(profile.costs.swap_out(m.tokens) for m in moves) == pytest.approx(
        sum(m.ns for m in moves), rel=0.05
    )
    with pytest.raises(ValueError, match="draft tokens 2: the profile was fitted to rounds of 3"):
        profile.round_cost()(2, 10)
    with pytest.raises(ValueError, match="0 rounds of one request, at least 20 are needed"):
        profile_of([replace(records[0], steps=[])], Provenance(), "random")


def test_the_level_is_a_runs_own_and_the_shape_everybodys(block):
    records = list(block.records[0].interleaved)
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


def test_a_slow_spell_is_foretold_when_it_came(block):
    """Calibration rounds take three times as long in the second half of a run: so do those that are
    foretold.
    """
    made, record = block.plans[0], block.records[0]
    shape = profile_of(list(record.interleaved), Provenance(), "random")
    (one,), middle = record.interleaved, record.end_ns // 2
    spread = [s.moved_to(i * record.end_ns // len(one.steps)) for i, s in enumerate(one.steps)]
    spell = [
        replace(
            s, round_ns=shape.round_cost()(3, sum(s.contexts)) * (3 if s.start_ns >= middle else 1)
        )
        for s in spread
    ]
    slowness = Slowness(shape, [replace(one, steps=spell)])
    assert slowness(0) == pytest.approx(1, abs=0.01)
    assert slowness(record.end_ns) == pytest.approx(3, abs=0.01)
    assert 1 < slowness(middle) < 3
    even, slow = (foretell(made, record, shape, how)[0].finish_ns for how in (None, slowness))
    assert slow[0] <= even[0] * 1.5
    assert slow.max() > even.max() * 1.2


def test_who_ended_with_the_token_of_its_prompt_has_a_round_like_any_other():
    """In vLLM, where prompts emit one: a profile of one draft length must be able to price it."""
    served = [
        RequestResult(0, 0, 0, 9, 9, 0, 0, 0, [3], [0], [0]),
        RequestResult(1, 0, 9, 30, 1, 20, 0, 0, [1, 2, 3], [3, 3], [1, 0]),
    ]
    trace = trace_of(plan(2, most=4), Record("vllm", "fcfs", [], served, 0, 30))
    assert trace.drafted.tolist() == [3, 3, 3]
    assert trace.rounds.tolist() == [1, 2]
    assert trace.output_tokens.tolist() == [1, 3]


def test_what_is_foretold_follows_the_costs(block, profile):
    made, record = block.plans[0], block.records[0]
    run, order = foretell(made, record, profile)
    assert order == live_order(record)
    terms = replace(profile.costs.rounds[1], host_ns=profile.costs.rounds[1].host_ns + 10**9)
    slower = replace(profile, costs=replace(profile.costs, rounds={1: terms}, prefill=Linear(0, 0)))
    late, _ = foretell(made, record, slower)
    prefills = sum(p.ns for s in record.steps for p in s.prefills)
    assert (
        late.end_ns - late.idle_ns - (run.end_ns - run.idle_ns) > run.rounds * 10**9 - 2 * prefills
    )


def test_an_interrupt_leaves_a_block_that_says_so(apart, profile, monkeypatch):
    trial = apart
    serve, left = trial.engine.serve, iter([True, True, False])

    def cut_short(made, interleaved=()):
        record = serve(made, interleaved)
        return (
            record
            if next(left, True)
            else replace(record, complete=False, results=record.results[:1])
        )

    monkeypatch.setattr(trial.engine, "serve", cut_short)
    block = trial.block(0.9, 0, profile, lambda what: None)
    assert not block.complete
    assert len(block.records) == 1
    assert (
        len(all_outcomes([block])) == 1
    )  # from the calibration before it: the one after it was cut short


def test_a_source_needs_prompts_of_the_length_that_the_trace_says(trial):
    texts = [("tiny", name, "1 2") for name in trial.source.trace.request_id]
    with pytest.raises(
        ValueError, match=r"trace it: the prompts of \d of its 8 requests are here, 2 are needed"
    ):
        Source.of(trial.source.trace, texts, lambda text: [VOCABULARY], "it")


def test_a_folder_keeps_blocks_and_goes_on_with_the_same_validation_only(block, profile, tmp_path):
    configuration = {"command": "lapsd validate", "loads": [0.9]}
    folder = Folder(tmp_path / "v", configuration, overwrite=False, resume=False)
    folder.begin(profile)
    folder.keep(block)
    report = Report("tiny models", {"a & b": "<c>"}, all_outcomes([block]))
    folder.conclude(report.requests, report.findings())
    with pytest.raises(ValueError, match="holds a validation already"):
        Folder(tmp_path / "v", configuration, overwrite=False, resume=False)
    with pytest.raises(ValueError, match=r"was begun with loads \[0.9\], now it is \[0.8\]"):
        Folder(tmp_path / "v", {**configuration, "loads": [0.8]}, overwrite=False, resume=True)
    with pytest.raises(ValueError, match="holds no validation to go on with"):
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
