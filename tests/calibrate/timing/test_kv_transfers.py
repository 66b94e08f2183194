"""Tests of KV transfers: a swapped-in cache equals the swapped-out one, exactly or nearly."""

import pytest
import torch

from lapsd.calibrate.timing import kv_transfers as swap
from lapsd.calibrate.timing.kv_transfers import cache_of, quantise, time_swaps
from tests.calibrate.tiny import tiny_pair


@pytest.mark.parametrize("engine", ["lean", "hf"])
def test_every_method_restores_the_swapped_out_cache(engine):
    pair = tiny_pair(0.1, torch.float32, engine=engine)
    pieces = cache_of(pair, 20)
    true = [p.clone() for p in pieces]
    size = sum(p.numel() for p in pieces)
    # models, layers, keys and values, heads, tokens, size of a head
    assert size == 2 * 2 * 2 * 2 * 20 * 8
    for way, tolerance in (
        (swap.Pool(size, torch.float32, pair.device, False), 0.0),
        (swap._Naive(), 0.0),
        (swap._Int8(size, pieces, False), 0.02),
    ):
        with torch.inference_mode():
            way.out(pieces)
            for piece in pieces:
                piece.fill_(7.0)
            way.back(pieces)
        off = torch.cat([(a - b).flatten() for a, b in zip(pieces, true, strict=True)]).norm()
        assert off <= tolerance * torch.cat([t.flatten() for t in true]).norm()


def test_quantisation_errors_are_at_most_half_a_step():
    x = torch.randn(3, 50, 8) * torch.logspace(-3, 3, 8)
    values, scale = quantise(x)
    assert values.dtype == torch.int8
    assert scale.shape == (3, 1, 8)
    assert ((values * scale - x).abs() <= 0.501 * scale).all()
    assert torch.equal(quantise(torch.zeros(1, 4, 2))[0], torch.zeros(1, 4, 2, dtype=torch.int8))


def test_all_methods_are_timed_at_all_sizes():
    times, notes = time_swaps(tiny_pair(0.1, torch.float32), [16, 32])
    assert list(times) == ["pageable", "naive", "int8"]
    elements = 2 * 2 * 2 * 2 * 8
    assert times["naive"].bytes_per_token == 4 * elements
    # one scale per channel for 32 tokens
    assert times["int8"].bytes_per_token == elements + 4 * elements / 32
    assert all(set(m.tokens) == {16, 32} and min(m.out_ns) > 0 for m in times.values())
    assert notes["pin_ns"] is None
