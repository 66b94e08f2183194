"""What a calibration is asked for: its settings, and its requests as token ids in the order they
are decoded.
"""

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
    """How a calibration runs; `requests` is per prompt set, and the first draft length is the one
    that is judged.

    `quick` takes few samples a cell of the grid: for trying things out.
    """

    draft_tokens: tuple[int, ...] = (4,)
    max_new_tokens: int = 512
    requests: int = 40
    sampling: Sampling = field(default_factory=Sampling)
    batches: tuple[int, ...] = BATCHES
    quick: bool = False

    def __post_init__(self) -> None:
        bounds = [("draft tokens", n, 1_000) for n in self.draft_tokens] + [
            ("max new tokens", self.max_new_tokens, 2**15),
            ("requests", self.requests, 10**7),
            *(("batch size", b, 1_024) for b in self.batches),
        ]
        for name, value, most in bounds:
            if not 1 <= value <= most:
                raise ValueError(f"{name} {value}: must be between 1 and {most}")
        if not self.draft_tokens or len(set(self.draft_tokens)) < len(self.draft_tokens):
            raise ValueError(
                f"draft tokens {self.draft_tokens}: must be different numbers, at least one"
            )

    @property
    def described(self) -> dict[str, Any]:
        """As they stand in the files."""
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
    """The first `settings.requests` prompts that fit into the models' context, as token ids.

    Parameters
    ----------
    leave_out : skip prompts that are too long instead of refusing them.
    chat : put each prompt as a user's turn into the target's chat template.

    Raises
    ------
    ValueError
        Naming the first prompt that does not fit, or if too few are there, or if there is no chat
        template.
    """
    look_ahead = max(settings.draft_tokens) + 1
    room = pair.context - settings.max_new_tokens - look_ahead
    if room < 1:
        raise ValueError(
            f"max new tokens {settings.max_new_tokens}: leaves no room for a prompt in a context of"
            f" {pair.context} (at most {pair.context - look_ahead - 1})"
        )
    chosen = []
    for prompt in prompts:
        ids = _chat_ids(pair, prompt.text) if chat else pair.tokenizer(prompt.text)["input_ids"]
        if 1 <= len(ids) <= room:
            chosen.append((prompt, ids))
        elif not leave_out:
            raise ValueError(
                f"prompt {prompt.request_id}: {len(ids)} tokens, but a context of {pair.context}"
                f" leaves room for 1 to {room} (lower the number of new tokens, or leave the prompt"
                " out)"
            )
        if len(chosen) == settings.requests:
            return chosen
    raise ValueError(
        f"requests {settings.requests}: only {len(chosen)} prompts of {prompts[0].dataset} are"
        " there"
    )


def _chat_ids(pair: Pair, text: str) -> list[int]:
    if not getattr(pair.tokenizer, "chat_template", None):
        raise ValueError(f"--chat: the tokenizer of {pair.target_name} has no chat template")
    turn = [{"role": "user", "content": text}]
    whole = pair.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    # the template writes the beginning-of-sequence token itself
    ids: list[int] = pair.tokenizer(whole, add_special_tokens=False)["input_ids"]
    return ids


def in_order(prompt_sets: Sequence[Sequence[Tokenized]]) -> list[Tokenized]:
    """Requests as they are decoded: sets interleaved, so that a slow spell of the machine falls on
    all alike.
    """
    return [p for group in itertools.zip_longest(*prompt_sets) for p in group if p is not None]
