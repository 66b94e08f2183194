"""What a reproduction runs. Everything is fixed here before anything is run; nothing is tuned to a result."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from policies import LapsSD
from sim.experiment.stage import Stage
from sim.sweeps.grid import Sweep
from traces import Profile, Trace

PAPER_LATENCY, PAPER_ERROR, PAPER_SWITCHING, PAPER_SWITCH_TOKENS = 0.39, 0.0684, 0.14, 500
PAPER_BEST_K = {10: 6, 30: 4}
BASELINES = ("fcfs", "las", "lp-sjf")  # the paper's
ALL = "all"  # data sets together, as sweeps name it
DEPLOYABLE = (*BASELINES, "lp-srpt", "laps-sd")  # what a real server could run
REQUESTS = (10, 20, 30, 40, 50)
PREDICTOR = "noisy:0.5"  # the paper's predictor is not described; this is an error of half of the length, typically
LOAD = 0.8
READINGS = {
    "follow=true": "the queue of a perceptible request follows its remaining T̃",
    "order=total": "perceptible requests are ordered by total T̃",
    "perceptible_first=false": "not-perceptible requests go first in a queue",
    "preempt=false": "a perceptible request does not preempt a not-perceptible one of its queue",
    "overrun=1.5": "L̂ grows by half whenever the output reaches it",
    "stability=sd": "stability by the running mean's standard deviation",
    "stability=window": "stability by the range of windowed means (same γ, δ)",
    "stability=posterior": "stability by a posterior's width (same γ, δ)",
    "count=12": "perceptible after 12 rounds, whatever acceptance does",
    "K=2": "2 queues",
    "K=6": "6 queues",
    "K=8": "8 queues",
    "M=1.5": "thresholds 1.5 apart",
    "M=4": "thresholds 4 apart",
    "gamma=3": "a window of 3 rounds",
    "gamma=12": "a window of 12 rounds",
    "delta=0.02": "tolerance 0.02",
    "delta=0.1": "tolerance 0.1",
}
REGRESSED = ("regressed:0.9", "regressed:0.6", "regressed:0.3")  # predictors that shrink, as learnt ones do
GAMMA, DELTA = ("3", "5", "8", "12", "20"), ("0.01", "0.02", "0.05", "0.1", "0.2")
COUNTS = (1, 2, 3, 5, 8, 12, 16, 20, 30, 50)
WINDOWS = ("gamma=5,delta=0.1", "gamma=5,delta=0.2", "gamma=5,delta=0.3", "gamma=10,delta=0.1", "gamma=10,delta=0.2")
POSTERIORS = ("gamma=1,delta=0.03", "gamma=1,delta=0.04", "gamma=1,delta=0.05", "gamma=1,delta=0.06",
              "gamma=1,delta=0.08", "gamma=1,delta=0.1")  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How much is run: seeds by sweep, the map's axes, by how much logs of output lengths are stretched."""

    name: str
    claims: int
    queues: int
    others: int
    stability: int
    map: int
    spreads: tuple[float, ...]
    errors: tuple[float, ...]
    loads: tuple[float, ...]
    stretches: tuple[float, ...]
    generated: int


FULL = Size("full", 1_000, 600, 500, 400, 300, (0, 0.5, 1, 2, 4), (0, 0.25, 0.5, 1, 1.5, 2), (0.5, 0.8, 0.95),
            (0.25, 0.5, 0.75, 1, 1.25, 1.5), 2_000)  # fmt: skip
QUICK = Size("quick", 80, 60, 40, 30, 30, (0, 1, 4), (0, 0.5, 1, 2), (0.8,), (0.25, 0.75, 1.25), 600)


@dataclass(frozen=True)
class Inputs:
    """A trace and a profile, by the names that sweeps know them under, and what follows from them.

    Attributes
    ----------
    datasets : the three that the figures show: the largest, or fewer
    """

    trace_name: str
    profile_name: str
    trace: Trace
    profile: Profile

    @property
    def datasets(self) -> list[str]:
        names = self.trace.datasets
        counts = {name: sum(other == name for other in self.trace.dataset) for name in names}
        return sorted(sorted(names, key=lambda n: -counts[n])[:3], key=names.index)

    @property
    def switching(self) -> bool:
        """Whether the profile says what moving a KV cache costs."""
        costs = self.profile.costs
        return any(t.base_ns or t.per_token_ns for t in (costs.swap_out, costs.swap_in))

    @property
    def predictors(self) -> list[str]:
        """The length predictors that the trace allows."""
        learned = [] if self.trace.predicted_tokens is None else ["learned"]
        return ["oracle", PREDICTOR, "noisy:1", *REGRESSED, *learned]

    @property
    def error_predictors(self) -> list[str]:
        """Those of them whose T̃ is held against the truth."""
        return [p for p in self.predictors if p in ("oracle", PREDICTOR, REGRESSED[1], "learned")]

    @property
    def learned_error(self) -> float:
        """Standard deviation of the log error of the trace's learned predictions; NaN if it has none."""
        if self.trace.predicted_tokens is None:
            return math.nan
        return float(np.log(self.trace.predicted_tokens / self.trace.output_tokens).std())

    @property
    def recording(self) -> str:
        """Where the trace came from, in words, with the sizes of the models if it says them."""
        metadata = self.trace.metadata
        source = str(metadata.get("source", self.trace_name))
        models = [metadata[m] for m in ("target", "draft") if isinstance(metadata.get(m), dict)]
        if len(models) == 2 and all("parameters" in m for m in models):
            source += f" ({' + '.join(format(m['parameters'] / 1e6, '.3g') + ' M' for m in models)} parameters)"
        return source

    @property
    def machine(self) -> str:
        """What the profile was measured on, in words."""
        hardware = self.profile.stamp.get("hardware", {})
        if gpu := hardware.get("gpu"):
            return str(gpu)
        if hardware:
            return f"{hardware.get('threads', '?')} threads of {hardware.get('cpu', 'a CPU')}"
        return "on a machine that is not named"

    def inference_ns(self, output_tokens: Any) -> Any:
        """Prefill and rounds of a request of the trace's median prompt and pooled acceptance, by output length."""
        trace, costs = self.trace, self.profile.costs
        prompt = float(np.median(trace.prompt_tokens))
        per_round = float(trace.output_tokens.sum() / trace.rounds.sum())
        n = round(float(np.median(trace.drafted)))
        cost = self.profile.round_cost()
        rounds = np.asarray(output_tokens, dtype=float) / per_round
        context = prompt + np.asarray(output_tokens, dtype=float) / 2
        prefill = costs.prefill.base_ns + costs.prefill.per_token_ns * (prompt - 1) if prompt > 1 else 0.0
        return prefill + rounds * (cost.base_ns(n) + cost.per_token_ns(n) * context)

    def switch_ns(self, output_tokens: Any) -> dict[str, Any]:
        """Out and back of a request's whole cache, and recomputing it, by way and output length."""
        costs = self.profile.costs
        tokens = float(np.median(self.trace.prompt_tokens)) + np.asarray(output_tokens, dtype=float)
        ways = {name: (swap.out, swap.back) for name, swap in costs.swap_ways.items()}
        if not ways and self.switching:
            ways = {"swap": (costs.swap_out, costs.swap_in)}
        found = {name: sum(t.base_ns + t.per_token_ns * tokens for t in terms) for name, terms in ways.items()}
        if costs.prefill.base_ns or costs.prefill.per_token_ns:
            found["recompute"] = costs.prefill.base_ns + costs.prefill.per_token_ns * tokens
        return found

    @property
    def paper_scale(self) -> float:
        """By what factor moves must grow for one of a 500-token request, out and back, to be 14 % of its time."""
        costs = self.profile.costs
        tokens = float(np.median(self.trace.prompt_tokens)) + PAPER_SWITCH_TOKENS
        once = sum(t.base_ns + t.per_token_ns * tokens for t in (costs.swap_out, costs.swap_in))
        return float(f"{PAPER_SWITCHING * float(self.inference_ns(PAPER_SWITCH_TOKENS)) / once:.3g}")

    @property
    def default_sup_1_s(self) -> float:
        """The first threshold that LAPS-SD takes by default, over all data sets."""
        outlook = Stage.of(self.trace, self.profile).outlook
        return LapsSD().bind(outlook).bounds_ns[0] / 1e9


RECORDED, SHUFFLED, MEASURED = "recorded", "shuffled", "measured"  # what sweeps call the traces and the profile


def spread_name(spread: float) -> str:
    """What sweeps call the trace that is generated with a spread."""
    return f"spread {spread:g}"


def stretch_name(stretch: float) -> str:
    """What sweeps call the trace that is generated with stretched output lengths."""
    return f"lengths {stretch:g}"


def derived_files(folder: Path, size: Size) -> dict[str, Path]:
    """Traces made from the recorded one: its rounds shuffled, and generated ones by spread and by stretch."""
    found = {SHUFFLED: folder / "shuffled.parquet"}
    found |= {spread_name(s): folder / f"spread-{s:g}.parquet" for s in size.spreads}
    return found | {stretch_name(s): folder / f"lengths-{s:g}.parquet" for s in size.stretches}


def sweeps(inputs: Inputs, size: Size) -> dict[str, Sweep]:
    """Every sweep by name."""
    base = {"trace": RECORDED, "profile": MEASURED, "length_predictor": PREDICTOR}
    datasets = [*inputs.datasets, ALL]
    scales = [1.0, inputs.paper_scale] if inputs.switching else [1.0]
    five = ["fcfs", "las", "lp-sjf", "lp-srpt", "laps-sd"]

    def made(policies: Sequence[str], seeds: int, parameters: Any = None, **settings: Any) -> Sweep:
        document = {"policies": list(policies), "seeds": seeds, "parameters": parameters or {},
                    "settings": base | settings}  # fmt: skip
        return Sweep.from_document(document)

    stability = [f"laps-sd:gamma={g},delta={d}" for g in GAMMA for d in DELTA]
    stability += [f"laps-sd:count={c}" for c in COUNTS]
    stability += [f"laps-sd:stability=window,{p}" for p in WINDOWS]
    stability += [f"laps-sd:stability=posterior,{p}" for p in POSTERIORS]
    found = {
        "latency": made([*five, "srpt"], size.claims, requests=list(REQUESTS), dataset=datasets,
                        all_at_once=["false", "true"]),
        "queues": made(["laps-sd", f"laps-sd:sup_1_s={inputs.default_sup_1_s!r}"], size.queues, {"K": "1:8"},
                       requests=list(REQUESTS)),
        "readings": made([*five, "las-round", "gittins", *(f"laps-sd:{r}" for r in READINGS)], size.claims),
        "predictors": made(five, size.others, length_predictor=inputs.predictors),
        "loads": made(five, size.others, load=["0.5", "0.65", "0.8", "0.95"]),
        "memory": made(five, size.others, kv_slots=[1, 0]),
        "stability": made([*five, *stability], size.stability, trace=[RECORDED, SHUFFLED],
                          dataset=datasets),
        "map": made([*five, "lp-sjf-mean", "srpt"], size.map, trace=[spread_name(s) for s in size.spreads],
                    length_predictor=[f"noisy:{e:g}" for e in size.errors], load=[f"{x:g}" for x in size.loads],
                    swap_scale=[f"{s:g}" for s in scales]),
    }  # fmt: skip
    found["lengths"] = made(five, size.others, trace=[stretch_name(s) for s in size.stretches])
    if inputs.switching:
        found["moves"] = made(five, size.others, swap_scale=["0", *(f"{s:g}" for s in scales)])
        found["recompute"] = made(five, size.others, evict=["swap", "recompute"])
    return found
