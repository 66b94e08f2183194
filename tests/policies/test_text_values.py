"""Texts as values of a type, and back."""

import doctest
from typing import Optional

import pytest
from hypothesis import given, strategies as st

from lapsd.policies import text_values
from lapsd.policies.text_values import text_from_value, value_from_text


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("4", int, 4),
        ("-4", "int", -4),
        ("4", float, 4.0),
        ("1e-3", "float", 0.001),
        ("true", bool, True),
        ("false", "bool", False),
        ("auto", str, "auto"),
        ("", str, ""),
        ("auto", float | None, None),
        ("auto", "float | None", None),
        ("auto", Optional[int], None),  # noqa: UP045 - this form must work too
        ("2", "int | None", 2),
        ("total", str | None, "total"),
        ("auto", str | None, None),
        ("true", "bool | None", True),
        ("2.5", int | float, 2.5),
        ("all", int | str, "all"),
    ],
)
def test_a_text_becomes_a_value_of_the_type(text, annotation, value):
    made = value_from_text(text, annotation, "place")
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "annotation", "needed"),
    [
        ("2.5", int, "an integer"),
        ("", "int", "an integer"),
        ("x", float, "a number"),
        ("auto", float, "a number"),
        ("True", bool, "true or false"),
        ("1", "bool", "true or false"),
        ("x", int | None, "an integer or auto"),
        ("None", float | None, "a number or auto"),
        ("x", int | float, "an integer or a number"),
    ],
)
def test_any_other_text_is_refused_with_the_place_and_what_is_needed(text, annotation, needed):
    with pytest.raises(ValueError) as error:
        value_from_text(text, annotation, f"las: K={text}")
    assert str(error.value) == f"las: K={text}: needs {needed}"
    with pytest.raises(ValueError) as error:
        value_from_text(text, annotation, f"las: K={text}", example="K=4")
    assert str(error.value) == f"las: K={text}: needs {needed}, as in K=4"


def test_other_texts_can_stand_for_none():
    for text in ("all", "none"):
        assert value_from_text(text, int | None, "batch", none=("all", "none")) is None
    with pytest.raises(ValueError, match="batch: needs an integer or all or none"):
        value_from_text("auto", int | None, "batch", none=("all", "none"))


@pytest.mark.parametrize("annotation", [list[int], "list[int]", "tuple | None", dict])
def test_other_types_are_refused(annotation):
    with pytest.raises(
        ValueError, match="own: sizes=1: a value of type .* cannot be given as text"
    ):
        value_from_text("1", annotation, "own: sizes=1")


@given(
    st.one_of(
        *(st.tuples(st.just(kind), st.from_type(kind)) for kind in (bool, str)),
        st.tuples(st.just(int), st.integers(-(2**63), 2**63 - 1)),
        st.tuples(st.just(float), st.floats(allow_nan=False)),
        st.tuples(st.just(float | None), st.none() | st.floats(allow_nan=False)),
    )
)
def test_the_text_of_a_value_gives_the_value_again(case):
    annotation, value = case
    made = value_from_text(text_from_value(value), annotation, "place")
    assert (made, type(made)) == (value, type(value))


def test_the_text_of_a_value_is_short():
    values = (3.0, 0.1234567890123, 7, True, None, "version 2.0")
    texts = ["3", "0.1234567890123", "7", "true", "auto", "version 2.0"]
    assert [text_from_value(value) for value in values] == texts


def test_the_examples_of_the_documentation_are_right():
    failed, attempted = doctest.testmod(text_values)
    assert (failed, attempted > 0) == (0, True)
