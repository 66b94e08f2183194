"""Beyond LAPS-SD: a policy that ranks by past requests, held against others, and what the paper
leaves open.
"""
