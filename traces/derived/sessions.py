"""Sessions: requests whose prompts extend those of earlier ones, with hashes of their blocks.

The prompt of a turn is a system prompt, then the messages and answers of the turns before it, then
its own message.
"""

from dataclasses import dataclass, replace

import numpy as np

from lapsd.traces.prefixes import Prefixes
from lapsd.traces.trace import Trace

MOST_TOKENS = 10**9  # of a system prompt, and of a block
MOST = 10**6
MOST_HASHES = 5 * 10**7  # of all requests: 400 MB


@dataclass(frozen=True)
class Sessions:
    """How requests form sessions.

    Attributes
    ----------
    turns : int
        Requests of each session.
    interleaved : int
        Sessions that take turns: after each turn of a session come turns of the others.
    system_prompts : int
        Different system prompts; session j has number j modulo this.
    system_tokens : int
        Tokens of each system prompt.
    block : int
        Tokens of each block that has a hash.

    Raises
    ------
    ValueError
        Naming the value and the bound.
    """

    turns: int = 4
    interleaved: int = 8
    system_prompts: int = 1
    system_tokens: int = 0
    block: int = 16

    def __post_init__(self) -> None:
        for name, least, most in (
            ("turns", 1, MOST),
            ("interleaved", 1, MOST),
            ("system_prompts", 1, MOST),
            ("system_tokens", 0, MOST_TOKENS),
            ("block", 1, MOST_TOKENS),
        ):
            if not least <= (value := getattr(self, name)) <= most:
                raise ValueError(f"{name}={value}: must be between {least} and {most}")


def in_sessions(trace: Trace, how: Sessions) -> Trace:
    """Return the requests of a trace as turns of sessions.

    The first `turns` requests are the turns of the first session, and so on; requests that are left
    over are not used. The prompt of each request is its own message in its turn.

    Raises
    ------
    ValueError
        If there are fewer requests than turns, or the prompts have more than `MOST_HASHES` blocks.
    """
    many = len(trace) // how.turns
    if not many:
        raise ValueError(f"turns={how.turns}: must be at most the {len(trace)} requests")
    used = trace.take(np.arange(many * how.turns))
    messages, outputs = (
        tokens.reshape(many, how.turns) for tokens in (used.prompt_tokens, used.output_tokens)
    )
    before = np.cumsum(messages + outputs, axis=1) - outputs
    prompts = how.system_tokens + before
    common = how.system_tokens // how.block  # blocks that lie within the system prompt
    own = np.maximum(0, prompts[:, -1] // how.block - common)
    first_own = common * how.system_prompts + np.cumsum(own) - own
    blocks = prompts // how.block
    if (count := int(blocks.sum())) > MOST_HASHES:
        raise ValueError(
            f"turns={how.turns}, block={how.block}: {count:,} hashes of blocks: must be at most"
            f" {MOST_HASHES:,}"
        )
    offsets = np.append(0, np.cumsum(blocks.ravel()))
    place = np.arange(count) - np.repeat(offsets[:-1], blocks.ravel())  # in the request's prompt
    session = np.repeat(np.arange(many), blocks.sum(axis=1))
    shared = common * (session % how.system_prompts) + place
    hashes = np.where(place < common, shared, first_own[session] + place - common)
    made = replace(
        used,
        request_id=[f"session-{s}-turn-{t}" for s in range(many) for t in range(how.turns)],
        prompt_tokens=prompts.ravel(),
        prefixes=Prefixes(how.block, offsets, hashes),
    )
    ordered = made.take(_order(many, how))
    assert ordered.prefixes is not None
    share = round(ordered.prefixes.reusable(ordered.prompt_tokens), 4)
    notes = {
        "turns": how.turns,
        "interleaved": how.interleaved,
        "system_prompts": how.system_prompts,
        "system_tokens": how.system_tokens,
        "reusable_share": share,
    }
    return replace(ordered, provenance=trace.provenance.noting(sessions=notes))


def _order(sessions: int, how: Sessions) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Return the requests in order: the first turns of some sessions, their second ones, ..."""
    session, turn = np.divmod(np.arange(sessions * how.turns), how.turns)
    return np.lexsort((session, turn, session // how.interleaved))
