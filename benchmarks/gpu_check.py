"""Check on a GPU that decoding is correct, and measure how close it comes to the hardware's limits.

    make gpu-check [PYTHON=python3] [OUT=gpu-check]

or, after `make links`,

    PYTHONPATH=build/links python3 benchmarks/gpu_check.py --out DIR \\
        [--shapes llama-7b+llama-68m] [--commit ID]

The sections (`gpu_sections.py`) run in separate processes within one deadline: first with a tiny
pair of models, which shows within a minute whether anything fails altogether, then with the
requested pair. After a failed capture of a CUDA graph, later results of the same process cannot be
trusted. From then on, new processes run the sections without graphs, and the results say so.

The script needs a Python with torch, transformers, pandas, pyarrow and scipy. It needs no network
and no installation of lapsd: `make links` creates build/links, a folder that holds the packages
under the name lapsd. It imports neither simpy nor typer.

`--shapes tiny-target+tiny-draft --device cpu` runs the same sections on a machine without a GPU.
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
    """Run the sections in a new process and return its exit code, or 124 if it was killed.

    The process should end at `until` (on the clock `time.monotonic`); it is killed 15 s later.
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
        print(f"{out}: killed 15 s after its deadline", flush=True)
        return 124


def main() -> None:
    """Run the sections with the tiny pair, then with the requested pair, within the deadline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default="llama-7b+llama-68m")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--deadline", type=float, default=480.0, help="seconds for the whole check")
    parser.add_argument(
        "--tiny-seconds", type=float, default=60.0, help="most seconds for the tiny pair"
    )
    parser.add_argument(
        "--commit", default="", help="commit of the source, if there is no .git folder"
    )
    parser.add_argument("--no-graphs", action="store_true", help="run rounds without CUDA graphs")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="take few samples of two batch sizes: only to see that all sections run",
    )
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
        print("CUDA graphs cannot be captured: running again without them", flush=True)
        (arguments.out / "check.json").replace(arguments.out / "check-with-graphs.json")
        code = run(arguments.out, arguments.shapes, end, arguments, "--no-graphs") or CAPTURE_FAILED
    print(f"{time.monotonic() - BEGIN:.0f} s")
    sys.exit(code)


if __name__ == "__main__":
    main()
