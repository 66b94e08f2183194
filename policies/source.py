"""Digests of the source of own policies, so that results of two versions are not mixed."""

import hashlib
import inspect
from collections.abc import Iterable
from pathlib import Path

from lapsd.policies.base import Policy


def own_sources(policies: Iterable[Policy]) -> dict[str, str]:
    """Return the SHA-256 of the source of each policy that is not part of lapsd, by class.

    The source is that of the files of the class and of its bases outside lapsd. Modules that those
    files import do not count.
    """
    classes = {type(policy) for policy in policies if not _is_ours(type(policy))}
    return {f"{c.__module__}.{c.__qualname__}": _digest(c) for c in sorted(classes, key=repr)}


def _is_ours(made: type) -> bool:
    return made.__module__.partition(".")[0] in ("lapsd", "builtins")


def _digest(made: type) -> str:
    digest, files = hashlib.sha256(), set[str]()
    for base in made.__mro__:
        try:
            file = None if _is_ours(base) else inspect.getsourcefile(base)
        except TypeError:  # a class without a file
            file = None
        if file is not None and file not in files:
            files.add(file)
            digest.update(Path(file).read_bytes())
    return digest.hexdigest()
