"""Prompt sets: enough of each, new to the reference pair, and files read line by line."""

import gzip
import random
import re

import pytest

from calibrate.prompts import PROMPT_SETS, arithmetic, bundled_prompts, read_prompts
from calibrate.reference import corpus


@pytest.mark.parametrize("name", sorted(PROMPT_SETS))
def test_each_bundled_set_holds_enough_prompts_all_different(name):
    prompts = bundled_prompts(name)
    assert len(prompts) >= 300
    assert len({p.text for p in prompts}) == len({p.request_id for p in prompts}) == len(prompts)
    assert {p.dataset for p in prompts} == {name}
    assert prompts == bundled_prompts(name)
    assert prompts != bundled_prompts(name, seed=1)


def test_code_and_prose_prompts_are_held_out_from_training():
    def flat(text):
        return " ".join(text.split())

    trained = flat("\n\0\n".join(corpus._code() + corpus._prose()))
    seen = {name: [p for p in bundled_prompts(name) if flat(p.text) in trained] for name in ("code", "prose")}
    assert not seen["code"]
    # short docstrings that functions of other modules share: 9 of 760 on Python 3.11
    assert len(seen["prose"]) < 0.03 * len(bundled_prompts("prose"))


def test_arithmetic_prompts_and_training_problems_come_from_different_seeds():
    asked = {p.text for p in bundled_prompts("arithmetic")}
    rng = random.Random(corpus.ARITHMETIC_SEED)
    trained = {corpus.question_prompt(arithmetic.problem(rng).question) for _ in range(20_000)}
    assert len(asked & trained) < 0.01 * len(asked)


def test_every_worked_answer_is_right():
    rng = random.Random(0)
    for _ in range(2_000):
        problem = arithmetic.problem(rng)
        sums = re.findall(r"((?:\d+ [-+*/] )+\d+) = \$?(\d+)", problem.answer)
        assert all(eval(left) == int(right) for left, right in sums), problem  # digits and operators only
        assert problem.answer.splitlines()[-1].startswith("#### ")


def test_an_unknown_set_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown prompt set 'poems': the bundled ones are code, prose, arithmetic"):
        bundled_prompts("poems")


def test_files_are_read_by_field_plain_or_compressed(tmp_path):
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


def test_a_file_that_is_one_list_is_read_too(tmp_path):
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
        ('{"text": "a"}\n{"question": "b"}', r"line 2: no field 'text' \(it has question; see --field\)"),
        ('{"text": " "}', "line 1: field 'text' holds no text"),
        ('{"text": 3}', "line 1: field 'text' holds no text"),
        (b"\xff\xfe", "mine.jsonl: "),
    ],
)
def test_a_malformed_file_is_refused_by_line(tmp_path, content, message):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read_prompts(path, "text")
    with pytest.raises(ValueError, match="No such file"):
        read_prompts(tmp_path / "nowhere.jsonl", "text")
