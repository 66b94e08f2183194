"""The simulator held to live runs: its decisions, given their durations; its foresight, given
costs.
"""
