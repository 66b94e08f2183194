"""A draft policy or a router that was bound for a run, with its one compiled method."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from lapsd.policies.drafts import DraftPolicy
from lapsd.policies.routers import Router
from lapsd.sim.engine.compiled.interpreted import PARAMETERS
from lapsd.sim.engine.compiled.parameters import Layout, Parameters, parameters_of

Owner = TypeVar("Owner", DraftPolicy, Router)


@dataclass(eq=False)
class Bound(Generic[Owner]):
    """A draft policy or a router that `bind` returned, with its compiled method.

    Attributes
    ----------
    address : int
        Of the compiled method.
    kept : compiled function, which lives as long as this object.
    reads : names that the policy's code uses.
    """

    policy: Owner
    address: int
    layout: Layout
    state: np.dtype[Any]
    kept: Any
    reads: frozenset[str]

    @cached_property
    def parameters(self) -> Parameters:
        """The record of its parameters."""
        made = parameters_of(self.policy, self.layout)
        PARAMETERS[made.address] = made
        return made

    def new_state(self) -> NDArray[Any]:
        """Return the state that it keeps in a run, with its defaults."""
        made = np.zeros(1, dtype=self.state)
        if self.policy.State is not None:
            initial = self.policy.State()
            for name in self.state.names or ():
                made[name] = getattr(initial, name)
        return made
