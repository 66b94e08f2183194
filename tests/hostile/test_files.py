"""Files that are no regular files, no valid JSON, or hold values that no file may hold."""

import pytest

from lapsd.traces.files import reading
from tests.hostile.harness import Case, each

STREAMS = [
    Case("show @fifo.json", "fifo.json: not a regular file"),
    Case("show @fifo.parquet", "fifo.parquet: not a regular file"),
    Case("show @zero.json", "not a regular file"),
    Case("show /dev/null", "not a regular file"),
    Case("show @folder.json", "folder.json holds no sweep"),
    Case("show @loop.json", "loop.json"),
    Case("compare --trace @fifo", "not a regular file"),
    Case("compare --trace @folder.json", "is a folder, not a regular file"),
    Case("compare --profile @fifo", "not a regular file"),
    Case("compare --arrivals @fifo", "not a regular file"),
    Case("compare --arrivals /dev/zero", "not a regular file"),
    Case("sweep --from @fifo --out o", "not a regular file"),
    Case("sweep --from /dev/zero --out o", "not a regular file"),
    Case("predict reference --prompts @fifo -o x.parquet", "not a regular file"),
    Case("generate --lengths @fifo -o x.parquet", "not a regular file"),
    Case("import spec-bench @fifo -o x.parquet", "not a regular file"),
    Case("import spec-bench @no-tokens.jsonl --questions @fifo -o x.parquet", "not a regular file"),
    Case("import specdecode-bench @fifo -o x.parquet", "not a regular file"),
    Case("import vllm @fifo -o x.parquet", "not a regular file"),
    Case("import vllm @fifo.gz -o x.parquet", "not a regular file"),
    Case("import azure @fifo -o x.parquet", "not a regular file"),
    Case("import azure @zero.gz -o x.parquet", "not a regular file"),
    Case("import mooncake @fifo -o x.parquet", "not a regular file"),
    Case("import sharegpt @fifo.gz -o x.parquet", "not a regular file"),
    Case("import alpaca-eval @zero.json -o x.parquet", "not a regular file"),
    Case("import distserve @fifo -o x.json", "not a regular file"),
    Case("import aiconfigurator --target @fifo.json -o x.json"),
]


@each(STREAMS)
def test_what_is_no_regular_file_is_refused(case, run):
    run(case)


LEVELS = "levels of lists and objects"
TEXTS = [
    Case("show @deep.json", f"deep.json: not JSON (more than 100 {LEVELS})"),
    Case("show @levels.json", f"levels.json: not JSON (more than 100 {LEVELS})"),
    Case(
        "show @deep.parquet",
        f"deep.parquet, metadata key 'lapsd': not JSON (more than 100 {LEVELS}",
    ),
    Case("show --verbose @levels.parquet", LEVELS),
    Case("compare --arrivals @arrivals-deep.parquet", LEVELS),
    Case("sweep --from @deep.toml --out o", "deep.toml: not TOML"),
    Case("import sharegpt @deep.json -o x.parquet", LEVELS),
    Case("import alpaca-eval @deep.json -o x.parquet", LEVELS),
    Case("import vllm @deep.jsonl -o x.parquet", f"line 1: not JSON (more than 100 {LEVELS})"),
    Case("import distserve @deep.json -o x.json", LEVELS),
    Case("predict reference --prompts @deep.jsonl -o x.parquet", LEVELS),
    Case("show @utf16.json", "utf16.json: not text in UTF-8"),
    Case("import azure @latin1.csv -o x.parquet", "latin1.csv: not text in UTF-8"),
    Case("show @nul.json", "nul.json: not JSON"),
    Case("import azure @nul.csv -o x.parquet", "nul.csv"),
    Case("import azure @truncated.gz -o x.parquet", "truncated.gz: Compressed file ended"),
    Case("import sharegpt @crc.gz -o x.parquet", "crc.gz: CRC check failed"),
    Case("import vllm @no.gz -o x.parquet", "no.gz: Not a gzipped file"),
    Case("import mooncake @damaged.gz -o x.parquet", "damaged.gz: Error -"),
    Case("show @twice.json", "key 'lapsd_profile' occurs twice"),
    Case("show @nan.json", "nan: not a finite number"),
    Case("show @huge.json", "inf: not a finite number"),
    Case("show @int.json", "beyond 64 bits"),
    Case("show @digits.json", "digits.json: not JSON (Exceeds the limit"),
    Case("predict reference --prompts @surrogate.jsonl -o x.parquet", "surrogates not allowed"),
    Case("sweep --from @inf.toml --out o", "inf: not a finite number"),
    Case("sweep --from @nan.toml --out o", "nan: not a finite number"),
    Case("sweep --from @int.toml --out o", "beyond 64 bits"),
    Case("sweep --from @latin1.toml --out o", "latin1.toml: not text in UTF-8"),
    Case("sweep --from @nul.toml --out o", "embedded null byte"),
    Case("show @sweep-list", "_sweep.json: not a JSON object"),
    Case("show @sweep-text", "_sweep.json: describes no sweep"),
    Case("best @sweep-null", "_sweep.json: describes no sweep"),
    Case("best @sweep-deep", LEVELS),
    Case("sweep --resume @sweep-list", "_sweep.json: not a JSON object"),
    Case("sweep --resume @sweep-text", "_sweep.json: describes no sweep"),
    Case("sweep --resume @sweep-key", "sweep-key"),
    Case("import aiconfigurator --target @config-list.json -o x.json"),
]


@each(TEXTS)
def test_a_text_that_is_hardly_json_is_refused_in_one_line(case, run):
    run(case)


VALUES = [
    Case("show @dataset-none.parquet", "row 1, field 'dataset': 'none' stands for all data sets"),
    Case("show @dataset-empty.parquet", "row 1, field 'dataset': '' is empty"),
    Case("show @dataset-all.parquet", "row 1, field 'dataset': 'all' stands for all data sets"),
    Case("show @datasets.parquet", "and 9,950 more data sets", code=0),
    Case("show @only-all.parquet", code=0),
    Case("show @markup.parquet", "[/]", code=0),
    Case("compare --dataset ''", "dataset ''"),
    Case("compare --trace @markup.parquet --dataset [red]", "at least 2 are needed"),
    Case("compare --trace @datasets.parquet --dataset x", "set 19 and 9980 others"),
    Case("show @wide.parquet", "field 'prompt_tokens'"),
    Case("show @negative.parquet", "row 1, field 'prompt_tokens': -5: below 0"),
    Case("compare --arrivals @arrivals-negative.parquet", "arrival 1, prompt_tokens -1"),
    Case("compare --arrivals @arrivals-late.parquet", "must be between 0 and"),
    Case("compare --arrivals @arrivals-falling.parquet", "arrival 2 is before arrival 1"),
    Case("import azure @years.csv -o x.parquet", "years.csv: arrivals over 6.38e+10 s"),
    Case("import azure @year-1.csv -o x.parquet", "2 arrivals in 9 s", code=0),
    Case("import azure @year-1600.csv -o x.parquet", "2 arrivals in 9 s", code=0),
    Case("import azure @year-0.csv -o x.parquet", "line 2: needs TIMESTAMP"),
    Case("import azure @azure-negative.csv -o x.parquet", "line 2, field 'ContextTokens': '-1'"),
    Case("import azure @azure-huge.csv -o x.parquet", "line 2, field 'ContextTokens'"),
    Case("import azure @azure-digits.csv -o x.parquet", "line 2: needs TIMESTAMP"),
    Case("import azure @azure-short.csv -o x.parquet", "line 2: needs TIMESTAMP"),
    Case("import azure @azure-underscore.csv -o x.parquet", "'1_0'"),
    Case("import azure @azure-field.csv -o x.parquet", "field larger than field limit"),
    Case("import azure @bom.csv -o x.parquet", "2 arrivals in 1 s", code=0),
    Case("import spec-bench @wall-huge.jsonl -o x.parquet", "line 1: 1e+300 s"),
    Case("import spec-bench @wall-tiny.jsonl -o x.parquet", "line 1: 1e-300 s"),
    Case("import spec-bench @no-tokens.jsonl -o x.parquet", "output_tokens"),
    Case("import mooncake @mooncake-int.jsonl -o x.parquet", "line 1: not JSON"),
    Case("import mooncake @mooncake-late.jsonl -o x.parquet", "line 1, field 'timestamp'"),
    Case("import mooncake @mooncake-negative.jsonl -o x.parquet", "field 'input_length'"),
    Case("import mooncake @mooncake-float.jsonl -o x.parquet", "'1.5' is not a whole number"),
    Case("import vllm @vllm-huge-drafts.jsonl -o x.parquet", "field 'drafted'"),
    Case("import vllm @vllm-int.jsonl -o x.parquet", "line 1: not JSON"),
    Case("import vllm @vllm-zero.jsonl -o x.parquet", "field 'output_tokens'"),
    Case("import vllm @vllm-none.jsonl -o x.parquet", "'none' stands for all data sets"),
    Case("import vllm @vllm-empty-dataset.jsonl -o x.parquet", "1 requests", code=0),
    Case("import sharegpt @sharegpt.json --tokenizer chars/0.0000001 -o x.parquet", "between 0.01"),
    Case(f"import sharegpt @sharegpt.json --tokenizer words*{'9' * 400} -o x.parquet", "0.01"),
]


@each(VALUES)
def test_values_out_of_range_are_refused_where_they_stand(case, run):
    run(case)


def test_an_endless_line_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_LINE", 1_000)
    monkeypatch.setattr(reading, "LARGEST_TEXT", 1_000)
    path = tmp_path / "long.jsonl"
    path.write_text("1" * 2_000)
    with pytest.raises(ValueError, match="a line is longer than 1000 characters"):
        list(reading.text_lines(path))
    with pytest.raises(ValueError, match=r"long\.jsonl: longer than 1000 characters"):
        reading.read_text(path)
