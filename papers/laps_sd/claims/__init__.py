"""What the LAPS-SD paper claims, a module a claim.

Verdicts follow rules that stand here, before any run.
"""
