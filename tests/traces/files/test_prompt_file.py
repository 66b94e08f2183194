"""Files of prompts."""

import json

import pytest

from lapsd.traces import FormatError, Prompt, load_prompts, save_prompts


def test_saved_prompts_load_unchanged(tmp_path):
    prompts = [Prompt("a", 'two\nlines, "quotes" and ü', "g"), Prompt("b", "x", "x")]
    save_prompts(prompts, tmp_path / "p.jsonl")
    assert list(load_prompts(tmp_path / "p.jsonl").values()) == prompts


def test_the_default_group_is_the_text_without_its_numbers(tmp_path):
    lines = [{"request_id": i, "prompt": f"What  is {i} + 4?"} for i in (3, 17)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert {p.group for p in load_prompts(tmp_path / "p.jsonl").values()} == {"what is # + #?"}


def test_each_turn_in_a_question_file_gives_one_prompt(tmp_path):
    (tmp_path / "q.jsonl").write_text(
        json.dumps({"question_id": 81, "turns": ["Write.", "Again."]})
    )
    found = load_prompts(tmp_path / "q.jsonl")
    assert {name: (p.text, p.group) for name, p in found.items()} == {
        "81-0": ("Write.", "question 81"),
        "81-1": ("Write.\nAgain.", "question 81"),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no prompts"),
        ("{}", "line 1: needs 'request_id' and a text in 'prompt'"),
        ('{"request_id": "a", "prompt": 3}', "line 1: needs 'request_id'"),
        (
            '{"request_id": "a", "prompt": "x"}\n{"request_id": "a", "prompt": "y"}',
            "line 2: request 'a' occurs twice",
        ),
        (
            '{"question_id": 1, "turns": []}',
            "line 1: needs 'question_id' and a list of texts in 'turns'",
        ),
        ("x", "line 1: not JSON"),
    ],
)
def test_the_error_for_an_invalid_prompt_names_its_line(tmp_path, content, message):
    (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(FormatError, match=message):
        load_prompts(tmp_path / "p.jsonl")
