"""The command `lapsd calibrate` for a pair of models that lapsd itself runs."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

from lapsd.calibrate.budget import Budget
from lapsd.calibrate.decoding.decoder import Sampling
from lapsd.calibrate.journal import JOURNAL, Journal, identity, threads_of
from lapsd.calibrate.models.loading import Pair, choose_device, load_pair, locate_pair, random_pair
from lapsd.calibrate.models.shapes import SHAPES
from lapsd.calibrate.prompts import PROMPT_SETS, Prompt, bundled_prompts, read_prompts
from lapsd.calibrate.record import Calibration, calibrate
from lapsd.calibrate.requests import Settings, Tokenized, in_order, tokenize
from lapsd.calibrate.timing.cells import BATCHES
from lapsd.cli.literal import refuse_ignored
from lapsd.cli.measuring import HELP, budget_of, report_left_out, use_threads
from lapsd.cli.options import verb
from lapsd.cli.terminal import watch
from lapsd.policies.text_values import number_from_text
from lapsd.traces import Trace, save_profile, save_trace
from lapsd.traces.errors import DONE, INCOMPLETE, INTERRUPTED, Reported, run_command
from lapsd.traces.files import (
    Kind,
    in_work,
    make_writable_folder,
    new_in,
    only_writer,
    publish,
    refuse_others,
    remove_unfinished,
    write_whole,
)

DEFAULT_TEMPERATURE = 0.7
OTHER_FILES = ("profile.json", "rounds.parquet", "samples.parquet")
CALIBRATION = Kind("calibration", JOURNAL, (JOURNAL, "trace*.parquet", *OTHER_FILES))

app = verb()


@app.command(name="calibrate")
def command(
    context: typer.Context,
    target: Annotated[
        str, typer.Option(help="The large model: 'reference', a folder, or a name on the hub.")
    ] = "reference",
    draft: Annotated[
        str, typer.Option(help="The small model, with the same tokenizer.")
    ] = "reference",
    random_weights: Annotated[
        str | None,
        typer.Option(
            help=(
                "Time architectures with random weights instead: TARGET+DRAFT, each one of"
                f" {', '.join(SHAPES)}, or a config.json."
            )
        ),
    ] = None,
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            help=(
                f"A JSON-lines file, or a bundled set ({', '.join(PROMPT_SETS)}); may be repeated"
                " [default: all bundled sets]."
            )
        ),
    ] = None,
    field: Annotated[
        str, typer.Option(help="The key of the text in the lines of a prompts file.")
    ] = "prompt",
    chat: Annotated[
        bool, typer.Option("--chat", help="Put prompts into the target's chat template.")
    ] = False,
    requests: Annotated[int, typer.Option(help="Number of requests from each prompt set.")] = 40,
    draft_tokens: Annotated[
        str,
        typer.Option(
            help="Draft tokens per round (n). Several numbers, such as 4,1,8, give one trace each."
        ),
    ] = "4",
    max_new_tokens: Annotated[
        int, typer.Option(help="Cap on the length of an output, in tokens.")
    ] = 512,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always take the most likely token (temperature 0).")
    ] = False,
    temperature: Annotated[
        float | None, typer.Option(help="Temperature of sampling [default: 0.7].")
    ] = None,
    batches: Annotated[str, typer.Option(help="Batch sizes to time rounds at.")] = ",".join(
        map(str, BATCHES)
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="Take few samples of each cost, to try things out.")
    ] = False,
    budget: Annotated[str | None, typer.Option(help=HELP)] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, or spread (the target is split over all GPUs).")
    ] = "auto",
    dtype: Annotated[
        str, typer.Option(help="auto, float32, bfloat16, float16 or float64.")
    ] = "auto",
    engine: Annotated[
        str, typer.Option(help="auto, lean (LLaMA-like models only) or hf (transformers).")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the order of prompts and of sampling.")] = 0,
    out: Annotated[
        Path, typer.Option(help="Folder for trace.parquet, profile.json and the raw timings.")
    ] = Path("calibration"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing calibration.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted calibration.")
    ] = False,
) -> int:
    """Decode prompts speculatively, and record acceptances and costs of rounds."""
    if not prompts:
        refuse_ignored("without --prompts", "field")
    if greedy and temperature:
        raise ValueError(f"--temperature {temperature} and --greedy: give only one of them")
    if overwrite and resume:
        raise ValueError("--overwrite and --resume: give only one of them")
    if seed < 0:
        raise ValueError(f"--seed {seed}: must be at least 0")
    sampling = Sampling(
        0.0 if greedy else DEFAULT_TEMPERATURE if temperature is None else temperature, seed
    )
    settings = Settings(
        numbers(draft_tokens, "--draft-tokens"),
        max_new_tokens,
        requests,
        sampling,
        numbers(batches, "--batches"),
        quick,
    )
    bundled = random_weights is None and (target, draft) == ("reference", "reference")
    limit = budget_of(budget, bundled=bundled)
    context.with_resource(only_writer(out))
    work = claim(out, overwrite, resume)
    choose_device(device)
    if random_weights is not None:
        if prompts or chat or resume or (target, draft) != ("reference", "reference"):
            raise ValueError(
                "--random-weights: cannot be combined with --target, --draft, --prompts, --chat or"
                " --resume"
            )
        refuse_ignored("with --random-weights", "field", "requests")
        pair = random_pair(random_weights, device=device, dtype=dtype, engine=engine)
        use_threads(pair, settings.draft_tokens[0], 1, None, quiet=False)
        return _finish(_calibrated(pair, [], settings, None, limit), out, work, limit)
    locate_pair(target, draft)
    sets = [prompts_named(name, field, seed) for name in prompts or list(PROMPT_SETS)]
    pair = load_pair(target, draft, device=device, dtype=dtype, engine=engine)
    order = in_order(
        [tokenize(pair, texts, settings, leave_out=ours, chat=chat) for ours, texts in sets]
    )
    use_threads(
        pair, settings.draft_tokens[0], 1, threads_of(work) if resume else None, quiet=False
    )
    journal = Journal(
        work, identity(pair, order, settings.described | {"requests": len(order)}), resume=resume
    )
    try:
        result = _calibrated(pair, order, settings, journal, limit)
    except (KeyboardInterrupt, torch.OutOfMemoryError) as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        total = len(order) * len(settings.draft_tokens)
        print(
            f"lapsd calibrate: {'interrupted' if interrupted else 'out of GPU memory'}:"
            f" {len(journal.records)} of {total} requests are saved in {journal.path}; continue"
            " with --resume",
            file=sys.stderr,
        )
        return Reported(INTERRUPTED) if interrupted else INCOMPLETE
    finally:
        journal.close()
    if result.complete:
        journal.remove()
    return _finish(result, out, work, limit)


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Return the numbers of an option that takes several, separated by commas.

    Raises
    ------
    ValueError
        If they are not numbers. The message names the option.
    """
    numbers = [number_from_text(part.strip(), int) for part in text.split(",")]
    if None in numbers:
        raise ValueError(f"{option} {text!r}: must be whole numbers separated by commas")
    return tuple(int(number) for number in numbers if number is not None)


def _calibrated(
    pair: Pair, order: list[Tokenized], settings: Settings, journal: Journal | None, budget: Budget
) -> Calibration:
    with watch(stages=True) as shown:
        return calibrate(
            pair, order, settings, log=journal, command=typed(), progress=shown, budget=budget
        )


def prompts_named(name: str, field: str, seed: int) -> tuple[bool, list[Prompt]]:
    """Return whether the set is bundled, and its prompts."""
    if name in PROMPT_SETS and not Path(name).exists():
        return True, bundled_prompts(name, seed)
    return False, read_prompts(name, field)


def claim(out: Path, overwrite: bool, resume: bool) -> Path:
    """Check that the output folder is writable and free, before hours of work.

    Returns the folder to write to: `out`, or one in it as long as `out` holds an old calibration.
    """
    make_writable_folder(out)
    taken = [p.name for p in sorted(out.glob("trace*.parquet"))] + [
        n for n in OTHER_FILES if (out / n).exists()
    ]
    work = in_work(out, CALIBRATION)
    unfinished = (work / JOURNAL).exists()
    if resume and not unfinished:
        raise ValueError(f"{out}: has no {JOURNAL}, so there is nothing to resume")
    if unfinished and not (overwrite or resume):
        raise ValueError(
            f"{out}: holds an unfinished calibration; give --resume to continue it, or --overwrite"
        )
    if taken and not (overwrite or resume):
        raise ValueError(
            f"{out}: already holds {taken[0]}; choose another --out or give --overwrite"
        )
    if not (taken or unfinished):
        refuse_others(out, CALIBRATION)
    if overwrite and (taken or unfinished):
        return new_in(out)
    remove_unfinished(work)
    return work


def typed() -> str:
    """Return the command as the user typed it."""
    arguments = sys.argv[1:] if sys.argv[1:2] == ["calibrate"] else ["calibrate", *sys.argv[1:]]
    return shlex.join(["lapsd", *arguments])


def _finish(result: Calibration, out: Path, work: Path, budget: Budget) -> int:
    """Write the files, print a summary of each, and return the exit code.

    The complete files replace the files of an old calibration in `out`.
    """
    write(result, work)
    if result.complete:
        publish(out, CALIBRATION)
    else:
        out = work
    for n, name in _trace_names(result).items():
        _report_trace(out / name, result.traces[n])
    _report_profile(out / "profile.json", result)
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    report_left_out("calibrate", budget, result.profile.provenance.left_out)
    if result.complete:
        return DONE
    print(
        f"lapsd calibrate: interrupted: {out / 'profile.json'} is marked incomplete",
        file=sys.stderr,
    )
    return Reported(INTERRUPTED)


def _trace_names(result: Calibration) -> dict[int, str]:
    """Return the names of the trace files by draft length; a single trace is `trace.parquet`."""
    several = len(result.traces) > 1
    return {n: f"trace-n{n}.parquet" if several else "trace.parquet" for n in result.traces}


def write(result: Calibration, out: Path) -> None:
    """Write all files of a calibration.

    Old traces are deleted first and new ones written last, so that all files in a folder with a
    trace belong to the same calibration.
    """
    for old in out.glob("trace*.parquet"):
        old.unlink()
    (out / "rounds.parquet").unlink(missing_ok=True)
    if result.rounds is not None:
        rounds = result.rounds
        write_whole(
            out / "rounds.parquet",
            lambda path: rounds.to_parquet(path, index=False, compression="zstd"),
        )
    write_whole(
        out / "samples.parquet",
        lambda path: result.samples.to_parquet(path, index=False, compression="zstd"),
    )
    save_profile(result.profile, out / "profile.json")
    for n, name in _trace_names(result).items():
        save_trace(result.traces[n], out / name)


def _report_trace(path: Path, trace: Trace) -> None:
    rounds, tokens = int(trace.rounds.sum()), int(trace.output_tokens.sum())
    print(
        f"{path}: {len(trace)} requests, {rounds} rounds, {tokens} tokens,"
        f" {tokens / rounds:.2f} tokens per round,"
        f" acceptance {trace.accepted.sum() / trace.drafted.sum():.3f}"
    )


def _report_profile(path: Path, result: Calibration) -> None:
    terms, fits, known = (
        result.profile.costs.rounds[1],
        result.profile.fits,
        result.profile.provenance,
    )
    n = known.draft_tokens[0]
    context = 512 if result.rounds is None else int(result.rounds["context"].median())
    closing = ""
    if fits.round is not None:
        closing = f" and summed over a request within {abs(fits.round.closure):.1%}"
    error = 0 if fits.whole is None else fits.whole.median_error
    draft_ms, verify_ms = terms.draft_step(context) / 1e6, terms.verify(n + 1)(context) / 1e6
    print(
        f"{path}: at context {context} a draft step takes {draft_ms:.2f} ms and a verify pass"
        f" {verify_ms:.2f} ms; times of rounds are predicted within {error:.1%} (median){closing};"
        f" batch sizes {', '.join(map(str, result.profile.costs.rounds))}"
    )
    if result.profile.speculation is not None:
        best = result.profile.speculation.best(1)
        print(
            f"speculation at batch size 1: {best.over_plain:.2f} times as fast as plain decoding"
            f" with the best draft length, n = {best.draft_tokens}"
        )


def run_with_models(app: typer.Typer, name: str, arguments: list[str] | None) -> int:
    """Run a command that loads models, and return its exit code.

    A GPU out of memory is reported in the same way as a host out of memory.
    """

    def run() -> object:
        try:
            return app(arguments, standalone_mode=False, prog_name=name)
        except torch.OutOfMemoryError as error:
            raise MemoryError from error

    return run_command(name, run)


def main(arguments: list[str] | None = None) -> int:
    """Run the command on `arguments` (default: `sys.argv[1:]`), and return its exit code."""
    return run_with_models(app, "lapsd calibrate", arguments)
