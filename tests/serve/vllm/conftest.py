"""Engines to test with: vLLM in this process, each started once. Skipped where there is no vLLM."""

import os
from pathlib import Path

import pytest

from tests.serve.vllm.engines import Engine
from tests.serve.vllm.models import save_pair

# one process and one thread: a step of these models is all overhead
os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of a target and a draft."""
    pytest.importorskip("vllm", reason="make vllm has it")
    return save_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="session")
def plain(pair: tuple[Path, Path]) -> Engine:
    """Two seats, and memory for all."""
    return Engine(pair[0])


@pytest.fixture(scope="session")
def speculative(pair: tuple[Path, Path]) -> Engine:
    """The same with four draft tokens a step."""
    spec = {"model": str(pair[1]), "num_speculative_tokens": 4, "method": "draft_model"}
    return Engine(pair[0], speculative_config=spec)


@pytest.fixture(scope="session")
def tight(pair: tuple[Path, Path]) -> Engine:
    """Four seats and memory for less than four: 7 blocks of 32 tokens, one of which vLLM keeps for
    itself.
    """
    return Engine(pair[0], num_gpu_blocks_override=7, max_num_seqs=4, max_model_len=128)


@pytest.fixture(scope="session")
def ahead(pair: tuple[Path, Path]) -> Engine:
    """The class for engines that schedule ahead, which vLLM does on GPUs only: here its step
    follows step.
    """
    spec = {"model": str(pair[1]), "num_speculative_tokens": 4, "method": "draft_model"}
    return Engine(
        pair[0], speculative_config=spec, scheduler_cls="lapsd.serve.vllm.AsyncLapsdScheduler"
    )
