"""The papers that can be reproduced, by the names that a command line has for them."""

from sim.reproduce.alise.paper import ALISE
from sim.reproduce.beyond.paper import BEYOND
from sim.reproduce.laps_sd.paper import LAPS_SD
from sim.reproduce.question import Paper

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
