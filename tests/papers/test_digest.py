"""The documentation quotes the committed claims, and all figures that it shows exist."""

import re
from pathlib import Path

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
