"""A user's own policies: the class that `module.Class` names.

A module that is not installed is a file in the current folder. It is loaded by its path, under a
name that no import statement uses, and the folder is never added to `sys.path`: no other file in it
can take the place of a library. A process that works for another one receives the source of such
modules, so that it runs the same code from any folder.
"""

import copyreg
import importlib
import linecache
import sys
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Self

from lapsd.policies.base import Policy
from lapsd.policies.calls import described
from lapsd.policies.contract import check_class, check_parameters

PREFIX = "lapsd_own."  # of the modules that are loaded by their paths, in `sys.modules`


class Source(NamedTuple):
    """A module that was loaded by its path."""

    module: str
    path: str
    content: bytes


_LOADED: dict[str, Source] = {}
_RECEIVED: set[str] = set()
"""Modules whose sources another process has sent; the current folder is not looked at for them."""


def class_named(
    name: str, base: type[Any] | tuple[type[Any], ...] = Policy, kind: str = "policy"
) -> Any:
    """Return the class of a policy, a draft policy or a router that `module.Class` names.

    Parameters
    ----------
    base, kind : what the class must be a subclass of (several: of any), and what messages call it.

    Raises
    ------
    ValueError
        If the module cannot be imported, or the class is not as a policy must be.
    """
    module_name, _, attribute = name.rpartition(".")
    try:
        module = _module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"{kind} {name}: {_why(error, module_name)}") from error
    try:
        made = getattr(module, attribute)
    except Exception as error:
        raise ValueError(
            f"{kind} {name}: {module_name} has no {attribute} ({_file_of(module)})"
        ) from error
    if not (isinstance(made, type) and issubclass(made, base)):
        bases = base if isinstance(base, tuple) else (base,)
        paths = " or ".join(f"{b.__module__.rpartition('.')[0]}.{b.__name__}" for b in bases)
        raise ValueError(f"{kind} {name}: is not a subclass of {paths}")
    check_class(made)
    check_parameters(made)
    if (source := _LOADED.get(made.__module__)) is not None:
        _keep(made, source)
    return made


def _module(name: str) -> ModuleType:
    """Return an installed module, or else that of a file in the current folder."""
    if name in _RECEIVED:
        return sys.modules[PREFIX + name]
    if not all(part.isidentifier() for part in name.split(".")):
        raise ModuleNotFoundError("not a name of a module", name=name)
    importlib.invalidate_caches()  # a file may be newer than the cached list of files
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        path = Path.cwd().joinpath(*name.split(".")).with_suffix(".py")
        if not _is_part_of(error.name, name) or not path.is_file():
            raise
    return _load(Source(name, str(path), path.read_bytes()))


def _load(source: Source) -> ModuleType:
    """Return the module of a source, executed once."""
    key = PREFIX + source.module
    if _LOADED.get(key) == source:
        return sys.modules[key]
    spec = spec_from_file_location(key, source.path)
    assert spec is not None
    module = sys.modules[key] = module_from_spec(spec)
    try:
        exec(compile(source.content, source.path, "exec"), vars(module))
    except BaseException:
        del sys.modules[key]
        raise
    linecache.checkcache()  # messages quote lines of this file, not of an earlier one of its name
    _LOADED[key] = source
    return module


class _Kept:
    """A class of a module that was loaded by its path, as a pickle keeps it: with its source."""

    def __init__(self, kind: type[Any], source: Source) -> None:
        self.kind, self.source = kind, source

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.source, self.kind.__qualname__)


def _keep(kind: type[Any], source: Source) -> _Kept:
    """Let objects of a class be pickled with its source: no import statement finds its module."""
    kept = _Kept(kind, source)
    copyreg.pickle(kind, partial(_reduced, kept))
    return kept


def _restored(source: Source, name: str) -> _Kept:
    """Return a class again, in another process too."""
    return _keep(attrgetter(name)(_load(source)), source)


def _reduced(kept: _Kept, made: object) -> Any:
    """Return what an object is copied or pickled as: without the name of its module."""
    reduced: Any = object.__reduce_ex__(made, 2)
    function, arguments, *rest = reduced
    if arguments and arguments[0] is kept.kind:
        return _new, (function, kept, *arguments[1:]), *rest
    return function, arguments, *rest


def _new(function: Callable[..., Any], kept: _Kept, *arguments: Any) -> Any:
    return function(kept.kind, *arguments)


def _is_part_of(missing: str | None, module_name: str) -> bool:
    """Return whether a missing module is the module itself or a package that contains it."""
    return f"{module_name}.".startswith(f"{missing}.")


def _why(error: BaseException, module_name: str) -> str:
    """Return why a module cannot be imported."""
    reason = described(error)
    if isinstance(error, ImportError):
        reason = reason.partition(": ")[2]
    if not isinstance(error, ModuleNotFoundError):
        return f"{module_name} fails to import: {reason}"
    if _is_part_of(error.name, module_name):
        return f"cannot import {module_name} ({reason})"
    name = f"{str(error.name).partition('.')[0]}.py"
    if Path(name).is_file():
        reason += f": a policy cannot import {name} next to it, put both into one file"
    return f"{module_name} fails to import: {reason}"


def _file_of(module: ModuleType) -> str:
    return str(getattr(module, "__file__", None) or "built into Python")


def spec_name(kind: type[Any]) -> str:
    """Return the text `module.Class` that names a class."""
    return f"{kind.__module__.removeprefix(PREFIX)}.{kind.__qualname__}"


def kinds_of(policies: Iterable[Policy]) -> list[type[Any]]:
    """Return the classes of policies and of their draft policies."""
    return [type(one) for policy in policies for one in (policy, policy.drafts) if one is not None]


def sources_of(policies: Iterable[Policy]) -> tuple[Source, ...]:
    """Return the sources of the modules of policies that were loaded by their paths."""
    modules = dict.fromkeys(kind.__module__ for kind in kinds_of(policies))
    return tuple(_LOADED[name] for name in modules if name in _LOADED)


def receive(sources: Iterable[Source]) -> None:
    """Load modules that another process has loaded, whatever the current folder holds."""
    for source in sources:
        if _LOADED.get(PREFIX + source.module) != source:
            _load(source)
            _RECEIVED.add(source.module)
