"""Profiles computed from tables of measured GPU operators, without a GPU.

The tables come from NVIDIA's `aiconfigurator-core` (Apache-2.0), an optional dependency. Only
`library` imports it.
"""

from lapsd.traces.operator_tables.profiles import TablesRequest, profile_from_tables

__all__ = ["TablesRequest", "profile_from_tables"]
