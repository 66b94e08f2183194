"""Traces: rows, files, and errors that name the wrong row and field."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from lapsd.traces import FormatError, Trace, load_trace, save_trace, to_frame, trace_from_rounds
from lapsd.traces.files.trace_file import to_table
from tests.builders import row, traces


def same(a: Trace, b: Trace) -> bool:
    columns = (
        "request_id",
        "dataset",
        "prompt_tokens",
        "output_tokens",
        "offsets",
        "drafted",
        "accepted",
    )
    return all(np.array_equal(getattr(a, c), getattr(b, c)) for c in columns)


@settings(max_examples=50)
@given(traces())
def test_a_saved_trace_loads_unchanged(tmp_path_factory, trace):
    path = tmp_path_factory.mktemp("trace") / "t.parquet"
    save_trace(trace, path)
    assert same(load_trace(path), trace)
    assert [p.name for p in path.parent.iterdir()] == ["t.parquet"]


@settings(max_examples=50)
@given(traces())
def test_take_selects_requests_with_their_rounds(trace):
    rows = list(range(len(trace)))[::-1]
    assert same(trace.take(rows).take(rows), trace)
    for i, r in enumerate(rows):
        assert np.array_equal(
            trace.take(rows).accepted[trace.take(rows).rounds_of(i)],
            trace.accepted[trace.rounds_of(r)],
        )


def test_split_puts_every_request_in_exactly_one_half():
    trace = trace_from_rounds([row(f"r{i}", 1, [i % 3]) for i in range(11)])
    train, test = trace.split(split_seed=3)
    assert sorted([*train.request_id, *test.request_id]) == sorted(trace.request_id)
    assert (len(train), len(test)) == (5, 6)
    assert train.request_id != trace.split(split_seed=4)[0].request_id
    with pytest.raises(ValueError, match="1 request cannot be split"):
        trace.take([0]).split()


def test_a_trace_written_by_pandas_loads_unchanged(tmp_path):
    trace = trace_from_rounds([row("a", 3, [1, 4], cut=1), row("b", 0, [0])])
    table = to_table(trace)
    frame = table.to_pandas()  # wider integers, other strings and lists
    frame["prompt_tokens"] = frame["prompt_tokens"].astype("int64")
    again = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(
        table.schema.metadata
    )
    pq.write_table(again, tmp_path / "t.parquet")
    assert same(load_trace(tmp_path / "t.parquet"), trace)


def test_to_frame_has_rounds_and_acceptance_of_each_request():
    frame = to_frame(trace_from_rounds([row("a", 3, [1, 3])]))
    assert frame.loc[0, ["rounds", "acceptance", "output_tokens"]].tolist() == [2, 0.5, 6]


def broken(change) -> pa.Table:
    """Return the columns of a valid trace of three requests, after `change` modified them."""
    columns = to_table(
        trace_from_rounds([row(f"r{i}", 5, [1, 2, 0]) for i in range(3)])
    ).to_pydict()
    change(columns)
    return columns


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["accepted"][1].__setitem__(0, 5),
            "row 1, field 'accepted': more tokens accepted than drafted",
        ),
        (lambda c: c["accepted"][2].__setitem__(1, -1), "row 2, field 'accepted': below 0"),
        (
            lambda c: c["accepted"][1].pop(),
            "row 1, field 'accepted': 2: must have as many rounds as 'drafted'",
        ),
        (
            lambda c: (c["accepted"][0].clear(), c["drafted"][0].clear()),
            "row 0, field 'drafted': 0: a request must have at least one round",
        ),
        (
            lambda c: c["output_tokens"].__setitem__(1, 7),
            "row 1, field 'output_tokens': 7: the sum of accepted + 1",
        ),
        (
            lambda c: c["output_tokens"].__setitem__(1, 5),
            "row 1, field 'output_tokens': 5: the sum of accepted + 1",
        ),
        (
            lambda c: c["prompt_tokens"].__setitem__(2, -3),
            "row 2, field 'prompt_tokens': -3: below 0",
        ),
        (
            lambda c: c["prompt_tokens"].__setitem__(2, None),
            "row 2, field 'prompt_tokens': missing",
        ),
        (lambda c: c["request_id"].__setitem__(0, None), "row 0, field 'request_id': missing"),
        (
            lambda c: c["accepted"][1].__setitem__(0, None),
            "row 1, field 'accepted': a value is missing",
        ),
        (
            lambda c: c.__setitem__("prompt_tokens", [1.5, 2.0, 3.0]),
            "field 'prompt_tokens': type double",
        ),
        (
            lambda c: c.__setitem__("prompt_tokens", [1, 2, 2**40]),
            "field 'prompt_tokens': Integer value",
        ),
        (lambda c: c.__setitem__("dataset", [1, 2, 3]), "field 'dataset': type int64"),
        (lambda c: c.pop("accepted"), "no column 'accepted'"),
        (
            lambda c: c.__setitem__("predicted_tokens", [1, 0, 1]),
            "row 1, field 'predicted_tokens': 0: below 1",
        ),
        (lambda c: [v.clear() for v in c.values()], "field 'request_id': type null"),
    ],
)
def test_the_error_for_a_malformed_trace_names_file_row_and_field(tmp_path, change, message):
    path = tmp_path / "bad.parquet"
    table = pa.table(broken(change)).replace_schema_metadata(
        {"lapsd": json.dumps({"schema_version": 1})}
    )
    pq.write_table(table, path)
    with pytest.raises(FormatError) as error:
        load_trace(path)
    assert f"trace {path}" in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "not a lapsd trace"),
        ({"lapsd": "{"}, "not JSON"),
        ({"lapsd": "[]"}, "schema version None"),
        ({"lapsd": '{"schema_version": 2}'}, "schema version 2, this lapsd reads version 1"),
    ],
)
def test_loading_a_file_of_another_kind_or_version_raises_an_error(tmp_path, metadata, message):
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table(broken(lambda c: None)).replace_schema_metadata(metadata), path)
    with pytest.raises(FormatError, match=message):
        load_trace(path)


def test_loading_a_missing_truncated_or_foreign_file_raises_an_error(tmp_path):
    good = tmp_path / "good.parquet"
    save_trace(trace_from_rounds([row("a", 3, [1, 4])]), good)
    whole = good.read_bytes()
    for name, content in (
        ("half", whole[: len(whole) // 2]),
        ("empty", b""),
        ("text", b"hello" * 100),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match="not a readable Parquet file"):
            load_trace(tmp_path / name)
    with pytest.raises(FormatError, match="no such file"):
        load_trace(tmp_path / "nowhere")
    with pytest.raises(FormatError, match="is a folder"):
        load_trace(tmp_path)


def test_loading_a_file_with_a_flipped_bit_raises_an_error(tmp_path):
    path = tmp_path / "t.parquet"
    save_trace(trace_from_rounds([row(f"r{i}", 3, [i % 5, 4, 1]) for i in range(50)]), path)
    start = pq.ParquetFile(path).metadata.row_group(0).column(5).data_page_offset
    content = bytearray(path.read_bytes())
    content[start + 40] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError):
        load_trace(path)
