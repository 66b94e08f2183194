"""The order of active requests in the compiled loop: their keys, and lists kept by key.

A heap of indices holds the waiting requests. A list in order is also a heap: with asynchronous KV
transfers the waiting requests are such a list, because the manager looks at all of them.
"""

from typing import Any

from lapsd.sim.engine.compiled.call import call, compiled
from lapsd.sim.engine.compiled.flat_server import ENTERED, FASTSERVE, RANK, WAITS, WIDTH, Server
from lapsd.sim.engine.compiled.job import JOB

JOB_BYTES = JOB.itemsize
KEY_BYTES = 8 * WIDTH


@compiled
def job_address(s: Server, i: int) -> int:
    """Return the address of a request's record."""
    return s.at.jobs_address + i * JOB_BYTES


@compiled
def fail(s: Server, error: int, method: int, i: int) -> None:
    """Note the first error of the policy or the server; the run then ends."""
    if s.at.error == 0:
        s.at.error = error
        s.at.error_method = method
        s.at.error_ns = s.at.now_ns
        s.at.error_request = i


@compiled
def rank(s: Server, i: int) -> None:
    """Write a request's key: rank; running before waiting; then entry into the queue."""
    job, key = s.jobs[i], s.at.keys_address + i * KEY_BYTES
    error = call(s.at.rank, s.at.policy, job_address(s, i), s.at.now_ns, key)
    if error:
        fail(s, error, RANK, i)
    s.keys[i * WIDTH + WAITS] = 0 if job.running else 1
    s.keys[i * WIDTH + ENTERED] = job.entered_ns


@compiled
def before(s: Server, i: int, j: int) -> bool:
    """Return whether request i goes before request j, by key and then by order of arrival."""
    one, other = i * WIDTH, j * WIDTH
    for k in range(WIDTH):
        if s.keys[one + k] != s.keys[other + k]:
            return s.keys[one + k] < s.keys[other + k]
    return i < j


@compiled
def push(s: Server, i: int) -> None:
    """Add a request to the heap of waiting requests. O(log waiting)."""
    heap, k = s.waiting, s.at.waiting
    s.at.waiting = k + 1
    while k > 0:
        parent = (k - 1) >> 1
        if not before(s, i, heap[parent]):
            break
        heap[k] = heap[parent]
        k = parent
    heap[k] = i


@compiled
def pop(s: Server) -> int:
    """Remove the first request from the heap of waiting requests. O(log waiting)."""
    first: int = s.waiting[0]
    s.at.waiting -= 1
    if s.at.waiting:
        sift_down(s, s.waiting[s.at.waiting], 0)
    return first


@compiled
def sift_down(s: Server, i: int, k: int) -> None:
    """Put a request at place k of the heap, or further down. O(log waiting)."""
    heap, count = s.waiting, s.at.waiting
    while True:
        child = 2 * k + 1
        if child >= count:
            break
        if child + 1 < count and before(s, heap[child + 1], heap[child]):
            child += 1
        if not before(s, heap[child], i):
            break
        heap[k] = heap[child]
        k = child
    heap[k] = i


@compiled
def heapify(s: Server) -> None:
    """Make the list of waiting requests a heap. O(waiting)."""
    for k in range(s.at.waiting // 2 - 1, -1, -1):
        sift_down(s, s.waiting[k], k)


@compiled
def insert(s: Server, i: int) -> int:
    """Add a waiting request to the list in order; return how many others it passes."""
    k = s.at.waiting
    s.at.waiting = k + 1
    while k > 0 and before(s, i, s.waiting[k - 1]):
        s.waiting[k] = s.waiting[k - 1]
        k -= 1
    s.waiting[k] = i
    return s.at.waiting - 1 - k


@compiled
def sort(s: Server) -> None:
    """Put the waiting requests in order. O(waiting) if few are out of order."""
    count, passed, at = s.at.waiting, 0, 0
    s.at.waiting = 0
    while at < count and passed <= 8 * count:
        passed += insert(s, s.waiting[at])
        at += 1
    if at < count:  # too many are out of order
        s.at.waiting = count
        heapify(s)
        for k in range(count):
            s.some[k] = pop(s)
        for k in range(count):
            s.waiting[k] = s.some[k]
        s.at.waiting = count


@compiled
def sort_running(s: Server) -> None:
    """Rank the running requests again and put them in order."""
    for k in range(s.at.running):
        i, at = s.running[k], k
        rank(s, i)
        while at > 0 and before(s, i, s.running[at - 1]):
            s.running[at] = s.running[at - 1]
            at -= 1
        s.running[at] = i


@compiled
def sort_by_arrival(s: Server) -> None:
    """Put the running requests in order of arrival."""
    for k in range(1, s.at.running):
        i, at = s.running[k], k
        while at > 0 and s.running[at - 1] > i:
            s.running[at] = s.running[at - 1]
            at -= 1
        s.running[at] = i


@compiled
def last(s: Server, among: Any, count: int) -> int:
    """Return the place of the last request in order among the first `count` of a list."""
    at = 0
    for k in range(1, count):
        if before(s, among[at], among[k]):
            at = k
    return at


@compiled
def enter(s: Server, i: int) -> None:
    """Put a request among the waiting ones, by its key."""
    if s.at.manager >= FASTSERVE:
        insert(s, i)
    else:
        push(s, i)


@compiled
def rank_waiting(s: Server) -> None:
    """Rank all waiting requests again."""
    s.at.rank_again = 0
    for k in range(s.at.waiting):
        rank(s, s.waiting[k])
    if s.at.manager >= FASTSERVE:
        sort(s)
    else:
        heapify(s)


@compiled
def set_aside(s: Server) -> None:
    """Move the waiting requests that have not started to the list `some`, whose length is
    `aside`: they wait in the queue of all servers.
    """
    kept = s.at.aside = 0
    for k in range(s.at.waiting):
        i = s.waiting[k]
        if s.jobs[i].started:
            s.waiting[kept] = i
            kept += 1
        else:
            s.some[s.at.aside] = i
            s.at.aside += 1
    s.at.waiting = kept
    if s.at.aside:
        heapify(s)
