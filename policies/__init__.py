"""Scheduling policies: pure ranks over a job's history, one module each."""

from policies.a_min import AMin
from policies.alike import Alike, AlikeCeiling
from policies.alike_online import AlikeOnline
from policies.alise import Alise
from policies.base import NEVER, ONE_ROUND, STEADY, TO_THE_END, Clairvoyant, Event, Job, Outlook, Policy, Rank, Until
from policies.boost import Boost
from policies.fastserve import FastServe
from policies.fcfs import FCFS
from policies.gittins import Gittins
from policies.laps_sd import LapsSD
from policies.laps_sd_adapted import LapsSDAdapted
from policies.las import LAS
from policies.las_round import LASRound
from policies.lp_sjf import LPSJF
from policies.lp_sjf_mean import LPSJFMean
from policies.lp_srpt import LPSRPT
from policies.past import Past
from policies.round_robin import RoundRobin
from policies.spec import POLICIES, parameters_of, parse_policy, policy_class, spec_of
from policies.srpt import SRPT
from policies.tie import TIE
from policies.time_model import TimeModel

__all__ = [
    "FCFS",
    "LAS",
    "LPSJF",
    "LPSRPT",
    "NEVER",
    "ONE_ROUND",
    "POLICIES",
    "SRPT",
    "STEADY",
    "TIE",
    "TO_THE_END",
    "AMin",
    "Alike",
    "AlikeCeiling",
    "AlikeOnline",
    "Alise",
    "Boost",
    "Clairvoyant",
    "Event",
    "FastServe",
    "Gittins",
    "Job",
    "LASRound",
    "LPSJFMean",
    "LapsSD",
    "LapsSDAdapted",
    "Outlook",
    "Past",
    "Policy",
    "Rank",
    "RoundRobin",
    "TimeModel",
    "Until",
    "parameters_of",
    "parse_policy",
    "policy_class",
    "spec_of",
]
