"""Blocks of tokens: how many a server has, how many requests need, and who could never have enough
of them.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from lapsd.sim.engine.memory.base import Limits
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request


def blocks_of(manager: str, limits: Limits, block: int, blocks: int) -> int:
    """`blocks`, or, where that is 0, as many of `block` tokens as `kv_tokens` fill.

    Raises
    ------
    ValueError
        Naming the manager, and what it lacks or the value that is out of bounds.
    """
    if block < 1:
        raise ValueError(f"memory {manager}: block {block}: must be at least 1 token")
    if bool(blocks) == (limits.kv_tokens is not None):
        raise ValueError(f"memory {manager}: needs kv_tokens, or blocks, and not both")
    blocks = blocks or (limits.kv_tokens or 0) // block
    if blocks < 1:
        raise ValueError(f"memory {manager}: blocks {blocks}: must be at least 1")
    return blocks


def blocks_needed(
    requests: Sequence[Request], block: int, held: Mapping[Request, int]
) -> list[int]:
    """Blocks of so many tokens that each request needs in its next round, and no fewer than it
    holds.
    """
    blocks = []
    for request in requests:
        # `Request.kv_needed`, which this asks for so often that a call would double its time
        more = -(-request.recorded.looks_ahead[request.rounds] // block)
        has = held.get(request, 0)
        blocks.append(more if more > has else has)
    return blocks


def as_many(needed: Sequence[int], blocks: int) -> int:
    """How many of the first have so many blocks together."""
    return bisect_right(list(accumulate(needed)), blocks)


def refuse_larger(manager: str, recorded: Sequence[Recorded], blocks: int, block: int) -> None:
    """Raise `ValueError`, naming request and bound, if one of these would not fit even alone."""
    for index, rounds in enumerate(recorded):
        tokens = rounds.prompt_tokens + rounds.tokens[-1] + max(rounds.round_drafted) + 1
        if (need := -(-tokens // block)) > blocks:
            raise ValueError(
                f"memory {manager} of {blocks} blocks: request {index} can never fit: its prompt,"
                f" output and look-ahead take {need} blocks of {block} tokens"
            )
