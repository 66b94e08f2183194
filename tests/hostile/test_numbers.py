"""Numbers that cannot be meant, and numbers whose results 64 bits cannot hold."""

from tests.hostile.harness import Case, each

FEW = "--requests 3 --seeds 1 --policy fcfs"

OPTIONS = [
    Case("compare --requests 1_0", "'1_0': needs an integer"),
    Case("compare --requests ٣", "needs an integer"),
    Case("compare --requests 3.0", "'3.0': needs an integer"),
    Case("compare --requests inf", "'inf': needs an integer"),
    Case("compare --requests -1", "requests=-1: must be at least 1"),
    Case("compare --requests 100000000000000000000", "at most 10000000"),
    Case("compare --seeds 1_0", "'1_0': needs an integer"),
    Case("compare --seeds 0", "seeds=0: must be at least 1"),
    Case("compare --seeds 1000000000000", "at most 100000"),
    Case("compare --warmup 30", "warmup=30: must be below"),
    Case("compare --warmup -1", "warmup=-1"),
    Case("compare --load inf", "load=inf: must be above 0"),
    Case("compare --load -inf", "load=-inf"),
    Case("compare --load 0", "load=0.0: must be above 0"),
    Case("compare --load 1_0", "'1_0': needs a number"),
    Case("compare --load 1e-300", "s to arrive, above 1000000000 s"),
    Case("compare --rate 1e-300 --cv 100", "s to arrive, above 1000000000 s"),
    Case("compare --rate nan", "rate=nan"),
    Case("compare --rate 1e400", "rate=inf"),
    Case("compare --cv 0", "cv=0.0: must be above 0 and at most 100"),
    Case("compare --cv 101", "cv=101.0"),
    Case("compare --cv nan", "cv=nan"),
    Case("compare --clients 0", "clients=0: must be at least 1"),
    Case("compare --clients 1e3", "needs an integer"),
    Case("compare --clients 2 --think -1", "think=-1.0: must be at least 0"),
    Case("compare --clients 2 --think 1e10", "think=10000000000.0"),
    Case("compare --clients 2 --think nan", "think=nan"),
    Case("compare --split-seed -1", "split_seed=-1"),
    Case("compare --split-seed 1000000000000000000000", "split_seed=1000000000000000000000"),
    Case("compare --draft-tokens 1001", "draft_tokens=1001"),
    Case("compare --draft-tokens 0x2", "needs an integer"),
    Case("compare --batch 0", "batch=0: must be at least 1"),
    Case("compare --batch 1000000000000000000000", "batch=1000000000000000000000"),
    Case("compare --kv-slots 0", "kv_slots=0: must be at least 1"),
    Case("compare --kv-slots 1_0", "kv_slots='1_0'"),
    Case("compare --kv-slots 10000000000000000", "kv_slots=10000000000000000"),
    Case("compare --kv-tokens 10000000000000000000", "kv_tokens=10000000000000000000"),
    Case("compare --kv-tokens 1.5", "needs an integer"),
    Case("compare --swap-scale 1e7", "swap_scale=10000000.0: must be at least 0"),
    Case("compare --swap-scale nan", "swap_scale=nan"),
    Case("compare --host-us -1", "host_us=-1.0"),
    Case("compare --host-us inf", "host_us=inf"),
    Case("compare --token-budget 0 --prefill chunked", "token_budget=0"),
    Case("compare --token-budget 99999999999999999999", "token_budget=99999999999999999999"),
    Case("compare --ttft-limit 1e-300", "ttft_limit=1e-300: must be at least 1e-09"),
    Case("compare --tpot-limit nan", "tpot_limit=nan"),
    Case("compare --memory paged:blocks=10000000000000000000 --batch 2", "must be at most"),
    Case("compare --memory paged:blocks=1_0 --batch 2", "needs an integer"),
    Case("compare --memory alise:blocks=9+high=nan --batch 2", "0 <= low <= high <= 1"),
    Case("compare --memory alise:blocks=9+high=inf --batch 2", "0 <= low <= high <= 1"),
    Case(
        "compare --memory fastserve:blocks=9+host=99999999999999999999 --batch 2", "must be at most"
    ),
    Case("compare --length-predictor noisy:11", "SD must be between 0 and 10"),
    Case("compare --length-predictor noisy:nan", "SD must be between 0 and 10"),
    Case("compare --length-predictor noisy:1_0", "needs a number"),
    Case("compare --length-predictor regressed:inf", "R must be between 0 and 1"),
    Case("compare --dataset code=1_0+prose=1", "a mix is NAME=SHARE+NAME=SHARE"),
    Case("compare --dataset code=inf+prose=1", "a mix is NAME=SHARE+NAME=SHARE"),
]

PARAMETERS = [
    Case("compare --policy las:K=0", "K=0 must be between 1 and 64"),
    Case("compare --policy las:K=1000000000000", "K=1000000000000 must be between"),
    Case("compare --policy las:K=1_0", "needs an integer"),
    Case("compare --policy las:M=1", "M=1.0 must be above 1"),
    Case("compare --policy las:M=nan", "M=nan must be above 1"),
    Case("compare --policy las:M=1e300", "must be above 1, and at most 1000"),
    Case("compare --policy las:sup_1_s=inf", "sup_1_s=inf must be above 0"),
    Case("compare --policy las:sup_1_s=1e10", "at most 1e+09"),
    Case("compare --policy las:age_s=-1", "age_s=-1.0 must be above 0"),
    Case("compare --policy laps-sd:gamma=0", "gamma=0 must be between"),
    Case("compare --policy laps-sd:delta=nan", "delta=nan must be between"),
    Case("compare --policy laps-sd:overrun=inf", "overrun=inf must be between"),
    Case("compare --policy kernel-gittins:age_weight=nan", "age_weight=nan must be between"),
    Case("compare --policy kernel-gittins:switch_penalty=-1", "switch_penalty=-1.0 must be"),
    Case("compare --policy boost:theta=0", "theta=0.0 must be between"),
    Case("compare --policy rr:quantum=10000000000000000000000", "must be between 1 and 1000000"),
    Case("compare --policy fastserve:quantum_ms=inf", "quantum_ms=inf must be above 0"),
    Case("compare --policy alise:overrun=0.5", "overrun=0.5 must be between"),
]

TOO_LARGE = [
    Case("compare --clients 4 --think 1e9", "due to think times: up to 2.60e+19 ns"),
    Case("compare --clients 4 --think 1e9 --engine simpy", "due to think times: up to 2.60e+19 ns"),
    Case(f"compare {FEW} --profile @largest-prefill.json --trace @long.parquet", "must be at most"),
    Case(
        "compare --profile @largest-prefill.json --requests 300 --all-at-once",
        "due to prefills: up to",
    ),
    Case(f"compare {FEW} --profile @largest-square.json --trace @long.parquet", "must be at most"),
    Case(f"compare {FEW} --profile @largest-rounds.json", "must be at most 4.61e+18 ns"),
    Case(f"compare {FEW} --profile @largest-swap.json --swap-scale 1e6", "due to KV transfers"),
    Case(f"capacity {FEW} --profile @largest-rounds.json", "must be at most 4.61e+18 ns"),
    Case("show @largest-rounds.json", code=0),
    Case(
        f"compare {FEW} --batch 2 --memory alise:blocks=999+quantise_ns=1000000000000000",
        "due to KV transfers",
    ),
]

SWEEPS = [
    Case("sweep --out s --seeds 1_0", "'1_0': needs an integer"),
    Case("sweep --out s --seeds 0", "seeds=0: must be at least 1"),
    Case("sweep --out s --seeds 1000000000000000", "at most 1000000000"),
    Case("sweep --out s --seeds 900000000", "runs: must be at most 1000000000"),
    Case("sweep --out s --first-seed -1", "first_seed=-1: must be at least 0"),
    Case("sweep --out s --first-seed 9223372036854775807", "first_seed=9223372036854775807"),
    Case("sweep --out s --load inf", "load=inf: must be above 0"),
    Case("sweep --out s --load 1_0", "load='1_0': needs a number"),
    Case("sweep --out s --load 0.5:nan", "load '0.5:nan': a range is low:high"),
    Case("sweep --out s --load 0:1:1e-999999", "a range is low:high"),
    Case("sweep --out s --requests 1:99999 --split-seed 0:99999", "combinations of values"),
    Case("sweep --out s --K 1:64 --gamma 1:90000", "combinations of values: must be at most"),
    Case("sweep --out s --K 1_0", "K=1_0: needs an integer"),
    Case("sweep --out s --K inf", "needs an integer"),
    Case("sweep --out s --delta nan", "delta=nan must be between"),
    Case("sweep --out s --until-ci nan", "until_ci=nan: must be above 0"),
    Case("sweep --out s --until-ci 1_0%", "until_ci '1_0%': needs a share"),
    Case("sweep --out s --until-ci 2% --max-seeds 1_0", "needs an integer"),
    Case("sweep --out s --from @inf-load.toml", "inf: not a finite number"),
    Case("sweep --out s --from @nan-parameter.toml", "nan: not a finite number"),
    Case("sweep --out s --from @inf-seeds.toml", "inf: not a finite number"),
    Case("sweep --out s --from @half-seeds.toml", "seeds=1.9: needs an integer"),
    Case("sweep --out s --from @true-seeds.toml", "seeds=True: needs an integer"),
    Case("sweep --out s --from @huge-seeds.toml", "beyond 64 bits"),
    Case("sweep --out s --from @inf-batch.toml", "inf: not a finite number"),
    Case("sweep --out s --from @huge-load.toml", "beyond 64 bits"),
    Case("sweep --out s --from @inf-share.toml", "inf: not a finite number"),
]

OTHERS = [
    Case("capacity --seeds 1_0", "needs an integer"),
    Case("capacity --seeds 0", "seeds=0: must be at least 1"),
    Case("capacity --tolerance nan", "tolerance=nan: must be between"),
    Case("capacity --tolerance 1_0", "needs a number"),
    Case("capacity --constraint 'p99_latency_s<=0'", "needs METRIC<=BOUND"),
    Case("capacity --constraint 'p99_latency_s<=1e999'", "needs METRIC<=BOUND"),
    Case("capacity --constraint 'p99_latency_s<=nan'", "needs METRIC<=BOUND"),
    Case("generate -o t.parquet --requests 0", "requests=0: must be between 1 and"),
    Case("generate -o t.parquet --requests 1_0", "needs an integer"),
    Case("generate -o t.parquet --requests 100000000000", "must be between 1 and 10000000"),
    Case("generate -o t.parquet --spread nan", "spread=nan: must be between 0 and 10"),
    Case("generate -o t.parquet --spread -1", "spread=-1.0: must be between"),
    Case("generate -o t.parquet --seed -1", "seed=-1: must be at least 0"),
    *(
        Case(f"generate -o t.parquet --lengths @{name}.parquet --acceptance {how}", says)
        for how in ("fitted", "recorded", "none")
        for name, says in (
            ("zero-output", "field 'output_tokens': 0: below 1"),
            ("negative-prompt", "prompt_tokens -1: must be at least 0"),
            ("huge-prompt", "prompt_tokens 4294967296: must be"),
        )
    ),
]

MARKED = [
    Case(
        "capacity --requests 5 --seeds 1 --constraint 'p99_latency_s<=2'", "are expected above", 0
    ),
    Case(
        "capacity --requests 5 --seeds 1 --constraint 'p99_latency_s<=2' --json",
        '"unreliable": true',
        0,
    ),
    Case("capacity --requests 5 --seeds 1 --json", '"unreliable": false', 0),
]

BOUNDED = [
    Case(f"compare {FEW} --policy {policy} --length-predictor noisy:10 --engine {engine}", code=0)
    for policy in ("laps-sd:overrun=2", "alise", "lp-srpt", "kernel-gittins")
    for engine in ("simpy", "compiled")
]


@each(OPTIONS + PARAMETERS)
def test_a_number_out_of_bounds_is_refused_in_one_line(case, run):
    run(case)


@each(TOO_LARGE)
def test_times_beyond_64_bits_are_refused_in_one_line(case, run):
    run(case)


@each(SWEEPS)
def test_a_sweep_of_impossible_numbers_is_refused_in_one_line(case, run):
    run(case)


@each(OTHERS)
def test_other_verbs_refuse_impossible_numbers_in_one_line(case, run):
    run(case)


@each(MARKED)
def test_percentiles_of_few_requests_are_marked(case, run):
    run(case)


@each(BOUNDED)
def test_very_wrong_predictions_are_bounded(case, run):
    run(case)
