"""Everything that only a GPU can show, in one run within a deadline: is it right, and how near is it to the floors?

    make gpu-check [PYTHON=python3] [OUT=gpu-check]
    PYTHONPATH=. python benchmarks/gpu_check.py --out DIR [--shapes llama-7b+llama-68m] [--deadline 510]

Sections come by value. `check.json` is written anew, whole, after each, so that whatever stops the run loses one
section at most; `profile.json` and `samples.parquet` come as soon as there is enough for a profile. Needs no network,
no installation and no simulator. `--shapes tiny-target+tiny-draft --device cpu` runs the same sections anywhere.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from assisted import Rounds

from calibrate import Sampling, generate
from calibrate.batched import LeanBatch
from calibrate.cells import BATCHES, DRIFT, WIDTHS, Cell, Grid, design, time_grid
from calibrate.decode import clock, make_decoder
from calibrate.device_round import DeviceRounds, bucket_for
from calibrate.exactness import greedy_regret
from calibrate.floors import floors, pass_bytes
from calibrate.gpu_state import gpu_state, holds_back
from calibrate.graphs import Captured
from calibrate.models import Pair, random_pair
from calibrate.prefill import time_prefills
from calibrate.record import samples_frame
from calibrate.stamp import stamp
from calibrate.swap import Moves, swap_during_decode, time_swaps
from calibrate.terms import Timings, assemble, warnings_of
from traces import Profile, save_profile
from traces.files import write_whole
from traces.provenance import Floors

N = 4
REPEATS = 30
SPLITS = (1, 2, 4, 8)


class Check:
    """The run: what has been found, and where it goes."""

    def __init__(self, pair: Pair, out: Path, deadline: float) -> None:
        self.pair, self.out, self.deadline = pair, out, deadline
        self.found: dict[str, Any] = {}
        self.longest = min(pair.context, 4_096 + 64)
        self.contexts = [c for c in (128, 512, 2_048, 4_096) if c + 16 <= self.longest]
        self.middle = 512 if 512 in self.contexts else self.contexts[-1]
        self.grids: list[Grid] = []
        self.prefills = pd.DataFrame(columns=["batch", "tokens", "ns", "role"])
        self.moves: dict[str, Moves] = {}
        self.bounds: Floors | None = None

    def section(self, name: str, work: Callable[[], dict[str, Any]]) -> None:
        """Run one section, if there is time, and write all that is known."""
        left = self.deadline - time.monotonic()
        begin = time.monotonic()
        if left <= 0:
            found: dict[str, Any] = {"skipped": "no time left"}
        else:
            try:
                found = work()
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                found = {"failed": f"out of GPU memory ({str(error).splitlines()[0][:200]})"}
            except Exception as error:  # one section's failure must not lose the others
                found = {"failed": f"{type(error).__name__}: {str(error)[:500]}"}
        self.found[name] = found | {"seconds": round(time.monotonic() - begin, 1), "gpu": gpu_state()}
        text = json.dumps(self.found, indent=1, default=str) + "\n"
        write_whole(self.out / "check.json", lambda path: path.write_text(text, encoding="utf-8"))
        print(f"{name}: {self.found[name].get('failed') or self.found[name].get('skipped') or 'done'} "
              f"({self.found[name]['seconds']} s)", flush=True)  # fmt: skip

    # -- sections, by value ------------------------------------------------------------------------------------------

    def floors(self) -> dict[str, Any]:
        """Rates and floors, then the batch-1 verify pass against them."""
        self.bounds = bounds = floors(self.pair, N, self.contexts)
        known = stamp(self.pair, " ".join(sys.argv))
        return {"stamp": known.to_json(), "floors": bounds.to_json(), "verify": self._verify(bounds)}

    def _rounds(self, context: int, n: int = N, **options: Any) -> DeviceRounds:
        rounds = DeviceRounds(self.pair, n, capacity=bucket_for(context + 2 * N + 1, self.pair.context), **options)
        for batch in (rounds.target, rounds.draft):
            batch.key_values().normal_()
        rounds.place(torch.ones(1, 2, dtype=torch.int64), torch.tensor([context - 1]))
        return rounds

    @torch.inference_mode()
    def _verify(self, bounds: Floors) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for context in self.contexts:
            by_splits = {}
            for splits in SPLITS:
                if bucket_for(context + N, self.pair.context) % (8 * splits):
                    continue  # kernels want parts whose length is a multiple of 8
                rounds = self._rounds(context, splits=splits)
                by_splits[splits] = self._median_ns(rounds.part("verify", context - 1))
            draft = self._median_ns(self._rounds(context).part("draft", context - 1)) // N
            memory, products = bounds.verify_memory_floor_ns[context], bounds.verify_products_alone_ns
            attention = self._attention_alone(context)
            best = min(by_splits.values())
            told[str(context)] = {
                "verify_ns_by_attention_splits": by_splits,
                "draft_step_ns": draft,
                "over_memory_floor": round(best / memory, 3),
                "over_products_alone": round(best / products, 3),
                "parts_ns": {"products": products, "attention": attention, "rest": best - products - attention},
                "bytes": pass_bytes(self.pair.target, context),
            }
        return told

    def _attention_alone(self, context: int) -> int:
        """All layers' attention of a verify pass and nothing else."""
        engine = self.pair.target_engine
        batch = LeanBatch(engine, 1, min(context + 64, self.pair.context))
        batch.key_values().normal_()
        slots = torch.arange(context - 1, context + N, device=self.pair.device)[None]
        bucket = -(-(context + N) // 32) * 32
        mask = batch._mask(slots, bucket)
        shape = (1, N + 1, engine.kv_heads, engine.heads // engine.kv_heads, engine.size)
        queries = torch.randn(shape, device=self.pair.device).to(engine.embedding.dtype)

        def run() -> None:
            for cache in batch.buffer:
                batch._attend(queries, cache[:, :, :, :bucket], mask)

        return self._median_ns(Captured(run, self.pair.device))

    def _median_ns(self, work: Callable[[], object]) -> int:
        for _ in range(5):
            work()
        times = []
        for _ in range(REPEATS):
            begin = clock(self.pair.device)
            work()
            times.append(clock(self.pair.device) - begin)
        return int(statistics.median(times))

    @torch.inference_mode()
    def exactness(self) -> dict[str, Any]:
        """Graphs give what eager rounds give; greedy output by regret; after a rollback as on a fresh prefix."""
        prompt = self._prompt(min(200, self.middle))
        outputs = []
        for capture in (True, False):
            rounds = DeviceRounds(self.pair, N, capacity=min(1_024, self.pair.context), capture=capture)
            ids = torch.tensor([prompt], device=self.pair.device)
            rounds.prefill(ids[:, :-1])
            rounds.place(ids[:, -2:], torch.tensor([len(prompt) - 1]))
            position, got = len(prompt) - 1, []
            for i in range(12):
                verdict = rounds.round(position, force=(0, N, -1)[i % 3])[0].tolist()
                got.append(verdict)
                position += verdict[-2] + 1
            outputs.append(got)
        done = generate(self.pair, prompt, n=N, max_new_tokens=32, sampling=Sampling())
        regret = greedy_regret(self.pair, prompt, done.tokens, N)
        used, fresh = (self.pair.target_engine.sequence(len(prompt) + 8) for _ in range(2))
        used.forward(prompt)
        used.rollback(len(prompt) // 2)
        fresh.forward(prompt[: len(prompt) // 2])
        a, b = used.forward(prompt[:3]), fresh.forward(prompt[:3])
        return {
            "graphs_equal_eager": outputs[0] == outputs[1],
            "greedy_within_tolerance": regret.exact,
            "worst_regret": regret.worst,
            "tolerance": regret.tolerance,
            "ties": regret.ties,
            "rollback_equals_fresh": bool(torch.equal(a, b)),
            "rollback_difference": float((a - b).abs().max()),
        }

    def _prompt(self, length: int) -> list[int]:
        generator = torch.Generator().manual_seed(length)
        tokens: list[int] = torch.randint(3, self.pair.vocabulary, (length,), generator=generator).tolist()
        return tokens

    def batch_1(self) -> dict[str, Any]:
        """Widths and contexts at batch size 1, inside rounds."""
        return self._grid(design(self.longest, (1,), WIDTHS))

    def batches(self) -> dict[str, Any]:
        """The other batch sizes."""
        return self._grid([c for c in design(self.longest, BATCHES, WIDTHS) if c.batch > 1])

    def _grid(self, cells: list[Cell]) -> dict[str, Any]:
        grid = time_grid(self.pair, cells, Sampling(), deadline=self.deadline - 30)
        self.grids.append(grid)
        keys = ["batch", "width", "tokens"]
        medians = grid.samples.drop(columns=["cell", "role"]).groupby(keys, as_index=False).median()
        return {"cells": len(cells), "skipped": grid.skipped or None, "drift": grid.drift, "unstable": grid.unstable,
                "median_ns": medians.round().to_dict("records")}  # fmt: skip

    @torch.inference_mode()
    def side_by_side(self) -> dict[str, Any]:
        """Rounds of ours and of transformers' assisted generation, alternating, n = 4 in both."""
        pair, rounds = self.pair, Rounds()
        settings = pair.draft.generation_config
        settings.num_assistant_tokens, settings.assistant_confidence_threshold = N, 0.0
        settings.num_assistant_tokens_schedule = "constant"
        ours: list[float] = []
        theirs: list[float] = []
        for turn in range(5):
            prompt = self._prompt(self.middle // 2 + turn)
            begin = time.perf_counter()
            done = generate(pair, prompt, n=N, max_new_tokens=24, sampling=Sampling())
            ours.append((time.perf_counter() - begin - done.prefill_ns / 1e9) / len(done.rounds))
            ids = torch.tensor([prompt], device=pair.device)
            options = {"attention_mask": torch.ones_like(ids), "do_sample": False, "assistant_model": pair.draft}
            one = self._seconds(lambda: pair.target.generate(ids, max_new_tokens=N + 2, **options))  # noqa: B023
            few = len(rounds.drafted)
            many = self._seconds(lambda: pair.target.generate(ids, max_new_tokens=24, **options))  # noqa: B023
            assert max(rounds.drafted) == N, f"assisted generation drafted {set(rounds.drafted)}"
            # what both calls share, the prefill among it, falls out of the difference
            theirs.append((many - one) / max(1, len(rounds.drafted) - 2 * few))
            rounds.drafted.clear()
        a, b = (statistics.median(times[1:]) for times in (ours, theirs))
        return {"ours_ms_per_round": 1e3 * a, "assisted_ms_per_round": 1e3 * b, "assisted_over_ours": b / a}

    def _seconds(self, work: Callable[[], object]) -> float:
        begin = clock(self.pair.device)
        work()
        return (clock(self.pair.device) - begin) / 1e9

    def swaps(self) -> dict[str, Any]:
        """Every way of moving a cache, idle and during decoding."""
        sizes = [s for s in (128, 256, 512, 1_024, 2_048, 4_096) if s + 4 <= self.pair.context]
        self.moves, notes = time_swaps(self.pair, sizes)
        medians = {
            way: {str(s): [statistics.median(ns for t, ns in zip(m.tokens, times, strict=True) if t == s)
                           for times in (m.out_ns, m.back_ns)] for s in sizes}
            for way, m in self.moves.items()
        }  # fmt: skip
        bytes_per_token = {way: m.bytes_per_token for way, m in self.moves.items()}
        during = swap_during_decode(self.pair, self.middle, N)
        return {"median_out_back_ns": medians, "bytes_per_token": bytes_per_token, **notes, "during_decode": during}

    def prefill(self) -> dict[str, Any]:
        """Prefill and recomputation."""
        self.prefills = time_prefills(self.pair, self.longest - 8, BATCHES)
        medians = self.prefills.groupby(["batch", "tokens"], as_index=False)["ns"].median()
        return {"median_ns": medians.to_dict("records")}

    def closure(self) -> dict[str, Any]:
        """Rounds at contexts and acceptances that no fit has seen against the profile's sum of terms."""
        if not self._enough():
            return {"skipped": "too little was timed"}
        costs, fits = assemble(self._timings(), N)
        cost = Profile("measured", "random", costs).round_cost()
        ratios = []
        for k in range(24):
            context = self.contexts[0] + (self.middle - self.contexts[0]) * k // 24
            decoder = make_decoder(self.pair, N, Sampling(), min(self.pair.context, self.middle + 128))
            decoder.prefill(self._prompt(context))
            for accepted in (0, N, k % (N + 1)):
                emitted, (_, _, total) = decoder.round(accepted)
                context += len(emitted)
            ratios.append(cost(N, context - len(emitted)) / total - 1)
        return {"closure": statistics.median(ratios), "rounds": len(ratios), "fits": fits.to_json()}

    def _enough(self) -> bool:
        """Whether there is enough for a profile."""
        return any(len(g.samples) for g in self.grids) and len(self.prefills) > 0 and len(self.moves) > 0

    def _timings(self) -> Timings:
        samples = pd.concat(
            [g.samples.assign(cell=g.samples["cell"] + 1_000 * i) for i, g in enumerate(self.grids)],
            ignore_index=True,
        )
        skipped = [s for g in self.grids for s in g.skipped]
        drift = max((g.drift for g in self.grids), key=abs)
        return Timings(None, Grid(samples, skipped, drift), self.prefills, self.moves)

    def write_profile(self) -> None:
        """The profile of everything timed, if it is enough for one."""
        if not self._enough():
            return
        timings = self._timings()
        costs, fits = assemble(timings, N)
        grid = timings.grid
        states = {name: section["gpu"] for name, section in self.found.items()}
        unstable = abs(grid.drift) > DRIFT or any(holds_back(s) for s in states.values())
        provenance = replace(
            stamp(self.pair, " ".join(sys.argv)), draft_tokens=(N,), drift=grid.drift, unstable=unstable
        ).noting(
            temperature=0.0, warnings=warnings_of(fits, grid), skipped_cells=grid.skipped, gpu_states=states
        )  # fmt: skip
        profile = Profile("measured", "random", costs, fits, provenance, self.bounds)
        save_profile(profile, self.out / "profile.json")
        frame = samples_frame(timings)
        write_whole(self.out / "samples.parquet", lambda p: frame.to_parquet(p, index=False, compression="zstd"))


def main() -> None:
    """Run all sections and print where they stand."""
    begin = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default="llama-7b+llama-68m")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--deadline", type=float, default=510.0, help="seconds")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    pair = random_pair(arguments.shapes, device=arguments.device, dtype=arguments.dtype)
    check = Check(pair, arguments.out, begin + arguments.deadline)
    for name in ("floors", "exactness", "batch_1", "side_by_side", "swaps", "prefill", "batches", "closure"):
        check.section(name, getattr(check, name))
        check.write_profile()
    failed = [name for name, found in check.found.items() if "failed" in found]
    print(json.dumps(check.found["floors"].get("verify"), indent=1))
    print(f"{time.monotonic() - begin:.0f} s; failed: {', '.join(failed) or 'nothing'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
