"""Train the reference pair from scratch, or resume an interrupted training.

Training takes about an hour on two CPU cores; it has not been timed on a GPU. By default, glibc
returns memory to the kernel too often for this load. With the environment variables
MALLOC_MMAP_THRESHOLD_=4000000000 and MALLOC_TRIM_THRESHOLD_=8000000000, training ran 1.2 times
faster.
"""

import argparse
import itertools
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from lapsd.calibrate.reference import corpus, parallel, train
from lapsd.calibrate.reference.distil import target_texts
from lapsd.calibrate.reference.publish import publish
from lapsd.calibrate.reference.tokenizer import train_tokenizer

TOKENIZER_DOCUMENTS = 12_000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m lapsd.calibrate.reference", description=__doc__
    )
    parser.add_argument(
        "--gsm8k",
        type=Path,
        required=True,
        help="training split of GSM8K, JSON lines (.gz allowed)",
    )
    parser.add_argument("--mbpp", type=Path, required=True, help="MBPP, JSON lines (.gz allowed)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("reference-training"),
        help="folder for checkpoints and the result",
    )
    parser.add_argument("--target-tokens", type=int, default=7_500_000)
    parser.add_argument("--draft-tokens", type=int, default=3_000_000)
    parser.add_argument(
        "--distil-documents", type=int, default=2_000, help="number of texts that the target writes"
    )
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def _tokenizer(args: argparse.Namespace) -> PreTrainedTokenizerFast:
    folder = args.out / "tokenizer"
    if parallel.rank() == 0 and not (folder / "tokenizer.json").exists():
        texts = itertools.islice(corpus.documents(args.gsm8k, args.mbpp), TOKENIZER_DOCUMENTS)
        train_tokenizer(texts, 2 * train.CONTEXT).save_pretrained(folder)
    parallel.wait()
    return PreTrainedTokenizerFast.from_pretrained(folder)


def main() -> None:
    """Train tokenizer and target, write texts with the target, train the draft, save the pair."""
    args = _arguments()
    parallel.join()
    tokenizer = _tokenizer(args)
    device = args.device

    recipe = train.Recipe(tokens=args.target_tokens)
    target = train.new_model(train.target_config(), recipe.seed, device)
    blocks = train.token_blocks(corpus.documents(args.gsm8k, args.mbpp), tokenizer, recipe.batch)
    target_loss = train.train(
        target, blocks, train.next_token_loss, recipe, args.out / "target", device
    )
    target.eval()

    openings = corpus.documents(args.gsm8k, args.mbpp)
    texts = target_texts(target, tokenizer, openings, args.distil_documents, args.out / "texts")
    draft_recipe = train.Recipe(tokens=args.draft_tokens, lr=4e-3)
    draft = train.new_model(train.draft_config(), recipe.seed, device)
    # half of the draft's documents are texts of the target, and half come from the corpus, so that
    # the draft does not overfit to the target's texts
    documents = corpus.documents(args.gsm8k, args.mbpp)
    mixed = itertools.chain.from_iterable(zip(itertools.cycle(texts), documents, strict=False))
    blocks = train.token_blocks(mixed, tokenizer, draft_recipe.batch)
    loss = train.distillation_loss(target)
    draft_loss = train.train(draft, blocks, loss, draft_recipe, args.out / "draft", device)

    if parallel.rank() > 0:
        return
    publish(args.out / "data", tokenizer, target, draft)
    print(
        f"{args.out / 'data'}: target loss {target_loss:.3f} nats, draft divergence"
        f" {draft_loss:.3f} nats"
    )


if __name__ == "__main__":
    main()
