"""A reproduction as a folder that one can read and send: figures, tables, `claims.md`, `report.html`."""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from policies import LapsSD
from sim.experiment.stage import Stage
from sim.reproduce.content import Drawn, Figure, Report, Table
from sim.reproduce.drawing import Drawing
from sim.reproduce.plan import LOAD, PREDICTOR, Inputs, Size
from traces.files import write_whole

DPI, SCREEN_DPI = 200, 118  # of files; of a page, whose text is about as large as in print


def settings_table(inputs: Inputs, size: Size) -> Table:
    """What was fixed before anything was run."""
    outlook = Stage.of(inputs.trace, inputs.profile).outlook
    policy = LapsSD()
    sup = ", ".join(f"{b / 1e9:.3g}" for b in policy.bind(outlook).bounds_ns)
    told = {
        "trace": f"{inputs.recording}: {len(inputs.trace)} requests, {len(inputs.trace.datasets)} data sets; shown: "
        f"{', '.join(inputs.datasets)}",
        "costs": f"{inputs.profile.kind} ({inputs.profile.weights} weights), {inputs.machine}",
        "LAPS-SD": f"K = {policy.K}, M = {policy.M:g}, γ = {policy.gamma}, δ = {policy.delta:g}; thresholds {sup} s "
        "(Sup₁ = median past T̃ / M^(K/2))",
        "server": "batch size 1, KV memory for one request: every switch is paid; prefill alone",
        "arrivals": f"30 requests, Poisson at load {LOAD:g}, unless said otherwise; from empty to drained",
        "lengths": f"{PREDICTOR}: the truth times exp(0.5 z), z standard normal, unless said otherwise",
        "halves": "servers learn from one half of the trace, workloads are drawn from the other (split seed 0)",
        "seeds": f"{size.claims:,} for the claim on latency and the readings, {size.queues:,} for K, "
        f"{size.stability:,} for stability, {size.map:,} a cell of the map, {size.others:,} else",
        "size": size.name,
    }
    return Table(["setting", "value"], [[name, text] for name, text in told.items()])


def provenance(inputs: Inputs, when: str, runs: int) -> Table:
    """Where everything came from."""
    stamp = inputs.profile.stamp
    rows = [["lapsd", version("lapsd")], ["drawn", when], ["simulated runs", f"{runs:,}"],
            ["trace", inputs.trace_name], ["profile", inputs.profile_name]]  # fmt: skip
    for name, source in (("trace", inputs.trace.metadata), ("profile", stamp)):
        for key in (
            "source",
            "command",
            "commit",
            "time",
            "target",
            "draft",
            "dtype",
            "hardware",
            "software",
            "drift",
        ):
            if key in source:
                value = source[key]
                rows.append([f"{name}: {key}", value if isinstance(value, str) else json.dumps(value, default=str)])
    return Table(["", ""], rows)


def write_report(
    folder: Path, inputs: Inputs, size: Size, records: Mapping[str, pd.DataFrame], derived: Mapping[str, Path],
    missing: Sequence[str], when: str, told: Callable[[str, int, int], None] | None = None,
) -> list[str]:  # fmt: skip
    """Draw and write everything that the records allow; returns what is missing."""
    drawing = Drawing(inputs, size, records, derived, missing)
    drawing.everything()
    drawing.figures.sort(key=lambda f: f.number)
    drawn: dict[int, Drawn] = {}
    for old in (folder / "figures").glob("figure-*.*"):
        old.unlink()
    for place, figure in enumerate(drawing.figures):
        if told:
            told("figures", place, len(drawing.figures))
        drawn[figure.number] = _draw(figure, folder / "figures")
    if told:
        told("figures", len(drawing.figures), len(drawing.figures))
    (folder / "tables").mkdir(exist_ok=True)
    for name, rows in drawing.tables.items():
        write_whole(folder / "tables" / f"{name}.csv", partial(rows.to_csv, index=False))
    report = Report(
        "LAPS-SD, reproduced and "
        "questioned", _intro(inputs, size), settings_table(inputs, size), drawing.claims, drawing.sections,
        drawing.figures, drawing.missing, provenance(inputs, when, sum(map(len, records.values()))), drawn,
    )  # fmt: skip
    for template, name in (("claims.md.j2", "claims.md"), ("report.html.j2", "report.html")):
        text = render(template, report)
        write_whole(folder / name, partial(_write_text, text))
    return drawing.missing


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _draw(figure: Figure, folder: Path) -> Drawn:
    drawn = figure.draw()
    for ending, options in ((".pdf", {"metadata": {"CreationDate": None}}), (".png", {"dpi": DPI})):
        write_whole(
            folder / f"{figure.name}{ending}",
            lambda p, e=ending, o=options: drawn.savefig(p, format=e[1:], **o),  # type: ignore[misc]
        )
    png = base64.b64encode((folder / f"{figure.name}.png").read_bytes()).decode("ascii")
    return Drawn(png, round(drawn.get_figwidth() * SCREEN_DPI))


def _intro(inputs: Inputs, size: Size) -> list[str]:
    text = [
        "Li, Chen and Li (“Semi-Clairvoyant Scheduling of Speculative Decoding Requests to Minimize LLM Inference "
        "Latency”, arXiv 2505.17074, IJCAI 2025) propose LAPS-SD: least attained service while a request’s "
        "acceptance rate is still noisy, shortest job first once it is stable. This report holds the paper’s "
        "claims against recorded acceptances, replayed in a simulator with "
        f"{'measured' if inputs.profile.kind == 'measured' else inputs.profile.kind.replace('_', ' ')} costs. It is "
        f"not the paper’s setup: models, data sets and machine differ ({inputs.recording}; {inputs.machine}), so "
        "directions and shapes can be judged, absolute times cannot. Each claim says how sure it is that the paper "
        "makes it: not all of the paper’s text is known to us.",
        "Differences are paired over seeds, ratios of means with 95 % intervals by the delta method. “Best” "
        "parameters are chosen on half of the seeds and reported on the other half. Verdicts follow rules that are "
        "part of the program; settings were fixed before the runs.",
    ]  # fmt: skip
    if size.name == "quick":
        text.append("This is the quick version: few seeds, and a coarse map. Intervals are wide; quote the full one.")
    return text


def render(template: str, report: Report) -> str:
    """A template of `sim/reproduce/templates` filled; HTML is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("sim.reproduce"), autoescape=select_autoescape(["html.j2", "html"]),
        undefined=StrictUndefined,        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    if template.endswith(".html.j2"):  # no line breaks before a percent sign
        environment.finalize = lambda text: text.replace(" %", "\u00a0%") if isinstance(text, str) else text
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    by_number = {figure.number: figure for figure in report.figures}
    return re.sub(r"\n{3,}", "\n\n", environment.get_template(template).render(report=report, figure=by_number))
