"""NVIDIA's `aiconfigurator-core`: its list of GPUs, engines and models, and operator times.

No other module imports the library. It runs offline: it only ever sees a folder that this module
writes, so it never looks for a model on the network.
"""

import json
import logging
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NamedTuple

from lapsd.traces.operator_tables.shapes import Shape

PACKAGE = "aiconfigurator-core"
PYTHON, NEWEST_PYTHON = sys.version_info[:2], (3, 13)  # of this process, and of the package
MOST_TOKENS, MOST_REQUESTS = 8_192, 256  # of a pass, for the memory of activations
Operator = dict[str, dict[str, Any]]  # {kind: fields}, as the library writes operators


class OperatorTime(NamedTuple):
    """Time of one operator in milliseconds; `measured` if the tables hold it."""

    name: str
    ms: float
    measured: bool


class Memory(NamedTuple):
    """Bytes on each GPU: for keys and values, of these per token, and of weights."""

    kv_bytes: int
    kv_bytes_per_token: int
    weights_bytes: int

    def without(self, weights_bytes: int) -> "Memory":
        """Return the memory of a model with so many fewer bytes of weights."""
        kv_bytes, left = self.kv_bytes + weights_bytes, self.weights_bytes - weights_bytes
        return self._replace(kv_bytes=kv_bytes, weights_bytes=left)


@dataclass(frozen=True)
class Layers:
    """A model's operators in a decoding pass and in a pass over prompts, and its memory."""

    decode: tuple[Operator, ...]
    prompt: tuple[Operator, ...]
    memory: Memory


def check_installed() -> None:
    """Raise a ValueError with the command that installs the library, if it is missing."""
    try:
        import aiconfigurator_core  # noqa: F401
    except ImportError as error:
        why = f"needs the package {PACKAGE}: pip install 'lapsd[gpu-tables]'"
        if PYTHON > NEWEST_PYTHON:
            why = f"needs the package {PACKAGE}, which exists for Python 3.11 to 3.13 only"
        raise ValueError(f"lapsd import aiconfigurator: {why}") from error


def version() -> str:
    """Return name and version of the installed library."""
    return f"{PACKAGE} {metadata.version(PACKAGE)}"


def supported() -> dict[str, dict[str, list[str]]]:
    """Return the versions with tables, by GPU and engine."""
    check_installed()
    from aiconfigurator_core.sdk.perf_database import get_supported_databases

    with _quiet():
        found = get_supported_databases()
    return {gpu: {e: list(v) for e, v in sorted(found[gpu].items())} for gpu in sorted(found)}


def model_files() -> dict[str, Path]:
    """Return the file of each model configuration that the library holds, by the model's name."""
    check_installed()
    folder = Path(str(resources.files("aiconfigurator_core"))) / "model_configs"
    return {
        file.name.removesuffix("_config.json").replace("--", "/"): file
        for file in sorted(folder.glob("*_config.json"))
        if not file.name.endswith("hf_quant_config.json")
    }


class Library:
    """The tables of one GPU, engine and engine version.

    Parameters
    ----------
    gpu, engine : the library's names.
    engine_version : None: the version that the library recommends.

    Raises
    ------
    ValueError
        If there are no such tables; the message has the nearest names.
    """

    def __init__(self, gpu: str, engine: str, engine_version: str | None = None) -> None:
        known = supported()
        _check("gpu", gpu, list(known))
        _check("engine", engine, list(known[gpu]))
        versions = known[gpu][engine]
        from aiconfigurator_core.sdk.engine import EngineHandle
        from aiconfigurator_core.sdk.perf_database import get_database, get_version_slots

        with _quiet():
            slots = get_version_slots(gpu, engine) or {}
            chosen = engine_version or slots.get("current") or versions[-1]
            _check("engine_version", chosen, versions)
            self._database = get_database(gpu, engine, chosen)
            self._handle = EngineHandle.for_database(self._database)
        self.gpu, self.engine, self.engine_version = gpu, engine, chosen

    @property
    def link_bytes_per_s(self) -> float:
        """Rate of transfers between a GPU and host memory, in one direction."""
        return float(self._database.system_spec["node"]["pcie_bw"])

    @cached_property
    def attention_shapes(self) -> dict[str, frozenset[tuple[int, int, int]]]:
        """The measured (query heads, KV heads, head size), by kind of attention operator.

        Empty sets if the library keeps no such table for the engine.
        """
        return {
            "GenerationAttention": self._shapes("generation_attention_perf.parquet"),
            "ContextAttention": self._shapes("context_attention_perf.parquet"),
        }

    def _shapes(self, name: str) -> frozenset[tuple[int, int, int]]:
        import pyarrow.parquet as pq

        data = self._database.system_spec["data_dir"]
        root = Path(str(resources.files("aiconfigurator_core"))) / "systems" / data
        file = root / "attention" / self.engine / self.engine_version / name
        if not file.is_file():
            return frozenset()
        columns = ["num_heads", "num_key_value_heads", "head_dim"]
        table = pq.read_table(file, columns=columns)
        return frozenset(zip(*(table[c].to_pylist() for c in columns), strict=True))

    def layers(self, shape: Shape, tp: int, dtype: str | None, kv_dtype: str | None) -> Layers:
        """Return the operators of a model on each of `tp` GPUs.

        Raises
        ------
        ValueError
            If the library does not know the architecture, or cannot divide the model.
        """
        from aiconfigurator_core.sdk.common import GEMMQuantMode, KVCacheQuantMode
        from aiconfigurator_core.sdk.config_builders import build_model_config
        from aiconfigurator_core.sdk.engine import build_ops_json
        from aiconfigurator_core.sdk.models import get_model

        for name, value, modes in (
            ("dtype", dtype, GEMMQuantMode),
            ("kv_dtype", kv_dtype, KVCacheQuantMode),
        ):
            if value is not None and value not in modes.__members__:
                raise ValueError(f"{name}={value!r}: must be one of {', '.join(modes.__members__)}")
        arguments: dict[str, Any] = {
            "tp_size": tp,
            "pp_size": 1,
            "attention_dp_size": 1,
            "moe_tp_size": 1,
            "moe_ep_size": tp,
            "gemm_quant_mode": dtype,
            "kvcache_quant_mode": kv_dtype,
        }
        with self._folder(shape) as folder, _refusing(shape), _quiet():
            config = build_model_config(**arguments)
            model = get_model(folder, config, self.engine)
            decode, prompt = (
                tuple(json.loads(build_ops_json(ops)))
                for ops in (model.generation_ops, model.context_ops)
            )
            memory = self._memory(folder, arguments).without(shape.gate_bytes // tp)
        return Layers(decode, prompt, memory)

    def _memory(self, folder: str, options: Mapping[str, Any]) -> Memory:
        from aiconfigurator_core.sdk import estimate_kv_cache
        from aiconfigurator_core.sdk.backends.factory import get_backend

        backend = get_backend(self.engine)
        share = backend.get_default_free_gpu_memory_fraction(self.engine_version)
        estimate = estimate_kv_cache(
            folder,
            self.gpu,
            self.engine,
            self.engine_version,
            max_num_tokens=MOST_TOKENS,
            max_batch_size=MOST_REQUESTS,
            memory_fraction_kind="of_free" if backend.memory_fraction_of_free() else "of_total",
            memory_fraction_value=share or 0.9,
            tolerance_fraction=backend.get_kv_cache_memory_check_params()[1],
            allow_hf_config_download=False,
            **options,
        )
        return Memory(
            estimate["tolerance_adjusted"]["total_kv_size_bytes"],
            estimate["kv_size_per_token_bytes"],
            estimate["memory_breakdown"]["weights_bytes"],
        )

    def times(
        self,
        operators: list[Operator],
        *,
        prompt: bool,
        requests: int,
        tokens: int | None,
        context: int,
        held: int = 0,
    ) -> list[OperatorTime]:
        """Return the time of each operator in one pass.

        Parameters
        ----------
        prompt : whether the pass is over prompts.
        requests : number of requests, which attention depends on.
        tokens : number of tokens that products multiply; None: by `requests` and `context`.
        context : tokens of each request: computed by a pass over prompts, or held in the cache.
        held : tokens of each prompt that earlier passes computed.

        Raises
        ------
        ValueError
            If the tables hold no time for an operator.
        """
        try:
            found = self._handle.evaluate_ops_json(
                json.dumps(operators),
                is_context=prompt,
                batch_size=requests,
                s=context,
                prefix=held,
                x=tokens,
            )
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"the tables of {self.engine} {self.engine_version} on {self.gpu} cannot price this"
                f" model: {_first_line(error)}"
            ) from error
        return [OperatorTime(name, ms, source == "silicon") for name, ms, _, source in found]

    @contextmanager
    def _folder(self, shape: Shape) -> Iterator[str]:
        """Write a model's configuration into a temporary folder."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in {"config.json": shape.config, **shape.extras}.items():
                Path(folder, name).write_text(json.dumps(dict(content)), encoding="utf-8")
            yield folder


def _check(name: str, value: str, known: list[str]) -> None:
    if value not in known:
        near = get_close_matches(value, known, n=3, cutoff=0.3)
        hint = f"; the nearest are {', '.join(near)}" if near and len(known) > 3 else ""
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(known)}{hint}")


@contextmanager
def _refusing(shape: Shape) -> Iterator[None]:
    """Turn the library's errors about a configuration into one line that names the model."""
    try:
        yield
    except Exception as error:
        what = _first_line(error)
        if isinstance(error, KeyError):
            what = f"no field {error}"
        elif isinstance(error, TypeError):
            what = f"a value of its config.json has another type than expected ({what})"
        raise ValueError(f"model {shape.name}: cannot be priced: {what}") from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    if "no KV budget" in text:
        return "weights and activations leave no memory for keys and values; increase tp"
    if text.startswith("missing system flops"):
        return "the GPU has no products of that number format"
    line = text.splitlines()[0].split(" at /")[0]
    return line if len(line) <= 240 else f"{line[:240]}..."


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's notes on its tables out of the terminal; errors are still raised."""
    logger = logging.getLogger("aiconfigurator_core")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
