"""Scheduling policies: pure ranks over a job's history, one module each."""

from lapsd.policies.a_min import AMin
from lapsd.policies.alike import Alike, AlikeCeiling
from lapsd.policies.alike_online import AlikeOnline
from lapsd.policies.alise import Alise
from lapsd.policies.base import (
    NEVER,
    ONE_ROUND,
    STEADY,
    TO_THE_END,
    Clairvoyant,
    Event,
    Job,
    Outlook,
    Policy,
    Rank,
    Until,
)
from lapsd.policies.boost import Boost
from lapsd.policies.fastserve import FastServe
from lapsd.policies.fcfs import FCFS
from lapsd.policies.gittins import Gittins
from lapsd.policies.laps_sd import LapsSD
from lapsd.policies.laps_sd_adapted import LapsSDAdapted
from lapsd.policies.las import LAS
from lapsd.policies.las_round import LASRound
from lapsd.policies.lp_sjf import LPSJF
from lapsd.policies.lp_sjf_mean import LPSJFMean
from lapsd.policies.lp_srpt import LPSRPT
from lapsd.policies.past import Past
from lapsd.policies.round_robin import RoundRobin
from lapsd.policies.spec import POLICIES, parameters_of, parse_policy, policy_class, spec_of
from lapsd.policies.srpt import SRPT
from lapsd.policies.tie import TIE
from lapsd.policies.time_model import TimeModel

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
