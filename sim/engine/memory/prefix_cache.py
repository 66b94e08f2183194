"""Cached blocks of prompts, by hash: which are used, and the order in which unused ones leave.

A hash stands for its block and all blocks before it. So a request uses leading blocks of its
prompt, and a block is never used without those before it. Knows nothing of requests or of the size
of memory.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence


class PrefixCache:
    """The blocks of prompts in memory.

    Attributes
    ----------
    users : dict of int
        Number of requests that use a block, by hash.
    unused : OrderedDict
        Hashes of the computed blocks without users, the least recently used first.
    computed : set of int
        Hashes of the blocks whose tokens are computed, or will be by the next step.
    """

    def __init__(self) -> None:
        self.users: dict[int, int] = {}
        self.unused: OrderedDict[int, None] = OrderedDict()
        self.computed: set[int] = set()

    def __len__(self) -> int:
        return len(self.users) + len(self.unused)

    def found(self, hashes: Sequence[int]) -> int:
        """Return how many leading blocks are computed."""
        for number, hash_ in enumerate(hashes):
            if hash_ not in self.computed:
                return number
        return len(hashes)

    def use(self, hashes: Iterable[int]) -> None:
        """Let one more request use blocks."""
        for hash_ in hashes:
            self.unused.pop(hash_, None)
            self.users[hash_] = self.users.get(hash_, 0) + 1

    def leave(self, hashes: Sequence[int]) -> None:
        """Let a request use its blocks no longer; its last one is the least recently used."""
        for hash_ in reversed(hashes):
            self.users[hash_] -= 1
            if not self.users[hash_]:
                del self.users[hash_]
                if hash_ in self.computed:
                    self.unused[hash_] = None

    def evict(self) -> None:
        """Drop the least recently used block without users."""
        hash_, _ = self.unused.popitem(last=False)
        self.computed.remove(hash_)

    def check(self) -> None:
        """Assert the invariants between rounds."""
        assert not self.users.keys() & self.unused.keys()
        assert self.unused.keys() <= self.computed <= self.users.keys() | self.unused.keys()
        assert all(count > 0 for count in self.users.values())
