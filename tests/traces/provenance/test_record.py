"""Provenance records: typed fields in memory, the same JSON on disk, and unknown keys kept."""

import io
import json

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

from lapsd.traces import (
    FormatError,
    Profile,
    load_profile,
    load_trace,
    save_profile,
    save_trace,
    trace_from_rounds,
)
from lapsd.traces.files import BUNDLED
from lapsd.traces.provenance import (
    FitError,
    Fits,
    Hardware,
    Model,
    Provenance,
    RoundError,
    Speculation,
)
from tests.builders import row
from tests.damage import damaged

REFERENCE = json.loads((BUNDLED / "reference.json").read_text())


def without_nulls(document):
    """Return a JSON document without empty values, and with single draft lengths as lists."""
    if isinstance(document, dict):
        values = {
            key: without_nulls(value)
            for key, value in document.items()
            if value not in (None, {}, [])
        }
        if isinstance(values.get("draft_tokens"), int) and "source" in values:
            values["draft_tokens"] = [values["draft_tokens"]]
        return values
    return [without_nulls(v) for v in document] if isinstance(document, list) else document


def test_saving_a_loaded_bundled_file_gives_the_same_document(tmp_path):
    save_profile(load_profile("reference"), tmp_path / "p.json")
    before, after = (
        json.loads(p.read_text()) for p in (BUNDLED / "reference.json", tmp_path / "p.json")
    )
    assert without_nulls(after) == without_nulls(before)
    save_trace(load_trace("reference"), tmp_path / "t.parquet")
    notes = [
        json.loads(pq.read_schema(p).metadata[b"lapsd"])
        for p in (BUNDLED / "reference.parquet", tmp_path / "t.parquet")
    ]
    assert without_nulls(notes[1]) == without_nulls(notes[0])


def test_the_provenance_of_the_bundled_files_has_typed_fields():
    profile, trace = load_profile("reference"), load_trace("reference")
    known = profile.provenance
    assert (
        known.target
        == trace.provenance.target
        == Model(name="reference", parameters=6951168, type="llama")
    )
    assert str(known.target) == "reference (6.95 M parameters)"
    assert str(known.hardware) == "2 threads of AMD EPYC"
    assert (
        known.draft_tokens == trace.provenance.draft_tokens == (4,)
    )  # the trace's file has 4 without a list
    assert known.length_predictor.by_predictor["prompt length"]["pooled"].requests == 600
    assert (known.drift, known.unstable, known.quick) == (0.0129, False, False)
    fits = profile.fits
    assert isinstance(fits.round, RoundError)
    assert fits.whole is fits.round
    assert fits.terms["draft_step"].percentiles_ns[50] == 438420
    assert {"verify_5", "recompute", "prefill_batched"} <= set(fits.terms)
    assert fits.swap_ways["int8"].bytes_per_token == 2193.0
    assert fits.grid.verify.samples == 20
    assert set(fits.notes) == {"grid_over_real", "swap_notes", "alone"}
    assert profile.floors.verify_memory_floor_ns[512] == 944994
    pays = profile.speculation
    assert pays.batches == [1, 8, 32]
    assert (
        {b: pays.best(b).draft_tokens for b in pays.batches}
        == pays.best_draft_tokens
        == {1: 3, 8: 1, 32: 0}
    )
    assert pays.plain(1).tokens_per_s == 256.679889
    assert profile.warnings() == [
        "the fit of prefill is off by 10.5 %, more than 10 % (median)",
        "the fit of swap_out is off by 15.5 %, more than 10 % (median)",
    ]


def test_unknown_keys_are_kept_at_every_depth(tmp_path):
    known = {
        "source": "x",
        "mine": [1, {"a": 2}],
        "hardware": {"cpu": "A", "sockets": 2},
        "software": {"own": "1"},
        "commit": None,
        "greedy_check": {},
    }
    trace = trace_from_rounds([row("a", 1, [1])], known)
    assert trace.provenance.hardware == Hardware(cpu="A", notes={"sockets": 2})
    assert trace.provenance.greedy_check is None
    assert trace.provenance.details == {"mine / 0": "1", "mine / 1 / a": "2"}
    save_trace(trace, tmp_path / "t.parquet")
    written = json.loads(pq.read_schema(tmp_path / "t.parquet").metadata[b"lapsd"])
    assert written == {
        key: known[key] for key in known if key not in ("commit", "greedy_check")
    } | {"schema_version": 1}
    assert load_trace(tmp_path / "t.parquet").provenance == trace.provenance


def test_facts_describe_the_known_fields_in_words():
    known = Provenance(
        source="s",
        missing=("a", "b"),
        target=Model(name="t"),
        hardware=Hardware(gpu="G", threads=2),
        software={"x": "1", "y": "2"},
        draft_tokens=(4, 1),
        drift=0.05,
    )
    assert known.facts == {
        "source": "s",
        "missing": "a; b",
        "target": "t",
        "hardware": "G",
        "software": "x 1, y 2",
        "draft_tokens": "4, 1",
        "drift": "+5.0%",
    }


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hardware", 3, "field 'stamp.hardware': not a JSON object"),
        (
            "hardware",
            {"threads": "two"},
            "field 'stamp.hardware.threads': 'two' is not of type int",
        ),
        (
            "hardware",
            {"threads": True},
            "field 'stamp.hardware.threads': 'True' is not of type int",
        ),
        ("drift", 10**400, "beyond 64 bits"),
        ("command", ["x"], "field 'stamp.command'"),
        ("software", {"torch": 2}, "field 'stamp.software.torch': '2' is not of type str"),
        ("draft_tokens", ["x"], "field 'stamp.draft_tokens': 'x' is not of type int"),
        (
            "floors",
            {"verify_memory_floor_ns": {"x": 1}},
            "field 'stamp.floors.verify_memory_floor_ns': key 'x' is not",
        ),
        (
            "speculation",
            {"table": [{"batch": 1}]},
            "field 'stamp.speculation.table.draft_tokens': missing",
        ),
        ("greedy_check", {"exact": 1}, "field 'stamp.greedy_check.exact': '1' is not of type bool"),
    ],
)
def test_the_error_for_a_wrong_type_names_file_and_field(tmp_path, key, value, message):
    path = tmp_path / "p.json"
    save_profile(Profile.constant(1, 2), path)
    document = json.loads(path.read_text())
    document["stamp"][key] = value
    path.write_text(json.dumps(document))
    with pytest.raises(FormatError) as error:
        load_profile(path)
    assert f"profile {path}" in str(error.value)
    assert message in str(error.value)


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_profile_is_shown_or_raises_an_error_that_names_its_file(data, tmp_path_factory):
    from rich.console import Console

    from lapsd.cli.tables.profile import profile_tables

    path = tmp_path_factory.mktemp("profile") / "p.json"
    path.write_text(json.dumps(data.draw(damaged(REFERENCE))))
    try:
        profile = load_profile(path)
    except FormatError as error:
        assert str(path) in str(error)
        return
    console = Console(file=io.StringIO(), width=150)
    for table in profile_tables(profile, verbose=True):
        console.print(table)
    assert all(isinstance(line, str) for line in profile.warnings())


def test_the_error_for_a_wrong_type_in_a_trace_names_the_field(tmp_path):
    with pytest.raises(FormatError, match="trace, field 'lapsd.missing': '3' is not of type str"):
        trace_from_rounds([row("a", 1, [1])], {"missing": [3]})


def test_a_profile_with_a_key_of_an_older_version_loads_with_its_current_name(tmp_path):
    document = json.loads(json.dumps(REFERENCE))
    check = document["stamp"]["speculation"]["check"]
    check["foretold_tokens_per_s"] = check.pop("predicted_tokens_per_s")
    (tmp_path / "old.json").write_text(json.dumps(document))
    old = load_profile(tmp_path / "old.json")
    assert old == load_profile("reference")
    save_profile(old, tmp_path / "new.json")
    written = json.loads((tmp_path / "new.json").read_text())["stamp"]["speculation"]["check"]
    assert written == REFERENCE["stamp"]["speculation"]["check"]


def test_fits_with_large_errors_give_warnings():
    good = {"median_error": 0.01, "p90_error": 0.02, "samples": 9}
    bad = good | {"median_error": 0.2}
    fits = Fits.from_json(
        {
            "round": bad | {"closure": -0.05, "total_error": 0.0},
            "draft_step": bad,
            "verify_5": good,
            "recompute": bad,
        },
        "fits",
    )
    assert list(fits.warnings()) == [
        "predicted rounds are off by 20 %, more than 10 % (median): was the machine busy?",
        "draft, verify and host times add up to -5.0% off real rounds (more than 3 %)",
        "the fit of draft_step is off by 20 %, more than 10 % (median)",
    ]
    assert list(Fits(request=FitError(**good)).warnings()) == []
    assert Fits.from_json({"round": {}, "grid": good | {"verify": good}}, "fits").whole.samples == 9


def test_speculation_finds_the_best_draft_length_of_each_batch_size():
    import pandas as pd

    frame = pd.DataFrame(
        {
            "batch": [1, 1, 8, 8],
            "draft_tokens": [0, 2, 0, 2],
            "tokens_per_s": [10.0, 12.5, 80.0, 60.0],
            "low": [None, 1, 1, 1],
            "high": [float("nan"), 2, 2, 2],
            "over_plain": [1, 1.25, 1, 0.75],
            "break_even": [None, 0.2, None, 0.9],
        }
    )
    pays = Speculation.of(frame)
    assert pays.best_draft_tokens == {1: 2, 8: 0}
    assert pays.best(1).low == 1.0
    assert pays.table[0].low is pays.table[0].high is pays.table[0].break_even is None
    assert Speculation.from_json(pays.to_json(), "s") == pays
