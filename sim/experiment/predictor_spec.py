"""Length predictors as text: `noisy:0.5` becomes a predictor."""

from dataclasses import MISSING, Field, fields
from typing import Any

from lapsd.policies.text_values import value_from_text
from lapsd.traces import PREDICTORS, LengthPredictor


def parse_predictor(text: str) -> LengthPredictor:
    """Return the predictor of a text: `oracle`, `noisy:0.5` (or `noisy:sd=0.5`), `regressed:0.6`,
    `learned` or `column:NAME`.

    Raises
    ------
    ValueError
        For an unknown kind (listing the known ones), or a parameter that is missing, wrong or out
        of bounds.
    """
    kind, colon, rest = text.partition(":")
    if kind not in PREDICTORS:
        known = ", ".join(usage(predictor) for predictor in PREDICTORS.values())
        raise ValueError(f"length predictor {text!r}: known are {known}")
    made = PREDICTORS[kind]
    parameters = {f.name: f for f in fields(made)}
    values: dict[str, Any] = {}
    for position, part in enumerate(rest.split(",") if colon else ()):
        name, equals, value = part.partition("=")
        if not equals:
            name, value = [*parameters, part][min(position, len(parameters))], part
        if name not in parameters or name in values:
            raise ValueError(f"length predictor {text!r}: must be {usage(made)}")
        values[name] = _value(value, parameters[name], text)
    for name, parameter in parameters.items():
        if parameter.default is MISSING and name not in values:
            _value("", parameter, text)  # refused, with an example
    return made(**values)


def usage(predictor: type[LengthPredictor]) -> str:
    """Return the predictor as users type it: `noisy:SD`."""
    names = [str(f.metadata["shown"]) for f in fields(predictor)]
    return f"{predictor.kind}:{','.join(names)}" if names else predictor.kind


def _value(value: str, parameter: Field[Any], text: str) -> Any:
    place, example = f"length predictor {text!r}", str(parameter.metadata["example"])
    if not value:
        raise ValueError(f"{place}: needs a value, as in {example}")
    return value_from_text(value, parameter.type, place, example=example)
