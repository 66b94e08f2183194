"""The documentation quotes the committed claims, and all figures that it shows exist."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
DIGEST = (DOCS / "results" / "laps-sd.md").read_text(encoding="utf-8")
CLAIMS = (DOCS / "results" / "laps-sd" / "claims.md").read_text(encoding="utf-8")


def test_the_documentation_quotes_the_differences_of_the_committed_claims():
    rows = [
        line.split("|")[2].strip(" *")
        for line in DIGEST.splitlines()
        if re.match(r"\| .* \[.* \[", line)
    ]
    assert len(rows) == 5
    (own,) = (line for line in CLAIMS.splitlines() if line.startswith("| all data sets |"))
    assert rows == [cell.strip() for cell in own.split("|")[2:-1]]


def test_every_figure_that_the_documentation_shows_exists():
    shown = [
        DOCS / "results" / "laps-sd" / name for name in re.findall(r"\]\((figures/[^)]+)\)", CLAIMS)
    ]
    shown += [
        DOCS / "results" / name for name in re.findall(r"\]\((laps-sd/figures/[^)]+)\)", DIGEST)
    ]
    assert len(shown) == 13 + 3
    assert all(path.is_file() for path in shown)
    assert set((DOCS / "results" / "laps-sd" / "figures").iterdir()) == set(shown)


RESULTS = {
    name: (
        (DOCS / "results" / f"{name}.md").read_text(encoding="utf-8"),
        (DOCS / "results" / name / "claims.md").read_text(encoding="utf-8"),
    )
    for name in ("laps-sd", "alise", "kernel-gittins", "draft-length")
}


def test_the_page_on_alise_quotes_the_ratio_and_the_verdict_of_the_primary_constraint():
    page, claims = RESULTS["alise"]
    (row,) = re.findall(
        r"^\| Up to 1.8 .*\| ([\d.]+ \[[\d., ]+\]) times .*\*\*(.*)\*\* \|$", claims, re.M
    )
    ratio, verdict = row
    assert f"| {ratio} times vLLM's rate at the primary constraint | {verdict} |" in page
    assert "primary constraint" in claims
    assert f"ALISE's rate is {ratio} times that of vLLM" in claims  # in the reason for the verdict
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert f"ALISE serves {ratio} times vLLM's request rate" in " ".join(readme.split())


def test_the_page_on_kernel_gittins_quotes_the_counts_by_batch_size():
    page, claims = RESULTS["kernel-gittins"]
    head = "| batch | cells | lowest mean, or tied | faster | slower |"
    counts = claims[claims.index(head) :].splitlines()[2:5]
    assert all(f"  {line}\n" in page for line in counts)
    for shown, cells in re.findall(r"\| shown in (\d+) of (\d+) cells;", claims):
        assert f"{shown} of {cells}" in page


@pytest.mark.parametrize("name", RESULTS)
def test_a_page_of_results_says_first_what_was_accessible(name):
    page, _ = RESULTS[name]
    caveat = page.split("\n\n")[1]
    assert "no access" in caveat or "We had no access" in " ".join(caveat.split())
    assert page.index("no access") < page.index("## Findings") < page.index("claims.md")


@pytest.mark.parametrize("name", RESULTS)
def test_no_text_reports_insignificance_as_equality(name):
    """`As good as`, `no better than` and the like need an interval or a test of equivalence."""
    words = r"as good as|no worse than|no better than|nowhere significantly slower|within chance"
    for text in RESULTS[name]:
        assert not re.findall(words, " ".join(text.split()), re.IGNORECASE)


def test_the_lower_bound_is_stated_with_its_conditions():
    claims = RESULTS["laps-sd"][1]
    for sentence in re.findall(r"[^.]*lower bound[^.]*\.", claims):
        assert "batch size" in sentence
        assert "open" in sentence
        assert "warm-up" in sentence
    assert claims.count("lower bound") == 2
