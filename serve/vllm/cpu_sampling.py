"""A repair of vLLM 0.32 on CPUs, where sampled speculative decoding divides logits by memory that
nobody wrote.

`vllm.utils.cpu_triton_utils._expand_kernel_impl` stands in for the Triton kernel that repeats each
request's temperature for its draft tokens. It converts the output to int64, fills that copy and
drops it: temperatures are what the memory held before, drafts are hardly ever accepted, and what is
sampled is not the target's. Greedy decoding never comes there.
"""

import torch


def expand(
    x: torch.Tensor,
    cumulative: torch.Tensor,
    length: int,
    replace_from: int = 0,
    replace_to: int = 0,
) -> torch.Tensor:
    """Repeat each request's value for each of its draft tokens.

    Parameters
    ----------
    x : (R,)
    cumulative : (R,)
        Draft tokens up to and with each request's.
    length : their sum.
    replace_from, replace_to : this value becomes that one.
    """
    counts = torch.diff(cumulative, prepend=cumulative.new_zeros(1))
    return torch.where(x == replace_from, replace_to, x).repeat_interleave(
        counts, output_size=length
    )


def repair() -> None:
    """Have this process's vLLM expand with the above, if it runs on a CPU."""
    from vllm.platforms import current_platform
    from vllm.v1.sample import rejection_sampler

    if current_platform.is_cpu():
        rejection_sampler.expand_batch_to_tokens = expand
