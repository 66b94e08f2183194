"""The line of free blocks of `paged` in the compiled loop, a list of the evicted requests that
still own blocks.

Each owner is an entry of the line: `unowned_before` free blocks without an owner, then its `owned`
blocks. After the last owner come `unowned_at_end` blocks. An index of -1 ends the list.
"""

from lapsd.sim.engine.compiled.call import compiled
from lapsd.sim.engine.compiled.costs import kv_tokens
from lapsd.sim.engine.compiled.flat_server import Server


@compiled
def lacks(s: Server, i: int) -> int:
    """Return the tokens of an evicted request that its own blocks do not hold, without the last."""
    return kv_tokens(s, i) - 1 - s.jobs[i].owned * s.at.block


@compiled
def free_blocks(s: Server, blocks: int) -> None:
    """Put blocks without an owner at the end of the line."""
    s.at.unowned_at_end += blocks


@compiled
def free_owned(s: Server, i: int, blocks: int) -> None:
    """Put blocks at the end of the line that still contain tokens of a request."""
    job = s.jobs[i]
    job.owned = blocks
    job.unowned_before = s.at.unowned_at_end
    job.previous_owner, job.next_owner = s.at.last_owner, -1
    s.at.unowned_at_end = 0
    if s.at.last_owner < 0:
        s.at.first_owner = i
    else:
        s.jobs[s.at.last_owner].next_owner = i
    s.at.last_owner = i


@compiled
def leave_line(s: Server, i: int) -> None:
    """Take an owner out of the line; blocks before it stay where they are."""
    job = s.jobs[i]
    if job.next_owner < 0:
        s.at.last_owner = job.previous_owner
        s.at.unowned_at_end += job.unowned_before
    else:
        s.jobs[job.next_owner].previous_owner = job.previous_owner
        s.jobs[job.next_owner].unowned_before += job.unowned_before
    if job.previous_owner < 0:
        s.at.first_owner = job.next_owner
    else:
        s.jobs[job.previous_owner].next_owner = job.next_owner
    job.owned = 0


@compiled
def take_free(s: Server, blocks: int) -> None:
    """Take blocks from the front of the line; an owner loses its last blocks first."""
    while blocks > 0:
        i = s.at.first_owner
        if i < 0:
            s.at.unowned_at_end -= blocks
            return
        job = s.jobs[i]
        unowned = min(blocks, job.unowned_before)
        job.unowned_before -= unowned
        owned = min(blocks - unowned, job.owned)
        blocks -= unowned + owned
        if owned > 0:
            job.owned -= owned
            job.uncomputed_tokens = lacks(s, i)
            if job.owned == 0:
                leave_line(s, i)
