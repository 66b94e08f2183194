"""What a CUDA graph would do to rounds, without a GPU: captured rounds equal those run operator by
operator.
"""

from dataclasses import replace

import pytest
import torch

from lapsd.calibrate import Pair, Sampling
from lapsd.calibrate.decoding.rounds import DeviceRounds
from tests.calibrate.decoding.tape import HostRead, TapeGraphs, as_kernels
from tests.calibrate.tiny import VOCABULARY, tiny_pair

LENGTHS = (9, 40, 90)  # with the rounds that follow, within a context of 128
ROUNDS = 9


def taped(pair: Pair) -> Pair:
    """The pair with rounds that are captured on tapes."""
    operators = as_kernels()
    for engine in (pair.target_engine, pair.draft_engine):
        engine.operators = operators
    return replace(pair, graphs=TapeGraphs())


def verdicts(
    pair: Pair, n: int, temperature: float, lengths: tuple[int, ...], kind: type[DeviceRounds]
) -> list:
    """What a few rounds of rows of these lengths decide; some are forced."""
    rounds = kind(pair, n, len(lengths), capacity=128, temperature=temperature)
    rounds.ready()
    generator = torch.Generator().manual_seed(n)
    tokens = torch.randint(VOCABULARY, (len(lengths), max(lengths)), generator=generator)
    rounds.prefill(tokens)
    last = [
        [int(row[length - 2]), int(row[length - 1])]
        for row, length in zip(tokens, lengths, strict=True)
    ]
    rounds.place(torch.tensor(last), torch.tensor(lengths) - 1)
    uniforms = Sampling(temperature, 5).uniforms(0)
    return [
        rounds.round(
            uniforms.draw(2 * n + 1) if temperature else None, force=(-1, -1, 0, n)[i % 4]
        ).tolist()
        for i in range(ROUNDS if max(lengths) + ROUNDS * (n + 1) < 128 else 3)
    ]


@pytest.mark.parametrize("lengths", [LENGTHS, *((length,) for length in LENGTHS)])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("n", [0, 1, 3, 5])
def test_captured_rounds_are_the_rounds_that_run_operator_by_operator(n, temperature, lengths):
    pair = taped(tiny_pair(0.05))
    captured = verdicts(pair, n, temperature, lengths, DeviceRounds)
    assert len(pair.graphs.tapes) == (2 if n else 1)  # whatever the lengths
    assert captured == verdicts(tiny_pair(0.05), n, temperature, lengths, DeviceRounds)


class Rebound(DeviceRounds):
    """Where rows stand is a new tensor after each verify pass: a graph goes on with the old one."""

    def _verify(self):
        before = self._position
        self._position = before.clone()
        super()._verify()


class Carried(DeviceRounds):
    """What was drafted goes to the verify pass in memory that belongs to the drafting graph."""

    def _draft_steps(self):
        super()._draft_steps()
        self._proposed = self._drafted.clone()

    def _verify(self):
        self._drafted.copy_(self._proposed)
        super()._verify()


class Unwritten(DeviceRounds):
    """Reads memory that nothing in the graph has written since it was allocated."""

    def _verify(self):
        super()._verify()
        self._verdict.add_(torch.empty_like(self._verdict).clamp(0, 1))


class Asking(DeviceRounds):
    """Asks the host where the first row stands."""

    def _verify(self):
        assert int(self._position[0]) >= 0
        super()._verify()


class Bringing(DeviceRounds):
    """Brings a number along from the host."""

    def _verify(self):
        super()._verify()
        self._position.add_(torch.tensor(0))


@pytest.mark.parametrize("mutant", [Rebound, Carried, Unwritten, Asking, Bringing])
def test_what_a_graph_would_break_is_caught(mutant):
    right = verdicts(tiny_pair(0.05), 3, 0.0, LENGTHS, DeviceRounds)
    try:
        assert verdicts(taped(tiny_pair(0.05)), 3, 0.0, LENGTHS, mutant) != right
    except HostRead:
        assert mutant in (Asking, Bringing)


def test_a_layer_is_four_products_and_six_small_kernels_and_a_round_little_more():
    """Attention counts twice: its parts, and their merge.

    At batch size 1 each costs a launch, in a graph too.
    """
    products, small = (
        ("linear", "addmm_"),
        {"norm": 2, "rotate_and_store": 1, "attend": 1, "silu_multiply": 1},
    )
    assert sum(small.values()) + 1 <= 6
    rest = {}
    for temperature in (0.0, 0.7):
        pair = taped(tiny_pair(0.05))
        DeviceRounds(pair, 3, 2, capacity=64, temperature=temperature).ready()
        drafting, verifying = (tape.kernels for tape in pair.graphs.tapes)
        layers = len(pair.target_engine.layers)
        assert [verifying[name] for name in products] == [
            2 * layers + 1,
            2 * layers,
        ]  # one more: the head
        assert {name: verifying[name] - (name == "norm") for name in small} == {
            name: layers * times for name, times in small.items()
        }
        rest[temperature] = [
            sum(count for name, count in kernels.items() if name not in (*products, *small))
            for kernels in (drafting, verifying)
        ]
    # a draft step: embedding, argmax, keeping the token, the next position; sampling at most twenty
    # more
    for temperature, most in ((0.0, (3 * 4 + 3, 22)), (0.7, (3 * 20 + 3, 42))):
        assert all(found <= bound for found, bound in zip(rest[temperature], most, strict=True)), (
            rest
        )
