"""The total delay that preempting a running request causes when KV caches must be swapped."""

from lapsd.policies.base import NEVER, PolicyContext

# mean number of waiting requests behind the two that are compared: the mean queue length of M/M/1
# at a load of 0.8, load² / (1 − load) = 3.2, rounded
MEAN_QUEUE_LENGTH = 3


def switch_penalty_ns(context: PolicyContext, factor: float = 1.0) -> int:
    """Return how much less remaining time a waiting request must need to replace a running one,
    times a factor.

    Let a be the remaining time of the running request, b that of the waiting one, and `out` and
    `back` the times of a swap-out and a swap-in. If the running request goes first, the two finish
    at a and a + b; if the waiting one goes first, at out + b and out + b + back + a. The second
    order is better for the two together only if a − b > 2 · out + back. It also delays every other
    waiting or running request by out + back. In a batch of s requests a slot becomes free s times
    as often, so that only a − b divided by s is gained.

    Raises
    ------
    ValueError
        If the time exceeds 2**62 ns.
    """
    out, back, batch_slots = context.swap_out_ns, context.swap_in_ns, context.batch_slots
    others = MEAN_QUEUE_LENGTH + batch_slots - 1
    ns = round(factor * (batch_slots * (2 * out + back + others * (out + back))))
    if ns > NEVER:
        raise ValueError(f"switch_penalty={factor:g}: {ns} ns: must be at most {NEVER} ns")
    return ns
