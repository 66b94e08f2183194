"""Policies as text: parse `laps-sd:K=4,gamma=8`, and write it."""

import re
from collections.abc import Iterable
from dataclasses import MISSING

from lapsd.policies.a_min import AMin
from lapsd.policies.alise import Alise
from lapsd.policies.base import Policy
from lapsd.policies.boost import Boost
from lapsd.policies.calls import name_of, raised
from lapsd.policies.contract import parameters_of
from lapsd.policies.drafts.base import DraftPolicy
from lapsd.policies.drafts.spec import draft_spec_of, parse_draft_policy
from lapsd.policies.fastserve import FastServe
from lapsd.policies.fcfs import FCFS
from lapsd.policies.gittins import Gittins
from lapsd.policies.kernel_gittins import KernelGittins, KernelGittinsOracle
from lapsd.policies.kernel_gittins_online import KernelGittinsOnline
from lapsd.policies.laps_sd import LapsSD
from lapsd.policies.laps_sd_adapted import LapsSDAdapted
from lapsd.policies.las import LAS
from lapsd.policies.las_round import LASRound
from lapsd.policies.lp_sjf import LPSJF
from lapsd.policies.lp_sjf_mean import LPSJFMean
from lapsd.policies.lp_srpt import LPSRPT
from lapsd.policies.own import class_named
from lapsd.policies.round_robin import RoundRobin
from lapsd.policies.srpt import SRPT
from lapsd.policies.text_values import parse_parameters, text_from_value
from lapsd.policies.tie import TIE

_KNOWN: tuple[type[Policy], ...] = (
    FCFS,
    RoundRobin,
    LAS,
    LASRound,
    Gittins,
    LPSJF,
    LPSRPT,
    AMin,
    TIE,
    Boost,
    LapsSD,
    LapsSDAdapted,
    KernelGittins,
    KernelGittinsOnline,
    KernelGittinsOracle,
    LPSJFMean,
    SRPT,
    FastServe,
    Alise,
)
POLICIES: dict[str, type[Policy]] = {p.name: p for p in _KNOWN}
"""The class of each bundled policy by the name that users type: mapping of str to type.

Examples
--------
>>> import lapsd
>>> lapsd.POLICIES["laps-sd"].__name__
'LapsSD'
>>> list(lapsd.POLICIES)[:4]
['fcfs', 'rr', 'las', 'las-round']
"""

RENAMED = {
    "alike": "kernel-gittins",
    "alike-online": "kernel-gittins-online",
    "alike-ceiling": "kernel-gittins-oracle",
    "stay": "switch_penalty",
    "patience": "age_weight",
}
"""New names of policies and parameters, by their old ones."""


def policy_class(name: str) -> type[Policy]:
    """Return the class of a policy by its name, or by `module.Class` for a user's own policy.

    If the module is not installed, it is looked for in the current folder.

    Parameters
    ----------
    name : str
        Name of a bundled policy, or `module.Class`.

    Raises
    ------
    ValueError
        If there is no such policy, its module cannot be imported, or its class is not as a policy
        must be.

    Examples
    --------
    >>> from lapsd.policies import policy_class
    >>> policy_class("laps-sd").__name__
    'LapsSD'
    >>> policy_class("laps")
    Traceback (most recent call last):
        ...
    ValueError: unknown policy 'laps': known are fcfs, rr, las, las-round, gittins, lp-sjf, ...
    """
    if name in POLICIES:
        return POLICIES[name]
    if (new := RENAMED.get(name)) in POLICIES:
        raise ValueError(f"policy {name!r} is now called {new!r}")
    if "." not in name or not all(name.split(".")):
        raise ValueError(
            f"unknown policy {name!r}: known are {', '.join(POLICIES)}, or your own as module.Class"
        )
    made: type[Policy] = class_named(name)
    _refuse_taken_name(made)
    return made


def _refuse_taken_name(kind: type[Policy]) -> None:
    """Raise `ValueError` if a policy is called as a bundled one of another class."""
    if POLICIES.get(kind.name, kind) is not kind:
        raise ValueError(
            f"policy {kind.__qualname__}: is called {kind.name!r}, as a bundled policy: give the"
            " class another name"
        )


def parse_policy(spec: str) -> Policy:
    """Return the policy that `name` or `name:parameter=value,...` describes.

    A draft policy may follow after a plus: `laps-sd:K=4+goodput:most=5`.

    Parameters
    ----------
    spec : str
        Name and parameters, as in `laps-sd:K=6`.

    Raises
    ------
    ValueError
        For an unknown name or parameter (listing the known ones), an old name of either (giving the
        new one), or a value out of bounds.

    Examples
    --------
    >>> import lapsd
    >>> lapsd.parse_policy("laps-sd:K=6,delta=0.1").K
    6
    >>> lapsd.parse_policy("laps-sd:Q=6")
    Traceback (most recent call last):
        ...
    ValueError: policy laps-sd has no parameter 'Q': its parameters are K, M, sup_1_s, ...
    """
    if not isinstance(spec, str):
        raise ValueError(f"policy {spec!r}: needs a text, as in laps-sd:K=4")
    order, drafts = split_spec(spec)
    name, colon, rest = order.partition(":")
    made = policy_class(name)
    values = parse_parameters("policy", name, parameters_of(made), rest if colon else None, RENAMED)
    if drafts is not None:
        values["drafts"] = parse_draft_policy(drafts)
    try:
        return made(**values)
    except BaseException as error:
        if POLICIES.get(name) is made:
            raise  # its errors say all of it
        raise raised(made, "__init__", error) from error


def split_spec(spec: str) -> tuple[str, str | None]:
    """Return the parts of `policy+draft policy`; None for a draft policy that is not there.

    A plus before a digit, as in `1e+3`, belongs to a number.
    """
    order, plus, drafts = re.sub(r"\+(?=[A-Za-z])", "\0", spec, count=1).partition("\0")
    return order, drafts if plus else None


def with_drafts(spec: str, drafts: str) -> str:
    """Return the spec of a policy with a draft policy.

    Raises
    ------
    ValueError
        If the policy has one already.
    """
    if split_spec(spec)[1] is not None:
        raise ValueError(f"policy {spec}: has a draft policy already, and --draft-policy {drafts}")
    return f"{spec}+{drafts}"


def spec_of(policy: Policy) -> str:
    """Return the shortest text that `parse_policy` turns into the policy again: its name, and the
    parameters that differ from their defaults.

    Parameters
    ----------
    policy : Policy
        The policy.

    Raises
    ------
    ValueError
        If it is called as a bundled policy of another class.

    Examples
    --------
    >>> from lapsd.policies import LapsSD, spec_of
    >>> spec_of(LapsSD(K=6, delta=0.05))
    'laps-sd:K=6'
    """
    changed = [
        f"{f.name}={text_from_value(getattr(policy, f.name))}"
        for f in parameters_of(policy)
        if f.default is MISSING or getattr(policy, f.name) != f.default
    ]
    _refuse_taken_name(type(policy))
    name = name_of(policy)
    order = f"{name}:{','.join(changed)}" if changed else name
    if not isinstance(policy.drafts, DraftPolicy | None):
        raise ValueError(f"policy {name}: drafts={policy.drafts!r}: must be a draft policy or None")
    return order if policy.drafts is None else f"{order}+{draft_spec_of(policy.drafts)}"


def by_spec(policies: Iterable[Policy]) -> dict[str, Policy]:
    """Return policies by their specs.

    Raises
    ------
    ValueError
        If a policy is given twice, or two classes have one name.
    """
    found: dict[str, Policy] = {}
    classes: dict[str, type[Policy]] = {}
    for policy in policies:
        spec, kind = spec_of(policy), type(policy)
        if classes.setdefault(kind.name, kind) is not kind:
            raise ValueError(f"two policies are called {kind.name}: give the class of one a name")
        if spec in found:
            raise ValueError(f"policy {spec} is given twice")
        found[spec] = policy
    return found
