"""What it costs everybody that a running request stops for another, where caches have to move."""

from lapsd.policies.base import PolicyContext

# who wait beside the two: the mean queue of M/M/1 at a load of 0.8, load² / (1 − load), rounded
BEHIND = 3


def switch_penalty_ns(context: PolicyContext) -> int:
    """By how much less remaining time a waiting request must need to take the place of a running
    one.

    Let a be what the running request needs, and b the waiting one. One after the other they are
    done at a and a + b; if b goes first, at out + b and out + b + back + a. That is better for the
    two together only if a − b > 2 · out + back; and everyone who waits behind them or runs beside
    them is later by out + back. Beside others a seat comes free as many times as often as there are
    seats, so that only that part of a − b is gained.
    """
    out, back, batch_slots = context.swap_out_ns, context.swap_in_ns, context.batch_slots
    return batch_slots * (2 * out + back + (BEHIND + batch_slots - 1) * (out + back))
