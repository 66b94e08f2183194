"""Compare profiles from operator tables with measurements by others, as Markdown tables.

    python benchmarks/tables_against_measurements.py [--costs FOLDER] [--acceptance FOLDER]
        [--questions FILE] [--profile NAME|FILE ...] [--figure FILE.png]

The folders hold public files: `--costs` the fits of LLMServe/DistServe (`*__distserve.json` and
`*__vllm.json`), `--acceptance` the answers of BNukhkadiev/Spec-Bench with Vicuna-7B
(`spec_bench__*vanilla*`, `spec_bench__*sps-68m*`), and `--questions` the question file of these. A
section whose files are absent says so. The last section needs no files: it compares each profile
with the time to read the weights once, and with the time of a prompt's products at the peak rate.
docs/guides/gpu-costs.md shows the tables and explains them.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from wall_times import TERMS, Fit, Floats, Requests

from lapsd.traces import Profile, load_profile
from lapsd.traces.importers.distserve import DistServe

BUNDLED = ("llama-7b-h200", "llama-7b-a100", "llama-3.1-8b-h100", "llama-3.1-70b-h100-tp4")
OPT, LLAMA = "opt-13b-a100-tables", "llama-7b"
BATCHES, CONTEXTS = (1, 8, 32, 64, 128), (16, 128, 256, 512, 1_024, 2_000)
PROMPTS = (64, 128, 256, 512, 1_024, 2_000)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
DRAFT_BINS, CONTEXT_BINS = (1, 2, 3, 4, 99), (0, 128, 512, 1_024, 9_999)
HOSTS = (
    *("profile", "without drafts: ms per pass", "median / p90 error"),
    *("with drafts: ms per pass", "ms per draft step", "median / p90 error"),
)


class Peak(NamedTuple):
    """Peak rates of a GPU: bytes/s of its memory, and dense 16-bit operations/s.

    From NVIDIA's data sheets of A100 80GB SXM, H100 SXM, H200 SXM and L40S.
    """

    memory: float
    products: float


class Weights(NamedTuple):
    """Sizes of a model, from its `config.json`; `products` of each feed-forward layer."""

    layers: int
    hidden: int
    kv: int
    feed_forward: int
    products: int
    vocabulary: int

    @property
    def layer_parameters(self) -> int:
        """Parameters of all layers."""
        attention = 2 * self.hidden * (self.hidden + self.kv)
        return self.layers * (attention + self.products * self.hidden * self.feed_forward)

    @property
    def bytes_read(self) -> int:
        """Bytes of the layers and the output layer with 16 bits per weight."""
        return 2 * (self.layer_parameters + self.hidden * self.vocabulary)


PEAKS = {
    "a100_sxm": Peak(2.039e12, 312e12),
    "h100_sxm": Peak(3.35e12, 989e12),
    "h200_sxm": Peak(4.8e12, 989e12),
    "l40s": Peak(0.864e12, 362e12),
}
WEIGHTS = {
    "llama-7b": Weights(32, 4_096, 4_096, 11_008, 3, 32_000),
    "opt-13b": Weights(40, 5_120, 5_120, 20_480, 2, 50_272),
    "meta-llama/Meta-Llama-3.1-8B": Weights(32, 4_096, 1_024, 14_336, 3, 128_256),
    "meta-llama/Meta-Llama-3.1-70B": Weights(80, 8_192, 1_024, 28_672, 3, 128_256),
}


def main(
    costs: Annotated[Path, typer.Option(help="Folder of DistServe's fits.")] = Path("costs"),
    acceptance: Annotated[Path, typer.Option(help="Folder of Spec-Bench's answers.")] = Path(
        "acceptance"
    ),
    questions: Annotated[Path, typer.Option(help="Spec-Bench's question file.")] = Path(
        "spec_bench_question.jsonl.gz"
    ),
    profile: Annotated[
        list[str] | None, typer.Option(help="More profiles from operator tables; repeatable.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Figure of Spec-Bench's rounds.")] = None,
) -> None:
    """Print all sections."""
    every = (*BUNDLED, OPT, *(profile or ()))
    profiles = {Path(name).name.removesuffix(".json"): load_profile(name) for name in every}
    sections: list[Iterator[str]] = [
        distserve(costs, profiles[OPT]),
        spec_bench(acceptance, questions, profiles, figure),
        floors(profiles),
    ]
    for section in sections:
        for line in section:
            print(line)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""


def distserve(folder: Path, tables: Profile) -> Iterator[str]:
    """Yield tables over fits of OPT-13B on an A100, by batch and context, and by prompt."""
    yield "### OPT-13B on an A100: tables over DistServe's fits\n"
    found = {name: list(folder.glob(f"*a100*__{name}.json")) for name in ("distserve", "vllm")}
    if not all(found.values()):
        yield f"skipped: {folder} lacks *a100*__distserve.json and *a100*__vllm.json\n"
        return
    assert tables.kv_capacity is not None
    assert tables.kv_capacity.tokens is not None
    fits = {name: _imported(paths[0]) for name, paths in found.items()}
    for name, fit in fits.items():
        yield f"Decoding steps, ms by the tables / by the fit of {name} (ratio):\n"
        yield from _steps(tables, fit, tables.kv_capacity.tokens)
    rows = [
        [f"{t:,}", *(_over(tables.costs.prefill(t), f.costs.prefill(t)) for f in fits.values())]
        for t in PROMPTS
    ]
    yield "Prefill of one prompt, ms by the tables / by the fit (ratio):\n"
    yield from table(("tokens", *fits), rows)
    memory = fits["vllm"].provenance.notes["memory"]["kv_tokens_at_90%_of"]["80 GB"]
    yield f"KV capacity in tokens: {tables.kv_capacity.tokens:,} / {memory:,} (90 % of 80 GB)\n"


def _imported(path: Path) -> Profile:
    profile = DistServe().read(path).profile
    assert profile is not None
    return profile


def _steps(tables: Profile, fit: Profile, kv_tokens: int) -> Iterator[str]:
    """Yield both times of decoding steps that fit in memory, and the line between them."""
    rows, pairs = [], []
    for batch in BATCHES:
        row = [str(batch)]
        for context in CONTEXTS:
            ours, theirs = (p.round_cost(batch)(0, batch * context) for p in (tables, fit))
            if batch * context <= kv_tokens:
                pairs.append((ours / 1e6, theirs / 1e6))
            row.append(_over(ours, theirs) if batch * context <= kv_tokens else "-")
        rows.append(row)
    yield from table(("batch", *(f"context {c:,}" for c in CONTEXTS)), rows)
    ours_ms, theirs_ms = np.array(pairs).T
    line = Fit.of([np.ones_like(ours_ms), ours_ms], theirs_ms)
    yield (
        f"Best line: fit = {line.values[0]:.1f} ms + {line.values[1]:.2f} x tables (median error"
        f" {line.median:.1%}, p90 {line.p90:.1%})\n"
    )


def _over(ns: float, other_ns: float) -> str:
    return f"{ns / 1e6:.1f} / {other_ns / 1e6:.1f} ({ns / other_ns:.2f})"


def spec_bench(
    folder: Path, questions: Path, profiles: dict[str, Profile], figure: Path | None
) -> Iterator[str]:
    """Yield terms of wall times of Vicuna-7B and of the profiles of LLaMA-7B, and host times."""
    yield "### Vicuna-7B at batch size 1: Spec-Bench's wall times\n"
    names = ("spec_bench__*vanilla*", "spec_bench__*sps-68m*")
    files = [list(folder.glob(name)) for name in names]
    if not all(files) or not questions.is_file():
        yield f"skipped: needs {names[0]} and {names[1]} in {folder}, and {questions}\n"
        return
    plain, drafted = (
        Requests.read(found[0], questions, drafts=drafts)
        for found, drafts in zip(files, (False, True), strict=True)
    )
    same = {name: p for name, p in profiles.items() if _target(p) == LLAMA}
    for requests, title in ((plain, "Without drafts"), (drafted, "With the 68M draft model")):
        yield f"{title} ({len(requests.wall_ms)} requests, {requests.passes.sum():,.0f} passes):\n"
        fits = {"measured": requests.terms(requests.wall_ms)}
        fits |= {name: requests.terms(requests.priced_ms(p)) for name, p in same.items()}
        head = ("times of", *TERMS, "median error", "p90 error")
        yield from table(head, [[name, *_cells(fit)] for name, fit in fits.items()])
    yield _rates(plain.terms(plain.wall_ms))
    yield "Host time that explains the wall times best, added to the times of the tables:\n"
    hosts = [_hosts(name, plain.host(p), drafted.host(p)) for name, p in same.items()]
    yield from table(HOSTS, hosts)
    for name, p in same.items():
        yield f"Milliseconds per round without prompts, measured / by {name} (ratio):\n"
        yield from _by_bins(drafted, p)
    if figure is not None:
        draw(figure, plain, drafted, same)
        yield f"figure: {figure}\n"


def _target(profile: Profile) -> str:
    """Return the name of a profile's target model."""
    model = profile.provenance.target
    return str(model.name) if model is not None else ""


def _rates(measured: Fit) -> str:
    """Return the rates of memory and products that the measured terms need."""
    weights, (ms, _, _, prompt_ms) = WEIGHTS[LLAMA], measured.values
    return (
        f"Rates that the measured terms need: {weights.bytes_read / ms / 1e6:,.0f} GB/s of weights"
        f" in a pass, {2 * weights.layer_parameters / prompt_ms / 1e9:,.0f} * 10^12 operations/s in"
        " a prompt\n"
    )


def _cells(fit: Fit) -> list[str]:
    values = [f"{value:.3g}" if value else "-" for value in fit.values]
    return [*values, f"{fit.median:.1%}", f"{fit.p90:.1%}"]


def _hosts(name: str, plain: Fit, drafted: Fit) -> list[str]:
    cells = [name]
    for fit in (plain, drafted):
        cells += [*(f"{ms:.2f}" for ms in fit.values), f"{fit.median:.1%} / {fit.p90:.1%}"]
    return cells


def _per_round(requests: Requests, ms: Floats) -> Floats:
    """Return milliseconds per round of each request, without the fitted time of its prompt."""
    prompts: Floats = requests.terms(ms).values[3] * requests.prompts
    return (ms - prompts) / requests.passes


def _by_bins(requests: Requests, profile: Profile) -> Iterator[str]:
    """Yield the mean time per round by mean draft length and context of a request."""
    lengths, contexts = requests.drafted / requests.passes, requests.contexts / requests.passes
    wall, ours = (
        _per_round(requests, ms) for ms in (requests.wall_ms, requests.priced_ms(profile))
    )
    rows = []
    for low, high in pairwise(DRAFT_BINS):
        row = [f"{low} to {high}" if high < DRAFT_BINS[-1] else f"{low} or more"]
        for short, long in pairwise(CONTEXT_BINS):
            some = (lengths >= low) & (lengths < high) & (contexts >= short) & (contexts < long)
            means = [1e6 * float(ms[some].mean()) for ms in (wall, ours) if some.any()]
            row.append(_over(*means) if means else "-")
        rows.append(row)
    heads = [f"context {a:,} to {b:,}" for a, b in pairwise(CONTEXT_BINS)]
    heads[-1] = f"context {CONTEXT_BINS[-2]:,} or more"
    yield from table(("draft tokens per round", *heads), rows)


def floors(profiles: dict[str, Profile]) -> Iterator[str]:
    """Yield the time of a pass over 1 token and of a prompt, over their lower bounds."""
    yield "### First principles: bytes over bandwidth, products over peak rate\n"
    rows = []
    for name, profile in profiles.items():
        known, target = profile.operator_tables, _target(profile)
        if known is None or known.gpu not in PEAKS or target not in WEIGHTS:
            continue
        weights, peak = WEIGHTS[target], PEAKS[known.gpu]
        read = 1e3 * weights.bytes_read / known.tp / peak.memory
        ms = profile.costs.rounds[1].verify(1).base_ns / 1e6
        products = 1e3 * 2 * weights.layer_parameters * 2_000 / known.tp / peak.products
        prompt = profile.costs.prefill(2_000) / 1e6
        rows.append(
            [
                *(name, f"{weights.bytes_read / 1e9:.1f}", f"{read:.2f}", f"{ms:.2f}"),
                *(f"{read / ms:.0%}", f"{products:.1f}", f"{prompt:.1f}"),
                f"{products / prompt:.0%}",
            ]
        )
    head = (
        *("profile", "GB read", "bound, ms", "tables, ms", "share of bandwidth"),
        *("prompt of 2,000: bound, ms", "tables, ms", "share of peak"),
    )
    yield from table(head, rows)


def draw(path: Path, plain: Requests, drafted: Requests, profiles: dict[str, Profile]) -> None:
    """Draw measured and tables' times per round, by context (left) and draft length (right)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    middle = int(np.median(drafted.contexts / drafted.passes))
    measured = ((plain, plain.contexts / plain.passes), (drafted, drafted.drafted / drafted.passes))
    for axes, (requests, x) in zip(panels, measured, strict=True):
        axes.scatter(x, _per_round(requests, requests.wall_ms), s=4, color="#999999")
    for (name, profile), colour in zip(profiles.items(), COLOURS, strict=False):
        cost, contexts, lengths = profile.round_cost(1), range(0, 2_001, 100), range(9)
        panels[0].plot(contexts, [cost(0, c) / 1e6 for c in contexts], color=colour, label=name)
        panels[1].plot(lengths, [cost(n, middle) / 1e6 for n in lengths], color=colour)
    panels[0].set(xlabel="mean context, tokens", ylabel="ms per round", title="without drafts")
    title = f"with the 68M draft model (lines: context {middle})"
    panels[1].set(xlabel="mean draft tokens per round", title=title, xlim=(0, 8), ylim=(0, 40))
    for axes in panels:
        axes.title.set_size(9)
    figure.legend(loc="outside lower center", ncols=4, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    typer.run(main)
