"""Tests with emulated CUDA graphs that captured rounds equal rounds run operator by operator."""

from dataclasses import replace

import pytest
import torch

from lapsd.calibrate import Pair, Sampling
from lapsd.calibrate.decoding.rounds import DeviceRounds
from tests.calibrate.decoding.tape import HostRead, TapeGraphs, as_kernels
from tests.calibrate.tiny import VOCABULARY, tiny_pair

LENGTHS = (9, 40, 90)  # with the rounds that follow, they fit into a context of 128
ROUNDS = 9


def taped(pair: Pair) -> Pair:
    """Return the pair with rounds that are captured on tapes."""
    operators = as_kernels()
    for engine in (pair.target_engine, pair.draft_engine):
        engine.operators = operators
    return replace(pair, graphs=TapeGraphs())


def verdicts(
    pair: Pair, n: int, temperature: float, lengths: tuple[int, ...], kind: type[DeviceRounds]
) -> list:
    """Return the verdicts of a few rounds of rows with these lengths; some are forced."""
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
def test_captured_rounds_equal_uncaptured_rounds(n, temperature, lengths):
    pair = taped(tiny_pair(0.05))
    captured = verdicts(pair, n, temperature, lengths, DeviceRounds)
    assert len(pair.graphs.tapes) == (2 if n else 1)  # for all lengths
    assert captured == verdicts(tiny_pair(0.05), n, temperature, lengths, DeviceRounds)


class Rebound(DeviceRounds):
    """Wrong: replaces the tensor of positions, while a graph keeps using the old one."""

    def _verify(self):
        before = self._position
        self._position = before.clone()
        super()._verify()


class Carried(DeviceRounds):
    """Wrong: the verify pass reads drafted tokens from memory of the drafting graph."""

    def _draft_steps(self):
        super()._draft_steps()
        self._proposed = self._drafted.clone()

    def _verify(self):
        self._drafted.copy_(self._proposed)
        super()._verify()


class Unwritten(DeviceRounds):
    """Wrong: reads memory that the graph has allocated but not written."""

    def _verify(self):
        super()._verify()
        self._verdict.add_(torch.empty_like(self._verdict).clamp(0, 1))


class Asking(DeviceRounds):
    """Wrong: reads the position of the first row on the host."""

    def _verify(self):
        assert int(self._position[0]) >= 0
        super()._verify()


class Bringing(DeviceRounds):
    """Wrong: copies a number from the host."""

    def _verify(self):
        super()._verify()
        self._position.add_(torch.tensor(0))


@pytest.mark.parametrize("mutant", [Rebound, Carried, Unwritten, Asking, Bringing])
def test_emulated_graphs_detect_rounds_that_cannot_be_captured(mutant):
    right = verdicts(tiny_pair(0.05), 3, 0.0, LENGTHS, DeviceRounds)
    try:
        assert verdicts(taped(tiny_pair(0.05)), 3, 0.0, LENGTHS, mutant) != right
    except HostRead:
        assert mutant in (Asking, Bringing)


def test_a_layer_has_four_products_and_six_small_kernels():
    """Attention counts as two kernels, for its parts and their merge.

    At batch size 1 each kernel costs a launch, in a graph too.
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
        # one more product for the head
        assert [verifying[name] for name in products] == [2 * layers + 1, 2 * layers]
        assert {name: verifying[name] - (name == "norm") for name in small} == {
            name: layers * times for name, times in small.items()
        }
        rest[temperature] = [
            sum(count for name, count in kernels.items() if name not in (*products, *small))
            for kernels in (drafting, verifying)
        ]
    # a draft step has four more kernels: embedding, argmax, storing the token, the next position;
    # with sampling it has at most twenty
    for temperature, most in ((0.0, (3 * 4 + 3, 22)), (0.7, (3 * 20 + 3, 42))):
        assert all(found <= bound for found, bound in zip(rest[temperature], most, strict=True)), (
            rest
        )
