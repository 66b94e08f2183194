"""A fix for vLLM 0.32 on CPUs, where sampled speculative decoding reads uninitialized memory.

On CPUs `vllm.utils.cpu_triton_utils._expand_kernel_impl` replaces the Triton kernel that repeats
the temperature of each request for its draft tokens. It converts the output to int64, fills that
copy and discards it. The temperatures are then uninitialized memory, drafts are hardly ever
accepted, and samples do not follow the distribution of the target. Greedy decoding does not use the
function.
"""

import torch


def expand(
    x: torch.Tensor,
    cumulative: torch.Tensor,
    length: int,
    replace_from: int = 0,
    replace_to: int = 0,
) -> torch.Tensor:
    """Return each request's value repeated for each of its draft tokens.

    Parameters
    ----------
    x : (R,)
    cumulative : (R,)
        Cumulative number of draft tokens, including each request's own.
    length : total number of draft tokens.
    replace_from, replace_to : values equal to `replace_from` become `replace_to`.
    """
    counts = torch.diff(cumulative, prepend=cumulative.new_zeros(1))
    return torch.where(x == replace_from, replace_to, x).repeat_interleave(
        counts, output_size=length
    )


def repair() -> None:
    """Replace the function in this process with `expand`, if vLLM runs on a CPU."""
    from vllm.platforms import current_platform
    from vllm.v1.sample import rejection_sampler

    if current_platform.is_cpu():
        rejection_sampler.expand_batch_to_tokens = expand
