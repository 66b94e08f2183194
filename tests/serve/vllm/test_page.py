"""The examples in docs/guides/vllm.md work."""

import json
import shlex
from pathlib import Path

import pytest

from tests.test_docs import blocks, commands

PAGE = "docs/guides/vllm.md"


@pytest.fixture
def folder(pair, tmp_path, monkeypatch) -> Path:
    """A folder with the models of the page."""
    for path, name in zip(pair, ("my-7b", "my-68m"), strict=True):
        (tmp_path / name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_vllm_accepts_the_command_line_of_the_page(folder):
    from vllm.engine.arg_utils import EngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    from lapsd.serve.vllm.scheduler_state import SchedulerState
    from lapsd.serve.vllm.settings import Settings

    line = next(
        c
        for language, text in blocks(PAGE)
        if language == "sh"
        for c in commands(text)
        if c[0] == "vllm"
    )
    assert line[:3] == ["vllm", "serve", "my-7b"], shlex.join(line)
    parsed = EngineArgs.add_cli_args(FlexibleArgumentParser()).parse_args(["--model", *line[2:]])
    arguments = EngineArgs.from_cli_args(parsed)
    assert arguments.scheduler_cls == "lapsd.serve.vllm.LapsdScheduler"
    assert arguments.speculative_config["num_speculative_tokens"] == 4
    given = arguments.additional_config
    given = json.loads(given) if isinstance(given, str) else given
    assert (
        SchedulerState.of(Settings.of(given["lapsd"]), arguments.max_num_seqs).policy.name
        == "laps-sd"
    )
