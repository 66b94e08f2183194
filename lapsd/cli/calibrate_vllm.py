"""The command `lapsd calibrate --engine vllm`, which records steps of vLLM."""

from pathlib import Path
from typing import Annotated

import typer

from lapsd.calibrate.decoding.decoder import Sampling
from lapsd.calibrate.models.loading import Pair, load_pair, locate_pair
from lapsd.calibrate.prompts import PROMPT_SETS
from lapsd.calibrate.record import Calibration
from lapsd.calibrate.requests import Settings, Tokenized, in_order, tokenize
from lapsd.calibrate.stamp import stamp
from lapsd.cli.calibrate_pair import (
    CALIBRATION,
    DEFAULT_TEMPERATURE,
    claim,
    numbers,
    prompts_named,
    run_with_models,
    typed,
    write,
)
from lapsd.cli.literal import refuse_ignored
from lapsd.cli.options import verb
from lapsd.cli.terminal import watch
from lapsd.serve.calibration import Requests, calibrate
from lapsd.serve.plan import Plan, PlannedRequest
from lapsd.serve.vllm.process import DEFAULT_PYTHON, VllmEngine
from lapsd.traces.errors import DONE
from lapsd.traces.files import only_writer, publish

BATCHES = "1,2,4,8"

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
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            help="A JSON-lines file, or a bundled set; may be repeated [default: all bundled sets]."
        ),
    ] = None,
    field: Annotated[
        str, typer.Option(help="The key of the text in the lines of a prompts file.")
    ] = "prompt",
    requests: Annotated[int, typer.Option(help="Number of requests from each prompt set.")] = 40,
    draft_tokens: Annotated[int, typer.Option(help="Draft tokens per step (n).")] = 4,
    max_new_tokens: Annotated[
        int, typer.Option(help="Cap on the length of an output, in tokens.")
    ] = 512,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always take the most likely token.")
    ] = False,
    temperature: Annotated[
        float | None, typer.Option(help="Temperature of sampling [default: 0.7].")
    ] = None,
    batches: Annotated[str, typer.Option(help="Batch sizes to time steps at.")] = BATCHES,
    seed: Annotated[int, typer.Option(help="Seed of the order of prompts and of sampling.")] = 0,
    engine: Annotated[str, typer.Option(help="Must be vllm.")] = "vllm",
    vllm_python: Annotated[
        Path, typer.Option(help="The Python executable of an environment with vLLM.")
    ] = DEFAULT_PYTHON,
    out: Annotated[
        Path, typer.Option(help="Folder for trace.parquet, profile.json and the raw timings.")
    ] = Path("calibration"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing calibration.")
    ] = False,
) -> int:
    """Serve prompts with vLLM, and record acceptances and costs of its steps."""
    if engine != "vllm":
        raise ValueError(f"--engine {engine}: must be vllm")
    if not prompts:
        refuse_ignored("without --prompts", "field")
    if greedy and temperature:
        raise ValueError(f"--temperature {temperature} and --greedy: give only one of them")
    heat = 0.0 if greedy else DEFAULT_TEMPERATURE if temperature is None else temperature
    settings = Settings(
        (draft_tokens,),
        max_new_tokens,
        requests,
        Sampling(heat, seed),
        numbers(batches, "--batches"),
    )
    running = VllmEngine(target, draft, vllm_python, typed())
    context.with_resource(only_writer(out))
    work = claim(out, overwrite, False)
    locate_pair(target, draft)
    sets = [prompts_named(name, field, seed) for name in prompts or list(PROMPT_SETS)]
    pair = load_pair(target, draft, device="cpu", dtype="float32")
    order = in_order(
        [tokenize(pair, texts, settings, leave_out=bundled) for bundled, texts in sets]
    )
    try:
        result = _calibrated(running, pair, order, settings)
    finally:
        running.close()
    write(result, work)
    publish(out, CALIBRATION)
    _report(out, result, draft_tokens)
    return DONE


def _calibrated(
    engine: VllmEngine, pair: Pair, order: list[Tokenized], settings: Settings
) -> Calibration:
    most, n = settings.max_new_tokens, settings.draft_tokens[0]
    planned = [
        PlannedRequest(prompt.request_id, prompt.dataset, 0, ids, most, most, stream=i)
        for i, (prompt, ids) in enumerate(order)
        if len(ids) > 1
    ]
    plan = Plan(
        planned,
        kv_slots="unlimited",
        target=pair.target_name,
        draft=pair.draft_name,
        draft_tokens=n,
        temperature=settings.sampling.temperature,
        seed=settings.sampling.seed,
    )
    known = stamp(pair, typed())
    known = known.noting(**{k: v for k, v in settings.described.items() if k != "draft_tokens"})
    with watch(stages=True) as shown:
        return calibrate(
            engine, Requests(planned, pair.context), plan, settings.batches, known, shown
        )


def _report(out: Path, result: Calibration, n: int) -> None:
    trace, profile = result.traces[n], result.profile
    rounds, tokens = int(trace.rounds.sum()), int(trace.output_tokens.sum())
    print(
        f"{out / 'trace.parquet'}: {len(trace)} requests, {rounds} rounds, {tokens} tokens,"
        f" {tokens / rounds:.2f} tokens per round,"
        f" acceptance {trace.accepted.sum() / trace.drafted.sum():.3f}"
    )
    context = int((trace.prompt_tokens + trace.output_tokens // 2).mean())
    alone = profile.round_cost(1)(n, context) / 1e6
    sizes = ", ".join(map(str, profile.costs.rounds))
    print(
        f"{out / 'profile.json'}: a step of one request takes {alone:.2f} ms at context {context};"
        f" batch sizes {sizes}"
    )
    for warning in [*result.warnings, *profile.warnings()]:
        print(f"warning: {warning}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command on `arguments` (default: `sys.argv[1:]`), and return its exit code."""
    return run_with_models(app, "lapsd calibrate --engine vllm", arguments)
