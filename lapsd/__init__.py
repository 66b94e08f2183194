"""lapsd: calibrate speculative decoding on real models, then simulate how a scheduler serves it.

`__init__.pyi` lists the public names. Each is imported when it is first used, so that importing
lapsd takes no time and needs only the libraries of the names in use.
"""

from importlib import import_module


def __getattr__(name: str) -> object:
    found = import_module("lapsd.public").load(name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __getattr__("__all__")  # type: ignore[return-value]
