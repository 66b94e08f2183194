"""Files of traces, profiles, arrivals and prompts; `docs/formats.md` describes the formats.

Every file is written completely or not at all.
"""

from lapsd.traces.files.arrival_file import load_arrivals, save_arrivals
from lapsd.traces.files.profile_file import BUNDLED_PROFILES, load_profile, save_profile
from lapsd.traces.files.prompt_file import load_prompts, save_prompts
from lapsd.traces.files.trace_file import BUNDLED_TRACES, load_trace, save_trace
from lapsd.traces.files.writing import BUNDLED, claim_folder, make_writable_folder, write_whole

__all__ = [
    "BUNDLED",
    "BUNDLED_PROFILES",
    "BUNDLED_TRACES",
    "claim_folder",
    "load_arrivals",
    "load_profile",
    "load_prompts",
    "load_trace",
    "make_writable_folder",
    "save_arrivals",
    "save_profile",
    "save_prompts",
    "save_trace",
    "write_whole",
]
