"""Run all sections of `gpu_check.py` in one process.

The most valuable sections run first. `check.json` is rewritten after each section, so that an
aborted run loses at most one section. `profile.json` and `samples.parquet` are written as soon as
enough has been timed for a profile. Exit code 0: all sections succeeded; 1: a section failed;
3: CUDA graphs cannot be captured.
"""

import argparse
import itertools
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from assisted import Rounds
from gpu_check import CAPTURE_FAILED
from torch.profiler import ProfilerActivity, profile

from lapsd.calibrate import Sampling, generate
from lapsd.calibrate.decoding.decoder import clock, make_decoder
from lapsd.calibrate.decoding.exactness import greedy_regret
from lapsd.calibrate.decoding.rounds import DeviceRounds
from lapsd.calibrate.fitting.terms import Timings, assemble, warnings_of
from lapsd.calibrate.models.graphs import CaptureError
from lapsd.calibrate.models.lean import LeanBatch, LeanEngine
from lapsd.calibrate.models.loading import Pair, Workspace, random_pair
from lapsd.calibrate.record import samples_frame
from lapsd.calibrate.stamp import stamp
from lapsd.calibrate.timing.cells import BATCHES, DRIFT, WIDTHS, Cell, Grid, design, time_grid
from lapsd.calibrate.timing.floors import (
    LIBRARY,
    attention_alone_ns,
    copy_rate,
    device_ns,
    floors,
    pass_bytes,
    warm_up,
)
from lapsd.calibrate.timing.gpu_state import gpu_state, held_back_ns, holds_back
from lapsd.calibrate.timing.kv_transfers import TransferTimes, swap_during_decode, time_swaps
from lapsd.calibrate.timing.prefill import time_prefills
from lapsd.traces import Profile, save_profile
from lapsd.traces.files import write_whole
from lapsd.traces.provenance import Floors

N = 4
REPEATS = 30
SPLITS = (1, 2, 4, 8, 16, 32)
# a run is unstable if the clocks were limited for a larger share of a section's time
HELD_BACK = 0.01
SECTIONS = (
    "floors",
    "exactness",
    "verify",
    "kernels",
    "batch_1",
    "side_by_side",
    "swaps",
    "prefill",
    "batches",
    "closure",
    "attention",
    "floors_again",
)


def attempt(work: Callable[[], Any]) -> Any:
    """Return the result of `work`, or `{"failed": reason}` if it raises an error.

    Raises
    ------
    CaptureError
        If a CUDA graph cannot be captured.
    """
    try:
        return work()
    except CaptureError:
        raise
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        return {"failed": f"out of GPU memory ({str(error).splitlines()[0][:200]})"}
    except Exception:
        return {"failed": traceback.format_exc()}


def has_failed(result: Any) -> bool:
    """Return whether a section, or any part of it, has failed."""
    return isinstance(result, dict) and (
        "failed" in result or any(has_failed(part) for part in result.values())
    )


class Check:
    """The state of a run: the pair, the results so far, and the output folder.

    Attributes
    ----------
    until : float
        Time on the clock `time.monotonic` at which the run should end.
    results : dict
        Results by name of section.
    """

    def __init__(self, pair: Pair, arguments: argparse.Namespace) -> None:
        self.pair, self.out, self.until = pair, arguments.out, arguments.until
        self.commit, self.quick = arguments.commit, arguments.quick
        self.batches_timed = BATCHES[:2] if self.quick else BATCHES
        self.results: dict[str, Any] = {}
        self.longest = min(pair.context, 4_096 + 64)
        pair.workspace.capacity = self.longest
        self.contexts = [c for c in (128, 512, 2_048, 4_096) if c + 16 <= self.longest]
        self.middle = 512 if 512 in self.contexts else self.contexts[-1]
        self.grids: list[Grid] = []
        self.prefills = pd.DataFrame(columns=["batch", "tokens", "ns", "role"])
        self.kv_transfers: dict[str, TransferTimes] = {}
        self.bounds: Floors | None = None

    def section(self, name: str) -> None:
        """Run one section, unless the time is up, and write all results so far.

        Raises
        ------
        CaptureError
            If a CUDA graph cannot be captured. The results are written first.
        """
        begin, before = time.monotonic(), held_back_ns()
        failed: CaptureError | None = None
        if begin >= self.until:
            result = {"skipped": "no time left"}
        else:
            try:
                result = attempt(getattr(self, name))
            except CaptureError as error:
                failed, result = error, {"failed": traceback.format_exc()}
        after = held_back_ns()
        held = None if before is None or after is None else {k: after[k] - before[k] for k in after}
        seconds = round(time.monotonic() - begin, 1)
        self.results[name] = result | {"seconds": seconds, "gpu": gpu_state(), "held_back_ns": held}
        self._write()
        self.results["profile"] = attempt(self.write_profile) or {}
        self._write()
        how = "failed" if "failed" in result else result.get("skipped", "done")
        print(f"{name}: {how} ({seconds} s)", flush=True)
        if failed is not None:
            raise failed

    def _write(self) -> None:
        text = json.dumps(self.results, indent=1, default=str) + "\n"
        write_whole(self.out / "check.json", lambda path: path.write_text(text, encoding="utf-8"))

    # The sections

    def floors(self) -> dict[str, Any]:
        """Copy rates, and lower bounds of the time of a verify pass."""
        about = stamp(self.pair, " ".join(sys.argv), self.commit)
        self.bounds = floors(self.pair, N, self.contexts)
        return {"stamp": about.to_json(), "floors": self.bounds.to_json()}

    def floors_again(self) -> dict[str, Any]:
        """The copy rate of the device at the end of the run."""
        return {"bytes_per_second": {"copy": round(copy_rate(self.pair.device))}}

    def verify(self) -> dict[str, Any]:
        """Times of the verify pass and of draft steps at batch size 1, and ratios to the floors.

        The verify pass is timed both by itself and inside rounds.
        """
        rounds = DeviceRounds(self.pair, N, capacity=self.longest)
        rounds.ready()
        splits = {
            name: getattr(batch, "splits", None)
            for name, batch in (("target", rounds.target), ("draft", rounds.draft))
        }
        return {"splits": splits} | {
            str(c): attempt(lambda c=c: self._verify(rounds, c)) for c in self.contexts
        }

    def _verify(self, rounds: DeviceRounds, context: int) -> dict[str, Any]:
        device = self.pair.device
        rounds.stand([context])
        warm_up(device, 0.1)
        alone = device_ns(rounds.part("verify"), device, REPEATS)
        times, whole = [], []
        for turn in range(REPEATS + 5):
            begin = clock(device)
            rounds.round(force=N if turn % 2 else 0, stay=True).tolist()
            whole.append(time.perf_counter_ns() - begin)
            times.append(rounds.times())
        found: dict[str, Any] = {
            "verify_ns": alone,
            "verify_in_rounds_ns": statistics.median(t.verify_ns for t in times[5:]),
            "draft_step_in_rounds_ns": statistics.median(t.draft_ns for t in times[5:]) / N,
            "round_ns": statistics.median(whole[5:]),
            "bytes": pass_bytes(self.pair.target, context),
        }
        if self.bounds is not None:
            found["over_memory_floor"] = round(
                alone / self.bounds.verify_memory_floor_ns[context], 3
            )
            if products := self.bounds.verify_products_alone_ns:
                found["over_products_alone"] = round(alone / products, 3)
        return found

    def attention(self) -> dict[str, Any]:
        """Times of the attention of a verify pass at batch size 1.

        Our kernel is timed by the number of parts of the keys, and torch's kernels for comparison.
        """
        engine = self.pair.target_engine
        if not isinstance(engine, LeanEngine):
            return {"skipped": "needs the lean engine"}
        ways = [*SPLITS, *LIBRARY] if self.pair.device.type == "cuda" else [1]
        return {
            str(context): {
                str(way): attempt(
                    lambda c=context, w=way: attention_alone_ns(
                        engine, N + 1, c, w, self.pair.graphs
                    )
                )
                for way in ways
            }
            for context in self.contexts
        }

    def kernels(self) -> dict[str, Any]:
        """Kernels of each part of a round (name, count, microseconds), and idle time between them.

        Averages over three replays.
        """
        found = {}
        for temperature in (0.0, 0.7):
            rounds = DeviceRounds(self.pair, N, capacity=self.longest, temperature=temperature)
            rounds.stand([self.middle])
            for part in ("draft", "verify"):
                name = f"{part} at temperature {temperature:g}"
                found[name] = attempt(lambda r=rounds, p=part: self._profiled(r.part(p)))
        return found

    def _profiled(self, work: Callable[[], None], replays: int = 3) -> dict[str, Any]:
        cuda = self.pair.device.type == "cuda"
        work()
        clock(self.pair.device)
        with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as run:
            for _ in range(replays):
                work()
            clock(self.pair.device)
        spent: dict[str, list[float]] = {}
        if not cuda:
            for row in run.key_averages():
                spent[row.key] = [row.count, row.self_cpu_time_total]
            gaps = None
        else:
            events = sorted(
                (e for e in run.events() if e.device_type == torch.autograd.DeviceType.CUDA),
                key=lambda e: e.time_range.start,
            )
            for event in events:
                entry = spent.setdefault(event.name, [0, 0.0])
                entry[0] += 1
                entry[1] += event.time_range.elapsed_us()
            pairs = itertools.pairwise(events)
            gaps = sum(max(0.0, b.time_range.start - a.time_range.end) for a, b in pairs) / replays
        rows = sorted(spent.items(), key=lambda item: -item[1][1])
        return {
            "kernels_per_replay": sum(count for _, (count, _) in rows) / replays,
            "busy_us": round(sum(us for _, (_, us) in rows) / replays, 2),
            "gaps_us": None if gaps is None else round(gaps, 2),
            "kernels": [
                [name[:120], count / replays, round(us / replays, 2)]
                for name, (count, us) in rows[:25]
            ],
        }

    @torch.inference_mode()
    def exactness(self) -> dict[str, Any]:
        """Whether outputs are exact.

        Rounds run as CUDA graphs equal eager rounds and never wait for the device. Greedy output is
        within the tolerance (`greedy_regret`). After a rollback, a sequence gives the same logits
        as a new sequence.
        """
        prompt = self._prompt(min(200, self.middle))
        found: dict[str, Any] = {}
        for rows, temperature in ((1, 0.0), (1, 0.7), *([(3, 0.7)] if self.pair.lean else [])):
            eager = replace(self.pair, graphs=None, workspace=Workspace())
            both = [self._verdicts(p, prompt, rows, temperature) for p in (self.pair, eager)]
            found[f"graphs_equal_eager_{rows}_rows_at_{temperature:g}"] = both[0] == both[1]
        done = generate(self.pair, prompt, n=N, max_new_tokens=32, sampling=Sampling())
        regret = greedy_regret(self.pair, prompt, done.tokens, N)
        half = len(prompt) // 2
        used, fresh = (self.pair.target_engine.sequence(len(prompt) + 8) for _ in range(2))
        for sequence in (used, fresh):
            sequence.forward(prompt[:half])
        used.forward(prompt[half : half + N + 1])
        used.rollback(half)
        a, b = (sequence.forward(prompt[-3:]) for sequence in (used, fresh))
        return found | {
            "greedy_within_tolerance": regret.exact,
            "worst_regret": regret.worst,
            "tolerance": regret.tolerance,
            "ties": regret.ties,
            "rollback_equals_fresh": bool(torch.equal(a, b)),
            "rollback_difference": float((a - b).abs().max()),
        }

    def _verdicts(self, pair: Pair, prompt: list[int], rows: int, temperature: float) -> list[Any]:
        """Return the verdicts of twelve rounds whose rows have different lengths.

        With CUDA graphs, a wait for the device inside a round raises an error.
        """
        rounds = DeviceRounds(
            pair, N, rows, capacity=min(1_024, pair.context), temperature=temperature
        )
        rounds.ready()
        ids = torch.tensor([prompt] * rows, device=pair.device)
        rounds.prefill(ids)
        lengths = [len(prompt) - 17 * row for row in range(rows)]
        rounds.place(torch.tensor([prompt[n - 2 : n] for n in lengths]), torch.tensor(lengths) - 1)
        uniforms, verdicts = Sampling(temperature, 1).uniforms(0), []
        # rounds without graphs, or of another engine, are known to wait for the device
        strict = (
            pair.device.type == "cuda"
            and self.pair.graphs is not None
            and isinstance(rounds.target, LeanBatch)
        )
        for i in range(12):
            drawn = uniforms.draw(2 * N + 1) if temperature else None
            clock(pair.device)
            if strict:
                torch.cuda.set_sync_debug_mode("error")
            try:
                verdict = rounds.round(drawn, force=(0, N, -1)[i % 3])
            finally:
                if strict:
                    torch.cuda.set_sync_debug_mode("default")
            verdicts.append(verdict.tolist())
        return verdicts

    def _prompt(self, length: int) -> list[int]:
        generator = torch.Generator().manual_seed(length)
        tokens: list[int] = torch.randint(
            3, self.pair.vocabulary, (length,), generator=generator
        ).tolist()
        return tokens

    def batch_1(self) -> dict[str, Any]:
        """Median times of rounds at batch size 1, by width and context."""
        return self._grid(design(self.longest, (1,), WIDTHS))

    def batches(self) -> dict[str, Any]:
        """Median times of rounds at larger batch sizes, by width and context."""
        return self._grid(
            [c for c in design(self.longest, self.batches_timed, WIDTHS) if c.batch > 1]
        )

    def _grid(self, cells: list[Cell]) -> dict[str, Any]:
        grid = time_grid(self.pair, cells, Sampling(), deadline=self.until - 30, quick=self.quick)
        self.grids.append(grid)
        keys = ["batch", "width", "tokens"]
        medians = grid.samples.drop(columns=["cell", "role"]).groupby(keys, as_index=False).median()
        return {
            "cells": len(cells),
            "skipped_cells": grid.skipped or None,
            "drift": grid.drift,
            "unstable": grid.unstable,
            "median_ns": medians.round().to_dict("records"),
        }

    @torch.inference_mode()
    def side_by_side(self) -> dict[str, Any]:
        """Times of our rounds and of assisted generation's (transformers), both with n = 4."""
        pair, rounds = self.pair, Rounds()
        settings = pair.draft.generation_config
        settings.num_assistant_tokens, settings.assistant_confidence_threshold = N, 0.0
        settings.num_assistant_tokens_schedule = "constant"
        ours: list[float] = []
        theirs: list[float] = []
        for turn in range(2 if self.quick else 5):
            prompt = self._prompt(self.middle // 2 + turn)
            begin = time.perf_counter()
            done = generate(pair, prompt, n=N, max_new_tokens=24, sampling=Sampling())
            ours.append((time.perf_counter() - begin - done.prefill_ns / 1e9) / len(done.rounds))
            ids = torch.tensor([prompt], device=pair.device)
            options = {
                "attention_mask": torch.ones_like(ids),
                "do_sample": False,
                "assistant_model": pair.draft,
            }
            assisted = partial(pair.target.generate, ids, **options)
            one = self._seconds(partial(assisted, max_new_tokens=N + 2))
            few = len(rounds.drafted)
            many = self._seconds(partial(assisted, max_new_tokens=24))
            assert max(rounds.drafted) == N, f"assisted generation drafted {set(rounds.drafted)}"
            # the difference removes the costs that both calls share, such as the prefill
            theirs.append((many - one) / max(1, len(rounds.drafted) - 2 * few))
            rounds.drafted.clear()
        a, b = (statistics.median(times[1:]) for times in (ours, theirs))
        return {
            "ours_ms_per_round": 1e3 * a,
            "assisted_ms_per_round": 1e3 * b,
            "assisted_over_ours": b / a,
        }

    def _seconds(self, work: Callable[[], object]) -> float:
        begin = clock(self.pair.device)
        work()
        return (clock(self.pair.device) - begin) / 1e9

    def swaps(self) -> dict[str, Any]:
        """Times of KV transfers by method, and of a swap-out during decoding."""
        sizes = [s for s in (128, 256, 512, 1_024, 2_048, 4_096) if s + 4 <= self.pair.context]
        self.kv_transfers, notes = time_swaps(self.pair, sizes)
        medians = {
            way: {
                str(s): [
                    statistics.median(ns for t, ns in zip(m.tokens, times, strict=True) if t == s)
                    for times in (m.out_ns, m.back_ns)
                ]
                for s in sizes
            }
            for way, m in self.kv_transfers.items()
        }
        bytes_per_token = {way: m.bytes_per_token for way, m in self.kv_transfers.items()}
        during = attempt(lambda: swap_during_decode(self.pair, self.middle, N))
        return {
            "median_out_back_ns": medians,
            "bytes_per_token": bytes_per_token,
            **notes,
            "during_decode": during,
        }

    def prefill(self) -> dict[str, Any]:
        """Median times of prefills, by batch size and tokens."""
        self.prefills = time_prefills(self.pair, self.longest - 8, self.batches_timed)
        medians = self.prefills.groupby(["batch", "tokens"], as_index=False)["ns"].median()
        return {"median_ns": medians.to_dict("records")}

    def closure(self) -> dict[str, Any]:
        """Relative error of the profile's sum of terms on rounds that were not used for the fit."""
        if not self._enough():
            return {"skipped": "too little was timed for a profile"}
        costs, fits = assemble(self._timings(), N)
        cost = Profile("measured", "random", costs).round_cost()
        ratios = []
        for k in range(24):
            context = self.contexts[0] + (self.middle - self.contexts[0]) * k // 24
            decoder = make_decoder(
                self.pair, N, Sampling(), min(self.pair.context, self.middle + 128)
            )
            decoder.prefill(self._prompt(context))
            for accepted in (0, N, k % (N + 1)):
                emitted, (_, _, total) = decoder.round(accepted)
                context += len(emitted)
            ratios.append(cost(N, context - len(emitted)) / total - 1)
        return {"closure": statistics.median(ratios), "rounds": len(ratios), "fits": fits.to_json()}

    # The profile

    def _enough(self) -> bool:
        """Return whether enough has been timed for a profile."""
        return (
            any(len(g.samples) for g in self.grids)
            and len(self.prefills) > 0
            and len(self.kv_transfers) > 0
        )

    def _timings(self) -> Timings:
        samples = pd.concat(
            [
                g.samples.assign(cell=g.samples["cell"] + 1_000 * i)
                for i, g in enumerate(self.grids)
            ],
            ignore_index=True,
        )
        skipped = [s for g in self.grids for s in g.skipped]
        drift = max((g.drift for g in self.grids), key=abs)
        return Timings(None, Grid(samples, skipped, drift), self.prefills, self.kv_transfers)

    def write_profile(self) -> None:
        """Write the profile and the samples, if enough has been timed."""
        if not self._enough():
            return
        timings = self._timings()
        costs, fits = assemble(timings, N)
        grid = timings.grid
        sections = {name: result for name, result in self.results.items() if name != "profile"}
        states = {name: result["gpu"] for name, result in sections.items()}
        held = any(
            sum(s["held_back_ns"].values()) > HELD_BACK * 1e9 * s["seconds"]
            for s in sections.values()
            if s["held_back_ns"]
        )
        unstable = abs(grid.drift) > DRIFT or held or any(holds_back(s) for s in states.values())
        about = stamp(self.pair, " ".join(sys.argv), self.commit)
        about = replace(about, draft_tokens=(N,), drift=grid.drift, unstable=unstable).noting(
            temperature=0.0,
            warnings=warnings_of(fits, grid),
            skipped_cells=grid.skipped,
            gpu_states=states,
        )
        save_profile(
            Profile("measured", "random", costs, fits, about, self.bounds),
            self.out / "profile.json",
        )
        frame = samples_frame(timings)
        write_whole(
            self.out / "samples.parquet",
            lambda p: frame.to_parquet(p, index=False, compression="zstd"),
        )


def main() -> None:
    """Run all sections and print which of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--dtype", required=True)
    parser.add_argument(
        "--until", type=float, required=True, help="end of the run, on the clock time.monotonic()"
    )
    parser.add_argument("--commit", default="")
    parser.add_argument("--no-graphs", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    pair = random_pair(arguments.shapes, device=arguments.device, dtype=arguments.dtype)
    if arguments.no_graphs:
        pair = replace(pair, graphs=None)
    check = Check(pair, arguments)
    for name in SECTIONS:
        try:
            check.section(name)
        except CaptureError:
            sys.exit(CAPTURE_FAILED)
    failed = [name for name, result in check.results.items() if has_failed(result)]
    print(json.dumps(check.results["verify"], indent=1, default=str))
    print(f"failed: {', '.join(failed) or 'nothing'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
