"""The public names of lapsd, each with the module that it comes from."""

from . import (
    calibrate as calibrate,
    papers as papers,
    policies as policies,
    predict as predict,
    serve as serve,
    sim as sim,
    traces as traces,
)
from .policies import POLICIES as POLICIES, Policy as Policy, parse_policy as parse_policy
from .sim.engine import (
    Capacity as Capacity,
    Occupancy as Occupancy,
    Run as Run,
    Timeline as Timeline,
    simulate as simulate,
    simulate_many as simulate_many,
)
from .sim.experiment import (
    METRICS as METRICS,
    Comparison as Comparison,
    Interval as Interval,
    Metric as Metric,
    PreparedScenario as PreparedScenario,
    Scenario as Scenario,
    bound_latency_ns as bound_latency_ns,
    compare as compare,
    default_policies as default_policies,
    mean_interval as mean_interval,
    paired_difference as paired_difference,
    policy_context as policy_context,
    ratio_of_means as ratio_of_means,
)
from .sim.experiment.runs import run as run
from .sim.sweeps import best as best, read_sweep as read_sweep, resume as resume, sweep as sweep
from .sim.sweeps.summary import plot_heat_map as plot_heat_map, plot_sweep as plot_sweep
from .traces import (
    Arrivals as Arrivals,
    LengthPredictor as LengthPredictor,
    Profile as Profile,
    Provenance as Provenance,
    TablesRequest as TablesRequest,
    Trace as Trace,
    Workload as Workload,
    at_draft_length as at_draft_length,
    describe as describe,
    draw_workload as draw_workload,
    fit_acceptance as fit_acceptance,
    generate as generate,
    load_arrivals as load_arrivals,
    load_profile as load_profile,
    load_trace as load_trace,
    price as price,
    profile_from_tables as profile_from_tables,
    save_arrivals as save_arrivals,
    save_profile as save_profile,
    save_trace as save_trace,
    speculation_pays as speculation_pays,
    to_frame as to_frame,
)
