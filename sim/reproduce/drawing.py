"""Which figures, claims, sections and tables the records allow, with their captions; what is missing is named."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from policies import LapsSD
from sim.figures import beyond, paper
from sim.figures.latency import NAMES
from sim.reproduce import claims as judge
from sim.reproduce import findings as find
from sim.reproduce import scenes, sections
from sim.reproduce.content import Claim, Figure, Section
from sim.reproduce.plan import (
    ALL,
    DEPLOYABLE,
    LOAD,
    PAPER_ERROR,
    PAPER_SWITCH_TOKENS,
    PAPER_SWITCHING,
    PREDICTOR,
    READINGS,
    SHUFFLED,
    Inputs,
    Size,
    spread_name,
    stretch_name,
)
from traces import PricedTrace, Trace, load_trace, price

POLICIES = ("fcfs", "las", "lp-sjf", "lp-srpt", "laps-sd", "srpt")


class Drawing:
    """Collects figures, claims, sections and tables as far as their records are there."""

    def __init__(
        self, inputs: Inputs, size: Size, records: Mapping[str, pd.DataFrame], derived: Mapping[str, Path],
        missing: Sequence[str],
    ) -> None:  # fmt: skip
        self.inputs, self.size, self.records, self.derived = inputs, size, records, derived
        self.missing = list(missing)
        self.figures: list[Figure] = []
        self.claims: list[Claim] = []
        self.sections: list[Section] = []
        self.tables: dict[str, pd.DataFrame] = {}
        self.three = len(inputs.datasets) == 3
        if not self.three:
            held = ", ".join(inputs.datasets)
            self.missing.append(
                f"figure 5 and the comparison by data set: the trace has {len(inputs.datasets)} of the three data "
                f"sets ({held})"
            )
        if not inputs.switching:
            self.missing.append("figure 2 and the claim on switching: the profile has no switching costs")

    def everything(self) -> None:
        """In the order of the figures."""
        self._scenes()
        self._latency()
        self._queues()
        self._errors()
        self._readings()
        self._stability()
        self._map()
        self._preemption()

    def _table(self, name: str, rows: pd.DataFrame) -> pd.DataFrame:
        self.tables[name] = rows
        return rows

    def _scenes(self) -> None:
        inputs = self.inputs
        if (meeting := scenes.three_requests(inputs)) is not None:
            self.figures.append(Figure(
                1, "Three requests under four policies",
                f"A simulated run: three recorded requests at load {scenes.CROWDED:g}, lengths {PREDICTOR}; the "
                f"first seed ({meeting.seed}) at which all four policies differ in mean latency and LAPS-SD "
                "preempts. Bars: running; dark: prefill; lines: in the system; ticks: arrivals. The paper's figure "
                f"1 sketches such schedules. {self._where()}",
                lambda: paper.schedules(meeting.timelines, meeting.arrival_ns),
            ))  # fmt: skip
        else:
            self.missing.append(
                f"figure 1: in {scenes.TRIES} seeds no three requests are told apart by the four policies"
            )
        if inputs.switching:
            lengths = np.linspace(10, max(600.0, float(np.percentile(inputs.trace.output_tokens, 99))), 60)
            whole = inputs.inference_ns(lengths)
            shares = {way: ns / whole for way, ns in inputs.switch_ns(lengths).items()}
            self.figures.append(Figure(
                2, "The cost of one switch over a request's inference time",
                "Measured transfer times of a whole KV cache (target and draft), out and back once, over prefill "
                "and rounds of a request with the trace's median prompt and pooled acceptance; `recompute` runs "
                f"the prefill again. The paper shows about 14 % at {PAPER_SWITCH_TOKENS} tokens. {self._costs()}",
                lambda: paper.switching(lengths, shares, PAPER_SWITCH_TOKENS, PAPER_SWITCHING),
            ))  # fmt: skip
        if rows := scenes.three_of_different_stability(inputs.trace):
            self.figures.append(Figure(
                3, "Running acceptance of three requests",
                "Recorded: accepted over drafted tokens so far. The three become perceptible (dots; γ = 5, δ = "
                "0.05) at the 10th percentile, the median and the 90th of all requests with at least "
                f"{scenes.LEAST_ROUNDS} rounds. The paper's figure 3 shows three such curves, noisy at first. "
                f"{self._source()}",
                lambda: paper.acceptance(inputs.trace, rows, LapsSD()),
            ))  # fmt: skip
        else:
            self.missing.append(
                f"figure 3: fewer than three requests of {scenes.LEAST_ROUNDS} rounds become perceptible"
            )
        queues = LapsSD().K
        if (crowd := scenes.full_queues(inputs, queues)) is not None:
            self.figures.append(Figure(
                4, "Which request is in which queue when",
                f"A simulated run of LAPS-SD: {scenes.CROWD} recorded requests at load {LOAD:g}, lengths "
                f"{PREDICTOR}; the first seed ({crowd.seed}) that uses all {queues} queues. Thick: running, thin: "
                "waiting; diamonds: the round at which a request becomes perceptible and is placed by its "
                f"remaining T̃. The paper's figure 4 is a diagram of the queues. {self._where()}",
                lambda: paper.queue_structure(
                    crowd.log, crowd.timeline, crowd.workload.arrival_ns, crowd.run.finish_ns, queues
                ),
            ))  # fmt: skip
        else:
            self.missing.append(f"figure 4: in {scenes.TRIES} seeds no run uses all {queues} queues")

    def _latency(self) -> None:
        if (records := self.records.get("latency")) is None:
            return
        rows = self._table("latency", find.latency(records))
        tails = self._table("tails", find.tails(records))
        if self.three:
            self.claims.append(judge.latency_claim(rows, self.inputs))
            self.figures.append(Figure(
                5, "Mean latency by policy, data set and number of requests",
                f"Simulated: mean over {self.size.claims:,} seeds with 95 % intervals, lengths {PREDICTOR}, from an "
                "empty server until it is drained; the bound is a relaxation that no policy can beat. Rows: "
                "requests arrive as a Poisson process at load 0.8, or all at once (the paper's way is not known to "
                "us). LP-SRPT and SRPT are not in the paper; SRPT knows true times. The paper's figure 5 compares "
                f"the other four. {self._where()}",
                lambda: paper.latency(rows, self.inputs.datasets, POLICIES),
            ))  # fmt: skip
        errors = self._table("estimate_errors", find.estimate_errors(self.inputs))
        self.claims.append(judge.error_claim(errors, self.inputs))
        if self.inputs.switching:
            self.claims.append(judge.switching_claim(self.inputs, tails))
        self.sections.append(sections.tails(tails, POLICIES))

    def _queues(self) -> None:
        if (records := self.records.get("queues")) is None:
            return
        rows = self._table("queues", find.queues(records))
        self.claims.append(judge.queues_claim(rows, find.falling_best(records, 10, 30)))
        self.figures.append(Figure(
            6, "Mean latency by number of queues",
            f"Simulated, all data sets, load {LOAD:g}, {self.size.queues:,} seeds, paired 95 % intervals. Left: "
            "Sup₁ scaled so that the middle threshold is the median T̃ of past requests; right: fixed at what K = "
            f"4 has ({self.inputs.default_sup_1_s * 1e3:.3g} ms). The axis is logarithmic beyond 1 %. Below: how "
            "often each K is best when seeds are resampled. The paper's figure 6: best K is 6 at 10 requests and 4 "
            f"at 30. {self._where()}",
            lambda: paper.number_of_queues(rows),
        ))  # fmt: skip

    def _errors(self) -> None:
        errors = self.tables.get("estimate_errors")
        if errors is None:
            return
        self.figures.append(Figure(
            7, "Error of the estimated execution time at the transition",
            "Recorded requests of the test half that become perceptible (γ = 5, δ = 0.05), priced by the profile: "
            "mean of |T̃ − T| / T with 95 % intervals over requests, and what it would be if only the length, only "
            "the acceptance or only the constant round cost were wrong; a panel a length predictor, logarithmic. "
            f"The paper reports 6.84 % overall. {self._where()}",
            lambda: paper.estimate_error(errors, [*self.inputs.datasets, ALL], PAPER_ERROR),
        ))  # fmt: skip

    def _readings(self) -> None:
        if (records := self.records.get("readings")) is not None:
            rows = self._table("readings", find.readings(records))
            self.sections.append(sections.readings(rows))
            self.figures.append(Figure(
                8, "Other readings of LAPS-SD, and other policies",
                f"Simulated: 30 requests at load {LOAD:g}, all data sets, {self.size.claims:,} seeds, paired 95 % "
                f"intervals. {self._where()}",
                lambda: beyond.readings(rows, READINGS),
            ))  # fmt: skip
        names = {"length predictor": ("predictors", "length_predictor"), "load": ("loads", "load"),
                 "KV slots": ("memory", "kv_slots"), "moves": ("moves", "swap_scale"),
                 "eviction": ("recompute", "evict")}  # fmt: skip
        found = {
            label: (column, self._table(name, find.gains(self.records[name], column)))
            for label, (name, column) in names.items() if name in self.records
        }  # fmt: skip
        if found:
            self.sections.append(sections.server(found))

    def _stability(self) -> None:
        if (records := self.records.get("stability")) is None:
            return
        mixed = load_trace(str(self.derived[SHUFFLED]))
        rows = self._table("stability", find.stability(records, self.inputs, mixed))
        control = self._table("controls", find.controls(records, self.inputs))
        early_late = self._table("sensitivity", find.sensitivity(records, self.inputs))
        self.sections.append(sections.stability(control, early_late, self.inputs))
        self.figures.append(Figure(
            9, "Latency by when requests are called perceptible",
            f"Simulated: 30 requests at load {LOAD:g}, {self.size.stability:,} seeds. A dot each γ, δ of the grid "
            "(its size: the share of requests that become perceptible), windowed mean and posterior; the line with "
            "its 95 % band: after a fixed number of rounds, whatever acceptance does. Crosses: the same γ, δ on "
            f"requests whose rounds were shuffled. Not in the paper. {self._where()}",
            lambda: beyond.controls(rows, [ALL, *self.inputs.datasets], find.KINDS),
        ))  # fmt: skip

    def _map(self) -> None:
        if (records := self.records.get("map")) is None:
            return
        spreads = {spread_name(s): s for s in self.size.spreads}
        cells = self._table("map", find.map_of_winners(records, spreads))
        worth = self._table("value_of_acceptance", find.value_of_acceptance(records, spreads))
        self.sections.append(sections.winners(cells, self.inputs, self.size))
        self.sections.append(sections.acceptance(worth, self.size))
        marked = [(float(PREDICTOR.partition(":")[2]), 1.0, "black")]
        if np.isfinite(self.inputs.learned_error):
            marked.append((self.inputs.learned_error, 1.0, "black"))
        how = (
            f"Simulated on {self.size.generated:,} requests generated by the model fitted to the trace, all data "
            f"sets; 30 requests, {self.size.map:,} seeds a cell. Up: spread of acceptance between requests (logits "
            "scaled by it; 1: as recorded); to the right: the error of predicted lengths. Stars: where the recorded "
            "trace lies, with the error assumed in the claims and with that of the predictor learnt on it."
        )  # fmt: skip
        self.figures.append(Figure(
            10, "Which policy is best where",
            f"The best of {', '.join(NAMES[p] for p in DEPLOYABLE)}; how much slower the second is, in "
            f"percent; and the best over the bound. Pale: the lead is within chance. {how} Not in the paper. "
            f"{self._where()}",
            lambda: beyond.winners(cells, marked),
        ))  # fmt: skip
        self.figures.append(Figure(
            11, "LAPS-SD against the best other policy",
            "Mean latency in percent of the best of the others in the same cell: blue where LAPS-SD leads; bold: "
            f"beyond chance. {how} {self._where()}",
            lambda: beyond.against_best(cells, marked),
        ))  # fmt: skip
        self.figures.append(Figure(
            12, "What knowing acceptance buys beyond knowing length",
            f"Simulated as in figure 10, load {LOAD:g}, moves as measured, paired 95 % intervals. Left: LP-SJF with "
            "and without each request's true mean acceptance. Right: clairvoyant SRPT against LP-SRPT (with a "
            f"length error it also knows the true length). {self._where()}",
            lambda: beyond.value_of_acceptance(worth[worth["load"] == LOAD]),
        ))  # fmt: skip

    def _preemption(self) -> None:
        if (records := self.records.get("lengths")) is None or (own := self.records.get("latency")) is None:
            return
        stretches = {stretch_name(s) for s in self.size.stretches}
        places = {name: self._priced(load_trace(str(self.derived[name]))) for name in stretches}
        stretched = self._table("preemption_generated", find.preemption(records, places, "trace"))
        own = own[~own["all_at_once"] & (own["requests"] == judge.AT)].fillna({"dataset": ALL})
        sets = {name: self._priced(self.inputs.trace.only(name)) for name in self.inputs.datasets}
        sets[ALL] = self._priced(self.inputs.trace)
        recorded = self._table("preemption_recorded", find.preemption(own, sets, "dataset"))
        self.sections.insert(0, sections.preemption(recorded, stretched))
        self.figures.append(Figure(
            13, "What preemption buys, and what learning costs",
            f"Simulated: 30 requests at load {LOAD:g}, lengths {PREDICTOR}, paired 95 % intervals, by the CV of "
            f"requests' times. Lines: {self.size.generated:,} requests generated by the fitted model, output "
            f"lengths stretched about their median ({self.size.others:,} seeds); open dots: the recorded data sets "
            f"and all of them ({self.size.claims:,} seeds). Not in the paper. {self._where()}",
            lambda: beyond.preemption(recorded, stretched),
        ))  # fmt: skip

    def _priced(self, trace: Trace) -> PricedTrace:
        return price(trace.halves()[1], self.inputs.profile)

    def _source(self) -> str:
        return f"Trace: {self.inputs.recording}."

    def _costs(self) -> str:
        return f"Costs: {self.inputs.profile.kind}, {self.inputs.machine}."

    def _where(self) -> str:
        return f"{self._source()} {self._costs()}"
