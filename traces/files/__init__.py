"""Files of traces, profiles, arrivals and prompts; `docs/reference/formats.md` describes them.

Every file is written completely or not at all.
"""

from lapsd.traces.files.arrival_file import load_arrivals, save_arrivals
from lapsd.traces.files.identity import file_sha256, first_difference, profile_sha256, trace_sha256
from lapsd.traces.files.profile_file import (
    BUNDLED_PROFILES,
    load_profile,
    profile_from_json,
    profile_to_json,
    save_profile,
)
from lapsd.traces.files.prompt_file import load_prompts, save_prompts
from lapsd.traces.files.result_folder import (
    Kind,
    claim,
    in_work,
    new_in,
    only_writer,
    publish,
    refuse_others,
    replacing,
)
from lapsd.traces.files.trace_file import BUNDLED_TRACES, load_trace, save_trace
from lapsd.traces.files.writing import (
    BUNDLED,
    make_writable_folder,
    remove_unfinished,
    write_text,
    write_whole,
)

__all__ = [
    "BUNDLED",
    "BUNDLED_PROFILES",
    "BUNDLED_TRACES",
    "Kind",
    "claim",
    "file_sha256",
    "first_difference",
    "in_work",
    "load_arrivals",
    "load_profile",
    "load_prompts",
    "load_trace",
    "make_writable_folder",
    "new_in",
    "only_writer",
    "profile_from_json",
    "profile_sha256",
    "profile_to_json",
    "publish",
    "refuse_others",
    "remove_unfinished",
    "replacing",
    "save_arrivals",
    "save_profile",
    "save_prompts",
    "save_trace",
    "trace_sha256",
    "write_text",
    "write_whole",
]
