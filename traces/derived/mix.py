"""Mixes of data sets: `code=0.7+prose=0.3`, or `code+prose` for equal shares."""

import re
from collections.abc import Mapping

import numpy as np

from lapsd.traces.trace import Trace

SHARE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")  # float() also takes 1_0

COPIES = 20  # length of a mix in lengths of the trace, so that shares are exact to well below 1 %


def is_mix(text: str) -> bool:
    """Return whether the text describes a mix rather than the name of one data set.

    Parameters
    ----------
    text : str
        A data set, or a mix such as `code=0.7+prose=0.3`.

    Examples
    --------
    >>> from lapsd.traces import is_mix
    >>> is_mix("code=0.7+prose=0.3"), is_mix("code")
    (True, False)
    """
    return "+" in text or "=" in text


def shares_of(text: str) -> dict[str, float]:
    """Return each data set's share of the requests; the shares add up to 1.

    Parameters
    ----------
    text : str
        A data set, or a mix such as `code=0.7+prose=0.3`.

    Raises
    ------
    ValueError
        Naming the text, if a share is not a number above 0 or a name occurs twice.

    Examples
    --------
    >>> from lapsd.traces import shares_of
    >>> shares_of("code=3+prose=1")
    {'code': 0.75, 'prose': 0.25}
    """
    shares: dict[str, float] = {}
    for part in text.split("+"):
        name, equals, weight = part.partition("=")
        share = 1.0
        if equals:
            share = float(weight) if SHARE.fullmatch(weight) else 0.0
        if not name or name in shares or not 0 < share < 1e9:
            raise ValueError(
                f"dataset {text!r}: a mix is NAME=SHARE+NAME=SHARE, each name once, shares above 0"
            )
        shares[name] = share
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def mix(trace: Trace, shares: Mapping[str, float]) -> Trace:
    """Return the trace with rows repeated so that each data set has its share.

    All rows of one data set occur equally often.

    Parameters
    ----------
    trace : Trace
        Requests and their rounds.
    shares : Mapping[str, float]
        Share of each data set, above 0.

    Raises
    ------
    ValueError
        If the trace lacks one of the data sets.

    Examples
    --------
    >>> import lapsd
    >>> from lapsd.traces import mix
    >>> mixed = mix(lapsd.load_trace("reference"), {"code": 0.5, "prose": 0.5})
    >>> mixed.datasets
    ['code', 'prose']
    """
    for name in shares:
        if name not in trace.datasets:
            raise trace.has_not(name)
    counts = {name: sum(other == name for other in trace.dataset) for name in shares}
    weight = np.array([shares.get(name, 0.0) / counts.get(name, 1) for name in trace.dataset])
    ticks = (np.arange(COPIES * len(trace)) + 0.5) / (COPIES * len(trace))
    return trace.take(np.searchsorted(np.cumsum(weight), ticks * weight.sum()))
