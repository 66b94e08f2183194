"""Options and settings that would change nothing are refused."""

from tests.hostile.harness import Case, each

COMPARE = "compare --requests 3 --seeds 1"
SWEEP = "sweep --out s --requests 3 --seeds 1 --workers 1"

CASES = [
    Case(f"{COMPARE} --token-budget 100", "has no effect without prefill=chunked"),
    Case(f"{COMPARE} --token-budget 100 --prefill mixed", "without prefill=chunked"),
    Case(f"{COMPARE} --kv-slots unlimited --evict recompute", "because KV memory is unlimited"),
    Case(f"{COMPARE} --kv-slots unlimited --swap-scale 3", "because KV memory is unlimited"),
    Case(f"{COMPARE} --batch 4 --swap-scale 3", "swap_scale=3.0: has no effect"),
    Case(f"{COMPARE} --evict recompute --swap-scale 3", "has no effect with evict=recompute"),
    Case(f"{COMPARE} --kv-slots 4 --kv-tokens 4000 --memory paged", "with memory=paged"),
    Case(f"{COMPARE} --kv-slots 4 --kv-tokens 4000 --memory reserve", "with memory=reserve"),
    Case(f"{COMPARE} --kv-slots 1 --batch 4", "kv_slots=1: must be at least the batch size, 4"),
    Case(f"{COMPARE} --kv-tokens 4000 --memory slots", "memory slots: knows no kv_tokens"),
    Case(f"{COMPARE} --kv-tokens 4000 --memory paged:blocks=3", "and not both"),
    Case(f"{COMPARE} --kv-tokens 4000 --memory paged:park=true", "has no effect with evict=swap"),
    Case(f"{COMPARE} --kv-tokens 4000 --memory alise:int8=none+quantise_ns=3", "has no effect"),
    Case(f"{COMPARE} --think 3", "think=3.0: applies only to a number of clients"),
    Case(f"{COMPARE} --clients 3 --load 0.5", "give either"),
    Case(f"{COMPARE} --clients 3 --rate 0.5", "give either"),
    Case(f"{COMPARE} --clients 3 --cv 2", "cv=2.0: does not apply"),
    Case(f"{COMPARE} --all-at-once --cv 2", "cv=2.0: does not apply"),
    Case(f"{COMPARE} --all-at-once --clients 2", "give either"),
    Case(f"{COMPARE} --load 1 --rate 2", "give either"),
    Case(f"{COMPARE} --json --versus fcfs", "--versus: has no effect with --json"),
    Case("capacity --requests 3 --token-budget 9", "has no effect without prefill=chunked"),
    Case(f"{SWEEP} --token-budget 100,200", "has no effect without prefill=chunked"),
    Case(f"{SWEEP} --kv-slots unlimited --swap-scale 1,2", "swap_scale=2.0: has no effect"),
    Case(f"{SWEEP} --dask tcp://127.0.0.1:1", "--workers: has no effect with --dask"),
    Case("sweep --resume s --overwrite", "--overwrite: has no effect with --resume"),
    Case("sweep --resume s --first-seed 3", "give no other options"),
    Case("sweep --out s --max-seeds 5", "needs --until-ci"),
    Case("show reference --x load", "--x: has no effect on a trace"),
    Case("show reference --where load=1", "--where: has no effect on a trace"),
    Case("show reference.json --value mean_latency_s", "--value: has no effect on a profile"),
    Case("show . --verbose", "--verbose: has no effect on a sweep"),
    Case("show . --x load", "--x: has no effect without --plot"),
    Case("show . --value mean_latency_s --y load", "--y: has no effect with --value"),
    Case("show reference --trace reference", "belongs to a profile"),
    Case("generate -o x --acceptance none --seed 3", "needs --lengths"),
    Case("generate -o x --acceptance none --lengths y --seed 3", "--seed: has no effect"),
    Case("generate -o x --acceptance recorded --lengths y --spread 1", "--spread: has no effect"),
    Case("predict x --prompts p --out o --predictor ridge --k 3", "--k: has no effect"),
    Case("predict x --prompts p --out o --insert", "--insert needs both"),
    Case("reproduce --out r --draw-only --workers 2", "--workers: has no effect"),
    Case("reproduce --out r --draw-only --overwrite", "not with --resume or --draw-only"),
    Case("import aiconfigurator --list --gpu h100_sxm", "--gpu: has no effect with --list"),
]


@each(CASES)
def test_an_option_without_effect_is_refused(case, run):
    run(case)


SENSIBLE = [
    Case(f"{SWEEP} --prefill alone,chunked --token-budget 100,200", code=0),
    Case(f"{SWEEP} --kv-slots 1,unlimited --swap-scale 1,2", code=0),
]


@each(SENSIBLE)
def test_a_setting_may_have_no_effect_in_some_scenarios_of_a_sweep(case, run):
    run(case)
