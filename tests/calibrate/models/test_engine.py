"""Tests that the engines give the logits of the model itself, and of the choice of an engine."""

import copy
from dataclasses import replace

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from lapsd.calibrate import load_pair
from lapsd.calibrate.models.engine import HFEngine, agrees, choose_engine
from lapsd.calibrate.models.lean import LeanEngine

V = 48
SHAPE = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "max_position_embeddings": 96,
    "initializer_range": 0.3,
}


def randomised(model):
    """Randomise biases and norms, which are initialised to zeros and ones, so that they matter."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.double().eval()


def models():
    torch.manual_seed(0)
    scaled = {
        "rope_type": "llama3",
        "rope_theta": 10_000.0,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    return {
        "one head": LlamaForCausalLM(
            LlamaConfig(**SHAPE, num_attention_heads=1, num_key_value_heads=1)
        ),
        "grouped": LlamaForCausalLM(
            LlamaConfig(**SHAPE, num_attention_heads=8, num_key_value_heads=2)
        ),
        "ungrouped": LlamaForCausalLM(
            LlamaConfig(**SHAPE, num_attention_heads=4, num_key_value_heads=4)
        ),
        "own head size": LlamaForCausalLM(
            LlamaConfig(**SHAPE, num_attention_heads=4, num_key_value_heads=2, head_dim=12)
        ),
        "biases": LlamaForCausalLM(
            LlamaConfig(
                **SHAPE,
                num_attention_heads=4,
                num_key_value_heads=2,
                attention_bias=True,
                mlp_bias=True,
            )
        ),
        "tied": LlamaForCausalLM(
            LlamaConfig(
                **SHAPE, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True
            )
        ),
        "scaled rope": LlamaForCausalLM(
            LlamaConfig(
                **SHAPE, num_attention_heads=4, num_key_value_heads=2, rope_parameters=scaled
            )
        ),
        "qwen2": Qwen2ForCausalLM(
            Qwen2Config(**SHAPE, num_attention_heads=4, num_key_value_heads=2)
        ),
    }


@pytest.mark.parametrize("kind", sorted(models()))
def test_lean_logits_equal_the_logits_of_the_model(kind):
    model = randomised(models()[kind])
    pristine = copy.deepcopy(model)
    tokens = [(5 * i + 2) % V for i in range(40)]
    sequence = LeanEngine(model, V).sequence(64)
    with torch.inference_mode():
        expected = pristine(torch.tensor([tokens]), use_cache=False).logits[0]
        parts = [
            sequence.forward(tokens[a:b])
            for a, b in ((0, 17), (17, 18), (18, 23), (23, 24), (24, 40))
        ]
        torch.testing.assert_close(torch.cat(parts), expected, rtol=0, atol=1e-10)
        again = model(torch.tensor([tokens]), use_cache=False).logits[0]
    # the module still works, with views of the engine's weights
    torch.testing.assert_close(again, expected, rtol=0, atol=1e-10)


def test_no_weight_is_stored_twice():
    model = models()["grouped"]
    before = sum(p.numel() for p in model.parameters())
    engine = LeanEngine(model, V)
    storages = {
        p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() // 4
        for p in model.parameters()
    }
    assert sum(storages.values()) == before
    assert engine.layers[0].qkv.weight.untyped_storage().data_ptr() in storages


@pytest.mark.parametrize("engine", ["lean", "hf"])
def test_after_a_rollback_logits_equal_the_logits_of_a_new_sequence(engine):
    model = choose_engine(randomised(models()["grouped"]), V, engine)
    tokens = list(range(30))
    used, fresh = model.sequence(64), model.sequence(64)
    with torch.inference_mode():
        used.forward(tokens)
        used.rollback(11)
        # values after the position must have no effect
        buffers = (
            [used._cache]
            if engine == "lean"
            else [b for layer in used.cache.layers for b in layer._buffers]
        )
        for buffer in buffers:
            buffer[..., 11:, :] = 1e30
        fresh.forward(tokens[:11])
        for _ in range(2):
            torch.testing.assert_close(
                used.forward([40, 41]), fresh.forward([40, 41]), rtol=0, atol=1e-12
            )
    assert used.length == fresh.length == 15
    assert sum(t.numel() for t in used.key_values()) == 3 * 2 * 2 * 15 * 4


def test_auto_chooses_the_lean_engine_for_llama_models_only():
    assert choose_engine(randomised(models()["grouped"]), V).name == "lean"
    torch.manual_seed(0)
    gpt2 = GPT2LMHeadModel(
        GPT2Config(vocab_size=V, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    ).eval()
    engine = choose_engine(gpt2, V)
    assert engine.name == "hf"
    with torch.inference_mode():
        sequence = engine.sequence(16)
        parts = torch.cat([sequence.forward([1, 2, 3]), sequence.forward([4])])
        torch.testing.assert_close(
            parts, gpt2(torch.tensor([[1, 2, 3, 4]])).logits[0], rtol=0, atol=1e-5
        )
    with pytest.raises(ValueError, match="engine lean: does not support this gpt2 model"):
        choose_engine(gpt2, V, "lean")
    with pytest.raises(ValueError, match="engine='fast': must be auto, lean or hf"):
        choose_engine(gpt2, V, "fast")


def test_auto_chooses_transformers_for_a_modified_llama_model():
    model = randomised(models()["grouped"])
    model.model.layers[1].mlp.register_forward_hook(lambda module, inputs, output: 2 * output)
    assert isinstance(choose_engine(model, V), HFEngine)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_lean_engine_with_wrong_results_is_detected(dtype):
    """Tolerances depend on the type, but always detect a wrong rotation, scale, norm or bias."""
    model = randomised(models()["biases"]).to(dtype)
    own = HFEngine(model, V)

    def engine(change=lambda lean: None):
        lean = LeanEngine(model, V)
        change(lean)
        return lean

    def shifted(lean):
        lean.cos, lean.signed_sin = lean.cos.roll(1, 0), lean.signed_sin.roll(1, 0)

    def scaled(lean):
        ours = lean.operators
        lean.operators = replace(ours, attend=lambda qkv, *rest: ours.attend(1.2 * qkv, *rest))

    def coarse(lean):
        lean.epsilon = 0.03

    def without_bias(lean):
        lean.layers[0].qkv.bias = None

    assert agrees(engine(), own)
    for mutant in (shifted, scaled, coarse, without_bias):
        assert not agrees(engine(mutant), own), mutant.__name__


def test_logits_of_padding_rows_are_computed_and_then_cut_off():
    """Qwen has 151,665 tokens in 151,936 rows; an odd number of rows is slow on a GPU."""
    engine = LeanEngine(models()["qwen2"], V - 5)
    assert engine.head.weight.shape[0] == V
    with torch.inference_mode():
        assert engine.sequence(8).forward([1, 2, 3]).shape == (3, V - 5)


def test_the_reference_pair_uses_the_lean_engine():
    pair = load_pair("reference", "reference", device="cpu")
    assert (pair.target_engine.name, pair.draft_engine.name) == ("lean", "lean")
