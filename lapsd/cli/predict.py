"""The verb `predict`: output lengths predicted from prompts, as columns of a trace."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from lapsd.cli.literal import refuse_ignored
from lapsd.cli.options import Overwrite, free_to_write, verb
from lapsd.cli.tables.predictions import accuracy_table
from lapsd.cli.terminal import console, watch
from lapsd.predict import (
    MODELS,
    Accuracy,
    Encoder,
    LengthModel,
    ModelEncoder,
    PromptedTrace,
    TfidfEncoder,
    predictions,
    with_column,
)
from lapsd.traces import load_prompts, load_trace, save_trace

app = verb()
TFIDF = "tfidf"


@app.command()
def predict(
    trace: Annotated[str, typer.Argument(help="The trace whose output lengths to predict.")],
    prompts: Annotated[
        Path,
        typer.Option(
            help="The prompts: JSON lines of request_id and prompt, or Spec-Bench's questions."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="The trace to write, with a column for each predictor."),
    ],
    predictor: Annotated[
        list[str] | None,
        typer.Option(help=f"Repeat for several: {', '.join(MODELS)} [default: all of them]."),
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="Encoder of prompts: tfidf, or the folder of a Hugging Face model.")
    ] = TFIDF,
    k: Annotated[
        int, typer.Option("--k", help="Number of similar past prompts that retrieval uses.")
    ] = 5,
    threshold: Annotated[
        float, typer.Option(help="Least cosine similarity of a past prompt that retrieval uses.")
    ] = 0.8,
    past: Annotated[
        str | None,
        typer.Option(help="Learn from this trace, not out of fold from the trace's own requests."),
    ] = None,
    past_prompts: Annotated[Path | None, typer.Option(help="The prompts of --past.")] = None,
    insert: Annotated[
        bool,
        typer.Option(
            "--insert", help="With --past: each request can be retrieved once it is predicted."
        ),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Predict output lengths from prompts (needs the extra 'predict')."""
    names = list(dict.fromkeys(predictor or MODELS))
    if unknown := [name for name in names if name not in MODELS]:
        raise ValueError(f"--predictor {unknown[0]}: known are {', '.join(MODELS)}")
    if (past is None) != (past_prompts is None) or (insert and past is None):
        raise ValueError("--past: needs --past-prompts, and --insert needs both")
    if "retrieval" not in names:
        refuse_ignored("without --predictor retrieval", "k", "threshold", "insert")
    if find_spec("sklearn") is None:
        raise ValueError("predict: needs scikit-learn: pip install 'lapsd[predict]'")
    free_to_write(out, overwrite=overwrite, inputs=(trace, prompts, past, past_prompts))
    new_encoder = encoder_named(encoder)
    asked = PromptedTrace.of(load_trace(trace), load_prompts(prompts))
    learnt = (
        None
        if past is None or past_prompts is None
        else PromptedTrace.of(load_trace(past), load_prompts(past_prompts))
    )
    how = (
        "out of fold" if learnt is None else f"learned on {learnt.trace.provenance.source or past}"
    )
    made, accuracies = asked.trace, dict[str, Accuracy]()
    with watch() as shown:
        for done, name in enumerate(names):
            shown("predicting", done, len(names))
            new: Callable[[], LengthModel] = partial(MODELS[name], new_encoder, k, threshold)
            tokens, accuracies[name] = predictions(new, asked, learnt, insert=insert)
            made = with_column(made, name, tokens, how, accuracies[name])
    save_trace(made, out)
    stdout = console()
    stdout.print(accuracy_table(accuracies), "")
    stdout.print(f"{len(made)} requests, {how}", style="dim", highlight=False)
    print(f"{out}: lapsd compare --trace {out} --length-predictor column:{names[0]}")


def encoder_named(name: str) -> Callable[[], Encoder]:
    """Return a function that makes the encoder; a model is loaded once.

    Raises
    ------
    ValueError
        If the model's folder does not exist.
    """
    if name == TFIDF:
        return TfidfEncoder
    loaded = ModelEncoder(name)
    return lambda: loaded
