"""Draft lengths in the compiled loop: ask the draft policy before a step, and price its answer.

The functions do what `Drafter` does in the specification. The policy reads a record whose fields
`STEP` lists; `draft` fills it.
"""

from lapsd.sim.engine.compiled.call import call, compiled
from lapsd.sim.engine.compiled.flat_server import CHOOSE, IN_STEPS, OUT_OF_RANGE, Server
from lapsd.sim.engine.compiled.order import fail

COLUMNS = ("contexts", "tokens", "rounds", "drafted", "accepted", "rejected", "predicted_tokens")
COLUMNS_AND_TRUTH = (*COLUMNS, "acceptable")
TABLES = ("verify_base", "verify_per_token")
NUMBERS = (
    *("requests", "waiting", "most", "context"),
    *("last_requests", "last_drafted", "last_accepted", "last_length"),
    *("draft_base", "draft_per_token", "divisor", "padded", "state"),
)
# words of the record: numbers first, then the address and the length of each array, and of the
# confidences the address and both lengths
STEP = {name: word for word, name in enumerate(NUMBERS)}
for _name in (*COLUMNS_AND_TRUTH, *TABLES, "confidence"):
    STEP[_name] = len(NUMBERS) + 2 * (len(STEP) - len(NUMBERS))
WORDS = STEP["confidence"] + 3

REQUESTS, WAITING, CONTEXT = STEP["requests"], STEP["waiting"], STEP["context"]
LAST = STEP["last_requests"]
STATE = STEP["state"]
DRAFT_BASE = STEP["draft_base"]
FIRST_COLUMN, END_OF_COLUMNS = STEP["contexts"], STEP["verify_base"]
VERIFY_BASE, VERIFY_PER_TOKEN = STEP["verify_base"], STEP["verify_per_token"]
CONFIDENCE = STEP["confidence"]
TERMS = 3  # of the draft model, by number of requests: base, per token, divisor


@compiled
def draft(s: Server) -> int:
    """Let the draft policy choose the draft lengths of the next step; return the time of a switch
    to another length.
    """
    if s.at.choose_drafts == 0:
        return 0
    by_arrival(s)
    requests = fill_columns(s)
    if requests == 0:
        return 0
    fill_numbers(s, requests)
    error = call(
        s.at.choose_drafts, s.at.draft_policy, s.at.step_address, s.at.now_ns, s.at.lengths_address
    )
    if error:
        fail(s, error, CHOOSE, 0)
        return 0
    drafted = longest = 0
    for k in range(requests):
        length = s.drafts.lengths[k]
        if length < 0 or length > s.at.most:
            fail(s, OUT_OF_RANGE, CHOOSE, 0)
            return 0
        s.jobs[s.drafts.decoding[k]].next_drafted = length
        drafted += length
        longest = max(longest, length)
    switches = s.at.last_requests > 0 and longest != s.at.last_length
    s.at.before_requests, s.at.last_requests = s.at.last_requests, requests
    s.at.before_drafted, s.at.last_drafted = s.at.last_drafted, drafted
    s.at.before_accepted, s.at.last_accepted = s.at.last_accepted, 0
    s.at.before_length, s.at.last_length = s.at.last_length, longest
    return s.at.switch_ns if switches else 0


@compiled
def by_arrival(s: Server) -> None:
    """Put the running requests in order of arrival, which the order of sums depends on."""
    for k in range(1, s.at.running):
        i, at = s.running[k], k
        while at > 0 and s.running[at - 1] > i:
            s.running[at] = s.running[at - 1]
            at -= 1
        s.running[at] = i


@compiled
def fill_columns(s: Server) -> int:
    """Write what the policy reads of each request that decodes; return their number."""
    requests = 0
    for k in range(s.at.running):
        i = s.running[k]
        job = s.jobs[i]
        if job.uncomputed_tokens > 0 or (s.at.prefill == IN_STEPS and job.given_tokens == 0):
            continue
        s.drafts.decoding[requests] = i
        if s.at.confident:
            fill_confidence(s, i, requests)
        requests += 1
    for column in range(len(COLUMNS_AND_TRUTH)):
        if (s.at.columns >> column) & 1:
            for k in range(requests):
                s.drafts.columns[column * s.at.batch + k] = seen(s, s.drafts.decoding[k], column)
    return requests


@compiled
def seen(s: Server, i: int, column: int) -> int:
    """Return an entry of a column: one of `COLUMNS_AND_TRUTH`."""
    job, late = s.jobs[i], s.at.late
    if column == 0:
        return job.prompt_tokens + (job.seen_tokens if late else job.tokens)
    if column == 1:
        return job.seen_tokens if late else job.tokens
    if column == 2:
        return max(0, job.rounds - 1) if late else job.rounds
    if column == 3:
        return job.seen_drafted if late else job.drafted
    if column == 4:
        return job.seen_accepted if late else job.accepted
    if column == 5:
        return job.seen_rejected if late else job.rejected
    if column == 6:
        return job.predicted_tokens
    return acceptable(s, i) if s.at.sees_truth else 0


@compiled
def acceptable(s: Server, i: int) -> int:
    """Return how many proposals would be accepted in a row from a request's position."""
    return s.drafts.runs[s.jobs[i].first_position + s.jobs[i].tokens]


@compiled
def fill_confidence(s: Server, i: int, place: int) -> None:
    """Write the confidences of a request's next proposals."""
    job = s.jobs[i]
    for j in range(s.at.most):
        found = s.drafts.beyond[0]
        if job.tokens + j < job.output_tokens:
            found = s.drafts.confidence[job.first_position + job.tokens + j]
        s.drafts.confidences[place * s.at.most + j] = found


@compiled
def fill_numbers(s: Server, requests: int) -> None:
    """Write the rest of the policy's record: numbers, lengths of arrays, and costs."""
    step, context = s.drafts.step, 0
    for k in range(requests):
        context += seen(s, s.drafts.decoding[k], 0)
    step[REQUESTS], step[WAITING], step[CONTEXT] = requests, s.at.waiting, context
    step[STATE] = s.at.draft_state_address
    step[LAST], step[LAST + 1] = s.at.last_requests, s.at.last_drafted
    step[LAST + 2], step[LAST + 3] = s.at.last_accepted, s.at.last_length
    if s.at.late:
        step[LAST], step[LAST + 1] = s.at.before_requests, s.at.before_drafted
        step[LAST + 2], step[LAST + 3] = s.at.before_accepted, s.at.before_length
    for term in range(TERMS):
        step[DRAFT_BASE + term] = s.drafts.draft_terms[requests * TERMS + term]
    for word in range(FIRST_COLUMN, END_OF_COLUMNS, 2):
        step[word + 1] = requests
    first, end = s.drafts.verify_at[requests], s.drafts.verify_at[requests + 1]
    step[VERIFY_BASE] = s.at.verify_base_address + 8 * first
    step[VERIFY_PER_TOKEN] = s.at.verify_per_token_address + 8 * first
    step[VERIFY_BASE + 1] = step[VERIFY_PER_TOKEN + 1] = end - first
    if s.at.confident:
        step[CONFIDENCE + 1] = requests


@compiled
def ragged_round_ns(s: Server, requests: int, tokens: int, longest: int, contexts: int) -> int:
    """Return the time of a round, as `lapsd.traces.RaggedRound` computes it."""
    sent = requests * (longest + 1) if s.at.padded else tokens
    at, terms = s.drafts.verify_at[requests] + sent, requests * TERMS
    divisor = s.drafts.draft_terms[terms + 2]
    base = s.drafts.verify_base[at] + longest * s.drafts.draft_terms[terms]
    per_token = s.drafts.verify_per_token[at] + longest * s.drafts.draft_terms[terms + 1]
    return base // divisor + per_token // divisor * contexts


@compiled
def note_round(s: Server, i: int, drafted: int, accepted: int) -> None:
    """Note a round whose length the draft policy chose, before it counts in the totals of `job`."""
    if s.at.late:
        keep_seen(s, i)
    job = s.jobs[i]
    job.rejected += 1 if accepted < drafted else 0
    s.at.last_accepted += accepted
    proposed = job.drafted + drafted
    rate = (job.accepted + accepted) / proposed if proposed > 0 else 0.0
    s.drafts.rates[job.first_rate + job.rounds + 1] = rate


@compiled
def keep_seen(s: Server, i: int) -> None:
    """Keep the totals of a request before a round is committed, for a policy that sees it late."""
    job = s.jobs[i]
    job.seen_tokens, job.seen_rejected = job.tokens, job.rejected
    job.seen_drafted, job.seen_accepted = job.drafted, job.accepted
