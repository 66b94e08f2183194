"""Hostile files: traces, profiles, arrivals, prompts and files of other programs."""

import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq

from lapsd.traces import load_trace
from lapsd.traces.files.trace_file import to_table
from tests.hostile.inputs import made, text

ESCAPES = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202e"


def trace(name: str, note: str | None = None, **columns) -> None:
    """Register a trace of four requests, with some columns replaced by these values."""

    @made(name)
    def write(path):
        table = to_table(load_trace("reference").take(range(4)))
        for column, values in columns.items():
            at = table.schema.get_field_index(column)
            table = table.set_column(at, column, pa.array(values))
        metadata = table.schema.metadata if note is None else {b"lapsd": note.encode()}
        pq.write_table(table.replace_schema_metadata(metadata), path)


trace("escapes.parquet", dataset=[ESCAPES] * 4, request_id=[ESCAPES, "a", "b\0", "c\ud7ff"])
trace("note-escapes.parquet", json.dumps({"schema_version": 1, "source": ESCAPES, "x": ESCAPES}))

# what is no regular file
made("fifo")(os.mkfifo)
made("fifo.json")(os.mkfifo)
made("fifo.parquet")(os.mkfifo)
made("fifo.gz")(os.mkfifo)
made("zero.json")(lambda path: path.symlink_to("/dev/zero"))
made("zero.gz")(lambda path: path.symlink_to("/dev/zero"))
made("folder.json")(lambda path: path.mkdir())
made("loop.json")(lambda path: path.symlink_to(path))

# texts that are hardly JSON or TOML
DEEP = "[" * 100_000
text("deep.json", DEEP + "]" * 100_000)
text("deep.jsonl", '{"id": 1, "x": ' + DEEP + "]" * 100_000 + "}")
text("levels.json", '{"lapsd_profile": 2, "x": ' + "[" * 200 + "]" * 200 + "}")
text("deep.toml", "x = " + DEEP + "]" * 100_000)
text("utf16.json", "[1, 2]".encode("utf-16"))
text("latin1.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n\xe9,1,2\n".encode("latin-1"))
text("nul.json", b"\0" * 64)
text("nul.csv", b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1\x00,2\n")
text("truncated.gz", gzip.compress(b"x" * 1000)[:-20])
text("crc.gz", gzip.compress(b"[1, 2]")[:-8] + bytes(8))
text("no.gz", b"not compressed")
text("damaged.gz", gzip.compress(b"x")[:10] + b"\xff" * 900)
text("twice.json", '{"lapsd_profile": 2, "lapsd_profile": 2}')
text("nan.json", '{"lapsd_profile": NaN}')
text("huge.json", '{"lapsd_profile": 1e999}')
text("int.json", '{"lapsd_profile": 99999999999999999999999}')
text("digits.json", '{"lapsd_profile": ' + "9" * 5_000 + "}")
text("surrogate.jsonl", '{"request_id": "a", "prompt": "\\ud800", "turns": ["\\ud800"]}')
text("inf.toml", "seeds = inf\n")
text("nan.toml", "[settings]\nload = nan\n")
text("int.toml", "seeds = 99999999999999999999\n")
text("latin1.toml", b"policies = ['\xe9']\n")
text("nul.toml", 'policies = ["fcfs"]\nseeds = 1\n[settings]\ntrace = "a\\u0000b"\n')

# traces
NOTE = '{"schema_version": 1, "x": %s}'
trace("deep.parquet", NOTE % (DEEP + "]" * 100_000))
trace("levels.parquet", NOTE % ("[" * 500 + "]" * 500))
trace("dataset-none.parquet", dataset=["code", "none", "code", "code"])
trace("dataset-empty.parquet", dataset=["code", "", "code", "code"])
trace("dataset-all.parquet", dataset=["code", "all", "code", "code"])
trace("only-all.parquet", dataset=["all"] * 4)
trace("markup.parquet", dataset=["[red]", "[/]", "a\nb", "漢" * 300])
trace("wide.parquet", prompt_tokens=[2**40, 1, 1, 1])
trace("negative.parquet", prompt_tokens=[1, -5, 1, 1])


@made("datasets.parquet")
def many_datasets(path):
    source = load_trace("reference")
    rows = source.take([i % len(source) for i in range(10_000)])
    table = to_table(rows)
    names = pa.array([f"set {i}" for i in range(10_000)])
    pq.write_table(table.set_column(1, "dataset", names), path)


# arrivals
def arrivals(name: str, note: str = '{"kind": "arrivals", "source": "x"}', **columns) -> None:
    """Register a file of three arrivals, with some columns replaced by these values."""
    table = pa.table(
        {"arrival_ns": [0, 1, 2], "prompt_tokens": [1, 1, 1], "output_tokens": [1, 1, 1]} | columns
    )
    made(name)(lambda path: pq.write_table(table.replace_schema_metadata({"lapsd": note}), path))


arrivals("arrivals-negative.parquet", prompt_tokens=[1, -1, 1])
arrivals("arrivals-late.parquet", arrival_ns=[-(2**63), 0, 2**63 - 1])
arrivals("arrivals-falling.parquet", arrival_ns=[0, 5, 4])
arrivals("arrivals-deep.parquet", '{"kind": %s}' % (DEEP + "]" * 100_000))


def azure(name: str, *rows: str) -> None:
    """Register a CSV file of Azure with these rows."""
    text(name, "\n".join(("TIMESTAMP,ContextTokens,GeneratedTokens", *rows)) + "\n")


azure("years.csv", "0001-01-01 00:00:00.0,1,2", "2023-11-16 18:15:46.0,1,2")
azure("year-1.csv", "0001-01-01 00:00:00.0,1,2", "0001-01-01 00:00:09.0,1,2")
azure("year-1600.csv", "1600-01-01 00:00:00.5,1,2", "1600-01-01 00:00:09.25,1,2")
azure("year-0.csv", "0000-01-01 00:00:00.0,1,2", "0001-01-01 00:00:09.0,1,2")
azure("azure-negative.csv", "2023-11-16 18:15:46.0,-1,2", "2023-11-16 18:15:47.0,1,2")
azure("azure-huge.csv", "2023-11-16 18:15:46.0,99999999999999999999,2", "2023-11-16,1,2")
azure("azure-digits.csv", f"2023-11-16 18:15:46.0,{'9' * 5_000},2", "2023-11-16,1,2")
azure("azure-short.csv", "2023-11-16 18:15:46.0,1")
azure("azure-underscore.csv", "2023-11-16 18:15:46.0,1_0,2", "2023-11-16 18:15:47.0,1,2")
azure("azure-field.csv", '2023-11-16 18:15:46.0,"' + "1" * 200_000 + '",2')
bom = "\ufeffTIMESTAMP,ContextTokens,GeneratedTokens\n"
text("bom.csv", f"{bom}2023-11-16 18:15:46.0,1,2\n2023-11-16 18:15:47.0,1,2\n")


# files of other programs
def lines(name: str, *records) -> None:
    """Register a file of JSON lines."""
    text(name, "".join(json.dumps(record) + "\n" for record in records))


def spec_bench(name: str, **changes) -> None:
    """Register an answer file of Spec-Bench with one answer of two rounds."""
    choice = {"decoding_steps": [2], "new_tokens": [4], "accept_lengths": [3, 1]}
    answer = {"question_id": 1, "category": "x", "choices": [choice | changes]}
    lines(name, answer)


spec_bench("wall-huge.jsonl", wall_time=[1e300])
spec_bench("wall-tiny.jsonl", wall_time=[1e-300])
spec_bench("no-tokens.jsonl", new_tokens=[0])
mooncake = {"timestamp": 0, "input_length": 1, "output_length": 1}
lines("mooncake-int.jsonl", mooncake | {"timestamp": 10**30}, mooncake)
lines("mooncake-late.jsonl", mooncake | {"timestamp": 2**62}, mooncake)
lines("mooncake-negative.jsonl", mooncake | {"input_length": -1}, mooncake)
lines("mooncake-float.jsonl", mooncake | {"input_length": 1.5}, mooncake)
vllm = {"per_step_accepted": [1, 0], "prompt_tokens": 5, "output_tokens": 3, "draft_tokens": 2}
lines("vllm-huge-drafts.jsonl", vllm | {"draft_tokens": 2**20})
lines("vllm-int.jsonl", vllm | {"prompt_tokens": 10**25})
lines("vllm-zero.jsonl", vllm | {"output_tokens": 0})
lines("vllm-none.jsonl", vllm | {"dataset": "none"})
lines("vllm-empty-dataset.jsonl", vllm | {"dataset": ""})
conversation = [{"from": "human", "value": "a b"}, {"from": "gpt", "value": "c " * 50}]
text("sharegpt.json", json.dumps([{"id": 1, "conversations": conversation}]))
text("config-list.json", "[]")


# folders of results
def sweep(name: str, content: str) -> None:
    """Register a folder that holds this `_sweep.json`."""

    @made(name)
    def write(path):
        path.mkdir()
        (path / "_sweep.json").write_text(content)


sweep("sweep-list", "[]")
sweep("sweep-text", '{"sweep": "x"}')
sweep("sweep-null", '{"sweep": null}')
sweep("sweep-deep", DEEP + "]" * 100_000)
sweep("sweep-key", '{"sweep": {"policies": {"a": [1]}}}')

# names in figures
DOLLARS = "$x^$ $\\frac$ \0"
trace("dollars.parquet", dataset=[DOLLARS, DOLLARS, "$", "b_{"])
trace("note-dollars.parquet", json.dumps({"schema_version": 1, "source": DOLLARS}))
