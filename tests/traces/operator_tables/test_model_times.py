"""Passes as sums of operators: what is multiplied, what is read, and measured shapes."""

import pytest

from lapsd.traces.operator_tables.model_times import ModelTimes
from lapsd.traces.operator_tables.shapes import Shape
from lapsd.traces.provenance.operator_tables import ESTIMATED, MEASURED, RESHAPED
from tests.traces.operator_tables.tables import KV_MS, Formula, attention, layers, model


def test_a_verification_reads_each_cache_once_and_multiplies_all_tokens():
    tables = Formula()
    ms = model(tables).verify(requests=64, width=5, context=99)
    products = 0.02 * 64 * 5 * (1 + 0.01)  # above the floor; the output layer is a hundredth
    assert ms == pytest.approx(products + 0.5 + KV_MS * 64 * 8 * 100)
    read = [c for c in tables.calls if "GenerationAttention" in c[0][0]]
    assert [(c[2], c[4]) for c in read] == [(64, 100)]  # 64 requests, not 320


def test_prompts_and_decoding_requests_share_one_product():
    ms = model().prompts([(300, 0)], requests=20, width=5, context=99)
    products = 0.02 * 400 + 0.01 * max(4.0, 0.02 * 101)  # logits: decoded tokens and one prompt
    alone, cached = KV_MS * 8 * 0.001 * 300**2, 0.5 + KV_MS * 20 * 8 * 100
    assert ms == pytest.approx(products + alone + cached)


def test_several_prompts_take_as_long_as_equal_ones_of_the_same_square():
    assert model().prompts([(300, 0), (400, 0)]) == pytest.approx(
        model().prompts([(350, 0), (350, 0)]) + 2 * KV_MS * 8 * 0.001 * (354**2 - 350**2)
    )


def test_more_heads_than_measured_become_more_requests():
    tables = Formula()
    many = model(tables, n=32, n_kv=32)
    ms = many.verify(3, 1, 99)
    (call,) = [c for c in tables.calls if "GenerationAttention" in c[0][0]]
    ((fields,),) = [list(o.values()) for o in call[0]]
    assert (fields["n"], fields["n_kv"], call[2]) == (8, 8, 4 * 3)
    # a latency of 0.5 ms is paid once: more heads run in parallel, as more requests do
    assert ms == pytest.approx(4.0 * 1.01 + 0.5 + KV_MS * 3 * 32 * 100)
    assert many.parts(3, 1, 99)[-1].source == RESHAPED
    assert "8 query heads, 8 KV heads of size 128, 4 times per request" in many.reshaped[0]


def test_a_head_size_without_measurements_becomes_the_nearest_with_as_many_bytes():
    tables = Formula()
    model(tables, n=12, n_kv=12, size=64).verify(1, 1, 9)
    (call,) = [c for c in tables.calls if "GenerationAttention" in c[0][0]]
    fields = call[0][0]["GenerationAttention"]
    assert (fields["n"], fields["n_kv"], fields["head_size"]) == (6, 6, 128)


def test_a_measured_shape_stays_as_it_is():
    known = model(n=32, n_kv=8)
    assert known.reshaped == ()
    assert {part.source for part in known.parts(2, 3, 50)} == {MEASURED}


def test_an_engine_without_attention_tables_is_left_to_the_library():
    assert model(Formula(frozenset()), n=32, n_kv=32).reshaped == ()


def test_what_the_library_does_not_measure_is_estimated():
    made = layers()
    norm = {"Elementwise": {"name": "norm", "n_kv": 0, "n": 0}}
    times = ModelTimes(
        Formula(),
        Shape("made by hand", {}, {}),
        made.__class__((*made.decode, norm), made.prompt, made.memory),
    )
    assert [p.source for p in times.parts(1, 1, 1) if p.name == "norm"] == [ESTIMATED]


def test_kernels_that_join_products_and_attention_are_priced_by_all_tokens():
    tables, made = Formula(), layers()
    joined = attention("MlaModuleGeneration", 8, 8)
    times = ModelTimes(
        tables, Shape("made by hand", {}, {}), made.__class__((joined,), (), made.memory)
    )
    assert not times.linear
    times.verify(requests=4, width=3, context=10)
    (call,) = [c for c in tables.calls if c[0]]
    assert (call[2], call[3]) == (12, 12)


def test_a_feed_forward_layer_without_a_gate_has_half_the_products():
    gated = {"Gemm": {"name": "generation_gate_ffn1_gemm", "n": 2_000}}
    made = layers()
    shape = Shape("made by hand", {}, {}, gated=False)
    plain = ModelTimes(Formula(), shape, made.__class__((gated,), (), made.memory))
    assert plain.verify(1, 1, 1) == pytest.approx(4.0)
