"""Scheduling policies: pure ranks over a job's history, one module each."""

from policies.base import Job, Outlook, Policy, Rank
from policies.fcfs import FCFS
from policies.laps_sd import LapsSD
from policies.las import LAS
from policies.lp_sjf import LPSJF
from policies.spec import POLICIES, parameters_of, parse_policy, spec_of
from policies.srpt import SRPT

__all__ = [
    "FCFS",
    "LAS",
    "LPSJF",
    "POLICIES",
    "SRPT",
    "Job",
    "LapsSD",
    "Outlook",
    "Policy",
    "Rank",
    "parameters_of",
    "parse_policy",
    "spec_of",
]
