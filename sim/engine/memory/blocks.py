"""Blocks of tokens: their number, how many a request needs, and which requests need too many."""

from collections.abc import Iterable, Sequence

from lapsd.sim.engine.memory.base import Limits
from lapsd.sim.engine.recorded import Recorded
from lapsd.sim.engine.request import Request


def blocks_of(manager: str, limits: Limits, block: int, blocks: int) -> int:
    """Return `blocks` or, where that is 0, the number of blocks of `block` tokens in `kv_tokens`.

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


def blocks_needed(request: Request, block: int, held: int) -> int:
    """Return the blocks of `block` tokens that a request needs in its next round, and never fewer
    than it holds.
    """
    return max(-(-request.kv_needed // block), held)


def count_that_fit(needed: Iterable[int], room: int) -> int:
    """Return how many of the first numbers sum up to at most `room`."""
    count = 0
    for number in needed:
        room -= number
        if room < 0:
            break
        count += 1
    return count


def refuse_larger(manager: str, recorded: Sequence[Recorded], blocks: int, block: int) -> None:
    """Raise `ValueError`, naming request and bound, if a request does not fit even alone."""
    for index, rounds in enumerate(recorded):
        tokens = rounds.prompt_tokens + rounds.output_tokens + rounds.longest_draft + 1
        if (need := -(-tokens // block)) > blocks:
            raise ValueError(
                f"memory {manager} of {blocks} blocks: request {index} can never fit: its prompt,"
                f" output and look-ahead take {need} blocks of {block} tokens"
            )
