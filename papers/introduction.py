"""Paragraphs that the introductions of several reports share."""

from lapsd.papers.inputs import Size


def comparison(equivalence: str = "") -> str:
    """Return how a report compares.

    Parameters
    ----------
    equivalence : sentence that says what counts as equal.
    """
    parts = [
        "A difference is a ratio of mean latencies minus 1, paired over seeds, with a 95 % interval"
        " by the delta method. It is statistically significant if the interval excludes 0.",
        equivalence,
        "The rules for verdicts are part of the program. A verdict has one primary criterion, fixed"
        " before the runs; “in part” needs at least half of the cells, and never comes from the"
        " best of several (this rule came after the first runs, and made some verdicts stricter)."
        " The intervals are of single comparisons: of forty equal policies one would be"
        " significantly slower by chance.",
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
