"""Tests of the training of the reference pair, and of the bundled models."""

import json
import socket
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from lapsd.calibrate.models.loading import load_pair
from lapsd.calibrate.reference import REFERENCE_DRAFT, REFERENCE_TARGET, distil, parallel, train

RECIPE = train.Recipe(tokens=6 * 2 * train.CONTEXT, batch=2, checkpoint_every=2)


def tiny():
    config = train._config(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    return train.new_model(config, 0, "cpu")


def blocks(stop_at=None):
    generator = torch.Generator().manual_seed(0)
    for step in range(RECIPE.steps):
        if step == stop_at:
            raise KeyboardInterrupt
        yield torch.randint(4_096, (RECIPE.batch, train.CONTEXT + 1), generator=generator)


def test_a_resumed_training_gives_the_weights_of_an_uninterrupted_one(tmp_path):
    whole, stopped, resumed = tiny(), tiny(), tiny()
    start = [p.detach().clone() for p in whole.parameters()]
    loss = train.train(whole, blocks(), train.next_token_loss, RECIPE, tmp_path / "whole", "cpu")
    with pytest.raises(KeyboardInterrupt):  # at step 5, after the checkpoint of step 4
        train.train(
            stopped, blocks(stop_at=5), train.next_token_loss, RECIPE, tmp_path / "part", "cpu"
        )
    assert train.train(
        resumed, blocks(), train.next_token_loss, RECIPE, tmp_path / "part", "cpu"
    ) == pytest.approx(loss)
    for a, b, before in zip(whole.parameters(), resumed.parameters(), start, strict=True):
        torch.testing.assert_close(a, b)
        assert not torch.equal(a, before)


def test_a_checkpoint_of_another_recipe_is_rejected(tmp_path):
    train.train(tiny(), blocks(), train.next_token_loss, RECIPE, tmp_path, "cpu")
    other = train.Recipe(tokens=RECIPE.tokens, batch=2, lr=1e-3)
    with pytest.raises(ValueError, match="was made with another recipe"):
        train.train(tiny(), blocks(), train.next_token_loss, other, tmp_path, "cpu")


def one_of_two(rank, folder, port):
    """Train in one of two processes on its rows only, and save the loss and the weights."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://localhost:{port}", rank=rank, world_size=2
    )
    model = tiny()
    loss = train.train(model, blocks(), train.next_token_loss, RECIPE, folder, "cpu")
    torch.save((loss, [p.detach() for p in model.parameters()]), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.deep  # two processes import torch
def test_two_processes_train_the_same_model_as_one(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # so that the processes find this module
    alone = tiny()
    loss = train.train(alone, blocks(), train.next_token_loss, RECIPE, tmp_path / "alone", "cpu")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(one_of_two, (tmp_path, port), nprocs=2)
    (first, ours), (second, theirs) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    # not equal, because the forward pass is in bf16 and rows are averaged in another order
    assert first == second == pytest.approx(loss, rel=1e-3)
    for a, b, c, start in zip(alone.parameters(), ours, theirs, tiny().parameters(), strict=True):
        assert torch.equal(b, c)
        assert (a - b).norm() < 0.5 * (a - start).norm()
    assert parallel.size() == 1


def test_texts_of_the_target_continue_documents_and_are_written_once(tmp_path, monkeypatch):
    monkeypatch.setattr(distil, "BATCH", 2)
    monkeypatch.setattr(distil, "LENGTH", 32)
    pair = load_pair(REFERENCE_TARGET, REFERENCE_DRAFT)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(REFERENCE_TARGET)
    text = (
        "The square of a number, which may be anything at all, a sum or a product of others, or"
        " none of these."
    )
    texts = distil.target_texts(pair.target, tokenizer, iter([text] * 9), 3, tmp_path)
    opening = tokenizer.decode(
        tokenizer(text)["input_ids"][: distil.OPENING_TOKENS], skip_special_tokens=True
    )
    assert len(texts) == 4
    assert all(t.startswith(opening) and len(t) > len(opening) for t in texts)
    assert distil.target_texts(pair.target, tokenizer, iter([]), 3, tmp_path) == texts


@pytest.mark.parametrize("folder", [REFERENCE_TARGET, REFERENCE_DRAFT])
def test_the_bundled_models_can_be_served_by_vllm(folder):
    """They are plain LLaMA folders with head sizes that vLLM's attention on CPUs supports."""
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["head_dim"] * config["num_attention_heads"] == config["hidden_size"]
    assert config["head_dim"] in (32, 64, 80, 96, 112, 128, 160, 192, 224, 256)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    assert len(tokenizer) == config["vocab_size"]
    assert [tokenizer.bos_token_id, tokenizer.eos_token_id] == [
        config["bos_token_id"],
        config["eos_token_id"],
    ]
    assert sum(f.stat().st_size for f in folder.parent.rglob("*") if f.is_file()) < 20_000_000
