"""Time of a request by its lengths: the time model of ALISE, T_gen(s, n) = s · T_0 + n · (α · s +
β).

s is the length of the prompt, n that of the output. As published, all decoding steps of a request
take equally long. In the form `exact` the context grows, T_dec = n · (α · s + β) + α · n · (n − 1)
/ 2, and the prefill takes the time of the profile. Knows nothing of traces or profiles.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

FORMS = ("published", "exact")


@dataclass(frozen=True)
class TimeModel:
    """Coefficients of the time model, in whole nanoseconds, for a given batch size.

    Attributes
    ----------
    prefill_ns_per_token : int
        T_0, the time of a prefill per prompt token.
    step_ns_per_token, step_ns : int
        α and β: a decoding step at context s takes α · s + β.
    rounds, tokens : int
        tokens / rounds is the number of output tokens per step: 1 without a draft model; with one,
        the totals of past requests.
    prefill : function of tokens, or None
        Time of the prefill of so many tokens in the form `exact`; None: T_0 per token.

    Examples
    --------
    >>> from lapsd.policies import TimeModel
    >>> model = TimeModel(
    ...     prefill_ns_per_token=1_000, step_ns_per_token=10, step_ns=1_000_000
    ... )
    >>> model.prefill_ns(100)
    100000
    """

    prefill_ns_per_token: int
    step_ns_per_token: int
    step_ns: int
    rounds: int = 1
    tokens: int = 1
    prefill: Callable[[int], int] | None = None

    @classmethod
    def fit(
        cls,
        prompt_tokens: NDArray[np.int64],
        prefill_ns: NDArray[np.int64],
        step_ns: tuple[int, int],
        rounds: int,
        tokens: int,
        prefill: Callable[[int], int] | None,
    ) -> Self:
        """Return the model of past requests.

        Parameters
        ----------
        prompt_tokens, prefill_ns : int64 arrays (R,); T_0 is the least-squares slope of the
            prefills through the origin.
        step_ns : tuple[int, int]
            α and β of a decoding step of a full batch.
        rounds, tokens : int
            Totals over the requests.
        prefill : Callable[[int], int] or None
            Time of the prefill of so many tokens.
        """
        prompts = prompt_tokens.astype(float)
        slope = float((prompts @ prefill_ns) / max(1.0, prompts @ prompts))
        shared = math.gcd(rounds, tokens)
        return cls(round(slope), *step_ns, rounds // shared, tokens // shared, prefill)

    def prefill_ns(self, prompt: int, form: str = "published") -> int:
        """Return T_pre; in the form `exact` the first round caches the last token of the prompt."""
        if form == "published" or self.prefill is None:
            return self.prefill_ns_per_token * prompt
        return self.prefill(prompt - 1) if prompt > 1 else 0

    def decode_ns(self, prompt: int, left: int, done: int = 0, form: str = "published") -> int:
        """Return T_dec of `left` more output tokens after `done` tokens, rounded down."""
        if left <= 0:
            return 0
        if form == "published":
            ns = left * (self.step_ns_per_token * prompt + self.step_ns)
        else:
            contexts = left * (prompt + done) + left * (left - 1) // 2
            ns = self.step_ns_per_token * contexts + left * self.step_ns
        # the product of all steps and rounds may exceed 64 bits
        return ns // self.tokens * self.rounds + ns % self.tokens * self.rounds // self.tokens

    def largest_ns(self, prompt: int, left: int) -> int:
        """Return a bound of the whole numbers that are computed for requests of up to so many
        prompt tokens and further output tokens.
        """
        context_ns = self.step_ns_per_token * (prompt + left) + self.step_ns
        prefill_ns = max(self.prefill_ns_per_token * prompt, self.prefill_ns(prompt, "exact"))
        return prefill_ns + left * max(context_ns, prompt + left) + self.tokens * self.rounds
