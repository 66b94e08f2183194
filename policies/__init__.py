"""Scheduling policies: pure ranks over a job's history, one module each."""

from policies.base import Clairvoyant, Job, Outlook, Policy, Rank
from policies.fcfs import FCFS
from policies.gittins import Gittins
from policies.laps_sd import LapsSD
from policies.las import LAS
from policies.las_round import LASRound
from policies.lp_sjf import LPSJF
from policies.lp_sjf_mean import LPSJFMean
from policies.lp_srpt import LPSRPT
from policies.round_robin import RoundRobin
from policies.spec import POLICIES, parameters_of, parse_policy, spec_of
from policies.srpt import SRPT

__all__ = [
    "FCFS",
    "LAS",
    "LPSJF",
    "LPSRPT",
    "POLICIES",
    "SRPT",
    "Clairvoyant",
    "Gittins",
    "Job",
    "LASRound",
    "LPSJFMean",
    "LapsSD",
    "Outlook",
    "Policy",
    "Rank",
    "RoundRobin",
    "parameters_of",
    "parse_policy",
    "spec_of",
]
