"""Traces derived from a trace, models of its acceptance, and statistics that describe it."""
