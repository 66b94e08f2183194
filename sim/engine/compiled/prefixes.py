"""Cached blocks of prompts in the compiled loop, as in `lapsd.sim.engine.memory.prefix_cache`.

Hashes are numbers from 0 on. The computed blocks without users form a list, the least recently used
first, in the arrays `older` and `newer`; -1 ends it.
"""

from lapsd.sim.engine.compiled.call import compiled
from lapsd.sim.engine.compiled.costs import kv_tokens
from lapsd.sim.engine.compiled.flat_server import IN_STEPS, RESIDENT, Server


@compiled
def cached_tokens(s: Server, i: int) -> int:
    """Return the leading tokens of a request's prompt that other requests left in memory."""
    if s.at.hashed == 0:
        return 0
    job, found = s.jobs[i], 0
    while found < job.hashes and s.prefixes.computed[s.hashes[job.first_hash + found]]:
        found += 1
    return found * s.at.hashed * s.at.block


@compiled
def filled_tokens(s: Server) -> int:
    """Return the tokens of all blocks that have a hash."""
    return (s.at.used + s.at.unused) * s.at.hashed * s.at.block


@compiled
def look_up(s: Server, i: int) -> None:
    """Note which tokens of a chosen request are cached, if it is not resident."""
    job = s.jobs[i]
    if job.place == RESIDENT:
        return
    cached = cached_tokens(s, i)
    if not job.started:
        job.cached_tokens = cached
    if job.started or s.at.prefill == IN_STEPS:
        job.uncomputed_tokens = max(0, kv_tokens(s, i) - 1) - cached


@compiled
def schedule(s: Server, i: int, tokens: int) -> None:
    """Note that so many uncomputed tokens of a chosen request are part of the next step."""
    job = s.jobs[i]
    computed = kv_tokens(s, i) - 1 - job.uncomputed_tokens + tokens
    for k in range(min(job.hashes, computed // (s.at.hashed * s.at.block))):
        s.prefixes.computed[s.hashes[job.first_hash + k]] = 1


@compiled
def begin_counting(s: Server) -> None:
    """Begin a choice, of which no block has been counted."""
    s.prefixes.choice[0] += 1


@compiled
def counted_blocks(s: Server, i: int) -> int:
    """Return the blocks of a request that were counted for others of this choice, and count the
    rest.
    """
    job, counted, choice = s.jobs[i], 0, s.prefixes.choice[0]
    for k in range(job.first_hash, job.first_hash + job.hashes):
        if s.prefixes.counted[s.hashes[k]] == choice:
            counted += 1
        s.prefixes.counted[s.hashes[k]] = choice
    return counted * s.at.hashed


@compiled
def shared_blocks(s: Server) -> int:
    """Return the blocks that the resident requests save because they share some."""
    return (s.at.uses - s.at.used) * s.at.hashed


@compiled
def enter_cache(s: Server, i: int) -> None:
    """Let a request use the blocks of its prompt, of which it computes the missing ones now if
    prompts do not share steps.
    """
    job = s.jobs[i]
    if s.at.prefill != IN_STEPS:
        look_up(s, i)
    for k in range(job.first_hash, job.first_hash + job.hashes):
        number = s.hashes[k]
        if s.prefixes.users[number] == 0:
            s.at.used += 1
            if s.prefixes.listed[number]:
                unlink(s, number)
        s.prefixes.users[number] += 1
        if s.at.prefill != IN_STEPS:
            s.prefixes.computed[number] = 1
    s.at.uses += job.hashes


@compiled
def leave_cache(s: Server, i: int) -> None:
    """Free a request's blocks; those of its prompt without other users stay cached."""
    job = s.jobs[i]
    s.at.held -= job.held
    job.held = 0
    for k in range(job.first_hash + job.hashes - 1, job.first_hash - 1, -1):
        number = s.hashes[k]
        s.prefixes.users[number] -= 1
        if s.prefixes.users[number] == 0:
            s.at.used -= 1
            if s.prefixes.computed[number]:
                link(s, number)
    s.at.uses -= job.hashes


@compiled
def link(s: Server, number: int) -> None:
    """Put a block at the end of the list."""
    s.prefixes.older[number], s.prefixes.newer[number] = s.at.last_unused, -1
    if s.at.last_unused < 0:
        s.at.first_unused = number
    else:
        s.prefixes.newer[s.at.last_unused] = number
    s.at.last_unused, s.prefixes.listed[number] = number, 1
    s.at.unused += 1


@compiled
def unlink(s: Server, number: int) -> None:
    """Take a block out of the list."""
    older, newer = s.prefixes.older[number], s.prefixes.newer[number]
    if older < 0:
        s.at.first_unused = newer
    else:
        s.prefixes.newer[older] = newer
    if newer < 0:
        s.at.last_unused = older
    else:
        s.prefixes.older[newer] = older
    s.prefixes.listed[number] = 0
    s.at.unused -= 1


@compiled
def drop_unused(s: Server, most: int) -> None:
    """Drop the least recently used blocks without users until at most `most` have hashes."""
    while s.at.unused > most:
        number = s.at.first_unused
        unlink(s, number)
        s.prefixes.computed[number] = 0


@compiled
def drop_for_room(s: Server) -> None:
    """Drop unused blocks until there are enough for those that requests hold."""
    free = s.at.room - s.at.held + shared_blocks(s)
    drop_unused(s, free // s.at.hashed)
