"""Shapes of models: folders, names, derived shapes and bad input."""

import json

import pytest

from lapsd.traces import FormatError
from lapsd.traces.architectures import CONFIGURATIONS
from lapsd.traces.operator_tables.shapes import shape_of


def test_a_folder_gives_its_configuration_and_quantisation(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIGURATIONS["llama-7b"]))
    (folder / "hf_quant_config.json").write_text('{"quantization": {}}')
    shape = shape_of(str(folder), [], {})
    assert (shape.name, shape.longest_context, shape.vocabulary) == ("mine", 2_048, 32_000)
    assert shape.extras == {"hf_quant_config.json": {"quantization": {}}}
    assert shape_of(str(folder / "config.json"), [], {}).config == shape.config


def test_one_layer_keeps_everything_but_the_number_of_layers():
    whole = shape_of("llama-7b", [], {})
    one = whole.one_layer()
    assert one.config == {**whole.config, "num_hidden_layers": 1}
    assert one.name == "one layer of llama-7b"


def test_a_multimodal_configuration_is_read_inside(tmp_path):
    config = {"architectures": ["X"], "text_config": {"hidden_size": 8, "num_hidden_layers": 3}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    one = shape_of(str(tmp_path), [], {}).one_layer()
    assert one.config["text_config"]["num_hidden_layers"] == 1
    assert "num_hidden_layers" not in one.config


def test_lists_with_an_entry_per_layer_keep_the_first(tmp_path):
    config = {"hidden_size": 8, "num_hidden_layers": 2, "layer_types": ["a", "b"], "x": [1, 2, 3]}
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["X"], **config}))
    one = shape_of(str(tmp_path), [], {}).one_layer().config
    assert (one["layer_types"], one["x"]) == (["a"], [1, 2, 3])


def test_opt_is_a_llama_without_gates():
    shape = shape_of("opt-13b", [], {})
    assert not shape.gated
    assert shape.config["intermediate_size"] == 20_480
    assert shape.gate_bytes == 2 * 40 * 5_120 * 20_480
    assert shape_of("llama-7b", [], {}).gate_bytes == 0


def test_an_unknown_name_has_its_nearest_names():
    with pytest.raises(ValueError, match="nearest names are .*llama-68m"):
        shape_of("llama-68", ["Qwen/Qwen3-8B"], {})
    with pytest.raises(ValueError, match=r"no known name$"):
        shape_of("zzz", ["Qwen/Qwen3-8B"], {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "config.json: no such file"),
        ("{", "config.json: not JSON"),
        ("[]", "config.json: not a JSON object"),
        ('{"hidden_size": 8}', "no field 'architectures'"),
        ('{"architectures": "X"}', "field 'architectures': 'X' is not a list of names"),
        ('{"architectures": ["OPTForCausalLM"], "hidden_size": 8}', "no field 'num_hidden_layers'"),
        ('{"architectures": ["X"]}', "no field 'hidden_size'"),
    ],
)
def test_a_folder_without_a_usable_configuration_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(FormatError, match=message):
        shape_of(str(tmp_path), [], {})
