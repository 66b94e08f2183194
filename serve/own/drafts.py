"""The draft policy of a plan, for our server and for the simulation of its runs."""

from lapsd.policies import Policy, parse_policy
from lapsd.policies.calls import name_of
from lapsd.policies.drafts.calls import bound_drafts
from lapsd.serve.plan import Plan
from lapsd.sim.engine.drafting import Drafter, Drafting, refuse_truth
from lapsd.traces import Costs

PADDED = Drafting(padded=True)  # each request of a batch sends as many tokens as the longest draft


def drafter_of(plan: Plan, costs: Costs | None = None) -> Drafter | None:
    """Return the draft policy of a plan for one run; None if its policy has none.

    Parameters
    ----------
    costs : what steps take; None: what the server takes them for.

    Raises
    ------
    ValueError
        As `refuse_unknowable`, or if the plan does not say what steps take.
    """
    policy = parse_policy(plan.policy)
    refuse_unknowable(policy)
    if (drafts := policy.drafts) is None:
        return None
    if plan.profile is None:
        raise ValueError(f"draft policy {name_of(drafts)}: the plan holds no costs of rounds")
    known = plan.profile.costs
    bound = bound_drafts(drafts, plan.context.drafts)
    return Drafter(bound, PADDED, costs or known, known=known)


def refuse_unknowable(policy: Policy) -> None:
    """Raise `ValueError` for a policy with a draft policy that our server cannot ask: it needs to
    know what no server knows before the draft model runs.
    """
    refuse_truth(policy)
    drafts = policy.drafts
    if drafts is not None and drafts.clairvoyant:
        raise ValueError(
            f"draft policy {name_of(drafts)}: knows what will be accepted: not in live runs"
        )
    if drafts is not None and drafts.confident:
        raise ValueError(
            f"draft policy {name_of(drafts)}: reads the draft model's probabilities, which are"
            " known only after drafting: not in live runs"
        )
