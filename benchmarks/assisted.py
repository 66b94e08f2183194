"""Our speculative decoding beside transformers' assisted generation: same models, prompts, draft
length, greedy.

    python benchmarks/assisted.py [--prompts 8] [--new-tokens 128] [--target FOLDER --draft FOLDER]

Each prompt is decoded by every contender in turn, in an order that rotates, after a warm-up; times
are per emitted token and per round, medians over prompts, and ratios to ours. Assisted generation
is told to draft a constant n on the *draft's* generation configuration, where it looks for it; its
rounds are counted and their draft length asserted.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers.generation import candidate_generator

from lapsd.calibrate import Sampling, generate, load_pair
from lapsd.calibrate.prompts import PROMPT_SETS, bundled_prompts

N = 4


class Rounds:
    """Counts assisted generation's rounds, and sees how many tokens each drafted."""

    def __init__(self) -> None:
        self.drafted: list[int] = []
        original = candidate_generator.AssistedCandidateGenerator.update_candidate_strategy
        count = self.drafted

        def counted(generator: Any, input_ids: Any, scores: Any, num_matches: int) -> None:
            count.append(scores.shape[1] - 1)
            original(generator, input_ids, scores, num_matches)

        candidate_generator.AssistedCandidateGenerator.update_candidate_strategy = counted


def contenders(
    target: str, draft: str, new_tokens: int
) -> dict[str, Callable[[list[int]], tuple[int, int]]]:
    """Each decodes a prompt and returns (tokens, rounds)."""
    pairs = {engine: load_pair(target, draft, engine=engine) for engine in ("auto", "hf")}

    def ours(engine: str) -> Callable[[list[int]], tuple[int, int]]:
        def decode(ids: list[int]) -> tuple[int, int]:
            result = generate(
                pairs[engine], ids, n=N, max_new_tokens=new_tokens, sampling=Sampling()
            )
            return len(result.tokens), len(result.rounds)

        return decode

    pair, rounds = pairs["hf"], Rounds()
    pair.draft.generation_config.num_assistant_tokens = N
    pair.draft.generation_config.num_assistant_tokens_schedule = "constant"
    pair.draft.generation_config.assistant_confidence_threshold = 0.0

    def run(ids: list[int], **options: Any) -> int:
        prompt = torch.tensor([ids], device=pair.device)
        with torch.inference_mode():
            output = pair.target.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                max_new_tokens=new_tokens,
                **options,
            )
        return output.shape[1] - len(ids)

    def assisted(ids: list[int]) -> tuple[int, int]:
        rounds.drafted.clear()
        tokens = run(ids, assistant_model=pair.draft)
        full = sum(n == N for n in rounds.drafted) / len(rounds.drafted)
        # it drafts fewer after proposing an end token, and where fewer than n + 1 tokens are left
        assert max(rounds.drafted) == N, f"assisted generation drafted {set(rounds.drafted)}"
        assert full > 0.5 or len(rounds.drafted) < 10, f"only {full:.0%} of the rounds drafted {N}"
        return tokens, len(rounds.drafted)

    def plain(ids: list[int]) -> tuple[int, int]:
        tokens = run(ids)
        return tokens, tokens

    return {
        "lapsd": ours("auto"),
        "lapsd, hf engine": ours("hf"),
        "assisted generation": assisted,
        "plain": plain,
    }


def main() -> None:
    """Time all contenders and print both sides."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=8, help="of each bundled set")
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--target", default="reference")
    parser.add_argument("--draft", default="reference")
    arguments = parser.parse_args()
    decoders = contenders(arguments.target, arguments.draft, arguments.new_tokens)
    tokenizer = load_pair(arguments.target, arguments.draft).tokenizer
    prompts = [
        tokenizer(p.text)["input_ids"]
        for s in PROMPT_SETS
        for p in bundled_prompts(s)[: arguments.prompts]
    ]
    names = list(decoders)
    for decode in decoders.values():
        decode(prompts[0])
    per_token: dict[str, list[float]] = {name: [] for name in names}
    per_round: dict[str, list[float]] = {name: [] for name in names}
    for i, prompt in enumerate(prompts):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = time.perf_counter()
            tokens, rounds = decoders[name](prompt)
            seconds = time.perf_counter() - start
            per_token[name].append(seconds / tokens)
            per_round[name].append(seconds / max(rounds, 1))
    ours = statistics.median(per_token["lapsd"])
    print(
        f"{len(prompts)} prompts, {arguments.new_tokens} new tokens, n = {N},"
        f" {torch.get_num_threads()} threads"
    )
    print(f"{'':22}{'ms / token':>12}{'ms / round':>12}{'over lapsd':>12}")
    for name in names:
        token, round_ = statistics.median(per_token[name]), statistics.median(per_round[name])
        print(f"{name:22}{1e3 * token:12.2f}{1e3 * round_:12.2f}{token / ours:12.2f}")


if __name__ == "__main__":
    main()
