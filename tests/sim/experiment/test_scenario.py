"""Scenarios: options, keys of sweeps, columns and captions follow from the fields."""

import re
from dataclasses import asdict, replace

import pytest

from lapsd import Scenario, compare
from lapsd.cli import app
from lapsd.sim.experiment.predictor_spec import parse_predictor
from lapsd.sim.experiment.scenario import LOAD, SCENARIO_FIELDS, canonical
from lapsd.sim.sweeps.chunks import ChunkRunner
from lapsd.sim.sweeps.grid import Sweep
from lapsd.traces import Profile
from tests.sim.experiment.test_comparison import PROFILE, TRACE

OTHER = {  # a value of each field that is not its default, as users type it
    "trace": "t.parquet",
    "profile": "p.json",
    "dataset": "code",
    "requests": "12",
    "warmup": "3",
    "load": "0.5",
    "rate": "2",
    "all_at_once": "true",
    "cv": "3",
    "arrivals": "a.parquet",
    "clients": "4",
    "think": "1.5",
    "length_predictor": "noisy:0.5",
    "split_seed": "7",
    "request_order": "trace",
    "draft_tokens": "2",
    "batch": "4",
    "kv_slots": "9",
    "kv_tokens": "900",
    "evict": "recompute",
    "swap": "pinned",
    "swap_scale": "2",
    "host_us": "250",
    "prefix_cache": "true",
    "prefill": "batched",
    "memory": "paged:blocks=90",
    "token_budget": "512",
    "draft_verify": "padded",
    "graph_sizes": "8/16",
    "draft_switch_ms": "2",
    "draft_lag": "1",
    "servers": "3",
    "server_profiles": "reference+llama-7b-h200",
    "router": "jiq",
    "dispatch": "central",
    "signal_age_ms": "100",
    "guardrails": "2",
    "ttft_limit": "2.5",
    "tpot_limit": "0.3",
}
NEEDED = {
    "think": {"clients": 4},
    "token_budget": {"prefill": "chunked"},
    "prefix_cache": {"memory": "paged:blocks=90", "evict": "recompute"},
    "server_profiles": {"servers": 2},
    "router": {"servers": 2},
    "dispatch": {"servers": 2},
    "signal_age_ms": {"servers": 2},
    "guardrails": {"servers": 2},
}  # other fields that the field requires


def other_scenario(name):
    return Scenario(**{name: SCENARIO_FIELDS[name].parse(OTHER[name])}, **NEEDED.get(name, {}))


@pytest.mark.parametrize("verb", ["compare", "sweep"])
def test_every_field_is_an_option(verb, capsys):
    app([verb, "--help"], standalone_mode=False)
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert {scenario_field.option for scenario_field in SCENARIO_FIELDS.values()} <= options


@pytest.mark.parametrize("name", SCENARIO_FIELDS)
def test_every_field_is_a_key_of_sweeps_and_a_line_of_the_configuration(name):
    wanted = other_scenario(name)
    asked = {"settings": {name: OTHER[name], **NEEDED.get(name, {})}}
    assert Sweep.from_document(asked).combinations() == [wanted]
    assert asdict(wanted)[name] == SCENARIO_FIELDS[name].parse(OTHER[name])
    assert wanted != Scenario(**NEEDED.get(name, {}))


@pytest.mark.parametrize(
    "name", [name for name in SCENARIO_FIELDS if name not in ("trace", "profile")]
)
def test_a_caption_names_every_field_that_differs_from_its_default(name):
    """Trace and profile are described by the code that loads them."""
    assert other_scenario(name).caption() != Scenario(**NEEDED.get(name, {})).caption()


def test_every_field_is_a_column_of_records():
    runner: ChunkRunner = ChunkRunner.load(Sweep(settings={"requests": (2,)}, seeds=1))
    assert set(SCENARIO_FIELDS) <= set(runner.run(runner.chunks[0]).column_names)
    assert runner.run(runner.chunks[0]).to_pandas()["load"].tolist() == [LOAD] * 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"requests": 0}, "requests=0: must be at least 1"),
        ({"requests": 2.5}, "requests=2.5: needs an integer"),
        ({"requests": True}, "requests=True: needs an integer"),
        ({"load": 0.0}, "load=0.0: must be above 0"),
        ({"load": float("inf")}, "load=inf: must be above 0"),
        ({"load": float("nan")}, "load=nan: must be above 0"),
        ({"cv": 101}, "cv=101: must be above 0 and at most 100"),
        ({"think": -1, "clients": 2}, "think=-1: must be at least 0 and at most 1e+09"),
        ({"evict": "burn"}, "evict='burn': must be swap or recompute"),
        (
            {"memory": "heap"},
            "memory 'heap': must be slots, tokens, reserve, paged, fastserve, alise",
        ),
        ({"memory": "slots", "kv_tokens": 9}, "memory slots: knows no kv_tokens, here 9"),
        ({"memory": "tokens"}, "memory tokens: needs kv_tokens"),
        ({"memory": "paged"}, "memory paged: needs kv_tokens, or blocks, and not both"),
        (
            {"memory": "paged:size=4"},
            "memory paged has no parameter 'size': its parameters are block, blocks, park",
        ),
        (
            {"memory": "paged:block=0", "kv_tokens": 9},
            "memory paged: block 0: must be at least 1 token",
        ),
        ({"memory": "paged:block=x", "kv_tokens": 9}, "memory paged: block 'x': needs an integer"),
        ({"memory": "paged:blocks=-2"}, "memory paged: blocks -2: must be at least 1"),
        ({"memory": "paged", "kv_tokens": 9}, "memory paged: blocks 0: must be at least 1"),
        (
            {"memory": "paged:park=1", "kv_tokens": 99},
            "memory paged: park '1': needs true or false",
        ),
        ({"memory": "reserve"}, "memory reserve: needs kv_tokens"),
        (
            {"memory": "reserve:output=all", "kv_tokens": 9},
            "memory reserve: output 'all': must be max or pow2 or oracle",
        ),
        (
            {"memory": "reserve:context=0", "kv_tokens": 9},
            "memory reserve: context 0: must be at least 1 token",
        ),
        ({"token_budget": 0}, "token_budget=0: must be at least 1"),
        ({"all_at_once": "yes"}, "all_at_once='yes': needs true or false"),
        ({"warmup": 30}, "warmup=30: must be below the number of requests, 30"),
        ({"load": 1, "clients": 2}, "give either a load, a rate"),
        ({"batch": 4, "kv_slots": 2}, "kv_slots=2: must be at least the batch size, 4"),
        ({"length_predictor": "bert"}, "bert"),
        (
            {"rquests": 3},
            "unknown setting 'rquests': known are trace, profile, dataset, requests, warmup, load",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_bound(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Scenario.of(**wrong)


@pytest.mark.parametrize(
    ("name", "text"), [("requests", "x"), ("load", "x"), ("all_at_once", "yes")]
)
def test_a_text_of_another_kind_is_refused(name, text):
    with pytest.raises(ValueError, match=f"{name}='{text}'"):
        SCENARIO_FIELDS[name].parse(text)


def test_the_default_load_applies_only_without_other_arrivals():
    assert Scenario().load == LOAD
    for other in ({"rate": 2.0}, {"all_at_once": True}, {"clients": 3}):
        assert Scenario(**other).load is None


def test_kv_slots_are_a_number_or_unlimited_or_follow_the_batch_size():
    assert Scenario().capacity.slots == 1
    assert Scenario(batch=4).capacity.slots is None
    assert Scenario(kv_slots="unlimited").capacity.slots is None
    assert Scenario(batch=4, kv_slots=5).capacity.slots == 5
    assert SCENARIO_FIELDS["kv_slots"].parse("unlimited") == "unlimited"
    assert SCENARIO_FIELDS["kv_slots"].parse("5") == 5
    for wrong in (0, "all", None, 2.5, True):
        with pytest.raises(ValueError, match="kv_slots"):
            Scenario(kv_slots=wrong)
    with pytest.raises(ValueError, match="kv_slots=1: must be at least the batch size, 4"):
        Scenario(batch=4, kv_slots=1)


def test_limits_on_latency_scale_the_attained_slo():
    ours, twice = (
        compare(TRACE, PROFILE, requests=9, seeds=1, ttft_limit=a, tpot_limit=b).runs
        for a, b in ((1, 0.1), (2, 0.2))
    )
    assert (ours["p95_slo_scale"] == 2 * twice["p95_slo_scale"]).all()


def test_calls_may_use_other_names_and_objects():
    assert Scenario.of(rate_per_s=2) == Scenario(rate=2.0)
    assert Scenario.of(clients=2, think_s=1) == Scenario(clients=2, think=1.0)
    assert Scenario.of(length_predictor=parse_predictor("noisy:0.5")) == Scenario(
        length_predictor="noisy:0.5"
    )
    assert canonical("think_s") == "think"
    assert Sweep.from_document({"settings": {"rate_per_s": [1, 2]}}).combinations()[1].rate == 2


def test_numbers_become_plain_python_numbers():
    import numpy as np

    made = Scenario(requests=np.int64(7), load=1)
    assert (type(made.requests), type(made.load)) == (int, float)
    assert made == Scenario(requests=7, load=1.0)


def test_a_caption_reads():
    assert (
        Scenario().caption() == "30 requests, load 0.8, Poisson arrivals, lengths oracle, 1 KV slot"
    )
    busy = Scenario(requests=9, warmup=2, load=1.5, cv=3, batch=4, swap_scale=2, dataset="code")
    assert (
        busy.caption()
        == "data set code, 9 requests, the first 2 left out of the statistics, load 1.5"
        " (overloaded: depends on the number of requests), Gamma gaps (CV 3), lengths oracle,"
        " batches of up to 4, unlimited KV memory, KV transfers x 2"
    )
    loop = Scenario(clients=3, think=0.5, kv_tokens=900)
    assert (
        loop.caption()
        == "30 requests, a closed loop of 3 clients, think time 0.5 s, lengths oracle, 900 KV"
        " tokens"
    )
    assert "arrivals as in Azure" in Scenario(arrivals="a.parquet").caption({"arrivals": "Azure"})


def test_compare_takes_files_and_names_unknown_fields():
    with pytest.raises(ValueError, match="unknown setting 'lod': known are"):
        compare(TRACE, PROFILE, lod=0.8)
    by_name = compare("reference", "reference", requests=4, seeds=1)
    assert by_name.scenario == replace(Scenario(requests=4), trace="reference")
    with pytest.raises(ValueError, match=r"no-such\.parquet"):
        compare("no-such.parquet", Profile.constant(draft_ms=1, verify_ms=6))
