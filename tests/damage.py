"""Strategies for damaged JSON documents, in which one or two values are replaced."""

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
    """Yield the path of keys to every value in a JSON document, including containers."""
    parts = document.items() if isinstance(document, dict) else ()
    for key, part in enumerate(document) if isinstance(document, list) else parts:
        yield (*path, key)
        yield from places(part, (*path, key))


@st.composite
def damaged(draw: st.DrawFn, document: Any, times: int = 2) -> Any:
    """Copies of the JSON document in which up to `times` values are replaced."""
    document = deepcopy(document)
    for _ in range(draw(st.integers(1, times))):
        *keys, last = draw(st.sampled_from(list(places(document))))
        target = document
        for key in keys:
            target = target[key]
        target[last] = draw(JUNK)
    return document
