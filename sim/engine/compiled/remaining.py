"""The remaining time of a server's requests, which routers see: kept up to date round by round."""

from lapsd.sim.engine.compiled.call import compiled
from lapsd.sim.engine.compiled.costs import kv_tokens
from lapsd.sim.engine.compiled.flat_server import Server


@compiled
def predicted_ns(s: Server, i: int) -> int:
    """Return the predicted remaining time of a request."""
    job = s.jobs[i]
    if job.rounds == 0:
        return job.size_ns
    return s.at.token_ns * max(0, job.predicted_tokens - job.tokens)


@compiled
def count_request(s: Server, i: int) -> None:
    """Count a request that was sent to the server."""
    s.at.work_ns += s.jobs[i].size_ns
    s.at.true_work_ns += s.jobs[i].true_size_ns


@compiled
def count_round(s: Server, i: int, drafted: int, emitted: int) -> None:
    """Count a round that is about to be committed."""
    job = s.jobs[i]
    left = s.at.token_ns * max(0, job.predicted_tokens - job.tokens - emitted)
    s.at.work_ns += left - predicted_ns(s, i)
    if s.at.choose_drafts == 0:  # as long as the round takes alone
        at = s.at.draft_lengths + drafted
        alone_ns = s.round_base_ns[at] + s.round_per_token_ns[at] * kv_tokens(s, i)
        s.at.true_work_ns -= alone_ns + (job.prefill_cost_ns if job.rounds == 0 else 0)


@compiled
def count_leaving(s: Server, i: int) -> None:
    """Count a finished request, which may have been predicted to be longer."""
    s.at.work_ns -= predicted_ns(s, i)
