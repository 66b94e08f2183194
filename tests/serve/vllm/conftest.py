"""vLLM engines in this process, each started once. Their tests are skipped without vLLM."""

import os
from pathlib import Path

import pytest

from tests.serve.vllm.engines import Engine
from tests.serve.vllm.models import save_pair

# one process and one thread: nearly all time of a step of these models is overhead
os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of the target and the draft."""
    pytest.importorskip("vllm", reason="make vllm installs it")
    return save_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="session")
def plain(pair: tuple[Path, Path]) -> Engine:
    """Two batch slots, and memory for all requests."""
    return Engine(pair[0])


@pytest.fixture(scope="session")
def speculative(pair: tuple[Path, Path]) -> Engine:
    """The same engine with four draft tokens per step."""
    spec = {"model": str(pair[1]), "num_speculative_tokens": 4, "method": "draft_model"}
    return Engine(pair[0], speculative_config=spec)


@pytest.fixture(scope="session")
def tight(pair: tuple[Path, Path]) -> Engine:
    """Four batch slots, and memory for fewer than four requests.

    It has 7 blocks of 32 tokens, one of which vLLM reserves.
    """
    return Engine(pair[0], num_gpu_blocks_override=7, max_num_seqs=4, max_model_len=128)


@pytest.fixture(scope="session")
def asynchronous(pair: tuple[Path, Path]) -> Engine:
    """The scheduler class for asynchronous scheduling, which vLLM uses on GPUs only.

    Here its steps do not overlap.
    """
    spec = {"model": str(pair[1]), "num_speculative_tokens": 4, "method": "draft_model"}
    return Engine(
        pair[0], speculative_config=spec, scheduler_cls="lapsd.serve.vllm.AsyncLapsdScheduler"
    )
