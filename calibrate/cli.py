"""The verb `calibrate`: `lapsd calibrate`, or `python -m calibrate` where there is no simulator."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from calibrate.decode import Sampling
from calibrate.models import choose_device, load_pair, locate_pair
from calibrate.prompts import PROMPT_SETS, Prompt, bundled_prompts, read_prompts
from calibrate.record import Calibration, Settings, calibrate, tokenize
from traces import save_profile, save_trace
from traces.errors import run_command
from traces.files import make_writable_folder, write_whole

DEFAULT_TEMPERATURE = 0.7
FILES = ("trace.parquet", "profile.json", "rounds.parquet")

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(name="calibrate")
def command(
    target: Annotated[
        str, typer.Option(help="The large model: 'reference', a folder, or a name on the hub.")
    ] = "reference",
    draft: Annotated[str, typer.Option(help="The small model, with the same tokenizer.")] = "reference",
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            help=f"A JSON-lines file, or a bundled set ({', '.join(PROMPT_SETS)}); repeatable [default: all bundled]."
        ),
    ] = None,
    field: Annotated[str, typer.Option(help="The key of the text in a prompts file's lines.")] = "prompt",
    requests: Annotated[int, typer.Option(help="Requests of each prompt set.")] = 40,
    draft_tokens: Annotated[int, typer.Option(help="Tokens the draft proposes a round (n).")] = 4,
    max_new_tokens: Annotated[int, typer.Option(help="Cap of an output's length.")] = 512,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always take the most likely token (temperature 0).")
    ] = False,
    temperature: Annotated[float | None, typer.Option(help="Of sampling [default: 0.7].")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16 or float64.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, lean (LLaMA-like models) or hf (transformers' own).")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the prompts' order and of sampling.")] = 0,
    out: Annotated[Path, typer.Option(help=f"Folder for {', '.join(FILES)}.")] = Path("calibration"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a calibration that is there.")] = False,
) -> None:
    """Decode real prompts speculatively and record what rounds accept and cost."""
    if greedy and temperature:
        raise ValueError(f"--temperature {temperature} and --greedy: give one of them")
    if seed < 0:
        raise ValueError(f"--seed {seed}: must be at least 0")
    sampling = Sampling(0.0 if greedy else DEFAULT_TEMPERATURE if temperature is None else temperature, seed)
    settings = Settings(draft_tokens, max_new_tokens, requests, sampling)
    _claim(out, overwrite)
    choose_device(device)
    locate_pair(target, draft)
    sets = [_prompts(name, field, seed) for name in prompts or list(PROMPT_SETS)]
    pair = load_pair(target, draft, device=device, dtype=dtype, engine=engine)
    tokenized = [tokenize(pair, found, settings, leave_out=bundled) for bundled, found in sets]
    with _progress() as bar:
        task = bar.add_task("starting", total=None)
        result = calibrate(
            pair, tokenized, settings, command=_typed(),
            progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )  # fmt: skip
    _write(result, out)
    _report(result, out)


def _prompts(name: str, field: str, seed: int) -> tuple[bool, list[Prompt]]:
    """Whether the set is a bundled one, and its prompts."""
    if name in PROMPT_SETS and not Path(name).exists():
        return True, bundled_prompts(name, seed)
    return False, read_prompts(name, field)


def _claim(out: Path, overwrite: bool) -> None:
    """See that the folder is free and can be written before hours of work."""
    make_writable_folder(out)
    taken = [name for name in FILES if (out / name).exists()]
    if taken and not overwrite:
        raise ValueError(f"{out} holds {taken[0]} already: choose another --out or give --overwrite")


def _typed() -> str:
    arguments = sys.argv[1:] if sys.argv[1:2] == ["calibrate"] else ["calibrate", *sys.argv[1:]]
    return shlex.join(["lapsd", *arguments])


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _write(result: Calibration, out: Path) -> None:
    """The trace goes first and comes last: a folder with a trace holds three files of one calibration."""
    (out / "trace.parquet").unlink(missing_ok=True)
    write_whole(out / "rounds.parquet", lambda path: result.rounds.to_parquet(path, index=False))
    save_profile(result.profile, out / "profile.json")
    save_trace(result.trace, out / "trace.parquet")


def _report(result: Calibration, out: Path) -> None:
    trace, costs, fits = result.trace, result.profile.costs, result.profile.fits
    n = int(trace.drafted[0])
    rounds, tokens = int(trace.rounds.sum()), int(trace.output_tokens.sum())
    print(
        f"{out / 'trace.parquet'}: {len(trace)} requests, {rounds} rounds, {tokens} tokens, "
        f"{tokens / rounds:.2f} tokens a round, acceptance {trace.accepted.sum() / trace.drafted.sum():.3f}"
    )
    context = int(result.rounds["context"].median())
    verify = costs.verify_ns(n + 1) + costs.verify_per_token_ns * context
    print(
        f"{out / 'profile.json'}: at context {context} a draft step takes {costs.draft_step(context) / 1e6:.2f} ms, "
        f"a verify pass {verify / 1e6:.2f} ms; rounds predicted within "
        f"{fits['round']['median_error']:.1%} (median), their sum within {abs(fits['round']['total_error']):.1%}"
    )
    check = result.profile.stamp.get("greedy_check")
    if check and not check["exact"]:
        told = f"a logit is {check['worst_regret']:.3g} short of the largest, tolerance {check['tolerance']:.3g}"
        print(f"warning: an output is not the target's own greedy choice: {told}", file=sys.stderr)
    if fits["round"]["median_error"] > 0.1:
        print("warning: the fit misses rounds by more than 10 % (median): was the machine busy?", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Run the verb on `arguments` (default: the process's own) and return its exit code."""
    return run_command("lapsd calibrate", lambda: app(arguments, standalone_mode=False, prog_name="lapsd calibrate"))
