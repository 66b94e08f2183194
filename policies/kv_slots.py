"""The number of requests whose KV caches fit in memory, as users give it and as engines use it."""

from typing import Literal

KVSlots = int | Literal["auto", "unlimited"]
KV_SLOT_TEXTS = ("auto", "unlimited")


def slot_limit(kv_slots: KVSlots, batch: int) -> int | None:
    """Return the number of KV slots, or None where there is no limit.

    Parameters
    ----------
    kv_slots : a number; `unlimited`; or `auto`, which is 1 at batch size 1, as in the LAPS-SD
        paper, where every switch between requests transfers a cache, and no limit in batches.
    batch : requests that run a round together.

    Raises
    ------
    ValueError
        If `kv_slots` is another text, or a number below the batch size.
    """
    if kv_slots == "unlimited":
        return None
    if kv_slots == "auto":
        return 1 if batch == 1 else None
    if not isinstance(kv_slots, int) or isinstance(kv_slots, bool):
        raise ValueError(f"kv_slots={kv_slots!r}: must be auto, unlimited or a whole number")
    if kv_slots < batch:
        raise ValueError(f"kv_slots={kv_slots}: must be at least the batch size, {batch}")
    return kv_slots
