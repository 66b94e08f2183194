"""Paragraphs that the introductions of several reports share."""

from lapsd.papers.inputs import Size


def comparison(equivalence: str = "", verdicts: str = "") -> str:
    """Return how a report compares.

    Parameters
    ----------
    equivalence, verdicts : sentences that say what counts as equal, and how verdicts are found.
    """
    parts = [
        "A difference is a ratio of mean latencies minus 1, paired over seeds, with a 95 % interval"
        " by the delta method. It is statistically significant if the interval excludes 0.",
        equivalence,
        "The rules for verdicts are part of the program and were fixed before the runs. The"
        " intervals are of single comparisons: of forty equal policies one would be significantly"
        " slower by chance.",
        verdicts,
    ]
    return " ".join(filter(None, parts))


def quick_version(size: Size) -> list[str]:
    """Return a paragraph that says so if the report is of the quick size."""
    if size.name != "quick":
        return []
    return [
        "This is the quick version, with few seeds, two loads and therefore wide intervals. Use the"
        " full version for results to quote."
    ]
