"""Options that cannot be meant."""

from tests.hostile.harness import Case, each

OPTIONS = [
    Case("compare --load nan", "load=nan"),
    Case("compare --requests 0", "requests=0"),
    Case("compare --policy nosuch", "unknown policy 'nosuch'"),
    Case("compare --trace @empty.parquet", "empty.parquet"),
    Case("compare --profile @list.json", "list.json"),
]


@each(OPTIONS)
def test_an_impossible_option_is_refused_in_one_line(case, run):
    run(case)
