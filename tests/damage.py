"""JSON documents with other values in a place or two: each must be read, or refused in one line."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**40),
    st.floats(),
    st.text(max_size=3),
    st.builds(list),
    st.builds(dict),
    st.lists(st.integers(-1, 9), max_size=4),
    st.builds(lambda: {"a": [None]}),
)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every value in a JSON document, containers too."""
    parts = document.items() if isinstance(document, dict) else ()
    for key, part in enumerate(document) if isinstance(document, list) else parts:
        yield (*path, key)
        yield from places(part, (*path, key))


@st.composite
def damaged(draw: st.DrawFn, document: Any, times: int = 2) -> Any:
    """The JSON document with other values in a place or two."""
    document = deepcopy(document)
    for _ in range(draw(st.integers(1, times))):
        *keys, last = draw(st.sampled_from(list(places(document))))
        target = document
        for key in keys:
            target = target[key]
        target[last] = draw(JUNK)
    return document
