"""`lapsd show` of profiles: tables of operator tables, and when speculation pays."""

import io
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st
from rich.console import Console

from lapsd.cli.speculation import SpeculationAnswer
from lapsd.cli.tables.profile import profile_tables
from lapsd.cli.tables.speculation import speculation_table
from lapsd.traces import (
    FormatError,
    load_profile,
    load_trace,
    save_profile,
    save_trace,
    trace_from_rounds,
)
from lapsd.traces.files import BUNDLED
from lapsd.traces.provenance import KVCapacity
from tests.builders import row
from tests.damage import damaged

H100 = load_profile("llama-3.1-8b-h100")
H200 = load_profile("llama-7b-h200")
OF_TABLES = json.loads((BUNDLED / "llama-7b-a100.json").read_text())


def printed(tables):
    console = Console(file=io.StringIO(), width=200)
    for table in tables:
        console.print(table, "")
    return console.file.getvalue()


def cells(text, start):
    """Return the cells of each line that starts with `start`."""
    return [line.split() for line in text.splitlines() if re.match(rf"{start}\s", line)]


def test_many_widths_and_batch_sizes_are_shown_as_a_selection():
    odd = next(str(b) for b in reversed(H100.costs.rounds) if b & (b - 1))
    assert list(H100.costs.rounds[1].verify_base_ns) == list(range(1, 17))
    text = printed(profile_tables(H100))
    assert re.findall(r"^verify, width (\d+)", text, re.M) == ["1", "2", "3", "5", "9", "16"]
    lines = [line.rstrip() for line in text.splitlines()]
    body = lines[next(i for i, line in enumerate(lines) if line.startswith("batch ")) + 1 :]
    batches = [line.split()[0] for line in body[: body.index("")]]
    assert batches == [str(2**k) for k in range(9)]
    full = printed(profile_tables(H100, verbose=True))
    assert len(re.findall(r"^verify, width (\d+)", full, re.M)) == 16
    assert cells(full, odd)
    assert not cells(text, odd)
    assert all(len(line.rstrip()) <= 150 for line in text.splitlines() if line[:1].isdigit())


def test_piecewise_prefill_is_shown_at_three_lengths():
    text = printed(profile_tables(H100))
    (ms,) = cells(text, "ms")
    assert "prefill, tokens of a prompt" in text
    wanted = [H100.costs.prefill(tokens) / 1e6 for tokens in (128, 512, 2_048)]
    assert [float(x) for x in ms[1:]] == pytest.approx(wanted, rel=0.005)


def test_errors_of_prompts_steps_and_rounds_have_mean_and_worst():
    text = printed(profile_tables(H100))
    for label, fit in (
        ("rounds of the grid", H100.fits.grid),
        ("batched prompts", H100.fits.terms["prefill_batched"]),
        ("steps with prompts", H100.fits.terms["step"]),
    ):
        (shown,) = cells(text, label)
        assert shown[-3:] == [f"{fit.mean_error:.1%}", f"{fit.worst_error:.1%}", str(fit.samples)]
    assert "worst" not in printed(profile_tables(load_profile("reference")))


def test_shares_of_measured_reshaped_and_estimated_time_add_up():
    tables = H200.operator_tables
    for batch in tables.share_not_measured:
        shares = tables.shares(batch)
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["reshaped"] > 0.05  # attention, with 32 KV heads
        assert shares["estimated"] > 0.01
        shown = [f"{100 * shares[s]:.1f}" for s in ("measured", "reshaped", "estimated")]
        assert [str(batch), *shown] in cells(printed(profile_tables(H200)), str(batch))
    assert H100.operator_tables.shares(8)["reshaped"] == 0


def test_library_memory_link_and_operators_that_are_not_measured_are_listed():
    text = " ".join(printed(profile_tables(H200)).split())
    for wanted in (
        "aiconfigurator-core",
        "h200_sxm, 1 per model (tp)",
        f"vllm {H200.operator_tables.engine_version}",
        "223,875 tokens, 119 GB, 530,432 bytes per token",
        "64 GB/s per GPU",
        "reshaped operators target generation_attention, draft generation_attention",
        "target generation_act_gate",
    ):
        assert wanted in text
    assert "generation_qkv_gemm" not in text
    full = " ".join(printed(profile_tables(H200, verbose=True)).split())
    assert "target generation_qkv_gemm measured" in full
    assert "target generation_attention reshaped" in full


def test_the_link_of_several_gpus_is_that_of_each():
    text = printed(profile_tables(load_profile("llama-3.1-70b-h100-tp4")))
    assert "64 GB/s per GPU" in text
    assert "4 per model (tp)" in text


@settings(max_examples=60)
@given(data=st.data())
def test_damaged_operator_tables_are_shown_or_refused(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("profile") / "p.json"
    stamp = data.draw(damaged(OF_TABLES["stamp"]))
    path.write_text(json.dumps(OF_TABLES | {"stamp": stamp}))
    try:
        profile = load_profile(path)
    except FormatError as error:
        assert str(path) in str(error)
        return
    assert printed(profile_tables(profile, verbose=True))


def test_a_profile_without_timings_is_drawn_as_when_speculation_pays(lapsd, tmp_path):
    code, out, _ = lapsd("show", "llama-3.1-8b-h100", "--plot", tmp_path / "p.png")
    assert code == 0
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    text = " ".join(out.split())
    trace = load_trace("reference")
    accepted = trace.accepted.sum() / trace.drafted.sum()
    for wanted in (
        "Speculation pays",
        "meta-llama/Meta-Llama-3.1-8B + one layer of",
        "h100_sxm, bfloat16, vllm",
        "operator tables, host time 0 µs per round",
        "Acceptance: trace reference (reference (6.95 M parameters)",
        f"{accepted:.2f} accepted per drafted token, recorded with n = 4",
        "at most 598",
    ):
        assert wanted in text
    assert [line[0] for line in cells(out, r"(?:1|8|32|64|128|256)")[-6:]] == [
        *("1", "8", "32", "64", "128", "256")
    ]


def test_timings_next_to_a_profile_are_drawn_unless_a_trace_is_given(lapsd, tmp_path):
    code, out, _ = lapsd("show", "reference.json", "--plot", tmp_path / "fit.svg")
    assert code == 0
    assert "Speculation pays" not in out
    fit = (tmp_path / "fit.svg").read_text()
    code, out, _ = lapsd(
        "show", "reference.json", "--trace", "reference", "--plot", tmp_path / "pays.svg"
    )
    assert code == 0
    assert (tmp_path / "pays.svg").read_text() != fit
    assert "Speculation pays up to batch size" in out
    assert "Memory is not known" in out
    code, out, _ = lapsd("show", "reference.json", "--trace", "reference")
    assert code == 0
    assert "Speculation pays up to batch size" in out


def test_the_verdict_names_the_last_batch_size_at_which_a_draft_length_is_faster():
    answer = SpeculationAnswer.of(load_profile("reference"), load_trace("reference"), "reference")
    (last,) = re.findall(r"^Speculation pays up to batch size (\d+):", answer.verdict)
    pays = answer.pays[answer.pays["draft_tokens"] > 0].groupby("batch")["over_plain"].max()
    assert pays[int(last)] > 1
    assert (pays[pays.index > int(last)] < 1).all()
    assert answer.batches == [1, 8, 32]
    assert answer.draw().get_suptitle().replace("\n", " ") == f"{answer.verdict}."


def test_speculation_that_never_pays_is_said_so():
    wrong = row("a", 10, [0] * 6) | {"acceptable": [0] * 6, "accept_prob": [0.0] * 6}
    answer = SpeculationAnswer.of(H100, trace_from_rounds([wrong] * 2), "wrong")
    assert answer.verdict == "Speculation does not pay at any batch size up to 256"
    assert "none" in printed([speculation_table(answer.pays, answer.batches)])


def test_batch_sizes_and_draft_lengths_that_do_not_fit_are_named():
    """The longest request has 598 tokens, so 4,800 hold 8 of it, with up to 2 proposals."""
    small = replace(H100, kv_capacity=KVCapacity(bytes_per_token=1, tokens=4_800))
    answer = SpeculationAnswer.of(small, load_trace("reference"), "reference")
    assert answer.batches == [1, 8]
    assert replace(answer, pays=answer.pays.assign(batch=9)).batches == [1, 9]
    fit = "fit in 4,800 KV tokens (longest request: 598)"
    assert answer.left_out == [
        f"batch sizes above 8 are left out: their caches do not {fit}",
        f"batch size 8: draft lengths above 2 do not {fit}",
    ]
    assert "Batch sizes above 8 are left out" in answer.caption
    assert "up to batch size" not in answer.verdict
    assert "all batch sizes up to 8, the largest that fits in memory" in answer.verdict


def test_draft_lengths_beyond_the_measured_widths_are_not_shown():
    answer = SpeculationAnswer.of(H100, load_trace("reference"), "reference")
    assert answer.pays["draft_tokens"].max() == 15
    assert len(H100.costs.rounds[1].verify_base_ns) == 16


@pytest.fixture
def bad(tmp_path):
    """Return files by name: a trace that cannot be replayed, and a profile with little memory."""
    save_trace(trace_from_rounds([row("a", 3, [1, 2])]), tmp_path / "recorded.parquet")
    little = replace(H100, kv_capacity=KVCapacity(bytes_per_token=1, tokens=500))
    save_profile(little, tmp_path / "little.json")
    return {path.stem: path for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["opt-13b-a100"],
            "the profile prices rounds of 0 draft tokens only, so there is no other draft length",
        ),
        (
            ["opt-13b-a100-tables"],
            "the profile prices rounds of 0 draft tokens only, so there is no other draft length",
        ),
        (
            ["llama-3.1-8b-h100", "--trace", "{recorded}"],
            "recorded.parquet: the trace cannot be replayed at another draft length",
        ),
        (
            ["{little}"],
            "trace reference: its longest request needs 598 KV tokens; the profile's memory holds"
            " 500",
        ),
        (["llama-3.1-8b-h100", "--trace", "nowhere.parquet"], "nowhere.parquet: no such file"),
        (["reference", "--trace", "reference"], "--trace reference: belongs to a profile"),
    ],
)
def test_bad_input_is_one_line_before_any_table(lapsd, bad, tmp_path, arguments, message):
    given_ = [a.format(**bad) for a in arguments]
    code, out, error = lapsd("show", *given_, "--plot", tmp_path / "q.png")
    assert (code, error.count("\n"), out) == (2, 1, "")
    assert error.startswith("lapsd: ")
    assert message in error
    assert not (tmp_path / "q.png").exists()
