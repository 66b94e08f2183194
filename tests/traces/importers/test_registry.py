"""Every importer in the registry is a command with the importer's own options."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import typer
from hypothesis import given, settings, strategies as st

from lapsd.cli import app
from lapsd.cli.importing import command_of
from lapsd.traces import (
    IMPORTERS,
    FormatError,
    Imported,
    Importer,
    load_arrivals,
    load_profile,
    load_trace,
    trace_from_rounds,
)
from lapsd.traces.errors import run_command
from tests.builders import row
from tests.damage import damaged
from tests.traces.importers.test_conversations import ANSWERED, SHARED
from tests.traces.importers.test_distserve import FITS
from tests.traces.importers.test_spec_bench import answer, written
from tests.traces.importers.test_vllm import response, write

FILES = {
    "vllm": '{"per_step_accepted": [1, 0], "draft_tokens": 2}\n',
    "specdecode-bench": '{"acc_len": [2, 1, 1]}\n',
    "azure": (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,3,4\n2023-11-16"
        " 18:15:47,5,6\n"
    ),
    "mooncake": (
        '{"timestamp": 0, "input_length": 1, "output_length": 2}\n'
        '{"timestamp": 3, "input_length": 1, "output_length": 2}\n'
    ),
    "sharegpt": json.dumps(SHARED),
    "alpaca-eval": json.dumps(ANSWERED),
    "distserve": json.dumps({"facebook/opt-13b": {"1": FITS}}),
}


def lapsd(*arguments):
    return run_command("lapsd", lambda: app([str(a) for a in arguments], standalone_mode=False))


@pytest.mark.parametrize("name", IMPORTERS)
def test_every_importer_is_a_subcommand_of_import(name, tmp_path, capsys):
    file, out = tmp_path / "in", tmp_path / "out.parquet"
    if name == "spec-bench":
        file = written(tmp_path, answer())
    else:
        file.write_text(FILES[name])
    assert lapsd("import", name, file, "-o", out) == 0
    said = capsys.readouterr().out
    if name == "distserve":
        assert load_profile(out).kind == "imported_fit"
    else:
        assert "2 arrivals" in said or len(load_trace(out)) >= 1
    assert lapsd("import", name, file, "-o", out) == 2
    assert "exists already" in capsys.readouterr().err
    assert lapsd("import", name, file, "-o", out, "--overwrite") == 0
    if name in ("azure", "mooncake"):
        assert len(load_arrivals(out)) == 2


def test_import_prints_the_parts_that_a_file_does_not_hold(tmp_path, capsys):
    file = write(tmp_path / "a.jsonl", {"per_step_accepted": [1, 0]})
    assert lapsd("import", "vllm", file, "-o", tmp_path / "t.parquet", "--draft-tokens", 2) == 0
    assert "not in the file: prompt_tokens (0)" in capsys.readouterr().out
    rounds = [answer(i, ((6, 3, 1), (2,))) for i in range(3)]
    out = tmp_path / "s.parquet"
    assert (
        lapsd(
            "import",
            "spec-bench",
            written(tmp_path, *rounds),
            "-o",
            out,
            "--draft-schedule",
            "constant:5",
        )
        == 0
    )
    assert (
        "every round drafted 5 tokens, so costs per round and per draft token cannot be"
        in capsys.readouterr().out
    )
    assert (
        lapsd("compare", "--trace", out, "--profile", out.with_suffix(".json"), "--seeds", 2) == 0
    )
    capsys.readouterr()
    assert lapsd("compare", "--profile", out.with_suffix(".json"), "--seeds", 2) == 2
    assert (
        "draft tokens 4: the profile was fitted to rounds of 5 draft tokens only"
        in capsys.readouterr().err
    )


RECORDS = {
    "vllm": lambda: response("a", 10, 9, [3, 0, 2], [3, 3, 3]),
    "specdecode-bench": lambda: {
        "id": 1,
        "prompt_token_ids": [1],
        "acc_eagle": {"acc_len": [2, 1, 1]},
    },
    "mooncake": lambda: {"timestamp": 3, "input_length": 1, "output_length": 2},
    "spec-bench": answer,
}


@pytest.mark.parametrize("name", RECORDS)
@settings(max_examples=150)
@given(data=st.data())
def test_any_record_is_imported_or_raises_an_error_that_names_its_file(
    name, data, tmp_path_factory
):
    record = data.draw(damaged(RECORDS[name]()))
    folder = tmp_path_factory.mktemp("junk")
    file, options = write(folder / "a.jsonl", RECORDS[name](), record), {}
    if name == "spec-bench":
        options["questions"] = write(folder / "q.jsonl", {"question_id": 1, "turns": ["a", "b"]})
    try:
        imported = IMPORTERS[name](**options).read(file)
    except FormatError as error:
        assert file.name in str(error)
    else:
        assert len(imported.trace) >= 1


@dataclass(frozen=True)
class Toy(Importer):
    """Import a toy.

    Its file holds nothing.
    """

    name: ClassVar[str] = "toy"
    file: ClassVar[str] = "Any file."
    rounds: int = field(default=1, metadata={"help": "How many rounds."})

    def read(self, path: str | Path) -> Imported:
        return Imported(
            trace_from_rounds([row(Path(path).name, 1, [0] * self.rounds)]), notes=("made up",)
        )


def test_the_fields_of_an_importer_become_options_of_its_command(tmp_path, capsys):
    program = typer.Typer(rich_markup_mode=None)
    program.command()(command_of(Toy))
    program(
        [str(tmp_path / "t"), "-o", str(tmp_path / "o.parquet"), "--rounds", "3"],
        standalone_mode=False,
    )
    assert capsys.readouterr().out.endswith("1 requests, 3 rounds, 3 tokens\nmade up\n")
    with pytest.raises(SystemExit):
        program(["--help"])
    assert "How many rounds." in capsys.readouterr().out
