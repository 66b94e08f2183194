"""Comparison of the simulator with live runs.

Given the durations of a live run, the simulator must take the same decisions; given mean costs, its
latencies are compared with the measured ones.
"""
