"""Tests of loading pairs, and of errors for models that do not fit together."""

import json
import shutil
import time

import pytest
import torch
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from lapsd.calibrate import Settings, load_pair, tokenize
from lapsd.calibrate.models.loading import random_pair
from lapsd.calibrate.prompts import Prompt
from lapsd.calibrate.reference import REFERENCE_DRAFT, REFERENCE_TARGET


@pytest.fixture
def folder(tmp_path):
    """A copy of the reference draft, which tests modify."""
    return shutil.copytree(REFERENCE_DRAFT, tmp_path / "model")


def test_the_reference_pair_loads_by_name_and_from_folders():
    pair = load_pair("reference", "reference", device="cpu")
    assert pair.weights == "reference"
    assert pair.target.dtype == pair.draft.dtype == torch.float32
    sizes = [sum(p.numel() for p in m.parameters()) for m in (pair.target, pair.draft)]
    assert 6e6 < sizes[0] < 8e6
    assert 8 < sizes[0] / sizes[1] < 12
    assert pair.stop_ids == {pair.tokenizer.eos_token_id}
    assert (
        load_pair(str(REFERENCE_TARGET), str(REFERENCE_DRAFT), device="cpu", dtype="float64").dtype
        == "float64"
    )
    shipped = sum(f.stat().st_size for f in REFERENCE_TARGET.parent.rglob("*") if f.is_file())
    assert shipped < 20e6


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "no such folder"),
        ("~/no/such/model", "no such folder"),
        ("/", "holds no config.json"),
    ],
)
def test_a_name_that_looks_like_a_folder_is_not_looked_up_on_the_hub(name, message):
    with pytest.raises(ValueError, match=message):
        load_pair(name, "reference")


def test_pickled_weights_are_rejected(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"holds no \.safetensors file"):
        load_pair("reference", str(folder))


@pytest.mark.parametrize("size", [0, 100, 50_000])
def test_truncated_weights_are_rejected(folder, size):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(ValueError, match="its weights cannot be loaded"):
        load_pair("reference", str(folder))


@pytest.mark.parametrize(
    ("file", "what"), [("config.json", "configuration"), ("tokenizer.json", "tokenizer")]
)
def test_a_broken_configuration_or_tokenizer_is_rejected(folder, file, what):
    (folder / file).write_text("{")
    with pytest.raises(
        ValueError,
        match=rf"model .*: its .*{what[:4]}.* cannot be loaded|its tokenizer cannot be loaded",
    ):
        load_pair("reference", str(folder))


def test_different_vocabularies_are_rejected(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<odd>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(
        ValueError,
        match=r"its vocabulary \(4097 tokens\) differs from that of reference \(4096\) in 1 ",
    ):
        load_pair("reference", str(folder))


def test_a_model_with_fewer_tokens_than_its_tokenizer_is_rejected(folder):
    config = LlamaConfig(
        vocab_size=4_000,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    with pytest.raises(
        ValueError, match="its vocabulary of 4000 is smaller than the tokenizer's 4096"
    ):
        load_pair("reference", str(folder))


def test_padding_rows_of_a_model_do_not_belong_to_the_vocabulary(folder):
    config = LlamaConfig(
        vocab_size=4_160,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    assert load_pair("reference", str(folder)).vocabulary == 4_096


def test_sliding_window_caches_are_rejected(folder):
    config = MistralConfig(
        vocab_size=4_096,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=8,
    )
    MistralForCausalLM(config).save_pretrained(folder)
    with pytest.raises(ValueError, match="Sliding"):
        load_pair("reference", str(folder))


def test_a_sliding_window_as_long_as_the_context_is_supported(folder):
    config = MistralConfig(
        vocab_size=4_096,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=64,
        max_position_embeddings=64,
    )
    MistralForCausalLM(config).save_pretrained(folder)
    for engine in ("lean", "hf"):
        pair = load_pair("reference", str(folder), engine=engine, dtype="float64")
        sequence = pair.draft_engine.sequence(40)
        tokens = list(range(20, 50))
        with torch.inference_mode():
            whole = pair.draft(torch.tensor([tokens]), use_cache=False).logits[0]
            got = torch.cat([sequence.forward(tokens[:25]), sequence.forward(tokens[25:])])
        torch.testing.assert_close(got, whole, rtol=0, atol=1e-9)


def test_models_with_nan_logits_are_rejected(folder):
    config = LlamaConfig(
        vocab_size=4_096,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    model = LlamaForCausalLM(config)
    model.model.norm.weight.data[3] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(ValueError, match="its logits are not finite in float32"):
        load_pair("reference", str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eos_token": "<odd>"}, "its eos_token_id is"),
        ({"normalizer": {"type": "Lowercase"}}, "splits a text into other tokens"),
    ],
)
def test_tokenizers_with_equal_vocabularies_but_other_results_are_rejected(folder, change, message):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    if "normalizer" in change:
        tokenizer |= change
    else:
        odd = next(iter(tokenizer["model"]["vocab"]))
        settings["eos_token"] = odd
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=message):
        load_pair("reference", str(folder))


def test_a_chat_template_adds_one_beginning_of_sequence_token(tmp_path):
    pair = load_pair("reference", "reference", device="cpu")
    beginning = pair.tokenizer.bos_token
    pair.tokenizer.chat_template = "{{ bos_token }}User: {{ messages[0]['content'] }}\\nAnswer:"
    ids = tokenize(
        pair, [Prompt("a", "d", "Hello")], Settings(requests=1), leave_out=False, chat=True
    )[0][1]
    assert pair.tokenizer.decode(ids).count(beginning) == 1
    assert "User: Hello" in pair.tokenizer.decode(ids)


def test_random_pairs_are_built_from_names_and_configuration_files(tmp_path):
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    config.save_pretrained(tmp_path)
    pair = random_pair(f"tiny-target+{tmp_path}", device="cpu")
    assert (pair.weights, pair.vocabulary, pair.tokenizer) == ("random", 64, None)
    (tmp_path / "config.json").write_text('{"model_type": "abacus"}')
    with pytest.raises(ValueError, match="not a model configuration"):
        random_pair(f"tiny-target+{tmp_path / 'config.json'}", device="cpu")


def test_a_hub_name_without_network_fails_within_three_seconds(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "https://hub.invalid")
    start = time.monotonic()
    with pytest.raises(
        ValueError,
        match="model someone/some-model: no such folder, and the model hub cannot be reached",
    ):
        load_pair("someone/some-model", "reference")
    assert time.monotonic() - start < 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_raises_an_error():
    with pytest.raises(ValueError, match="device cuda: torch sees no CUDA device"):
        load_pair("reference", "reference", device="cuda")


def test_unknown_devices_and_dtypes_raise_errors():
    with pytest.raises(ValueError, match="device='tpu': must be auto, cpu, cuda or spread"):
        load_pair("reference", "reference", device="tpu")
    with pytest.raises(ValueError, match="dtype='int8': must be auto"):
        load_pair("reference", "reference", dtype="int8")
