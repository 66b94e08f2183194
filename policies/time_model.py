"""How long a request takes by its lengths: the time model of ALISE, T_gen(s, n) = s · T_0 + n · (α
· s + β).

s is the prompt's length, n the output's. As published, a decoding step takes as long at the last
token as at the first; `exact` lets the context grow, T_dec = n · (α · s + β) + α · n · (n − 1) / 2,
and takes prefill as priced. Knows nothing of traces or profiles: `lapsd.sim.experiment` fits it to
past requests.
"""

from collections.abc import Callable
from dataclasses import dataclass

FORMS = ("published", "exact")


@dataclass(frozen=True)
class TimeModel:
    """Times in whole nanoseconds, of requests in batches of a given size.

    Attributes
    ----------
    prefill_ns_a_token : int
        T_0.
    step_ns_a_token, step_ns : int
        α and β: what a decoding step takes, by the context of each of its requests.
    rounds, tokens : int
        Output tokens a step: 1 without a draft model, with one the past's tokens over its rounds.
    prefill : function of tokens, or None
        What prefilling so many really takes; None: T_0 a token.
    """

    prefill_ns_a_token: int
    step_ns_a_token: int
    step_ns: int
    rounds: int = 1
    tokens: int = 1
    prefill: Callable[[int], int] | None = None

    def prefill_ns(self, prompt: int, form: str = "published") -> int:
        """T_pre; the first round caches a prompt's last token."""
        if form == "published" or self.prefill is None:
            return self.prefill_ns_a_token * prompt
        return self.prefill(prompt - 1) if prompt > 1 else 0

    def decode_ns(self, prompt: int, left: int, done: int = 0, form: str = "published") -> int:
        """T_dec of `left` more output tokens after `done`, rounded down; 0 for none."""
        if left <= 0:
            return 0
        if form == "published":
            return (
                left * (self.step_ns_a_token * prompt + self.step_ns) * self.rounds // self.tokens
            )
        contexts = left * (prompt + done) + left * (left - 1) // 2
        return (self.step_ns_a_token * contexts + left * self.step_ns) * self.rounds // self.tokens
