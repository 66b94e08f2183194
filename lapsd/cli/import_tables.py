"""The command `lapsd import aiconfigurator`: a profile of a GPU from tables of its operators."""

from pathlib import Path
from typing import Annotated

import typer

from lapsd.cli.literal import refuse_ignored
from lapsd.cli.options import Overwrite, free_to_write
from lapsd.cli.tables.cells import table_of
from lapsd.cli.terminal import console
from lapsd.traces import save_profile
from lapsd.traces.architectures import CONFIGURATIONS
from lapsd.traces.operator_tables import TablesRequest, profile_from_tables
from lapsd.traces.operator_tables.library import model_files, supported

MODEL = "a folder with a config.json, or a name of --list"

OF_PROFILES = (
    *("gpu", "engine", "engine_version", "target", "draft", "tp", "dtype", "kv_dtype"),
    *("link_gb_s", "host_us", "max_batch", "max_context", "out", "overwrite"),
)


def aiconfigurator(
    gpu: Annotated[str, typer.Option(help="GPU, by the library's name: see --list.")] = "h200_sxm",
    engine: Annotated[
        str, typer.Option(help="Serving engine whose kernels were measured: vllm, sglang, trtllm.")
    ] = "vllm",
    engine_version: Annotated[
        str | None, typer.Option(help="Version of the engine [default: the recommended one].")
    ] = None,
    target: Annotated[str | None, typer.Option(help=f"Target model: {MODEL}.")] = None,
    draft: Annotated[
        str,
        typer.Option(
            help=f"Draft model: {MODEL}; eagle (one decoder layer of the target per draft step),"
            " ngram (drafts without a model) or none."
        ),
    ] = "none",
    tp: Annotated[int, typer.Option(help="GPUs that share the models (tensor parallelism).")] = 1,
    dtype: Annotated[
        str | None,
        typer.Option(help="Number format of the target's weights [default: by its config.json]."),
    ] = None,
    kv_dtype: Annotated[
        str | None,
        typer.Option(help="Number format of keys and values [default: by the config.json]."),
    ] = None,
    link_gb_s: Annotated[
        float | None,
        typer.Option(
            "--link-gb-s",
            help="Rate of KV transfers between each GPU and host memory, in 10^9 bytes/s [default:"
            " the GPU's PCIe link].",
        ),
    ] = None,
    host_us: Annotated[
        float,
        typer.Option(
            help="Microseconds of each round, prefill and step outside the models: launches,"
            " scheduling, sampling. The tables do not hold them."
        ),
    ] = 0.0,
    max_batch: Annotated[int, typer.Option(help="Largest batch size.")] = 256,
    max_context: Annotated[
        int, typer.Option(help="Longest context and prompt, in tokens, if the model allows it.")
    ] = 8_192,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The profile to write (.json).")
    ] = None,
    show: Annotated[
        bool, typer.Option("--list", help="List GPUs, engines, versions and model names.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Make a profile from operator times that NVIDIA measured on GPUs (aiconfigurator-core)."""
    if show:
        refuse_ignored("with --list", *OF_PROFILES)
        return _print_list()
    if target is None or out is None:
        raise ValueError("--target and --out: both are needed (or --list)")
    if out.suffix != ".json":
        raise ValueError(f"--out {out}: the file's ending must be .json")
    free_to_write(out, overwrite=overwrite)
    request = TablesRequest(
        gpu,
        engine,
        target,
        draft,
        engine_version,
        tp,
        dtype,
        kv_dtype,
        link_gb_s,
        host_us,
        max_batch,
        max_context,
    )
    imported = profile_from_tables(request)
    assert imported.profile is not None
    save_profile(imported.profile, out)
    for note in imported.notes:
        print(note)
    terms, grid = imported.profile.costs.rounds[1], imported.profile.fits.grid
    capacity = imported.profile.kv_capacity
    assert grid is not None
    assert capacity is not None
    print(
        f"{out}: a pass over 1 token takes {terms.verify(1).base_ns / 1e6:.2f} ms, a draft step"
        f" {terms.draft_step.base_ns / 1e6:.3f} ms at no context; memory for {capacity.tokens:,}"
        f" tokens; rounds differ from the tables by {grid.mean_error:.1%} (mean),"
        f" {grid.worst_error:.1%} (worst)"
    )


def _print_list() -> None:
    """Print GPUs with engines and versions, and model names."""
    known = supported()
    engines = sorted({engine for found in known.values() for engine in found})
    table = table_of("GPU", *engines, left=1 + len(engines))
    for gpu, found in known.items():
        table.add_row(gpu, *(", ".join(found.get(engine, ["-"])) for engine in engines))
    stdout = console()
    stdout.print(table, "")
    print("models (any folder with a config.json of the same architectures works too):")
    for name in (*CONFIGURATIONS, *model_files()):
        print(f"  {name}")
