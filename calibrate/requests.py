"""The settings of a calibration, and its requests as token ids in the order of decoding."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lapsd.calibrate.decoding.decoder import Sampling
from lapsd.calibrate.models.loading import Pair
from lapsd.calibrate.prompts import Prompt
from lapsd.calibrate.timing.cells import BATCHES

Tokenized = tuple[Prompt, list[int]]


@dataclass(frozen=True)
class Settings:
    """The settings of a calibration.

    Attributes
    ----------
    draft_tokens : tuple of int
        Draft lengths. The fits and checks of the profile refer to the first one.
    max_new_tokens : int
        Cap on the length of an output, in tokens.
    requests : int
        Number of requests from each prompt set.
    sampling : Sampling
    batches : tuple of int
        Batch sizes to time rounds at.
    quick : bool
        Take few samples per cell of the grid, to try things out.

    Examples
    --------
    >>> from lapsd.calibrate import Settings
    >>> Settings(draft_tokens=(2, 4), batches=(1, 4), quick=True).draft_tokens
    (2, 4)
    """

    draft_tokens: tuple[int, ...] = (4,)
    max_new_tokens: int = 512
    requests: int = 40
    sampling: Sampling = field(default_factory=Sampling)
    batches: tuple[int, ...] = BATCHES
    quick: bool = False

    def __post_init__(self) -> None:
        bounds = [("draft_tokens", n, 1_000) for n in self.draft_tokens] + [
            ("max_new_tokens", self.max_new_tokens, 2**15),
            ("requests", self.requests, 10**7),
            *(("batches", b, 1_024) for b in self.batches),
        ]
        for name, value, most in bounds:
            if not 1 <= value <= most:
                raise ValueError(f"{name}={value}: must be between 1 and {most}")
        if not self.draft_tokens or len(set(self.draft_tokens)) < len(self.draft_tokens):
            raise ValueError(
                f"draft_tokens={self.draft_tokens}: must be different numbers, at least one"
            )

    @property
    def described(self) -> dict[str, Any]:
        """The settings as they are written into the files."""
        return {
            "draft_tokens": list(self.draft_tokens),
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.sampling.temperature,
            "seed": self.sampling.seed,
            **({"quick": True} if self.quick else {}),
        }


def tokenize(
    pair: Pair,
    prompts: Sequence[Prompt],
    settings: Settings,
    *,
    leave_out: bool,
    chat: bool = False,
) -> list[Tokenized]:
    """Return the first `settings.requests` prompts that fit into the models' context, as token ids.

    Parameters
    ----------
    pair : Pair
    prompts : sequence of Prompt
    settings : Settings
    leave_out : bool
        Skip prompts that are too long instead of raising an error.
    chat : bool
        Put each prompt into the target's chat template, as a user's turn.

    Raises
    ------
    ValueError
        If a prompt does not fit (the message names it), if there are too few prompts, or if there
        is no chat template.

    Examples
    --------
    >>> from lapsd.calibrate import Settings, load_pair, tokenize
    >>> from lapsd.calibrate.prompts import Prompt
    >>> pair = load_pair("reference", "reference", device="cpu")
    >>> prompts = [Prompt("a", "code", "def f(x):"), Prompt("b", "code", "def g(x):")]
    >>> requests = tokenize(pair, prompts, Settings(requests=2), leave_out=False)
    >>> len(requests)
    2
    """
    look_ahead = max(settings.draft_tokens) + 1
    room = pair.context - settings.max_new_tokens - look_ahead
    if room < 1:
        raise ValueError(
            f"max new tokens {settings.max_new_tokens}: leaves no room for a prompt in a context of"
            f" {pair.context}; must be at most {pair.context - look_ahead - 1}"
        )
    chosen = []
    for prompt in prompts:
        ids = _chat_ids(pair, prompt.text) if chat else pair.tokenizer(prompt.text)["input_ids"]
        if 1 <= len(ids) <= room:
            chosen.append((prompt, ids))
        elif not leave_out:
            raise ValueError(
                f"prompt {prompt.request_id}: has {len(ids)} tokens, but a context of"
                f" {pair.context} leaves room for 1 to {room} (lower the number of new tokens, or"
                " remove the prompt)"
            )
        if len(chosen) == settings.requests:
            return chosen
    raise ValueError(
        f"requests {settings.requests}: only {len(chosen)} prompts of {prompts[0].dataset} fit"
    )


def _chat_ids(pair: Pair, text: str) -> list[int]:
    if not getattr(pair.tokenizer, "chat_template", None):
        raise ValueError(f"--chat: the tokenizer of {pair.target_name} has no chat template")
    turn = [{"role": "user", "content": text}]
    whole = pair.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    # the template itself adds the beginning-of-sequence token
    ids: list[int] = pair.tokenizer(whole, add_special_tokens=False)["input_ids"]
    return ids


def in_order(prompt_sets: Sequence[Sequence[Tokenized]]) -> list[Tokenized]:
    """Return the requests in the order of decoding, with the prompt sets interleaved.

    Thus a slow period of the machine affects all sets equally.

    Parameters
    ----------
    prompt_sets : Sequence[Sequence[Tokenized]]
        The requests of each prompt set.

    Examples
    --------
    >>> from lapsd.calibrate import in_order
    >>> from lapsd.calibrate.prompts import Prompt
    >>> code = [(Prompt(f"code-{n}", "code", "def f(x):"), [1, 2]) for n in range(2)]
    >>> prose = [(Prompt(f"prose-{n}", "prose", "Once"), [3]) for n in range(2)]
    >>> [prompt.request_id for prompt, tokens in in_order([code, prose])]
    ['code-0', 'prose-0', 'code-1', 'prose-1']
    """
    return [p for group in itertools.zip_longest(*prompt_sets) for p in group if p is not None]
