"""Tests that batches and device rounds give the results of single sequences."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from lapsd.calibrate import Sampling
from lapsd.calibrate.decoding.decoder import make_decoder
from lapsd.calibrate.decoding.rounds import DeviceRounds
from lapsd.calibrate.models.batch import HFBatch
from lapsd.calibrate.models.engine import HFEngine
from lapsd.calibrate.models.lean import LeanBatch
from tests.calibrate.tiny import VOCABULARY, tiny_model, tiny_pair


def some_tokens(count: int, seed: int) -> list[int]:
    return torch.randint(
        VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed)
    ).tolist()


@pytest.mark.parametrize("lengths", [[3, 17, 30], [17, 17, 3], [9, 9, 9]])
@pytest.mark.parametrize("prefilled", [True, False])
def test_each_row_of_a_batch_has_the_logits_of_a_single_sequence(lengths, prefilled):
    pair, width = tiny_pair(0.1), 5
    batch = LeanBatch(pair.target_engine, len(lengths), 96)
    with torch.inference_mode():
        batch.cache.fill_(float("nan"))  # slots after the end of a row must not be read
        rows = [some_tokens(n + width, n + i) for i, n in enumerate(lengths)]
        longest = max(lengths)
        if prefilled:
            padded = torch.tensor(
                [row[:n] + [0] * (longest - n) for row, n in zip(rows, lengths, strict=True)]
            )
            batch.prefill(padded)
        else:
            for at in range(longest):
                tokens = torch.tensor(
                    [[row[min(at, n - 1)]] for row, n in zip(rows, lengths, strict=True)]
                )
                batch.forward(tokens, torch.tensor([min(at, n - 1) for n in lengths]))
        new = torch.tensor([row[n:] for row, n in zip(rows, lengths, strict=True)])
        got = batch.forward(new, torch.tensor(lengths))
        for row, n, logits in zip(rows, lengths, got, strict=True):
            alone = pair.target_engine.sequence(64)
            alone.forward(row[:n])
            torch.testing.assert_close(logits, alone.forward(row[n:]), rtol=0, atol=1e-11)


def test_a_batch_of_another_model_uses_its_own_forward_pass():
    torch.manual_seed(0)
    gpt2 = GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    ).eval()
    batch = HFBatch(HFEngine(gpt2, VOCABULARY), 32)
    ids = torch.tensor([some_tokens(12, 1), some_tokens(12, 2)])
    with torch.inference_mode():
        batch.prefill(ids[:, :9])
        batch.forward(ids[:, :3] + 1, torch.tensor([9, 9]))  # overwritten by the next pass
        got = batch.forward(ids[:, 9:], torch.tensor([9, 9]))
        torch.testing.assert_close(got, gpt2(ids).logits[:, 9:], rtol=0, atol=1e-5)
        with pytest.raises(AssertionError, match="rows of different lengths"):
            batch.forward(ids[:, :1], torch.tensor([3, 4]))


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_rounds_on_the_device_equal_rounds_on_the_host(noise, temperature):
    """With noise 0, all drafted tokens are accepted, and the draft lacks a token each time."""
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
def test_a_forced_round_accepts_the_given_number_of_tokens(on_device, force):
    decoder = make_decoder(tiny_pair(0.3), 3, Sampling(), 100, on_device=on_device)
    decoder.prefill(some_tokens(5, 1))
    for _ in range(6):
        assert len(decoder.round(force)[0]) == force + 1


def test_a_round_that_does_not_advance_can_be_repeated():
    pair = tiny_pair(0.1)
    rounds = DeviceRounds(pair, 2, 3, capacity=64)
    ids = torch.tensor([some_tokens(8, s) for s in range(3)])
    rounds.prefill(ids[:, :-1])
    rounds.place(ids[:, -2:], torch.tensor([7, 7, 7]))
    first = rounds.round(stay=True).clone()
    assert torch.equal(rounds.round(), first)
    assert not torch.equal(rounds.round(), first)
    assert min(rounds.times().draft_ns, rounds.times().verify_ns) > 0


@pytest.mark.parametrize("engine", ["lean", "hf"])
def test_rows_can_be_given_any_context_for_timing(engine):
    rounds = DeviceRounds(tiny_pair(0.1, torch.float32, engine=engine), 2, 2, capacity=64)
    rounds.stand([20, 20])
    rounds.round(force=1, stay=True)
    assert rounds._position.tolist() == [19, 19]
    rounds.round(force=1)
    assert rounds._position.tolist() == [21, 21]


def test_decoders_of_a_pair_share_the_kv_memory():
    pair = tiny_pair(0.1)
    pair.workspace.capacity = 90
    first = make_decoder(pair, 2, Sampling(), 30, on_device=True).rounds
    second = make_decoder(pair, 3, Sampling(0.7), 90, on_device=True).rounds
    assert make_decoder(pair, 2, Sampling(), 60, on_device=True).rounds is first
    assert first.capacity == second.capacity == 90
    for one, other in ((first.target, second.target), (first.draft, second.draft)):
        assert one.key_values().data_ptr() == other.key_values().data_ptr()
    assert make_decoder(pair, 2, Sampling(), 91, on_device=True).rounds is not first


def test_plain_decoding_without_graphs_gives_the_greedy_output_of_the_target():
    pair = tiny_pair(0.1)
    rounds = DeviceRounds(pair, 0, capacity=64)
    ids = torch.tensor([some_tokens(8, 4)])
    rounds.prefill(ids[:, :-1])
    rounds.place(ids[:, -2:], torch.tensor([7]))
    got = [int(rounds.round()[0, -1]) for _ in range(6)]
    expected = []
    whole = ids[0].tolist()
    model = tiny_model(0).double()
    for _ in range(6):
        with torch.inference_mode():
            expected.append(
                int(model(torch.tensor([whole]), use_cache=False).logits[0, -1].argmax())
            )
        whole.append(expected[-1])
    assert got == expected
