"""Mutants of the loop over servers: each differs from the specification in some generated case."""

import pytest
from hypothesis import Phase, given, settings

from lapsd.sim.engine.compiled import service_runs
from tests.sim.python_loop import python_service
from tests.sim.servers import ANY_ROUTER, compiled_service_equals_specification, service_cases

pytestmark = pytest.mark.deep  # some differ in few cases, and each case takes long in Python

# what is wrong: module, text, its replacement, and the routers that show it (none named: any)
MUTANTS = {
    "an idle server is not woken": (
        "service_loop",
        "    call_server(v, k, now_ns)\n    if v.at.sees_active",
        "    if v.at.sees_active",
    ),
    "a request arrives before the end of a step": (
        "service_loop",
        "if event_ns <= other_ns and",
        "if event_ns < other_ns and",
    ),
    "a server decides before a request arrives": (
        "service_loop",
        "elif event_ns < other_ns:",
        "elif event_ns <= other_ns:",
    ),
    "the last server decides first": ("service_loop", "return j < k", "return j > k"),
    "the router does not see what it has just sent": (
        "service_loop",
        "send(v, s, i, now_ns)\n        report_now(v, s, now_ns)",
        "send(v, s, i, now_ns)",
        "jsq",
    ),
    "idle time is lost": ("service_loop", "s.at.idle_ns += now_ns - s.at.now_ns", "pass"),
    "requests in the inbox do not wait": (
        "reports",
        "= s.at.waiting + s.at.inbox",
        "= s.at.waiting",
        "jsq",
    ),
    "what was sent since the report does not count": (
        "service_loop",
        "v.columns[WAITING * v.at.servers + k] += 1",
        "pass",
        "jsq",
    ),
    "reports are later each time": (
        "service_loop",
        "v.at.next_report_ns += v.at.report_ns",
        "v.at.next_report_ns += v.at.report_ns + 1",
        "jsq",
    ),
    "the time of the present step counts as work": (
        "reports",
        "max(0, s.at.true_work_ns - over_ns)",
        "s.at.true_work_ns",
        "least-work-oracle",
    ),
    "a finished request keeps its predicted work": (
        "remaining",
        "s.at.work_ns -= predicted_ns(s, i)",
        "pass",
        "least-work",
    ),
    "the prefill is not part of true work": (
        "remaining",
        "alone_ns + (job.prefill_cost_ns if job.rounds == 0 else 0)",
        "alone_ns",
        "least-work-oracle",
    ),
    "one queue gives a server one request at a time": (
        "service_loop",
        "range(min(s.at.batch, queue.at.waiting))",
        "range(min(1, queue.at.waiting))",
    ),
    "requests of one queue stay where they did not start": (
        "order",
        "        if s.jobs[i].started:\n            s.waiting[kept]",
        "        if True:\n            s.waiting[kept]",
    ),
    "one queue is not ranked again": ("service_loop", "    if queue.at.ages:", "    if False:"),
    "a request keeps the costs of the first server": (
        "service_loop",
        "job, row = v.jobs[i], s.at.costs * v.at.requests + i",
        "job, row = v.jobs[i], i",
    ),
    "counters of guardrails are never set back": (
        "guardrails",
        "            if v.active[k] == 0:",
        "            if False:",
    ),
    "guardrails forget requests that leave": (
        "guardrails",
        "v.active[v.jobs[i].server] -= 1",
        "v.active[v.jobs[i].server] -= 0",
    ),
    "guardrails allow one size more": (
        "guardrails",
        "counter + size_ns <= least",
        "counter <= least",
    ),
}


def is_detected(routers: tuple[str, ...]) -> bool:
    """Return whether the loop as it is and the specification differ in some case."""

    @settings(max_examples=2_000, phases=[Phase.generate])  # ends at the first difference
    @given(service_cases(routers))
    def equivalence(case):
        assert compiled_service_equals_specification(*case)

    try:
        equivalence()
    except (AssertionError, ValueError, LookupError, ArithmeticError):
        return True
    return False


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_of_the_loop_over_servers_is_detected(mutant, monkeypatch):
    module, old, new, *routers = MUTANTS[mutant]
    monkeypatch.setattr(service_runs, "serve", python_service(module, old, new))
    assert is_detected(tuple(routers) or ANY_ROUTER)


def test_the_loop_over_servers_as_python_equals_the_specification(monkeypatch):
    monkeypatch.setattr(service_runs, "serve", python_service())

    @settings(max_examples=30)
    @given(service_cases())
    def equivalence(case):
        assert compiled_service_equals_specification(*case)

    equivalence()
