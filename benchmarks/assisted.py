"""Compare our speculative decoding with the assisted generation of transformers.

    python benchmarks/assisted.py [--prompts 8] [--new-tokens 128] [--target FOLDER --draft FOLDER]

All decoders use the same models, prompts and draft length, and decode greedily. After a warm-up,
every decoder decodes each prompt; the order of the decoders rotates from prompt to prompt. The
table shows the median time per emitted token and per round over all prompts, and the ratio to our
time per token. The constant draft length n of assisted generation is set in the generation
configuration of the draft model, where transformers reads it. The script counts the rounds of
assisted generation and asserts their draft length.
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
    """Records how many tokens each round of assisted generation drafted.

    It patches a method of transformers for the rest of the process.
    """

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
    """Return the decoders by name; each decodes a prompt and returns (tokens, rounds)."""
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
        # a round drafts fewer than n tokens after the draft proposes an end token, and when fewer
        # than n + 1 tokens are left to generate
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
    """Time all decoders and print a table with one row per decoder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--prompts", type=int, default=8, help="number of prompts from each bundled set"
    )
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
