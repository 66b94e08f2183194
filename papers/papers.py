"""The papers that can be reproduced, by their names on the command line."""

from lapsd.papers.alise.paper import ALISE
from lapsd.papers.beyond.paper import BEYOND
from lapsd.papers.draft_length.paper import DRAFT_LENGTH
from lapsd.papers.laps_sd.paper import LAPS_SD
from lapsd.papers.question import Paper
from lapsd.papers.routing.paper import ROUTING

PAPERS: dict[str, Paper] = {
    paper.name: paper for paper in (LAPS_SD, ALISE, BEYOND, DRAFT_LENGTH, ROUTING)
}


def paper_of(name: str) -> Paper:
    """Return the paper of that name.

    Raises
    ------
    ValueError
        If no paper has that name.
    """
    if name not in PAPERS:
        raise ValueError(f"paper={name!r}: must be one of {', '.join(PAPERS)}")
    return PAPERS[name]
