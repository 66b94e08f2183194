"""Time rounds over a grid of batch sizes, widths and contexts.

A cell is one combination of the three. Every cell runs whole rounds, with drafting before the
verify pass, as in serving; `time_alone` times the parts separately. Cells run in random order after
a warm-up. Some cells are timed again later, to detect a drift of the machine.
"""

import random
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd
import torch

from lapsd.calibrate.decoding.decoder import Sampling, clock, make_decoder
from lapsd.calibrate.decoding.rounds import DeviceRounds
from lapsd.calibrate.models.cache import kv_bytes_per_token
from lapsd.calibrate.models.graphs import CaptureError
from lapsd.calibrate.models.lean import LeanEngine
from lapsd.calibrate.models.loading import Pair

BATCHES = (1, 2, 4, 8, 16, 32)
WIDTHS = (1, 2, 3, 5, 9, 17)
CONTEXTS = (128, 512, 1_024, 2_048, 4_096)
MIXED = 8  # held-out cells whose rows have different contexts
BLOCK, MAX_BLOCKS, STEADY = 5, 6, 0.01
LEAST_ROUNDS, MOST_ROUNDS, CELL_SECONDS = 4, 24, 0.45
DRIFT, DRIFT_CELLS = 0.03, 3
PASSES = 3
NO_TIME = "no time left"


@dataclass(frozen=True)
class Cell:
    """Rounds of requests with the given contexts, one request per context.

    Each request verifies `width` tokens. `role` is `fit` for cells that terms are fitted to, and
    `held_out` for cells that test the fit.
    """

    width: int
    contexts: tuple[int, ...]
    role: str = "fit"

    @property
    def batch(self) -> int:
        return len(self.contexts)

    def __str__(self) -> str:
        context = str(self.contexts[0]) if len(set(self.contexts)) == 1 else "mixed"
        return f"batch {self.batch}, width {self.width}, context {context}"


def design(
    longest: int, batches: Sequence[int] = BATCHES, widths: Sequence[int] = WIDTHS, seed: int = 0
) -> list[Cell]:
    """Return the cells of a sparse grid, in random order.

    For each batch size, the terms are fitted to cells with every width at a middle context, with
    one width at every context, and with two more widths at the longest context. Two further cells
    test them. In addition, eight held-out cells have mixed contexts.

    Parameters
    ----------
    longest : int
        Most tokens of a context plus the look-ahead of a round.
    batches, widths : sequence of int
    seed : int
        Seed of the order and of the mixed contexts.
    """
    widths = [w for w in widths if 2 * w <= longest]
    room = longest - 2 * max(widths)
    contexts = sorted(
        {c for c in CONTEXTS if c <= room} | ({room} if room < CONTEXTS[-1] else set())
    )
    middle = contexts[len(contexts) // 2]
    long_width = 5 if 5 in widths else widths[-1]
    cells = []
    for b in sorted({1, *batches}):
        cells += [Cell(w, (middle,) * b) for w in widths]
        cells += [Cell(long_width, (c,) * b) for c in contexts if c != middle]
        # the narrowest and the widest pass give the slope by width
        cells += [
            Cell(w, (contexts[-1],) * b)
            for w in {widths[0], widths[-1]} - {long_width}
            if len(contexts) > 1
        ]
        if len(contexts) > 1:
            cells += [
                Cell(w, (c,) * b, "held_out")
                for w, c in ((widths[1], contexts[-1]), (widths[-1], contexts[0]))
            ]
    rng = random.Random(seed)
    several = [b for b in sorted(set(batches)) if b > 1]
    for i in range(MIXED if several else 0):
        b = several[i % len(several)]
        cells.append(
            Cell(
                long_width,
                tuple(rng.randint(contexts[0], contexts[-1]) for _ in range(b)),
                "held_out",
            )
        )
    rng.shuffle(cells)
    return cells


@dataclass(frozen=True, eq=False)
class Grid:
    """The timings of a grid.

    Attributes
    ----------
    samples : DataFrame
        One row per round: cell, role, batch, width, tokens (sum of the contexts), draft_ns,
        verify_ns, total_ns.
    skipped : list of str
        Cells that were not timed, with the reasons.
    drift : float
        Relative change of the time of the same cells from the first to the last visit.
    interrupted : bool
    passes : mapping of batch size to int
        Passes over the cells of each batch size that was timed.
    cells : int
        Number of cells, timed or skipped.
    """

    samples: pd.DataFrame
    skipped: list[str]
    drift: float
    interrupted: bool = False
    passes: Mapping[int, int] = field(default_factory=dict)
    cells: int = 0

    @property
    def unstable(self) -> bool:
        return abs(self.drift) > DRIFT

    @property
    def late(self) -> list[str]:
        """The skipped cells that there was no time for."""
        return [cell for cell in self.skipped if cell.endswith(NO_TIME)]

    def without_late(self) -> "Grid":
        """Return the grid without the mention of the cells that there was no time for."""
        return replace(self, skipped=[cell for cell in self.skipped if cell not in self.late])


def time_grid(
    pair: Pair,
    cells: Sequence[Cell],
    sampling: Sampling,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    deadline: float = float("inf"),
    quick: bool = False,
    shorten: bool = False,
) -> Grid:
    """Time all cells.

    Cells that do not fit into memory, or that start after the deadline, are skipped. After an
    interrupt (Ctrl-C) all remaining cells are skipped.

    Parameters
    ----------
    pair : Pair
    cells : sequence of Cell
    sampling : Sampling
    progress : callable
        Called with (visits done, visits in total).
    deadline : float
        On the clock `time.monotonic`.
    quick : bool
        Take few samples per cell, only to see that everything works.
    shorten : bool
        Measure what is most useful before the deadline: in each pass the small batch sizes come
        first, and a visit that would end after the deadline is skipped. The first visits to batch
        size 1, without which there is no profile, are never skipped for want of time.

    Raises
    ------
    CaptureError
        If a CUDA graph cannot be captured.
    """
    bench = _Bench(pair, cells, sampling, quick)
    numbered = list(enumerate(cells))
    if pair.device.type == "cuda":
        # a GPU is steady: one visit of each cell, and a second one of the first three for the drift
        groups = [[entry] for entry in [*numbered, *numbered[:DRIFT_CELLS]]]
        visits = [(group, int(k >= len(numbered))) for k, group in enumerate(groups)]
    else:
        # the speed of a CPU varies: the cells of a batch size take turns round by round, so that
        # slow periods affect all of them equally, and there are several passes, minutes apart
        groups = [
            [e for e in numbered if e[1].batch == b] for b in dict.fromkeys(c.batch for c in cells)
        ]
        visits = [(group, k) for k in range(1 if quick else PASSES) for group in groups]
    if shorten:
        visits.sort(key=lambda v: (v[1], v[0][0][1].batch))
    rows: list[tuple[object, ...]] = []
    skipped: dict[str, str] = {}
    visit_s: dict[int, float] = {}  # of the last visit, by batch size
    interrupted = False
    pending, done = deque(visits), 0
    while pending:
        group, visit = pending.popleft()
        progress(done, done + 1 + len(pending))
        done += 1
        batch, began = group[0][1].batch, time.monotonic()
        late = began + (_expected_s(batch, visit_s) if shorten else 0.0) > deadline
        needed = shorten and batch == 1 and visit == 0
        reason = "interrupted" if interrupted else NO_TIME if late and not needed else None
        able = (
            [] if reason else [(i, cell) for i, cell in group if bench.does_not_fit(cell) is None]
        )
        try:
            for i, timed in bench.visit(able):
                rows.append((i, cells[i].role, cells[i].batch, cells[i].width, visit, *timed))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            reason = "out of GPU memory"
        except CaptureError:
            raise  # no later cell could be timed
        except RuntimeError as error:
            # of the library or the device: visit cells one by one, and skip only the failing one
            if len(able) > 1:
                pending.extendleft(([entry], visit) for entry in reversed(able))
                continue
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        except KeyboardInterrupt:
            interrupted, reason = True, "interrupted"
        if able:
            visit_s[batch] = time.monotonic() - began
        there = {row[0] for row in rows}
        for i, cell in group:
            if i not in there:
                skipped[str(cell)] = reason or bench.does_not_fit(cell) or NO_TIME
    columns = [
        "cell",
        "role",
        "batch",
        "width",
        "visit",
        "tokens",
        "draft_ns",
        "verify_ns",
        "total_ns",
    ]
    # set the types for an empty frame too: concatenated with others, columns of objects would turn
    # their integers into objects
    samples = pd.DataFrame(rows, columns=columns).astype(
        {c: "int64" for c in columns if c != "role"}
    )
    left_out = [f"{cell}: {reason}" for cell, reason in skipped.items()]
    # second visits on a GPU only serve to compute the drift
    kept = samples if pair.device.type != "cuda" else samples[samples["visit"] == 0]
    passes = kept.groupby("batch")["visit"].nunique()
    return Grid(
        kept.drop(columns="visit").reset_index(drop=True),
        left_out,
        _drift(samples),
        interrupted,
        dict(zip(passes.index.tolist(), passes.tolist(), strict=True)),
        len(cells),
    )


def _expected_s(batch: int, visit_s: Mapping[int, float]) -> float:
    """Return the expected seconds of a visit: those of the last visit to the same batch size, or
    at most in proportion to the batch size.
    """
    if not visit_s:
        return 0.0
    nearest = max((b for b in visit_s if b <= batch), default=min(visit_s))
    return visit_s[nearest] * batch / nearest


def _drift(samples: pd.DataFrame) -> float:
    """Return the median over cells of the relative change of time from first to last visit."""
    medians = samples.groupby(["cell", "visit"])["total_ns"].median().unstack()
    if medians.shape[1] < 2:
        return 0.0
    ratios = (medians[medians.columns[-1]] / medians[0]).dropna()
    return float(ratios.median()) - 1 if len(ratios) else 0.0


class _Bench:
    """Runs cells.

    All cells share the KV memory. Cells of the same batch size and width share captured rounds.
    """

    def __init__(self, pair: Pair, cells: Sequence[Cell], sampling: Sampling, quick: bool) -> None:
        self._pair, self._sampling = pair, sampling
        visits = 1 if pair.device.type == "cuda" else PASSES
        self._warm_blocks, self._seconds = (
            (1, 0.0) if quick else (MAX_BLOCKS, CELL_SECONDS / visits)
        )
        self._on_device = pair.lean and pair.device.type == "cuda"
        self._caches: tuple[torch.Tensor, torch.Tensor] | None = None
        self._rounds: dict[tuple[int, int], DeviceRounds] = {}
        self._cells = cells

    def _batched(self, cell: Cell) -> bool:
        """Return whether the cell runs as `DeviceRounds`; single requests on the CPU do not."""
        return cell.batch > 1 or self._on_device

    def _capacity(self, cell: Cell) -> int:
        return min(max(cell.contexts) + cell.width + 1, self._pair.context)

    def does_not_fit(self, cell: Cell) -> str | None:
        """Return the reason why a cell cannot be timed, or None."""
        if not self._pair.lean and len(set(cell.contexts)) > 1:
            return "mixed contexts need the lean engine"
        if self._pair.device.type != "cuda":
            return None
        need = _cache_bytes(self._pair, self._capacity(cell)) * cell.batch
        free = torch.cuda.mem_get_info(self._pair.device)[0] + torch.cuda.memory_reserved(
            self._pair.device
        )
        free -= torch.cuda.memory_allocated(self._pair.device)
        held = 0 if self._caches is None else sum(c.nbytes for c in self._caches)
        if need > 0.9 * (free + held):
            free_gib = (free + held) / 2**30
            return f"its KV cache takes {need / 2**30:.1f} GiB, and {free_gib:.1f} GiB are free"
        return None

    @torch.inference_mode()
    def visit(
        self, cells: Sequence[tuple[int, Cell]]
    ) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
        """Run rounds of the given cells in turn.

        Yields (number of the cell, (context tokens, draft ns, verify ns, total ns)) for each round.
        """
        steps = {
            i: self._batch_step(c) if self._batched(c) else self._single_step(c) for i, c in cells
        }
        for step in steps.values():
            self._warm_up(step, alone=len(steps) == 1)
        end = time.monotonic() + self._seconds * len(steps)
        order, turn = list(steps), 0
        while turn < MOST_ROUNDS and (turn < LEAST_ROUNDS or time.monotonic() < end):
            random.Random(turn).shuffle(order)
            for i in order:
                yield i, steps[i]()
            turn += 1

    def _warm_up(self, step: Callable[[], tuple[int, int, int, int]], *, alone: bool) -> None:
        """Run rounds until the medians of two blocks agree.

        If cells take turns, run two rounds only: the other cells would undo a longer warm-up.
        """
        before = statistics.median(step()[-1] for _ in range(BLOCK if alone else 2))
        for _ in range(self._warm_blocks if alone else 0):
            after = statistics.median(step()[-1] for _ in range(BLOCK))
            if abs(after / before - 1) <= STEADY:
                break
            before = after

    def _single_step(self, cell: Cell) -> Callable[[], tuple[int, int, int, int]]:
        pair, n = self._pair, cell.width - 1
        turns = BLOCK * (MAX_BLOCKS + 1) + MOST_ROUNDS
        room = pair.context - cell.width - 1
        prompt = _random_tokens(pair, (1, cell.contexts[0]))[0].tolist()
        state = {"turn": 0, "context": room + 1}
        decoder = None

        def step() -> tuple[int, int, int, int]:
            nonlocal decoder
            if state["context"] + cell.width > room:  # start again before the context is full
                decoder = make_decoder(
                    pair, n, self._sampling, min(pair.context, len(prompt) + turns * cell.width)
                )
                decoder.prefill(prompt[: room - cell.width])
                state["context"] = min(len(prompt), room - cell.width)
            assert decoder is not None
            context = state["context"]
            # accept no token and all tokens in turn
            emitted, times = decoder.round(n if state["turn"] % 2 else 0)
            state["context"] += len(emitted)
            state["turn"] += 1
            return context, *times

        return step

    def _batch_step(self, cell: Cell) -> Callable[[], tuple[int, int, int, int]]:
        pair, n, temperature = self._pair, cell.width - 1, self._sampling.temperature
        rounds = self._rounds_for(cell)
        uniforms = self._sampling.uniforms(0)
        tokens, turn = sum(cell.contexts), 0
        last_two = _random_tokens(pair, (cell.batch, 2))
        positions = torch.tensor(cell.contexts, device=pair.device) - 1
        if not pair.lean:
            rounds.stand(cell.contexts)

        def step() -> tuple[int, int, int, int]:
            nonlocal turn
            turn += 1
            if pair.lean:  # another cell may have used the same rounds
                rounds.place(last_two, positions)
            start = clock(pair.device)
            drawn = uniforms.draw(2 * n + 1) if temperature else None
            rounds.round(drawn, force=n if turn % 2 else 0, stay=True).tolist()
            total = time.perf_counter_ns() - start
            times = rounds.times()
            return tokens, times.draft_ns, times.verify_ns, total

        return step

    def _rounds_for(self, cell: Cell) -> DeviceRounds:
        """Return the rounds of a cell, captured once for each batch size and width."""
        pair, n, temperature = self._pair, cell.width - 1, self._sampling.temperature
        if not pair.lean:
            return DeviceRounds(
                pair, n, cell.batch, capacity=self._capacity(cell), temperature=temperature
            )
        caches = self._memory(cell)
        if (cell.batch, n) not in self._rounds:
            slots = caches[0].shape[4]
            rounds = DeviceRounds(
                pair, n, cell.batch, capacity=slots, temperature=temperature, caches=caches
            )
            rounds.ready()
            self._rounds[cell.batch, n] = rounds
        return self._rounds[cell.batch, n]

    def _memory(self, cell: Cell) -> tuple[torch.Tensor, torch.Tensor]:
        """Return KV memory for this cell and, if possible, for all other cells that fit.

        It holds random numbers, for timing.
        """
        capacity = self._capacity(cell)
        if self._caches is None or any(
            c.shape[2] < cell.batch or c.shape[4] < capacity for c in self._caches
        ):
            self._caches = None
            self._rounds.clear()
            fitting = [
                c for c in self._cells if self._batched(c) and self.does_not_fit(c) is None
            ] or [cell]
            rows = max(c.batch for c in fitting)
            slots = max(self._capacity(c) for c in fitting)
            if (
                self._pair.device.type == "cuda"
                and _cache_bytes(self._pair, slots) * rows > _free(self._pair) * 0.9
            ):
                rows, slots = cell.batch, capacity
            engines = (self._pair.target_engine, self._pair.draft_engine)
            target, draft = (
                e.new_cache(rows, slots).normal_() for e in engines if isinstance(e, LeanEngine)
            )
            self._caches = target, draft
        return self._caches


@torch.inference_mode()
def time_alone(pair: Pair, n: int, context: int, repeats: int = 30) -> dict[str, int]:
    """Return the median ns of a draft step and of a verify pass over n + 1 tokens.

    Each part is repeated by itself, not inside rounds.
    """
    if pair.device.type == "cuda" and isinstance(pair.target_engine, LeanEngine):
        rounds = DeviceRounds(pair, n, capacity=min(context + n + 2, pair.context))
        rounds.stand([context])
        parts: list[tuple[str, Callable[[], object], int]] = [
            ("verify_ns", rounds.part("verify"), 1),
            ("draft_step_ns", rounds.part("draft"), n),
        ]
    else:
        target, small = (
            e.sequence(context + n + 1) for e in (pair.target_engine, pair.draft_engine)
        )
        tokens = _random_tokens(pair, (1, context + n + 1))[0].tolist()
        target.extend(tokens[:context])
        small.extend(tokens[:context])

        def verify() -> None:
            target.forward(tokens[context:])
            target.rollback(context)

        def draft() -> None:
            small.forward(tokens[:1])
            small.rollback(context)

        parts = [("verify_ns", verify, 1), ("draft_step_ns", draft, 1)]
    medians = {}
    for name, work, steps in parts:
        times = []
        for _ in range(repeats + 5):
            start = clock(pair.device)
            work()
            times.append((clock(pair.device) - start) // steps)
        medians[name] = int(statistics.median(times[5:]))
    return {"context": context, **medians}


def _free(pair: Pair) -> int:
    return int(torch.cuda.mem_get_info(pair.device)[0])


def _cache_bytes(pair: Pair, tokens: int) -> int:
    """Return the bytes of the keys and values of `tokens` tokens in both models."""
    return tokens * sum(kv_bytes_per_token(model) for model in (pair.target, pair.draft))


def _random_tokens(pair: Pair, shape: tuple[int, int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(pair.vocabulary, shape, generator=generator).to(pair.device)
