"""Train the reference pair: the target on the corpus, and the draft by distillation.

Training is seeded and checkpointed; after an interruption, the same command resumes from the last
checkpoint. A checkpoint is a safetensors file with JSON metadata, written under a temporary name
and renamed. Muon trains the hidden matrices and AdamW all other parameters; both use the same
schedule of warm-up, constant rate and linear decay. This module knows nothing about speculative
decoding.
"""

import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lapsd.calibrate.reference import parallel

CONTEXT = 512
Loss = Callable[[torch.nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of one training.

    `tokens` counts repeated tokens each time.
    """

    tokens: int
    batch: int = 8
    lr: float = 2e-3
    warmup: float = 0.02
    decay: float = 0.35
    weight_decay: float = 0.05
    seed: int = 0
    checkpoint_every: int = 100

    @property
    def steps(self) -> int:
        return max(1, self.tokens // (self.batch * CONTEXT))

    def rate(self, step: int) -> float:
        """Return the factor of the learning rate at `step`."""
        done = step / self.steps
        return min(
            1.0, (step + 1) / max(1, self.warmup * self.steps), max(0.02, (1 - done) / self.decay)
        )


def target_config() -> LlamaConfig:
    """Return the target's configuration: 8 layers of width 256, 7.0 M parameters.

    It has 4 query heads and 2 key-value heads of size 64, and tied embeddings.
    """
    return _config(
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=2,
    )


def draft_config() -> LlamaConfig:
    """Return the draft's configuration: one layer of width 128, 0.7 M parameters.

    It has 4 query heads and 2 key-value heads of size 32, and tied embeddings.
    """
    return _config(
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
    )


def _config(**shape: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=4_096,
        max_position_embeddings=2 * CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        rms_norm_eps=1e-5,
        **shape,
    )


def token_blocks(
    texts: Iterator[str], tokenizer: PreTrainedTokenizerFast, batch: int
) -> Iterator[Tensor]:
    """Pack documents, each followed by the end token, into blocks (batch, CONTEXT + 1)."""
    need, buffer = batch * (CONTEXT + 1), []
    end = tokenizer.eos_token_id
    while True:
        for ids in tokenizer(list(itertools.islice(texts, 64)))["input_ids"]:
            buffer += [*ids, end]
        while len(buffer) >= need:
            yield torch.tensor(buffer[:need]).view(batch, CONTEXT + 1)
            buffer = buffer[need:]


def next_token_loss(model: torch.nn.Module, block: Tensor) -> Tensor:
    """Return the mean cross-entropy of the next token, in nats."""
    logits = model(input_ids=block[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits.flatten(0, 1).float(), block[:, 1:].flatten())


def distillation_loss(target: torch.nn.Module) -> Loss:
    """Return a loss function for the draft.

    The loss is the mean KL divergence from the target's distribution to the draft's, plus a tenth
    of the cross-entropy of the text.
    """

    def loss(draft: torch.nn.Module, block: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = (
                target(input_ids=block[:, :-1], use_cache=False)
                .logits.flatten(0, 1)
                .float()
                .log_softmax(-1)
            )
        log_probs = (
            draft(input_ids=block[:, :-1], use_cache=False)
            .logits.flatten(0, 1)
            .float()
            .log_softmax(-1)
        )
        divergence = functional.kl_div(log_probs, wanted, log_target=True, reduction="batchmean")
        return divergence + 0.1 * functional.nll_loss(log_probs, block[:, 1:].flatten())

    return loss


def _optimizers(model: torch.nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    hidden = [
        p
        for name, p in model.named_parameters()
        if p.ndim == 2 and "embed" not in name and "lm_head" not in name
    ]
    chosen = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(
            hidden, lr=recipe.lr, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(rest, lr=recipe.lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def train(
    model: torch.nn.Module,
    blocks: Iterator[Tensor],
    loss_of: Loss,
    recipe: Recipe,
    folder: Path,
    device: str,
) -> float:
    """Train `model` in place, and return the smoothed loss of the last step.

    Training resumes from the checkpoint in `folder`, if there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizers = _optimizers(model, recipe)
    first, smooth = _resume(folder, model, optimizers, recipe)
    blocks = itertools.islice(parallel.rows(blocks), first, None)
    model.train()
    since, started = first, time.perf_counter()
    for step in range(first, recipe.steps):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = recipe.lr * recipe.rate(step)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = loss_of(model, next(blocks).to(device))
        loss.backward()
        loss = parallel.average(model, loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        value = float(loss)
        if not math.isfinite(value):
            raise RuntimeError(
                f"{folder.name}: the loss is {value} at step {step}; use a lower learning rate"
            )
        smooth = value if step == 0 else 0.98 * smooth + 0.02 * value
        if (step + 1) % 20 == 0 and parallel.rank() == 0:
            rate = (step + 1 - since) * recipe.batch * CONTEXT / (time.perf_counter() - started)
            done = f"{folder.name}: step {step + 1}/{recipe.steps}"
            print(f"{done}  loss {smooth:.3f}  {rate:,.0f} tokens/s", flush=True)
        if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps:
            _checkpoint(folder, model, optimizers, recipe, step + 1, smooth)
    return smooth


def _state(model: torch.nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for i, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer.{i}.{index}.{key}": torch.as_tensor(value)
                for key, value in state.items()
            }
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _checkpoint(
    folder: Path,
    model: torch.nn.Module,
    optimizers: list[Any],
    recipe: Recipe,
    step: int,
    loss: float,
) -> None:
    if parallel.rank() > 0:
        return
    temporary = folder / ".checkpoint"
    note = {"step": step, "loss": loss, "recipe": asdict(recipe)}
    save_file(_state(model, optimizers), temporary, metadata={"lapsd": json.dumps(note)})
    os.replace(temporary, folder / "checkpoint.safetensors")


def _resume(
    folder: Path, model: torch.nn.Module, optimizers: list[Any], recipe: Recipe
) -> tuple[int, float]:
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return 0, 0.0
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        note = json.loads(json.loads(file.read(size))["__metadata__"]["lapsd"])
    if note["recipe"] != asdict(recipe):
        raise ValueError(
            f"{path}: was made with another recipe ({note['recipe']}); choose another --out folder"
        )
    tensors = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    for i, optimizer in enumerate(optimizers):
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(f"optimizer.{i}."):
                _, _, index, key = name.split(".", 3)
                states.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict(
            {"state": states, "param_groups": optimizer.state_dict()["param_groups"]}
        )
    return int(note["step"]), float(note["loss"])


def new_model(config: LlamaConfig, seed: int, device: str) -> LlamaForCausalLM:
    """Return a newly initialised float32 model."""
    torch.manual_seed(seed)
    # on two CPU cores at context 512, plain attention trains 1.3 times faster than fused attention
    return LlamaForCausalLM._from_config(config, attn_implementation="eager").to(device)
