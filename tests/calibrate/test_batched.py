"""Batches and device rounds compute what the one-sequence engines compute."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from calibrate import Sampling
from calibrate.batched import HFBatch, LeanBatch
from calibrate.decode import make_decoder
from calibrate.device_round import DeviceRounds, bucket_for
from calibrate.engine import HFEngine
from calibrate.graphs import Captured
from tests.calibrate.tiny import VOCABULARY, tiny_model, tiny_pair


def some_tokens(count: int, seed: int) -> list[int]:
    return torch.randint(VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("splits", [1, 2, 4])
@pytest.mark.parametrize("prefilled", [True, False])
def test_a_batch_gives_each_row_the_logits_of_a_sequence_of_its_own(splits, prefilled):
    pair = tiny_pair(0.1)
    lengths, width, bucket = [3, 17, 30], 5, 64
    batch = LeanBatch(pair.target_engine, len(lengths), 96, splits)
    with torch.inference_mode():
        batch.buffer.fill_(1e30)  # what lies past a position must not matter
        rows = [some_tokens(n + width, n) for n in lengths]
        longest = max(lengths)
        if prefilled:
            padded = torch.tensor([row[:n] + [0] * (longest - n) for row, n in zip(rows, lengths, strict=True)])
            batch.prefill(padded)
        else:
            for at in range(longest):
                tokens = torch.tensor([[row[min(at, n - 1)]] for row, n in zip(rows, lengths, strict=True)])
                batch.forward(tokens, torch.tensor([min(at, n - 1) for n in lengths]), bucket)
        new = torch.tensor([row[n:] for row, n in zip(rows, lengths, strict=True)])
        got = batch.forward(new, torch.tensor(lengths), bucket)
        for row, n, logits in zip(rows, lengths, got, strict=True):
            alone = pair.target_engine.sequence(64)
            alone.forward(row[:n])
            torch.testing.assert_close(logits, alone.forward(row[n:]), rtol=0, atol=1e-11)


def test_a_batch_of_any_other_model_runs_through_its_own_forward():
    torch.manual_seed(0)
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=64)).eval()
    batch = HFBatch(HFEngine(gpt2, VOCABULARY), 2, 32)
    ids = torch.tensor([some_tokens(12, 1), some_tokens(12, 2)])
    with torch.inference_mode():
        batch.prefill(ids[:, :9])
        batch.forward(ids[:, :3] + 1, torch.tensor([9, 9]), 32)  # to be forgotten
        got = batch.forward(ids[:, 9:], torch.tensor([9, 9]), 32)
        torch.testing.assert_close(got, gpt2(ids).logits[:, 9:], rtol=0, atol=1e-5)
        with pytest.raises(AssertionError, match="rows of different lengths"):
            batch.forward(ids[:, :1], torch.tensor([3, 4]), 32)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_rounds_on_the_device_are_the_rounds_of_the_host(noise, temperature):
    """Noise 0 has many full acceptances in a row, after each of which the draft lacks a token."""
    pair, prompt, n = tiny_pair(noise), some_tokens(9, 3), 3
    for request in range(4):
        ours = make_decoder(pair, n, Sampling(temperature, 5), 100, request, on_device=True)
        theirs = make_decoder(pair, n, Sampling(temperature, 5), 100, request, on_device=False)
        ours.prefill(prompt), theirs.prefill(prompt)
        rounds = [(ours.round()[0], theirs.round()[0]) for _ in range(15)]
        assert [a for a, _ in rounds] == [b for _, b in rounds]
    if not noise:
        assert all(len(a) == n + 1 for a, _ in rounds)


@pytest.mark.parametrize("on_device", [True, False])
@pytest.mark.parametrize("force", [0, 2, 3])
def test_a_forced_round_accepts_as_told(on_device, force):
    decoder = make_decoder(tiny_pair(0.3), 3, Sampling(), 100, on_device=on_device)
    decoder.prefill(some_tokens(5, 1))
    for _ in range(6):
        assert len(decoder.round(force)[0]) == force + 1


def test_a_round_that_stays_can_be_run_again():
    pair = tiny_pair(0.1)
    rounds = DeviceRounds(pair, 2, 3, capacity=64)
    ids = torch.tensor([some_tokens(8, s) for s in range(3)])
    rounds.prefill(ids[:, :-1])
    rounds.place(ids[:, -2:], torch.tensor([7, 7, 7]))
    first = rounds.round(7, stay=True).clone()
    assert torch.equal(rounds.round(7), first)
    assert not torch.equal(rounds.round(10), first)
    assert min(rounds.times().draft_ns, rounds.times().verify_ns) > 0


def test_a_bucket_holds_what_it_must():
    assert [bucket_for(t, 1_000) for t in (1, 128, 129, 600, 990)] == [128, 128, 144, 640, 1_000]
    assert all(t <= bucket_for(t) <= max(128, 1.125 * t + 1) for t in range(1, 20_000, 7))


def test_capturing_leaves_the_rows_where_they_stand(monkeypatch):
    """Capturing runs the operations first, as warm-up; the CPU stands in for a GPU that does."""

    class WarmedUp(Captured):
        def __init__(self, function, device, pool=None):
            for _ in range(3):
                function()
            super().__init__(function, device, pool)

    outputs = []
    for kind in (Captured, WarmedUp):
        monkeypatch.setattr("calibrate.device_round.Captured", kind)
        decoder = make_decoder(tiny_pair(0.02), 3, Sampling(0.8, 2), 100, on_device=True)
        decoder.prefill(some_tokens(9, 3))
        outputs.append([decoder.round()[0] for _ in range(12)])
    assert outputs[0] == outputs[1]


def test_uncaptured_plain_decoding_is_the_targets_own_greedy_output():
    pair = tiny_pair(0.1)
    rounds = DeviceRounds(pair, 0, capacity=64)
    ids = torch.tensor([some_tokens(8, 4)])
    rounds.prefill(ids[:, :-1])
    rounds.place(ids[:, -2:], torch.tensor([7]))
    got = [int(rounds.round(7 + i)[0, -1]) for i in range(6)]
    expected = []
    whole = ids[0].tolist()
    model = tiny_model(0).double()
    for _ in range(6):
        with torch.inference_mode():
            expected.append(int(model(torch.tensor([whole]), use_cache=False).logits[0, -1].argmax()))
        whole.append(expected[-1])
    assert got == expected
