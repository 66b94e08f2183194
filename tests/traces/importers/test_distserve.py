"""The DistServe importer, on files made here and on the published files."""

import json

import pytest

from lapsd.traces import (
    IMPORTERS,
    FormatError,
    Profile,
    load_profile,
    ordinary_decoding,
    price,
    save_profile,
)
from lapsd.traces.importers import DistServe

FITS = {
    "decoding_large_small_bs_threshold": 4,
    "prefill": [20.0, 0.1, 0.00001],
    "decoding_smallbs": [10.0, 0.001, 0.5],
    "decoding_largebs": [5.0, 0.002, 2.0],
}


def written(path, fits=FITS, model="facebook/opt-13b", tp="1", **change):
    path.write_text(json.dumps({model: {tp: fits | change}}))
    return path


def imported(path, **options) -> Profile:
    return DistServe(**options).read(path).profile


def test_the_cost_of_a_step_has_two_regimes_by_number_of_requests(tmp_path):
    profile = imported(written(tmp_path / "c.json"))
    assert (profile.kind, DistServe().read(tmp_path / "c.json").trace) == ("imported_fit", None)
    for requests, base_ms, context_ns in [
        (1, 10.5, 1000),
        (2, 11.0, 1000),
        (3, 11.5, 1000),
        (4, 13.0, 2000),
        (100, 205.0, 2000),
        (512, 1029.0, 2000),
    ]:
        cost = profile.round_cost(requests)
        assert cost.base_ns(0) == round(base_ms * 1e6)
        assert cost(0, 7_000) == round(base_ms * 1e6) + 7_000 * context_ns
    with pytest.raises(ValueError, match="batch size 513: the profile covers 1 to 512"):
        profile.round_cost(513)
    with pytest.raises(
        ValueError, match="draft tokens 2: the profile prices decoding without drafts only"
    ):
        profile.round_cost(1).base_ns(2)


def test_the_quadratic_prefill_cost_is_separate_for_each_prompt(tmp_path):
    prefill = imported(written(tmp_path / "c.json")).costs.prefill
    assert prefill(1_000) == 20_000_000 + 100_000_000 + 10_000_000
    assert prefill.several([1_000, 1_000]) == 20_000_000 + 200_000_000 + 20_000_000
    assert prefill(3) == 20_000_000 + 300_000 + 90  # 10,000 ps per square of the tokens
    assert (
        imported(written(tmp_path / "n.json", prefill=[20, 0.1, 0.000000033])).costs.prefill(2)
        == 20_200_000
    )


def test_prices_of_requests_are_exact_to_the_nanosecond(tmp_path):
    priced = price(ordinary_decoding([1_001, 1], [3, 2]), imported(written(tmp_path / "c.json")))
    assert priced.prefill_ns.tolist() == [130_000_000, 0]
    assert priced.decode_ns.tolist() == [
        3 * 10_500_000 + 1000 * (1001 + 1002 + 1003),
        2 * 10_500_000 + 1000 * (1 + 2),
    ]


def test_the_quadratic_prefill_cost_is_kept_in_a_profile_file(tmp_path):
    profile = imported(written(tmp_path / "c.json"))
    save_profile(profile, tmp_path / "p.json")
    again = load_profile(tmp_path / "p.json")
    assert again.costs == profile.costs
    document = json.loads((tmp_path / "p.json").read_text())
    document["costs"]["prefill"]["per_square_ps"] = -1
    (tmp_path / "p.json").write_text(json.dumps(document))
    with pytest.raises(
        FormatError, match=r"field 'costs.prefill.per_square_ps': -1 is not between 0"
    ):
        load_profile(tmp_path / "p.json")


def test_the_time_of_a_kv_transfer_is_bytes_per_gpu_over_the_rate(tmp_path):
    costs = imported(written(tmp_path / "c.json"), pcie_gb_per_s=25).costs
    assert (
        costs.swap_out(2) == costs.swap_in(2) == 2 * 32_768
    )  # 2 · 40 layers · 5,120 · 2 bytes = 819,200
    shared = imported(written(tmp_path / "c.json", tp="4"), tp=4, pcie_gb_per_s=25).costs
    assert shared.swap_out(1) == 8_192


def test_notes_list_the_assumptions_that_are_not_in_the_file(tmp_path):
    found = DistServe().read(written(tmp_path / "c.json", prefill=[20, 0.1, -1e-6]))
    assert found.notes == (
        "KV transfers are not in the file: 20 GB/s is assumed",
        "the quadratic term of the prefill is negative: 0 is used instead",
    )
    known = found.profile.provenance
    assert known.notes["memory"]["kv_tokens_at_90%_of"] == {"40 GB": 12_207, "80 GB": 56_152}
    assert found.profile.costs.prefill(1_000) == 120_000_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prefill": [1, 2]}, "field 'prefill': not three numbers"),
        ({"prefill": "x"}, "field 'prefill': not three numbers"),
        (
            {"decoding_smallbs": [0, 1, 1]},
            r"field 'decoding_smallbs': \[0, 1, 1\] are not costs in milliseconds",
        ),
        ({"decoding_smallbs": [1, -1, 1]}, "are not costs in milliseconds"),
        ({"decoding_largebs": [1, 1, -1]}, "are not costs in milliseconds"),
        ({"decoding_largebs": [1e300, 1, 1]}, "are not costs in milliseconds"),
        ({"decoding_largebs": [True, 1, 1]}, "not three numbers"),
        ({"decoding_large_small_bs_threshold": 0}, "'0' is not a whole number from 1 to 512"),
        ({"decoding_large_small_bs_threshold": None}, "'None' is not a whole number"),
    ],
)
def test_the_error_for_a_malformed_file_names_the_field(tmp_path, change, message):
    with pytest.raises(FormatError, match=message):
        imported(written(tmp_path / "c.json", **change))


def test_the_error_for_a_missing_model_or_degree_names_it(tmp_path):
    file = written(tmp_path / "c.json")
    with pytest.raises(
        FormatError, match=r"no costs of facebook/opt-66b \(models in it: facebook/opt-13b\)"
    ):
        imported(file, model="facebook/opt-66b")
    with pytest.raises(FormatError, match=r"no tp 8 of facebook/opt-13b \(in it: 1\)"):
        imported(file, tp=8)
    with pytest.raises(ValueError, match="model='gpt': must be one of facebook/opt-13b"):
        DistServe(model="gpt")
    with pytest.raises(ValueError, match="pcie_gb_per_s=0: must be above 0"):
        DistServe(pcie_gb_per_s=0)
    for content in ("", "{", "[]", "[" * 100_000):
        file.write_text(content)
        with pytest.raises(FormatError, match=r"c\.json"):
            imported(file)
    with pytest.raises(FormatError, match="no such file"):
        imported(tmp_path / "nowhere.json")


@pytest.mark.parametrize("engine", ["vllm", "distserve"])
@pytest.mark.parametrize(
    ("model", "tp"), [("facebook/opt-13b", 1), ("facebook/opt-13b", 4), ("facebook/opt-66b", 2)]
)
def test_imported_costs_equal_the_published_fits(engine, model, tp, public_data):
    path = public_data / "costs" / f"distserve__a100-80g__{engine}.json"
    found, fits = imported(path, model=model, tp=tp), json.loads(path.read_text())[model][str(tp)]
    for batch in (1, 16, 94, 95, 256):
        a, b, c = fits[
            "decoding_smallbs"
            if batch < fits["decoding_large_small_bs_threshold"]
            else "decoding_largebs"
        ]
        assert found.round_cost(batch)(0, 20_000) == pytest.approx(
            1e6 * (a + 20_000 * b + batch * c), rel=1e-3
        )


def test_the_bundled_profile_equals_the_imported_one(public_data):
    assert load_profile("opt-13b-a100") == imported(
        public_data / "costs" / "distserve__a100-80g__vllm.json"
    )


def test_the_bundled_profile_has_its_license_and_known_costs():
    profile = load_profile("opt-13b-a100")
    assert IMPORTERS["distserve"] is DistServe
    assert (profile.kind, profile.provenance.notes["license"]) == (
        "imported_fit",
        "Apache-2.0 (LLMServe/DistServe)",
    )
    assert profile.round_cost(16).base_ns(0) == pytest.approx(
        (23.475 + 0.0607 * 16) * 1e6, rel=1e-3
    )
