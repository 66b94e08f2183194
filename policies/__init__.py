"""Scheduling policies, one module each: a policy ranks a request by what is known of it."""

from lapsd.policies.a_min import AMin
from lapsd.policies.alise import Alise
from lapsd.policies.base import NEVER, Clairvoyant, Event, Job, NewJob, Policy, PolicyContext, Rank
from lapsd.policies.boost import Boost
from lapsd.policies.contract import parameters_of
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
from lapsd.policies.request_history import RequestHistory
from lapsd.policies.round_robin import RoundRobin
from lapsd.policies.spec import POLICIES, parse_policy, policy_class, spec_of
from lapsd.policies.srpt import SRPT
from lapsd.policies.tie import TIE
from lapsd.policies.time_model import TimeModel

__all__ = [
    "FCFS",
    "LAS",
    "LPSJF",
    "LPSRPT",
    "NEVER",
    "POLICIES",
    "SRPT",
    "TIE",
    "AMin",
    "Alise",
    "Boost",
    "Clairvoyant",
    "Event",
    "FastServe",
    "Gittins",
    "Job",
    "KernelGittins",
    "KernelGittinsOnline",
    "KernelGittinsOracle",
    "LASRound",
    "LPSJFMean",
    "LapsSD",
    "LapsSDAdapted",
    "NewJob",
    "Policy",
    "PolicyContext",
    "Rank",
    "RequestHistory",
    "RoundRobin",
    "TimeModel",
    "parameters_of",
    "parse_policy",
    "policy_class",
    "spec_of",
]
