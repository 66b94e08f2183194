"""Tests of the bundled prompt sets and of reading prompts from files."""

import ast
import gzip
import itertools
import random
import re

import numpy as np
import pytest

from lapsd.calibrate.prompts import (
    PROMPT_SETS,
    arithmetic,
    bundled_prompts,
    fields,
    lists,
    read_prompts,
)
from lapsd.calibrate.reference import corpus


@pytest.mark.parametrize("name", sorted(PROMPT_SETS))
def test_each_bundled_set_has_at_least_300_different_prompts(name):
    prompts = bundled_prompts(name)
    assert len(prompts) >= 300
    assert len({p.text for p in prompts}) == len({p.request_id for p in prompts}) == len(prompts)
    assert {p.dataset for p in prompts} == {name}
    assert prompts == bundled_prompts(name)
    assert PROMPT_SETS[name]() == PROMPT_SETS[name].__wrapped__()  # the same when made again
    assert prompts != bundled_prompts(name, seed=1)


@pytest.fixture(scope="module")
def library():
    """All training texts from Python's library."""
    return corpus.library()


def test_training_data_contain_no_bundled_code_or_prose_prompt(library):
    """Search for the text of each prompt, up to spacing, in the whole training text.

    The corpus itself compares words, so this is an independent check.
    """
    assert all(len(texts) > 2_000 for texts in library.values())
    trained = " ".join(" \0 ".join(text for texts in library.values() for text in texts).split())
    prompts = [p for name in ("code", "prose") for p in bundled_prompts(name)]
    assert not [p.request_id for p in prompts if " ".join(p.text.split()) in trained]
    some = library["prose"][7].split()[:8]
    assert " ".join(some) in trained  # the search finds a text that is in it


def test_training_data_exclude_prompts_with_other_spacing_and_quotes():
    texts = [
        'def f(x):\n    """Return  the value\n    of x,\n    or nothing."""',
        "Return the value of y.",
        "x",
    ]
    assert corpus.unseen(texts, ["Return the value of x", "Some other prompt here"]) == texts[1:]


def test_training_data_contain_no_generated_prompt(public_data):
    folder = public_data / "prompts"
    texts = list(
        itertools.islice(
            corpus.documents(folder / "gsm8k_train.jsonl.gz", folder / "mbpp.jsonl.gz"), 6_000
        )
    )
    asked = tuple(p.text for name in PROMPT_SETS for p in bundled_prompts(name))
    assert not [text for text in texts if text.startswith(asked)]
    assert sum(text.startswith("Question: ") for text in texts) > 1_000


@pytest.mark.parametrize("templates", [arithmetic, lists, fields])
def test_questions_of_generated_problems_state_the_size_of_the_answer(templates):
    rng = random.Random(0)
    problems = [templates.problem(rng) for _ in range(1_000)]
    assert {p.template for p in problems} == {t.__name__ for t in templates.TEMPLATES}
    for p in problems:
        stated = re.findall(rf"(?<!\d){p.size} (steps?\.|[a-z]+)", p.question)
        assert stated, p
    assert {1, 2, 11, 12} <= {p.size for p in problems}
    assert np.corrcoef([p.size for p in problems], [len(p.answer) for p in problems])[0, 1] > 0.5


def test_bundled_problems_use_templates_with_countable_steps():
    assert {p.group for p in bundled_prompts("arithmetic")} == {
        t.__name__ for t in arithmetic.ASKED
    }
    assert {t.__name__ for t in arithmetic.TEMPLATES} - {t.__name__ for t in arithmetic.ASKED} == {
        "saving",
        "tank",
        "shifts",
    }


def test_answers_have_the_stated_number_of_steps_items_or_fields():
    rng = random.Random(1)
    for _ in range(500):
        worked, listed, function = (module.problem(rng) for module in (arithmetic, lists, fields))
        assert worked.answer.count("\n") == worked.size
        assert listed.answer.count("\n") == listed.size - 1
        source = f"{function.question}\n{function.answer}\n"
        (node,) = ast.parse(source).body
        assert ast.get_docstring(node).count(",") >= function.size - 1
        assert source.count("\n") >= 2 + function.size


def test_every_worked_answer_is_correct():
    rng = random.Random(0)
    for _ in range(2_000):
        problem = arithmetic.problem(rng)
        sums = re.findall(r"((?:\d+ [-+*/] )+\d+) = \$?(\d+)", problem.answer)
        # eval is safe: the pattern allows digits and operators only
        assert all(eval(left) == int(right) for left, right in sums), problem
        assert problem.answer.splitlines()[-1].startswith("#### ")


def test_error_for_an_unknown_set_lists_the_bundled_sets():
    with pytest.raises(
        ValueError, match="prompt set 'poems': must be one of code, prose, arithmetic"
    ):
        bundled_prompts("poems")


def test_plain_and_compressed_prompt_files_are_read(tmp_path):
    lines = '{"text": "a"}\n\n{"text": ["b", "second turn"]}\n'
    (tmp_path / "mine.jsonl").write_text(lines)
    with gzip.open(tmp_path / "mine.jsonl.gz", "wt") as file:
        file.write(lines)
    for name in ("mine.jsonl", "mine.jsonl.gz"):
        prompts = read_prompts(tmp_path / name, "text")
        assert [(p.request_id, p.dataset, p.text) for p in prompts] == [
            ("mine-1", "mine", "a"),
            ("mine-3", "mine", "b"),
        ]


def test_a_prompt_file_may_hold_one_list(tmp_path):
    (tmp_path / "mine.json").write_text('[{"text": "a"},\n {"text": "b"}]')
    prompts = read_prompts(tmp_path / "mine.json", "text")
    assert [(p.request_id, p.text) for p in prompts] == [("mine-1", "a"), ("mine-2", "b")]


def test_public_prompt_files_are_read(public_data):
    fields = {
        "mbpp.jsonl.gz": ("text", 974),
        "gsm8k_test.jsonl.gz": ("question", 1_319),
        "HumanEval.jsonl.gz": ("prompt", 164),
        "alpaca_data_1k.json.gz": ("instruction", 1_000),
        "mt_bench_question.jsonl.gz": ("turns", 80),
    }
    for name, (field, count) in fields.items():
        assert len(read_prompts(public_data / "prompts" / name, field)) == count


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no prompts"),
        ("{", "line 1: not JSON"),
        ("[]", "holds no prompts|not a JSON object"),
        ("3", "line 1: not a JSON object"),
        (
            '{"text": "a"}\n{"question": "b"}',
            r"line 2: no field 'text' \(it has question; see --field\)",
        ),
        ('{"text": " "}', "line 1: field 'text' holds no text"),
        ('{"text": 3}', "line 1: field 'text' holds no text"),
        (b"\xff\xfe", "mine.jsonl: "),
    ],
)
def test_error_for_a_malformed_prompt_file_names_the_line(tmp_path, content, message):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read_prompts(path, "text")
    with pytest.raises(ValueError, match="no such file"):
        read_prompts(tmp_path / "nowhere.jsonl", "text")
