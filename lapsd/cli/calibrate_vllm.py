"""`lapsd calibrate --engine vllm`: what vLLM's own steps accept and cost."""

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
    DEFAULT_TEMPERATURE,
    claim,
    numbers,
    prompts_named,
    run_with_models,
    typed,
    write,
)
from lapsd.cli.terminal import watch
from lapsd.serve.calibration import Requests, calibrate
from lapsd.serve.plan import Plan, PlannedRequest
from lapsd.serve.vllm.process import DEFAULT_PYTHON, VllmEngine
from lapsd.traces.errors import DONE

BATCHES = "1,2,4,8"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(name="calibrate")
def command(
    target: Annotated[
        str, typer.Option(help="The large model: 'reference', a folder, or a name on the hub.")
    ] = "reference",
    draft: Annotated[
        str, typer.Option(help="The small model, with the same tokenizer.")
    ] = "reference",
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            help="A JSON-lines file, or a bundled set; repeatable [default: all bundled]."
        ),
    ] = None,
    field: Annotated[
        str, typer.Option(help="The key of the text in a prompts file's lines.")
    ] = "prompt",
    requests: Annotated[int, typer.Option(help="Requests of each prompt set.")] = 40,
    draft_tokens: Annotated[int, typer.Option(help="Tokens the draft proposes a step (n).")] = 4,
    max_new_tokens: Annotated[int, typer.Option(help="Cap of an output's length.")] = 512,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always take the most likely token.")
    ] = False,
    temperature: Annotated[float | None, typer.Option(help="Of sampling [default: 0.7].")] = None,
    batches: Annotated[str, typer.Option(help="Batch sizes to time steps at.")] = BATCHES,
    seed: Annotated[int, typer.Option(help="Of the prompts' order and of sampling.")] = 0,
    engine: Annotated[str, typer.Option(help="vllm.")] = "vllm",
    vllm_python: Annotated[Path, typer.Option(help="The Python that has vLLM.")] = DEFAULT_PYTHON,
    out: Annotated[
        Path, typer.Option(help="Folder for trace.parquet, profile.json and the raw timings.")
    ] = Path("calibration"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a calibration that is there.")
    ] = False,
) -> int:
    """Serve real prompts with vLLM and record what its steps accept and cost."""
    if engine != "vllm":
        raise ValueError(f"--engine {engine}: here it is vllm")
    if greedy and temperature:
        raise ValueError(f"--temperature {temperature} and --greedy: give one of them")
    heat = 0.0 if greedy else DEFAULT_TEMPERATURE if temperature is None else temperature
    settings = Settings(
        (draft_tokens,),
        max_new_tokens,
        requests,
        Sampling(heat, seed),
        numbers(batches, "--batches"),
    )
    running = VllmEngine(target, draft, vllm_python, typed())
    claim(out, overwrite, False)
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
    write(result, out)
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
        kv_slots=None,
        target=pair.target_name,
        draft=pair.draft_name,
        draft_tokens=n,
        temperature=settings.sampling.temperature,
        seed=settings.sampling.seed,
    )
    known = stamp(pair, typed())
    known = known.noting(**{k: v for k, v in settings.described.items() if k != "draft_tokens"})
    with watch(quiet=False) as shown:
        return calibrate(
            engine, Requests(planned, pair.context), plan, settings.batches, known, shown
        )


def _report(out: Path, result: Calibration, n: int) -> None:
    trace, profile = result.traces[n], result.profile
    rounds, tokens = int(trace.rounds.sum()), int(trace.output_tokens.sum())
    print(
        f"{out / 'trace.parquet'}: {len(trace)} requests, {rounds} rounds, {tokens} tokens,"
        f" {tokens / rounds:.2f} tokens a round, acceptance"
        f" {trace.accepted.sum() / trace.drafted.sum():.3f}"
    )
    context = int((trace.prompt_tokens + trace.output_tokens // 2).mean())
    alone = profile.round_cost(1)(n, context) / 1e6
    sizes = ", ".join(map(str, profile.costs.rounds))
    print(
        f"{out / 'profile.json'}: a step of one request takes {alone:.2f} ms at context {context};"
        f" batches {sizes}"
    )
    for warning in [*result.warnings, *profile.warnings()]:
        print(f"warning: {warning}")


def main(arguments: list[str] | None = None) -> int:
    """Run the verb on `arguments` (default: the process's own) and return its exit code."""
    return run_with_models(app, "lapsd calibrate --engine vllm", arguments)
