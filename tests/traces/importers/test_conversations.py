"""Importers of prompts and answers, on files made here and on published files."""

import gzip
import json

import pytest

from lapsd.traces import FormatError, load_prompts, load_trace
from lapsd.traces.importers import AlpacaEval, ShareGPT
from lapsd.traces.importers.token_counts import TokenCounts


def asked(name, *turns):
    return {"id": name, "conversations": [{"from": role, "value": text} for role, text in turns]}


SHARED = [
    asked("a_0", ("human", "x" * 40), ("gpt", "y" * 80), ("human", "z" * 400)),
    asked("b_0", ("gpt", "hello"), ("human", "hi")),
    asked("c_0", ("user", "What is 17 + 4?"), ("assistant", "21")),
    asked("d_0", ("human", "long"), ("gpt", "y" * 9_000)),
    asked("e_0", ("human", "alone")),
    asked("a_0", ("human", "What is 3 + 4?"), ("gpt", "7 of them")),
]
ANSWERED = [
    {
        "instruction": "Name three stars.",
        "dataset": "oasst",
        "output": "Sun " * 100,
        "generator": "a-model",
    },
    {"instruction": "Why?", "dataset": "koala", "output": "", "generator": "a-model"},
    {"instruction": "Sum up.", "input": "one two three", "output": "six", "generator": "a-model"},
]


def written(path, document):
    path.write_text(json.dumps(document))
    return path


def test_sharegpt_imports_the_first_question_and_answer_of_a_conversation(tmp_path):
    found = ShareGPT().read(written(tmp_path / "s.json", SHARED))
    assert found.trace.request_id == ["a_0-0", "c_0-2", "a_0-5"]  # ids repeat in the published file
    assert found.trace.prompt_tokens.tolist() == [10, 4, 4]
    assert found.trace.output_tokens.tolist() == [20, 1, 2]
    assert not found.trace.drafted.any()
    assert found.notes == (
        "2 of 6 conversations do not begin with a question and its answer",
        "1 of 4 requests left out: no text in prompt or answer, or more than 2048 tokens together",
        "lengths are estimated: chars/4",
    )
    assert [p.text for p in found.prompts][1:] == ["What is 17 + 4?", "What is 3 + 4?"]
    assert found.prompts[1].group == found.prompts[2].group  # they differ only in numbers
    assert len(ShareGPT(most_tokens=0).read(tmp_path / "s.json").trace) == 4


def test_alpaca_prompts_include_the_input_and_empty_answers_are_left_out(tmp_path):
    path = tmp_path / "a.json.gz"
    with gzip.open(path, "wt") as file:
        json.dump(ANSWERED, file)
    found = AlpacaEval().read(path)
    assert found.trace.request_id == ["oasst-0", "alpaca-2"]
    assert found.trace.dataset == ["oasst", "alpaca"]
    assert found.trace.output_tokens.tolist() == [135, 1]
    assert [p.text for p in found.prompts] == ["Name three stars.", "Sum up.\none two three"]
    assert found.trace.provenance.source == "AlpacaEval, a-model"
    assert "1 of 3 requests left out" in found.notes[0]


def test_import_writes_the_prompts_next_to_the_trace(lapsd, tmp_path):
    file, out = written(tmp_path / "s.json", SHARED), tmp_path / "t.parquet"
    code, said, _ = lapsd("import", "sharegpt", file, "-o", out)
    assert code == 0
    assert "3 prompts, for lapsd predict" in said
    prompts = load_prompts(tmp_path / "t.prompts.jsonl")
    assert list(prompts) == list(load_trace(out).request_id)
    assert prompts["c_0-2"].text == "What is 17 + 4?"
    out.unlink()
    assert lapsd("import", "sharegpt", file, "-o", out)[0] == 2  # the file of prompts still exists
    assert lapsd("import", "sharegpt", file, "-o", out, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("importer", "content", "message"),
    [
        (ShareGPT, "[{}]", r"f.json, entry 0: needs a list in 'conversations'"),
        (
            ShareGPT,
            '[{"conversations": [{"from": "human"}]}]',
            "entry 0: a turn needs 'from' and a text in 'value'",
        ),
        (
            ShareGPT,
            '[{"conversations": []}]',
            "no conversation begins with a question and its answer",
        ),
        (ShareGPT, "{}", "not a list with at least one entry"),
        (ShareGPT, "[", "not JSON"),
        (AlpacaEval, "[3]", "entry 0: not a JSON object"),
        (AlpacaEval, '[{"instruction": "x"}]', "entry 0, field 'output': missing"),
        (
            AlpacaEval,
            '[{"instruction": 3, "output": "x"}]',
            "entry 0, field 'instruction': not a text",
        ),
        (
            AlpacaEval,
            '[{"instruction": "x", "output": ""}]',
            "no prompt with an answer of at most 2048 tokens",
        ),
    ],
)
def test_the_error_for_a_malformed_file_of_conversations_names_the_entry(
    tmp_path, importer, content, message
):
    (tmp_path / "f.json").write_text(content)
    with pytest.raises(FormatError, match=message):
        importer().read(tmp_path / "f.json")


def test_token_counts_are_estimated_from_characters_or_words():
    assert TokenCounts("chars/4")(["x" * 10, "x", "", " "]) == [2, 1, 0, 0]
    assert TokenCounts("words*1.35")(["one two three four", "one"]) == [5, 1]


def test_token_counts_come_from_a_models_own_tokenizer():
    pytest.importorskip("tokenizers")
    folder = "calibrate/reference/data/target"
    counts = TokenCounts(folder)(["def f(x):", ""])
    assert not TokenCounts(folder).estimated
    assert counts[0] > 1
    assert counts[1] == 0


@pytest.mark.parametrize("given", ["chars/0", "words/2", "nowhere", "chars/x"])
def test_the_error_for_an_unknown_tokenizer_names_it(given):
    with pytest.raises(ValueError, match=f"tokenizer {given.replace('*', '.')}: "):
        TokenCounts(given)


def test_the_published_answers_have_their_known_mean_length(public_data):
    found = AlpacaEval(most_tokens=0).read(
        public_data / "lengths/alpaca_eval__vicuna-7b-v1.3.json.gz"
    )
    assert 240 < found.trace.output_tokens.mean() < 258  # about 249 tokens
    assert len(found.trace) >= 800
    assert len(AlpacaEval().read(public_data / "prompts/alpaca_data_1k.json.gz").trace) > 950
