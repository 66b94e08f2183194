"""The papers that can be reproduced, by the names that a command line has for them."""

from lapsd.papers.alise.paper import ALISE
from lapsd.papers.beyond.paper import BEYOND
from lapsd.papers.laps_sd.paper import LAPS_SD
from lapsd.papers.question import Paper

PAPERS: dict[str, Paper] = {paper.name: paper for paper in (LAPS_SD, ALISE, BEYOND)}


def paper_of(name: str) -> Paper:
    """The paper of that name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in PAPERS:
        raise ValueError(f"paper {name!r}: can be reproduced are {', '.join(PAPERS)}")
    return PAPERS[name]
