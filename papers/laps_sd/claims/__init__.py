"""The claims of the LAPS-SD paper, one module each.

The rules for verdicts were fixed before any run.
"""
