"""Advice that cannot be given."""

from tests.hostile.harness import Case, each

H200 = "advise --profile llama-7b-h200 --requests 3"
SMALL = f"{H200} --seeds 1 --batch 2"
ADVICE = [
    Case("advise", "--target: is needed, or --profile"),
    Case("advise --target llama-7b", "--draft: is needed"),
    Case("advise --target llama-7b --draft none", "drafts nothing"),
    Case("advise --profile llama-7b-h200 --target llama-7b", "not with --target"),
    Case("advise --profile llama-7b-h200 --gpu h200_sxm", "not with --gpu"),
    Case("advise --profile llama-7b-h200 --tp 0", "not with --tp"),
    Case("advise --target llama-7b --draft llama-68m --tp 0", ""),
    Case("advise --target '' --draft llama-68m", ""),
    Case("advise --profile nosuch", "nosuch"),
    Case("advise --profile @list.json", "list.json"),
    Case("advise --profile reference --trace nosuch", "nosuch"),
    Case("advise --profile reference --trace @empty.parquet", "empty.parquet"),
    Case(f"{SMALL} --trace azure-conversations", "holds no"),
    Case(f"{H200} --batch 2 --seeds 0", "seeds=0"),
    Case(f"{H200} --batch 0", "batch=0"),
    Case(f"{H200} --batch 5000", "5000"),
    Case(f"{SMALL} --load nan", "load=nan"),
    Case(f"{SMALL} --load 1 --rate 2", "rate"),
    Case(f"{SMALL} --out advice.txt", "the file's ending must be .json"),
    Case(f"{SMALL} --out nosuch/advice.json", "there is no folder nosuch"),
    Case(f"{SMALL} --graph-sizes 8/4", "graph_sizes=8/4"),
    Case(f"{SMALL} --arrivals @empty.parquet", "empty.parquet"),
]


@each(ADVICE)
def test_advice_that_cannot_be_given_is_refused_in_one_line(case, run):
    run(case)
