"""Everything that only a GPU can show, in one run within a deadline: is it right, and how near is
it to the floors?

    make gpu-check [PYTHON=python3] [OUT=gpu-check] PYTHONPATH=build/links python3
    benchmarks/gpu_check.py --out DIR [--shapes llama-7b+llama-68m] [--commit ID]

The sections (`gpu_sections.py`) run in processes of their own: a tiny pair's first, which finds in
a minute what does not work at all; then the pair's. Where capturing graphs fails, nothing that
comes after it in that process can be trusted: what is left runs in a fresh one without graphs, and
says so. Needs no network, no installation and no simulator. `--shapes tiny-target+tiny-draft
--device cpu` runs the same sections anywhere.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

BEGIN = time.monotonic()  # before anything large is imported
TINY = "tiny-target+tiny-draft"
CAPTURE_FAILED = 3


def run(out: Path, shapes: str, until: float, arguments: argparse.Namespace, *flags: str) -> int:
    """One process of sections until `until` (`time.monotonic`); its exit code, or 124 if it had to
    be killed.
    """
    command = [
        sys.executable,
        str(Path(__file__).with_name("gpu_sections.py")),
        "--out",
        str(out),
        "--shapes",
        shapes,
        "--device",
        arguments.device,
        "--dtype",
        arguments.dtype,
        "--until",
        str(until),
        *flags,
    ]
    if arguments.quick:
        command.append("--quick")
    if arguments.commit:
        command += ["--commit", arguments.commit]
    try:
        return subprocess.run(command, timeout=max(1.0, until + 15 - time.monotonic())).returncode
    except subprocess.TimeoutExpired:
        print(f"{out}: killed, 15 s after its time", flush=True)
        return 124


def main() -> None:
    """Run the tiny pair, then the pair, within the deadline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default="llama-7b+llama-68m")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--deadline", type=float, default=480.0, help="seconds")
    parser.add_argument(
        "--tiny-seconds", type=float, default=60.0, help="of these, for the tiny pair at most"
    )
    parser.add_argument("--commit", default="", help="of the source, where there is no .git")
    parser.add_argument(
        "--no-graphs", action="store_true", help="run rounds operation by operation"
    )
    parser.add_argument("--quick", action="store_true", help="few samples: to see that it works")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    end = BEGIN + arguments.deadline
    flags = ["--no-graphs"] if arguments.no_graphs else []
    if arguments.shapes != TINY:
        code = run(
            arguments.out / "tiny",
            TINY,
            min(end, BEGIN + arguments.tiny_seconds),
            arguments,
            *flags,
        )
        print(f"tiny pair: exit code {code}", flush=True)
        if code in (CAPTURE_FAILED, 124):
            flags = ["--no-graphs"]
    code = run(arguments.out, arguments.shapes, end, arguments, *flags)
    if code == CAPTURE_FAILED and not flags:
        print("graphs cannot be captured: once more without", flush=True)
        (arguments.out / "check.json").replace(arguments.out / "check-with-graphs.json")
        code = run(arguments.out, arguments.shapes, end, arguments, "--no-graphs") or CAPTURE_FAILED
    print(f"{time.monotonic() - BEGIN:.0f} s")
    sys.exit(code)


if __name__ == "__main__":
    main()
