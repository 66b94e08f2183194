"""The library itself: its times, its errors, and no look at the network."""

import json
import socket

import pytest

from lapsd.traces import load_profile, save_profile
from lapsd.traces.architectures import CONFIGURATIONS
from lapsd.traces.operator_tables import TablesRequest, profile_from_tables
from lapsd.traces.operator_tables.fit import Pair
from lapsd.traces.operator_tables.library import Library, check_installed, model_files, supported
from lapsd.traces.operator_tables.profiles import models
from tests.traces.operator_tables.record import FILE, REQUESTS, passes

try:
    check_installed()
except ValueError as reason:
    pytest.skip(str(reason), allow_module_level=True)


@pytest.mark.parametrize("name", REQUESTS)
def test_recorded_times_equal_the_times_of_the_library(name):
    recorded = json.loads(FILE.read_text(encoding="utf-8"))["passes"][name]
    for row, now in zip(recorded, passes(REQUESTS[name]), strict=True):
        assert now.pop("ms") == pytest.approx(row.pop("ms"), rel=1e-4)
        assert now == row


@pytest.mark.parametrize("name", ["llama-7b-h200", "llama-3.1-70b-h100-tp4"])
def test_a_bundled_profile_can_be_made_again(name, tmp_path):
    made = profile_from_tables(REQUESTS[name]).profile
    save_profile(made, tmp_path / "p.json")
    assert load_profile(tmp_path / "p.json") == load_profile(name)


def test_a_decoding_step_agrees_with_the_librarys_own_sum():
    """`decode_step_latency` sums the same operators; grouped KV heads need no other shape."""
    from aiconfigurator_core.sdk.engine import EngineHandle

    name = "meta-llama/Meta-Llama-3.1-8B"
    target, _ = models(TablesRequest("h100_sxm", "vllm", name))
    theirs = EngineHandle.compile(name, "h100_sxm", "vllm", backend_version="0.24.0")
    for batch in (1, 8, 64):
        step = theirs.decode_step_latency(batch, 512, 2)
        assert target.verify(batch, 1, 512) == pytest.approx(step, rel=1e-3)


def test_a_step_with_a_prompt_agrees_with_the_librarys_own_sum():
    from aiconfigurator_core.sdk.engine import EngineHandle

    name = "meta-llama/Meta-Llama-3.1-8B"
    target, _ = models(TablesRequest("h100_sxm", "vllm", name))
    theirs = EngineHandle.compile(name, "h100_sxm", "vllm", backend_version="0.24.0")
    for tokens, batch in ((1_024, 8), (512, 64)):
        step = theirs.mixed_step_latency(tokens, batch, tokens, 2)
        assert target.prompts([(tokens, 0)], batch, 1, tokens) == pytest.approx(step, rel=0.05)


def test_nothing_looks_at_the_network(monkeypatch):
    def refuse(*args, **more):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    models(TablesRequest("h200_sxm", "vllm", "llama-7b", "eagle"))
    with pytest.raises(ValueError, match="no such folder, and no known name"):
        models(TablesRequest("h200_sxm", "vllm", "some/model-on-a-hub"))


def test_every_gpu_has_an_engine_and_every_name_a_file():
    assert {"a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm"} <= set(supported())
    assert all(versions for found in supported().values() for versions in found.values())
    assert model_files()["Qwen/Qwen3-8B"].is_file()


def test_link_and_capacity_follow_the_gpu():
    assert Library("h200_sxm", "vllm").link_bytes_per_s == 64e9
    small, large = (
        profile_from_tables(TablesRequest(gpu, "vllm", "llama-7b", max_batch=2)).profile
        for gpu in ("a100_sxm", "h200_sxm")
    )
    assert small.kv_capacity.bytes_per_token == 2 * 32 * 4_096 * 2
    assert small.kv_capacity.tokens < large.kv_capacity.tokens
    assert small.costs.swap_out.per_token_ns == round(small.kv_capacity.bytes_per_token / 32)


def test_host_time_and_link_can_be_given():
    request = {"gpu": "h200_sxm", "engine": "vllm", "target": "llama-7b", "max_batch": 2}
    plain = profile_from_tables(TablesRequest(**request)).profile
    other = profile_from_tables(TablesRequest(**request, host_us=300, link_gb_s=20)).profile
    assert other.costs.rounds[1].host_ns == 300_000
    assert other.costs.prefill(100) == plain.costs.prefill(100) + 300_000
    assert other.costs.swap_out.per_token_ns == round(524_288 / 20)
    assert "host time 300 µs per round" in other.kind_in_words


def test_drafts_without_a_model_cost_nothing():
    ngram = TablesRequest("h200_sxm", "vllm", "llama-7b", "ngram", max_batch=2)
    terms = profile_from_tables(ngram).profile.costs.rounds[1]
    assert terms.draft_step.base_ns == 0
    assert len(terms.verify_base_ns) == 16
    assert models(ngram)[1] is None
    assert Pair(*models(ngram)).round_ms(1, 4, 100) == models(ngram)[0].verify(1, 5, 100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpu": "h20"}, "gpu='h20': must be one of .*nearest are .*h200_sxm"),
        ({"engine": "vlm"}, "engine='vlm': must be one of sglang, trtllm, vllm"),
        ({"engine_version": "9"}, "engine_version='9': must be one of 0.24.0, 0.27.0"),
        ({"target": "lama-7b"}, "model 'lama-7b': no such folder.*llama-7b"),
        ({"draft": "opt-125m"}, "its vocabulary has 50272 tokens, that of 'llama-7b' has 32000"),
        ({"dtype": "fp3"}, "dtype='fp3': must be one of bfloat16"),
        ({"kv_dtype": "x"}, "kv_dtype='x': must be one of bfloat16, int8, fp8"),
        ({"tp": 3}, "model llama-7b: cannot be priced: num_heads 32 should be divisible"),
        (
            {"gpu": "a100_sxm", "dtype": "fp8"},
            "a100_sxm cannot price this model: the GPU has no products of",
        ),
        (
            {"target": "meta-llama/Meta-Llama-3.1-405B"},
            "leave no memory for keys and values; increase tp",
        ),
    ],
)
def test_the_error_for_bad_input_is_one_line(change, message):
    request = {"gpu": "h200_sxm", "engine": "vllm", "target": "llama-7b"} | change
    with pytest.raises(ValueError, match=message) as error:
        profile_from_tables(TablesRequest(**request))
    assert "\n" not in str(error.value)


def test_an_unknown_architecture_is_refused(tmp_path):
    config = {**CONFIGURATIONS["llama-7b"], "architectures": ["FooForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="cannot be priced: The model's architecture Foo"):
        profile_from_tables(TablesRequest("h200_sxm", "vllm", str(tmp_path)))
